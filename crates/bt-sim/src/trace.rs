//! Orders of engines as lines of text.
//!
//! Decides: the words. Must not know: who reads them.
//! Invariant: no payload is printed.

use bt_engine::Output;
use bt_peer_wire::Message;
use bt_types::Time;

/// Takes the lines of a run: the moment, the name of the host, and what its engine ordered.
pub type Sink = Box<dyn FnMut(Time, &str, &str)>;

/// What an engine ordered, in one line.
pub(crate) fn line(output: &Output) -> String {
    match output {
        Output::Send(peer, messages) => {
            let words: Vec<String> = messages.iter().map(word).collect();
            format!("{} < {}", peer.0, words.join(", "))
        }
        Output::Store(_, block, _) => format!("store {block:?}"),
        Output::Serve { peer, blocks, .. } => format!("{} < serve {blocks:?}", peer.0),
        Output::Check { piece, urgent, .. } => {
            format!("check {}{}", piece.number(), if *urgent { " urgently" } else { "" })
        }
        Output::Forget(_, piece) => format!("forget {}", piece.number()),
        Output::Dial(_, addr, ..) => format!("dial {addr}"),
        Output::HangUp(peer, why) => format!("{} hung up: {why}", peer.0),
        Output::Announce(_, order) => format!("announce {:?}, left {}", order.event, order.left),
        Output::FindPeers(_, via) => format!("find peers by {via:?}"),
        Output::DhtNode(addr) => format!("a DHT node at {addr}"),
        Output::Metadata(_, bytes) => format!("metadata of {} bytes", bytes.len()),
        Output::Event(_, event) => format!("event: {event:?}"),
    }
}

fn word(message: &Message) -> String {
    match message {
        Message::Request(block) => format!("request {}:{}", block.piece, block.begin),
        Message::Cancel(block) => format!("cancel {}:{}", block.piece, block.begin),
        Message::Reject(block) => format!("reject {}:{}", block.piece, block.begin),
        Message::Have(piece) => format!("have {piece}"),
        Message::Bitfield(bits) => format!("bitfield of {} bytes", bits.len()),
        Message::Extended { id, payload } => format!("extended {id} of {} bytes", payload.len()),
        other => format!("{other:?}").to_lowercase(),
    }
}

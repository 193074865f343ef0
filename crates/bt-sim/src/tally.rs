//! What is counted over a whole run, and the hash of all that happened.
//!
//! Decides: how a trace is hashed. Must not know: what the numbers mean.
//! Invariant: equal runs give equal hashes, on every machine and in every version of the toolchain.

use crate::network::HostId;
use bt_engine::{Event, Output};
use bt_peer_wire::Message;
use bt_types::{RawBlock, Time};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Counts of one run.
#[derive(Default)]
pub(crate) struct Tally {
    hash: u64,
    /// Things that programs learnt.
    pub(crate) events: u64,
    /// Hears of every order: the number of the host, and the order.
    pub(crate) sink: Option<Box<dyn FnMut(Time, HostId, &Output)>>,
    /// Pieces that were wrong.
    pub(crate) bad_pieces: u32,
    /// Payload bytes that arrived from each host.
    pub(crate) payload: BTreeMap<IpAddr, u64>,
}

impl Tally {
    /// The hash of all that happened so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Notes that something happened.
    pub(crate) fn note(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.hash = (self.hash.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    /// Notes an order of an engine.
    pub(crate) fn order(&mut self, now: Time, host: HostId, output: &Output) {
        if let Some(sink) = &mut self.sink {
            sink(now, host, output);
        }
        self.note(&[now.as_micros(), host.0 as u64]);
        match output {
            Output::Dial(_, addr, ..) => self.note(&[1, u64::from(addr.port())]),
            Output::HangUp(peer, why) => self.note(&[2, peer.0, *why as u64]),
            Output::Send(peer, messages) => {
                self.note(&[3, peer.0]);
                messages.iter().for_each(|message| self.message(message));
            }
            Output::Serve { peer, blocks, .. } => {
                self.note(&[4, peer.0]);
                blocks.iter().for_each(|block| self.block(0, block.raw()));
            }
            Output::Store(_, block, _) => self.block(5, block.raw()),
            Output::Check { piece, urgent, .. } => {
                self.note(&[6, u64::from(piece.number()), u64::from(*urgent)])
            }
            Output::Forget(_, piece) => self.note(&[7, u64::from(piece.number())]),
            Output::Announce(_, order) => {
                self.note(&[8, order.event as u64, order.uploaded, order.downloaded, order.left])
            }
            Output::FindPeers(_, via) => self.note(&[19, *via as u64]),
            Output::DhtNode(addr) => self.note(&[20, u64::from(addr.port())]),
            Output::Metadata(_, bytes) => self.note(&[21, bytes.len() as u64]),
            Output::Event(_, event) => {
                self.bad_pieces += u32::from(matches!(event, Event::BadPiece(..)));
                self.note(&[9]);
            }
        }
    }

    fn message(&mut self, message: &Message) {
        match message {
            Message::Have(piece) => self.note(&[10, u64::from(*piece)]),
            Message::Request(block) => self.block(11, *block),
            Message::Cancel(block) => self.block(12, *block),
            Message::Reject(block) => self.block(13, *block),
            Message::Choke => self.note(&[14]),
            Message::Unchoke => self.note(&[15]),
            Message::Interested => self.note(&[16]),
            Message::NotInterested => self.note(&[17]),
            _ => self.note(&[18]),
        }
    }

    fn block(&mut self, kind: u64, block: RawBlock) {
        self.note(&[kind, u64::from(block.piece), u64::from(block.begin), u64::from(block.len)]);
    }
}

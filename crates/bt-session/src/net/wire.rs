//! The task of one connection: moves bytes between a socket and its shard.
//!
//! Decides: how much is read and written at a time.
//! Must not know: torrents, or what a message means.
//! Invariant: one task owns a socket; an idle socket holds no buffer. Reading stops while the
//! shard's inbox is full, and for a while after a flood of small messages; other connections go on.

use crate::mail::clock::Clock;
use crate::mail::queues::{Inbox, Outboxes};
use crate::mail::splice_pipe::SplicePipe;
use crate::mail::to_shard::ToShard;
use crate::net::buffers::Buffers;
use crate::net::splice::PipeQueue;
use crate::net::stream::Stream;
use bt_engine::{Input, PeerKey};
use bt_peer_wire::{Connection, Incoming, Message, MessageAllowance, WireFault};
use bt_types::{BLOCK_LEN, RawBlock, Time};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::rc::Rc;
use tokio::sync::{Notify, mpsc};

/// Slices given to one vectored write: thirty-two blocks with their headers.
const WRITE_SLICES: usize = 64;
/// Messages given to the shard at a time; then the other connections of its thread have their turn.
const BATCH_MAX: usize = 2048;

/// What a shard and a connection's task share: orders, and whether the connection takes pipes.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    /// This machine's address of the connection.
    local: Option<IpAddr>,
    orders: RefCell<Vec<WireOrder>>,
    hang_up: Cell<bool>,
    /// The peer has our handshake, or it is on its way.
    has_handshake: Cell<bool>,
    /// Our handshake is all that the peer will get, at the end.
    holds_handshake: Cell<bool>,
    takes_pipes: Cell<bool>,
    wake: Notify,
}

#[derive(Debug)]
enum WireOrder {
    Messages(Vec<Message>),
    Payload(RawBlock, Bytes),
    Piped(SplicePipe),
    #[cfg(test)]
    Bug,
}

impl Mailbox {
    /// Makes the mailbox of a connection from this address of ours.
    pub(crate) fn new(local: Option<IpAddr>) -> Mailbox {
        Mailbox { local, ..Mailbox::default() }
    }

    /// Notes that the peer has our handshake, or gets it now: we dialled, or the connection's task
    /// runs.
    pub(crate) fn note_handshake(&self) {
        self.has_handshake.set(true);
    }

    /// Keeps our handshake back until the end of the connection. False if it has been sent.
    pub(crate) fn hold_handshake(&self) -> bool {
        self.holds_handshake.set(!self.has_handshake.get());
        self.holds_handshake.get()
    }

    /// Returns whether the connection leaves from one of these addresses.
    pub(crate) fn leaves_from(&self, addresses: &BTreeSet<IpAddr>) -> bool {
        self.local.is_some_and(|local| addresses.contains(&local))
    }

    pub(crate) fn send(&self, messages: Vec<Message>) {
        self.order(WireOrder::Messages(messages));
    }

    pub(crate) fn serve(&self, block: RawBlock, data: Bytes) {
        self.order(WireOrder::Payload(block, data));
    }

    /// Sends blocks that are in a pipe, like [`Mailbox::serve`].
    pub(crate) fn serve_piped(&self, pipe: SplicePipe) {
        self.order(WireOrder::Piped(pipe));
    }

    /// Makes the connection's task panic, for tests.
    #[cfg(test)]
    pub(crate) fn bug(&self) {
        self.order(WireOrder::Bug);
    }

    /// Returns whether the connection suits pipes and has room for another one.
    pub(crate) fn takes_pipes(&self) -> bool {
        self.takes_pipes.get()
    }

    #[cfg(test)]
    pub(crate) fn is_hung_up(&self) -> bool {
        self.hang_up.get()
    }

    pub(crate) fn hang_up(&self) {
        self.hang_up.set(true);
        self.wake.notify_one();
    }

    fn order(&self, order: WireOrder) {
        self.orders.borrow_mut().push(order);
        self.wake.notify_one();
    }
}

/// Why a connection's task ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The shard ordered it, or is gone.
    HungUp,
    /// The peer closed it.
    Closed,
    /// The peer broke the protocol.
    Fault(WireFault),
    /// The socket failed.
    Io(io::Error),
}

impl From<WireFault> for End {
    fn from(fault: WireFault) -> End {
        End::Fault(fault)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Io(error)
    }
}

/// Moves bytes until either side ends the connection. `wire` has the peer's handshake already;
/// bytes that it still holds are read first.
pub(crate) async fn run(
    key: PeerKey,
    stream: Stream,
    mut wire: Connection,
    mailbox: Rc<Mailbox>,
    to_shard: ShardQueues,
    clock: Clock,
) -> End {
    if mailbox.holds_handshake.get() {
        return refuse(&stream, &wire, &mailbox).await;
    }
    mailbox.note_handshake();
    to_shard.outboxes.enter();
    let mut pump = Pump {
        key,
        stream: &stream,
        wire: &mut wire,
        mailbox: &mailbox,
        to_shard: &to_shard,
        allowance: MessageAllowance::new(clock.now()),
        reads_on: false,
        counted: 0,
        clock,
        pipes: PipeQueue::of(&stream),
        small: Vec::new(),
    };
    loop {
        let step = async {
            pump.deliver().await?;
            pump.take_orders()?;
            pump.write().await?;
            pump.count_queue()?;
            // Until then a peer that sends only small messages is not read.
            let opens_at = pump.opens_at();
            let deadline = pump.wire.deadline();
            let deadline = clock.instant(opens_at.map_or(deadline, |at| at.min(deadline)));
            let wants_write = pump.wire.queued() > 0;
            let (goes_on, reads) =
                (pump.reads_on && opens_at.is_none(), !pump.reads_on && opens_at.is_none());
            tokio::select! {
                () = tokio::task::yield_now(), if goes_on => {}
                ready = stream.readable(), if reads => {
                    ready?;
                    pump.read()?;
                }
                ready = stream.writable(), if wants_write => ready?,
                () = mailbox.wake.notified() => {}
                () = tokio::time::sleep_until(deadline.into()) => pump.wire.wake(clock.now())?,
            }
            Ok::<(), End>(())
        };
        if let Err(end) = step.await {
            return end;
        }
    }
}

/// Ends a duplicate connection, with our handshake as the last bytes. Sent earlier, the handshake
/// might reach the peer before that of the other connection, and the peer would end that one.
async fn refuse(stream: &Stream, wire: &Connection, mailbox: &Mailbox) -> End {
    while !mailbox.hang_up.get() {
        mailbox.wake.notified().await;
    }
    // An empty socket takes the few bytes at once. A peer that misses them dials again; that is
    // all.
    if let Some(handshake) = wire.chunks().next() {
        let _ = stream.try_write(handshake);
    }
    End::HungUp
}

/// What the connections of a shard share.
#[derive(Clone, Debug)]
pub(crate) struct ShardQueues {
    pub(crate) inbox: mpsc::Sender<ToShard>,
    pub(crate) room: Inbox,
    pub(crate) outboxes: Rc<Outboxes>,
    pub(crate) buffers: Rc<Buffers>,
}

struct Pump<'a> {
    key: PeerKey,
    stream: &'a Stream,
    wire: &'a mut Connection,
    mailbox: &'a Mailbox,
    to_shard: &'a ShardQueues,
    allowance: MessageAllowance,
    /// More messages may be complete than one batch took.
    reads_on: bool,
    /// The length of this connection's queue that the shard knows.
    counted: usize,
    clock: Clock,
    /// Blocks in pipes, in order: bytes that `wire` counts but does not hold.
    pipes: PipeQueue,
    /// Small messages on their way into a pipe.
    small: Vec<u8>,
}

impl Pump<'_> {
    /// Gives all complete messages to the shard, as one batch.
    async fn deliver(&mut self) -> Result<(), End> {
        if self.opens_at().is_some() {
            return Ok(());
        }
        let (mut messages, mut count) = (Vec::new(), 0);
        let fault = loop {
            self.reads_on = count == BATCH_MAX;
            if self.reads_on {
                break None;
            }
            match self.wire.next() {
                Ok(Some(Incoming::Message(message))) => {
                    count += 1;
                    self.allowance.take(&message);
                    // A keep-alive says only that it came.
                    if message != Message::KeepAlive {
                        messages.push(message);
                    }
                }
                Ok(Some(Incoming::Handshake(_))) => {}
                Ok(None) => break None,
                Err(fault) => break Some(fault),
            }
        };
        self.to_shard.buffers.rest(self.wire.input());
        if !messages.is_empty() {
            let room = self.to_shard.room.room_for(&messages).await.ok_or(End::HungUp)?;
            let batch = ToShard::Frames(self.key, messages, room);
            self.to_shard.inbox.send(batch).await.map_err(|_| End::HungUp)?;
        }
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    fn take_orders(&mut self) -> Result<(), End> {
        let mailbox = self.mailbox;
        if mailbox.hang_up.get() {
            return Err(End::HungUp);
        }
        let was_empty = self.wire.queued() == 0;
        for order in mailbox.orders.borrow_mut().drain(..) {
            match order {
                WireOrder::Messages(messages) if self.wire.ends_elsewhere() => {
                    self.small.clear();
                    messages.iter().for_each(|message| message.encode(&mut self.small));
                    // In the pipe, too: a packet of their own would cost more.
                    if self.pipes.append(&self.small) {
                        self.wire.send_elsewhere(self.small.len(), 0);
                    } else {
                        messages.iter().for_each(|message| self.wire.send(message));
                    }
                }
                WireOrder::Messages(messages) => {
                    messages.iter().for_each(|message| self.wire.send(message))
                }
                WireOrder::Payload(block, data) => self.wire.send_piece(block, data),
                WireOrder::Piped(pipe) => {
                    self.wire.send_elsewhere(pipe.len(), pipe.payload());
                    self.pipes.push(pipe);
                }
                #[cfg(test)]
                WireOrder::Bug => panic!("a bug in a connection, for a test"),
            }
        }
        if was_empty && self.wire.queued() > 0 {
            self.wire.begin_write(self.clock.now());
        }
        Ok(())
    }

    /// Returns when the peer is read again; `None` if that is now.
    fn opens_at(&mut self) -> Option<Time> {
        self.allowance.opens_at(self.clock.now())
    }

    /// Tells the shard how long the queue is. A peer with too long a queue does not read.
    fn count_queue(&mut self) -> Result<(), End> {
        let queued = self.wire.queued();
        let may_stay = self.to_shard.outboxes.note(self.counted, queued);
        self.counted = queued;
        if may_stay { Ok(()) } else { Err(WireFault::Stalled.into()) }
    }

    /// Writes what the socket takes, and reports the payload that was sent.
    async fn write(&mut self) -> Result<(), End> {
        while self.wire.queued() > 0 {
            let poured = match self.wire.begins_elsewhere() {
                true => self.pipes.pour(self.stream),
                false => None,
            };
            let written = poured.unwrap_or_else(|| {
                let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
                let mut used = 0;
                for (slice, chunk) in slices.iter_mut().zip(self.wire.chunks()) {
                    *slice = IoSlice::new(chunk);
                    used += 1;
                }
                self.stream.try_write_vectored(slices.get(..used).unwrap_or_default())
            });
            match written {
                Ok(0) => return Err(End::Closed),
                Ok(n) => self.wire.wrote(n, self.clock.now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        self.mailbox.takes_pipes.set(self.pipes.takes_more());
        let sent = self.wire.take_payload_written();
        if sent > 0 {
            self.allowance.credit(sent.div_ceil(u64::from(BLOCK_LEN)));
            self.to_shard
                .inbox
                .send(ToShard::Input(Input::Sent(self.key, sent)))
                .await
                .map_err(|_| End::HungUp)?;
        }
        Ok(())
    }

    /// Reads once.
    fn read(&mut self) -> Result<(), End> {
        let input = self.wire.input();
        self.to_shard.buffers.make_room(input);
        match self.stream.try_read(input) {
            Ok(0) => Err(End::Closed),
            Ok(_) => {
                self.wire.heard(self.clock.now());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Pump<'_> {
    fn drop(&mut self) {
        self.to_shard.outboxes.leave(self.counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::disk_order::SendMethod;
    use crate::mail::splice_pipe::Pipes;
    use crate::net::splice::{self, Sendable};
    use crate::testkit::torrent;
    use bt_peer_wire::{Handshake, Reserved};
    use bt_piece_store::read_blocks;
    use bt_types::{InfoHash, PeerId};
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    fn queues(inbox: mpsc::Sender<ToShard>) -> ShardQueues {
        ShardQueues {
            inbox,
            room: Inbox::default(),
            outboxes: Rc::default(),
            buffers: Rc::default(),
        }
    }

    /// Makes a connection's task whose handshake is done, and the other end of its socket.
    async fn connected(clock: Clock) -> (Stream, TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let mut wire = Connection::new(clock.now());
        let shake = Handshake {
            reserved: Reserved::OURS,
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
        };
        wire.receive(&shake.to_bytes());
        wire.next().unwrap();
        (Stream::Tcp(near), far, wire)
    }

    #[tokio::test]
    async fn small_messages_come_in_batches_and_keep_alives_not_at_all() {
        let (clock, (inbox, mut from)) = (Clock::start(), mpsc::channel(1024));
        let (near, mut far, wire) = connected(clock).await;
        let run = run(PeerKey(1), near, wire, Rc::default(), queues(inbox), clock);
        let have = [0, 0, 0, 5, 4, 0, 0, 0, 1];
        let flood = async {
            far.write_all(&[[0; 4]; 10_000].concat()).await.unwrap();
            far.write_all(&[have; 10_000].concat()).await.unwrap();
            drop(far);
        };
        let counts = async {
            let mut counts = Vec::new();
            while let Some(message) = from.recv().await {
                match message {
                    ToShard::Frames(_, messages, _) => counts.push(messages.len()),
                    _ => break,
                }
            }
            counts
        };
        let (end, (), counts) = tokio::join!(run, flood, counts);
        assert!(matches!(end, End::Closed), "{end:?}");
        assert_eq!(counts.iter().sum::<usize>(), 10_000);
        assert!(counts.iter().all(|count| *count <= BATCH_MAX), "{counts:?}");
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_left() {
        let (clock, (inbox, _from), mailbox) =
            (Clock::start(), mpsc::channel(1024), Rc::new(Mailbox::default()));
        let (near, _far, wire) = connected(clock).await;
        let block = RawBlock { piece: 0, begin: 0, len: 16_384 };
        // More than the socket's buffers and the queue take.
        (0..4096).for_each(|_| mailbox.serve(block, Bytes::from_static(&[0; 16_384])));
        let end = run(PeerKey(1), near, wire, Rc::clone(&mailbox), queues(inbox), clock).await;
        assert!(matches!(end, End::Fault(WireFault::Stalled)), "{end:?}");
    }

    #[tokio::test]
    async fn a_duplicate_connection_gets_our_handshake_at_its_end() {
        let (clock, mailbox) = (Clock::start(), Rc::new(Mailbox::default()));
        let (inbox, _from) = mpsc::channel(1024);
        let (near, mut far, mut wire) = connected(clock).await;
        let ours = Handshake {
            reserved: Reserved::OURS,
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId([9; 20]),
        };
        wire.send_handshake(&ours);
        assert!(mailbox.hold_handshake());
        mailbox.send(vec![Message::Unchoke]);
        let run = run(PeerKey(1), near, wire, Rc::clone(&mailbox), queues(inbox), clock);
        let listen = async {
            tokio::task::yield_now().await;
            assert!(far.try_read(&mut [0; 1]).is_err(), "nothing was said yet");
            mailbox.hang_up();
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).await.unwrap();
            heard
        };
        let (end, heard) = tokio::join!(run, listen);
        assert!(matches!(end, End::HungUp) && heard == ours.to_bytes(), "{end:?}, {heard:?}");
        let dialled = Mailbox::default();
        dialled.note_handshake();
        assert!(!dialled.hold_handshake(), "our handshake has left");
    }

    #[tokio::test]
    async fn orders_are_written_in_order_whether_copied_or_in_pipes() {
        let dir = tempfile::tempdir().unwrap();
        let (info, layout, storage, blocks) = torrent(dir.path());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();

        let (mailbox, clock, (inbox, mut from)) =
            (Rc::new(Mailbox::default()), Clock::start(), mpsc::channel(1024));
        let pipes = Arc::new(Pipes::default());
        let piped = || match splice::read(&pipes, &layout, &storage, &blocks, SendMethod::Splice) {
            Ok(Sendable::Piped(pipe)) => pipe,
            other => panic!("{other:?}"),
        };
        let copied = read_blocks(&layout, &storage, &blocks, true).unwrap().unwrap();
        mailbox.send(vec![Message::Unchoke]);
        mailbox.serve_piped(piped());
        mailbox.send(vec![Message::Have(1)]);
        blocks.iter().zip(copied).for_each(|(block, data)| mailbox.serve(block.raw(), data));
        mailbox.serve_piped(piped());
        mailbox.serve_piped(piped());
        mailbox.send(vec![Message::Choke]);
        let wire = Connection::new(clock.now());
        let near = Stream::Tcp(near);
        let end = run(PeerKey(1), near, wire, Rc::clone(&mailbox), queues(inbox), clock);

        let mut peer = Connection::new(clock.now());
        let shake = Handshake {
            reserved: Reserved::OURS,
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
        };
        peer.receive(&shake.to_bytes());
        let mut got = Vec::new();
        let reads = async {
            while got.last() != Some(&Incoming::Message(Message::Choke)) {
                let mut buf = [0; 10_000];
                let read = far.read(&mut buf).await.unwrap();
                assert_ne!(read, 0);
                peer.receive(&buf[..read]);
                got.extend(std::iter::from_fn(|| peer.next().unwrap()));
            }
            mailbox.hang_up();
        };
        let (end, ()) = tokio::join!(end, reads);
        assert!(matches!(end, End::HungUp), "{end:?}");

        let data =
            ["a", "b"].map(|name| std::fs::read(dir.path().join("t").join(name)).unwrap()).concat();
        let piece = |message: &Incoming| match message {
            Incoming::Message(Message::Piece { piece, begin, data }) => {
                Some((*piece, *begin, data.clone()))
            }
            _ => None,
        };
        let pieces: Vec<_> = got.iter().filter_map(piece).collect();
        assert_eq!(pieces.len(), 4 * blocks.len());
        for ((number, begin, payload), block) in pieces.iter().zip(blocks.iter().cycle()) {
            assert_eq!((*number, *begin), (block.raw().piece, block.raw().begin));
            let start = info.geometry.piece_start(block.piece()) as usize + *begin as usize;
            assert!(**payload == data[start..start + payload.len()], "piece {number}, {begin}");
        }
        let others: Vec<usize> = (1..got.len()).filter(|&at| piece(&got[at]).is_none()).collect();
        assert_eq!(
            others,
            [1, 2 + blocks.len(), got.len() - 1],
            "messages between them keep their places"
        );
        let mut sent = 0;
        while let Ok(ToShard::Input(Input::Sent(_, bytes))) = from.try_recv() {
            sent += bytes;
        }
        assert_eq!(sent, 4 * data.len() as u64);
    }
}

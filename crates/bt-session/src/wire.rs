//! One connection's task: bytes between a socket and the shard that owns it.
//!
//! Decides: how much is read and written at a time. Must not know: torrents, or what a message means.
//! Invariant: one task owns a socket; a full inbox of the shard stops the reading; an idle socket holds no buffer.

use crate::buffers::Buffers;
use crate::clock::Clock;
use crate::shard::ToShard;
use bt_engine::{Input, PeerKey};
use bt_peer_wire::{Connection, Incoming, Message, WireFault};
use bt_types::RawBlock;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

/// Slices given to one vectored write: sixteen blocks with their headers.
const WRITE_SLICES: usize = 64;
/// A peer that lets so many bytes pile up does not read: far above the engine's send credit and a burst of messages.
const QUEUE_MAX: usize = 8 << 20;

/// The shard's side of a connection: orders for its task.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    orders: RefCell<Vec<WireOrder>>,
    hang_up: Cell<bool>,
    wake: Notify,
}

#[derive(Debug)]
enum WireOrder {
    Messages(Vec<Message>),
    Payload(RawBlock, Bytes),
    #[cfg(test)]
    Bug,
}

impl Mailbox {
    pub(crate) fn send(&self, messages: Vec<Message>) {
        self.orders.borrow_mut().push(WireOrder::Messages(messages));
        self.wake.notify_one();
    }

    pub(crate) fn serve(&self, block: RawBlock, data: Bytes) {
        self.orders.borrow_mut().push(WireOrder::Payload(block, data));
        self.wake.notify_one();
    }

    pub(crate) fn hang_up(&self) {
        self.hang_up.set(true);
        self.wake.notify_one();
    }

    /// A bug in the connection's task, for tests.
    #[cfg(test)]
    pub(crate) fn bug(&self) {
        self.orders.borrow_mut().push(WireOrder::Bug);
        self.wake.notify_one();
    }
}

/// Why a connection's task ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The shard wanted it.
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

/// Moves bytes until either side ends it. `wire` has shaken hands already; what it still holds is read first.
pub(crate) async fn run(
    key: PeerKey,
    stream: TcpStream,
    mut wire: Connection,
    mailbox: Rc<Mailbox>,
    inbox: mpsc::Sender<ToShard>,
    buffers: Rc<Buffers>,
    clock: Clock,
) -> End {
    let mut pump = Pump { key, stream: &stream, wire: &mut wire, inbox: &inbox, buffers: &buffers, clock };
    loop {
        let step = async {
            pump.deliver().await?;
            pump.take_orders(&mailbox)?;
            pump.write().await?;
            let deadline = clock.instant(pump.wire.deadline());
            let wants_write = pump.wire.queued() > 0;
            tokio::select! {
                ready = stream.readable() => {
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

struct Pump<'a> {
    key: PeerKey,
    stream: &'a TcpStream,
    wire: &'a mut Connection,
    inbox: &'a mpsc::Sender<ToShard>,
    buffers: &'a Buffers,
    clock: Clock,
}

impl Pump<'_> {
    /// Gives all complete messages to the shard, as one batch.
    async fn deliver(&mut self) -> Result<(), End> {
        let mut messages = Vec::new();
        let fault = loop {
            match self.wire.next() {
                Ok(Some(Incoming::Message(message))) => messages.push(message),
                Ok(Some(Incoming::Handshake(_))) => {}
                Ok(None) => break None,
                Err(fault) => break Some(fault),
            }
        };
        self.buffers.rest(self.wire.input());
        if !messages.is_empty() {
            let batch = ToShard::Input(Input::Frames(self.key, messages));
            self.inbox.send(batch).await.map_err(|_| End::HungUp)?;
        }
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    fn take_orders(&mut self, mailbox: &Mailbox) -> Result<(), End> {
        if mailbox.hang_up.get() {
            return Err(End::HungUp);
        }
        let was_empty = self.wire.queued() == 0;
        for order in mailbox.orders.borrow_mut().drain(..) {
            match order {
                WireOrder::Messages(messages) => messages.iter().for_each(|message| self.wire.send(message)),
                WireOrder::Payload(block, data) => self.wire.send_piece(block, data),
                #[cfg(test)]
                WireOrder::Bug => panic!("a bug in a connection, for a test"),
            }
        }
        if was_empty && self.wire.queued() > 0 {
            self.wire.begin_write(self.clock.now());
        }
        if self.wire.queued() > QUEUE_MAX { Err(WireFault::Stalled.into()) } else { Ok(()) }
    }

    /// Writes what the socket takes, and returns the credit for payload.
    async fn write(&mut self) -> Result<(), End> {
        while self.wire.queued() > 0 {
            let written = {
                let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
                let mut used = 0;
                for (slice, chunk) in slices.iter_mut().zip(self.wire.chunks()) {
                    *slice = IoSlice::new(chunk);
                    used += 1;
                }
                self.stream.try_write_vectored(slices.get(..used).unwrap_or_default())
            };
            match written {
                Ok(0) => return Err(End::Closed),
                Ok(n) => self.wire.wrote(n, self.clock.now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let sent = self.wire.take_payload_written();
        if sent > 0 {
            self.inbox.send(ToShard::Input(Input::Sent(self.key, sent))).await.map_err(|_| End::HungUp)?;
        }
        Ok(())
    }

    /// Reads once.
    fn read(&mut self) -> Result<(), End> {
        let input = self.wire.input();
        self.buffers.make_room(input);
        match self.stream.try_read_buf(input) {
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

//! Receives and sends datagrams of one UDP socket, many with one system call.
//!
//! Decides: how many. Must not know: what a datagram means.
//! Invariant: its memory is allocated once; a batch allocates nothing.

use crate::shards::Exchange;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;
use tracing::debug;

/// Most datagrams of a batch. The batch is answered while its tracker is locked, in some 20
/// microseconds.
const BATCH: usize = 32;
/// Bytes read of a datagram: more than any request that we answer, a scrape of 74 hashes. The tail
/// of a longer one is not needed. An odd number of cache lines lets the heads of a batch lie in
/// different sets of the cache.
const DATAGRAM_MAX: usize = 25 * 64;

/// The buffers for a batch of one socket. An address family has one length of address, so a batch
/// must not change between sockets of different families.
pub(crate) struct Batch {
    headers: MultiHeaders<SockaddrStorage>,
    datagrams: Box<[[u8; DATAGRAM_MAX]; BATCH]>,
    lengths: [usize; BATCH],
    senders: [Option<SockaddrStorage>; BATCH],
    replies: [Vec<u8>; BATCH],
    received: usize,
}

impl Batch {
    pub(crate) fn new() -> Batch {
        Batch {
            headers: MultiHeaders::preallocate(BATCH, None),
            datagrams: Box::new([[0; DATAGRAM_MAX]; BATCH]),
            lengths: [0; BATCH],
            senders: [None; BATCH],
            replies: [const { Vec::new() }; BATCH],
            received: 0,
        }
    }

    /// Returns whether the last call received as many as fit: there may be more.
    pub(crate) fn is_full(&self) -> bool {
        self.received == BATCH
    }

    /// Receives what has come, without waiting; `WouldBlock` if there is nothing.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.received = 0;
        let mut slices = self.datagrams.each_mut().map(|datagram| [IoSliceMut::new(datagram)]);
        let messages = recvmmsg(
            socket.as_raw_fd(),
            &mut self.headers,
            slices.iter_mut(),
            MsgFlags::MSG_DONTWAIT,
            None,
        )?;
        let places = self.lengths.iter_mut().zip(&mut self.senders);
        for (message, (length, sender)) in messages.zip(places) {
            (*length, *sender) = (message.bytes, message.address);
            self.received += 1;
        }
        Ok(())
    }

    /// Visits what was received.
    pub(crate) fn exchanges(&mut self) -> impl Iterator<Item = Exchange<'_>> {
        let datagrams = self.datagrams.iter().zip(&self.lengths);
        let all = datagrams.zip(&self.senders).zip(&mut self.replies).take(self.received);
        all.filter_map(|(((datagram, &length), sender), reply)| {
            reply.clear();
            let from = address(sender.as_ref()?)?;
            Some(Exchange { from, datagram: datagram.get(..length)?, reply })
        })
    }

    /// Sends the replies that are not empty. It waits until the system has room for them.
    pub(crate) fn send(&self, socket: &UdpSocket) {
        let mut slices = std::array::from_fn::<_, BATCH, _>(|_| [IoSlice::new(&[])]);
        let mut to = [const { None }; BATCH];
        let mut no_control: [_; BATCH] = std::array::from_fn(|_| SendAncillaryBuffer::default());
        let replies = self.replies.iter().zip(&self.senders).take(self.received);
        let replies = replies.filter(|(reply, _)| !reply.is_empty());
        for ((reply, sender), place) in replies.zip(slices.iter_mut().zip(&mut to)) {
            let addr = sender.as_ref().and_then(address).map(|addr| addr.as_any());
            (*place.0, *place.1) = ([IoSlice::new(reply)], addr);
        }
        let count = to.iter().flatten().count();
        let mut places = slices.iter().zip(&to);
        let mut messages = no_control.each_mut().map(|control| match places.next() {
            Some((slice, Some(to))) => MMsgHdr::new_with_addr(to, slice, control),
            _ => MMsgHdr::new(&[], control),
        });
        let mut left = messages.get_mut(..count).unwrap_or_default();
        while !left.is_empty() {
            let sent = match sendmmsg(socket, left, SendFlags::empty()) {
                Ok(sent) => sent.max(1),
                Err(error) => {
                    debug!(%error, "udp reply not sent");
                    1
                }
            };
            left = left.get_mut(sent..).unwrap_or_default();
        }
    }
}

fn address(sender: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = sender.as_sockaddr_in().map(|addr| SocketAddrV4::from(*addr).into());
    v4.or_else(|| sender.as_sockaddr_in6().map(|addr| SocketAddrV6::from(*addr).into()))
}

//! A capture of the traffic of a host in a network namespace, frame by frame.
//!
//! Decides: how frames become datagrams and streams. Must not know: what they mean.
//! Invariant: it holds everything that the host sends and receives from the start of the tap.

use crate::Host;
use anyhow::Result;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with, sockopt,
};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};

/// Every protocol, as Linux names it to packet sockets (`ETH_P_ALL`, in network order).
const ALL: u16 = 3;
/// The greatest frame in bytes. A virtual device does not cut segments, so that frames are large.
const FRAME_MAX: usize = 1 << 17;
/// The socket buffer of the capture, in bytes, for when its reader is slow.
const QUEUE: usize = 64 << 20;

/// A running capture.
#[derive(Debug)]
pub struct Tap(Arc<Mutex<Vec<Vec<u8>>>>);

/// What was captured.
#[derive(Debug, Default)]
pub struct Heard {
    /// The payloads of all UDP datagrams.
    pub datagrams: Vec<Vec<u8>>,
    /// The bytes of each direction of a TCP connection, by its ends; retransmitted bytes are there
    /// twice.
    pub streams: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Tap {
    /// Starts a capture.
    pub fn new(host: &Host) -> Result<Tap> {
        let socket = host.netns()?.within(|| {
            let protocol = NonZeroU32::new(u32::from(ALL.to_be())).map(Protocol::from_raw);
            let socket = socket_with(
                AddressFamily::PACKET,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                protocol,
            )?;
            sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE)?;
            Ok(socket)
        })?;
        let frames = Arc::default();
        let tap = Tap(Arc::clone(&frames));
        std::thread::spawn(move || {
            let mut buffer = vec![0; FRAME_MAX];
            // The thread ends when the tap is dropped, or with the namespace.
            while Arc::strong_count(&frames) > 1
                && let Ok((len, _)) = recv(&socket, &mut *buffer, RecvFlags::empty())
            {
                let frame = buffer.get(..len).unwrap_or_default().to_vec();
                frames.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
            }
        });
        Ok(tap)
    }

    /// Returns the traffic so far.
    pub fn heard(&self) -> Heard {
        let frames = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut heard = Heard::default();
        for (ends, protocol, segment) in frames.iter().filter_map(|frame| packet(frame)) {
            match protocol {
                17 => heard.datagrams.extend(segment.get(8..).map(<[u8]>::to_vec)),
                6 => {
                    let Some((ports, data)) = tcp(segment) else { continue };
                    heard
                        .streams
                        .entry([ends, ports].concat())
                        .or_default()
                        .extend_from_slice(data);
                }
                _ => {}
            }
        }
        heard
    }
}

/// Returns the addresses, the protocol and the payload of an IP packet in a frame.
fn packet(frame: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let (kind, packet) = (frame.get(12..14)?, frame.get(14..)?);
    match kind {
        [8, 0] => {
            let (first, total) =
                (packet.first()?, u16::from_be_bytes(*packet.get(2..)?.first_chunk()?));
            let header = usize::from(first & 15) * 4;
            Some((packet.get(12..20)?, *packet.get(9)?, packet.get(header..usize::from(total))?))
        }
        [0x86, 0xdd] => Some((packet.get(8..40)?, *packet.get(6)?, packet.get(40..)?)),
        _ => None,
    }
}

/// Returns the ports and the payload of a segment.
fn tcp(segment: &[u8]) -> Option<(&[u8], &[u8])> {
    let header = usize::from(segment.get(12)? >> 4) * 4;
    Some((segment.get(..4)?, segment.get(header..)?))
}

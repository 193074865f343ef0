//! Peers and trackers that send rubbish.
//!
//! Decides: what kinds of rubbish there are. Must not know: how `bt` defends itself.
//! Invariant: each liar runs on a thread of the test and ends with it; each counts its lies.

use anyhow::Result;
use bt_tests::frames::*;
use bt_tests::{Host, random_bytes};
use bt_types::Rng;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// A liar that waits for connections.
pub(crate) struct Liar {
    pub(crate) at: SocketAddr,
    lies: Arc<AtomicU32>,
}

/// What a lying peer does after the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Bytes without any sense.
    Noise,
    /// A right handshake, then a frame of four GiB.
    HugeFrame,
    /// A right handshake, then messages with ids and lengths that do not fit.
    BadMessages,
    /// Serves every block that is asked for, with wrong bytes.
    Poison,
}

impl Liar {
    /// Starts a lying peer of this torrent, which has `pieces` pieces.
    pub(crate) fn peer(kind: Kind, info_hash: [u8; 20], pieces: usize) -> Result<Liar> {
        Liar::listen(move |stream, lies| lie(kind, &stream, info_hash, pieces, lies))
    }

    /// Starts a peer in this host that claims every piece.
    pub(crate) fn poisoner(poisoner: Poisoner, host: &Host, info_hash: [u8; 20]) -> Result<Liar> {
        let listener = host.netns()?.within(|| TcpListener::bind((host.v4, 6881)))?;
        Liar::answer(listener, move |stream, lies| poisoner.serve(&stream, info_hash, lies))
    }

    /// Starts a peer that offers metadata of `claimed` bytes, and sends `info`.
    pub(crate) fn metadata(info_hash: [u8; 20], info: &'static [u8], claimed: u64) -> Result<Liar> {
        Liar::listen(move |stream, lies| offer(&stream, info_hash, info, claimed, lies))
    }

    /// Starts a web server whose answers are no valid tracker answers.
    pub(crate) fn http_tracker(body: &'static [u8]) -> Result<Liar> {
        Liar::listen(move |mut stream, lies| {
            lies.fetch_add(1, Ordering::Relaxed);
            let mut request = [0; 4096];
            if stream.read(&mut request)? > 0 {
                write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                )?;
                stream.write_all(body)?;
            }
            Ok(())
        })
    }

    /// Starts a UDP tracker that answers each datagram with noise.
    pub(crate) fn udp_tracker() -> Result<Liar> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let liar = Liar { at: socket.local_addr()?, lies: Arc::default() };
        let lies = Arc::clone(&liar.lies);
        thread::spawn(move || {
            let mut datagram = [0; 2048];
            while let Ok((len, from)) = socket.recv_from(&mut datagram) {
                lies.fetch_add(1, Ordering::Relaxed);
                let _ = socket.send_to(&random_bytes(len as u64, 64), from);
            }
        });
        Ok(liar)
    }

    /// Returns the number of its lies.
    pub(crate) fn lies(&self) -> u32 {
        self.lies.load(Ordering::Relaxed)
    }

    fn listen(
        answer: impl Fn(TcpStream, &AtomicU32) -> std::io::Result<()> + Clone + Send + 'static,
    ) -> Result<Liar> {
        Liar::answer(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, answer)
    }

    fn answer(
        listener: TcpListener,
        answer: impl Fn(TcpStream, &AtomicU32) -> std::io::Result<()> + Clone + Send + 'static,
    ) -> Result<Liar> {
        let liar = Liar { at: listener.local_addr()?, lies: Arc::default() };
        let lies = Arc::clone(&liar.lies);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, lies) = (answer.clone(), Arc::clone(&lies));
                // An error means that the other side closed the connection, as it should.
                thread::spawn(move || answer(stream, &lies));
            }
        });
        Ok(liar)
    }
}

/// A peer that serves, and spoils some of what it serves.
#[derive(Clone, Debug)]
pub(crate) struct Poisoner {
    /// The torrent's only file.
    pub(crate) content: Arc<Vec<u8>>,
    /// The size of its pieces.
    pub(crate) piece: usize,
    /// The number of right bytes that it sends before it begins to lie.
    pub(crate) honest: usize,
    /// The share of wrong blocks after that, in per cent.
    pub(crate) percent: u64,
}

impl Poisoner {
    fn serve(
        &self,
        stream: &TcpStream,
        info_hash: [u8; 20],
        lies: &AtomicU32,
    ) -> std::io::Result<()> {
        shake(stream, info_hash, "Poisoner")?;
        claim_all(stream, self.content.len().div_ceil(self.piece))?;
        let (mut rng, mut served) = (Rng::from_seed(1), 0);
        serve(stream, |index, begin, len| {
            let start = index * self.piece + begin;
            let mut block = self.content.get(start..start + len).unwrap_or_default().to_vec();
            if served >= self.honest && rng.below(100) < self.percent {
                lies.fetch_add(1, Ordering::Relaxed);
                // One bit is as bad as all of them.
                block.iter_mut().take(1).for_each(|byte| *byte ^= 1);
            }
            served += block.len();
            block
        })
    }
}

fn lie(
    kind: Kind,
    mut stream: &TcpStream,
    info_hash: [u8; 20],
    pieces: usize,
    lies: &AtomicU32,
) -> std::io::Result<()> {
    if kind == Kind::Noise {
        lies.fetch_add(1, Ordering::Relaxed);
        stream.write_all(&random_bytes(1, 1 << 16))?;
        return std::io::copy(&mut stream, &mut std::io::sink()).map(drop);
    }
    // Each kind is a peer of its own: a second one with the same id is turned away.
    shake(stream, info_hash, &format!("{kind:?}"))?;
    match kind {
        Kind::Noise => {}
        Kind::HugeFrame => {
            lies.fetch_add(1, Ordering::Relaxed);
            stream.write_all(&[0xff; 64])?;
        }
        Kind::BadMessages => {
            lies.fetch_add(1, Ordering::Relaxed);
            // A `have` of one byte, then a piece out of range.
            stream.write_all(&[frame(HAVE, &[0]), numbers(HAVE, &[u32::MAX])].concat())?;
        }
        Kind::Poison => {
            claim_all(stream, pieces)?;
            serve(stream, |_, _, len| {
                lies.fetch_add(1, Ordering::Relaxed);
                vec![0; len]
            })?;
        }
    }
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}

/// Waits for the other side's handshake and answers it. No reserved bit is set: base protocol only.
fn shake(stream: &TcpStream, info_hash: [u8; 20], name: &str) -> std::io::Result<()> {
    shake_with(PLAIN, stream, info_hash, name)
}

fn shake_with(
    reserved: [u8; 8],
    mut stream: &TcpStream,
    info_hash: [u8; 20],
    name: &str,
) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 68])?;
    let peer_id = format!("-XX0001-{name:12.12}");
    stream.write_all(&handshake(reserved, info_hash, peer_id.as_bytes()))
}

/// Speaks BEP 9, and counts the pieces of metadata that it was asked for.
fn offer(
    mut stream: &TcpStream,
    info_hash: [u8; 20],
    info: &[u8],
    claimed: u64,
    lies: &AtomicU32,
) -> std::io::Result<()> {
    shake_with([0, 0, 0, 0, 0, 0x10, 0, 0], stream, info_hash, "Metadata")?;
    stream.write_all(&extended(
        0,
        format!("d1:md11:ut_metadatai1ee13:metadata_sizei{claimed}ee").as_bytes(),
    ))?;
    let mut their_id = 0;
    loop {
        let message = read_message(stream)?;
        let [EXTENDED, to, payload @ ..] = message.as_slice() else { continue };
        if *to == 0 {
            their_id = number_after(payload, "11:ut_metadatai").unwrap_or_default() as u8;
        } else if let Some(piece) = number_after(payload, "5:piecei") {
            lies.fetch_add(1, Ordering::Relaxed);
            let head = format!("d8:msg_typei1e5:piecei{piece}e10:total_sizei{claimed}ee");
            let data = info.chunks(BLOCK as usize).nth(piece as usize).unwrap_or_default();
            stream.write_all(&extended(their_id, &[head.as_bytes(), data].concat()))?;
        }
    }
}

/// Claims every piece, and unchokes.
fn claim_all(mut stream: &TcpStream, pieces: usize) -> std::io::Result<()> {
    stream.write_all(&[frame(BITFIELD, &all_bits(pieces)), frame(UNCHOKE, &[])].concat())
}

/// Answers requests with the result of `block` for index, begin and length, until the other side
/// closes the connection.
fn serve(
    mut stream: &TcpStream,
    mut block: impl FnMut(usize, usize, usize) -> Vec<u8>,
) -> std::io::Result<()> {
    loop {
        let message = read_message(stream)?;
        if let Some([index, begin, len]) = message.strip_prefix(&[REQUEST]).and_then(three) {
            let block = block(index as usize, begin as usize, len as usize);
            stream.write_all(&frame(PIECE, &[&message[1..9], &block].concat()))?;
        }
    }
}

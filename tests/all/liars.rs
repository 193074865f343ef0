//! Peers and trackers that send rubbish.
//!
//! Decides: what kinds of rubbish there are. Must not know: how `bt` defends itself.
//! Invariant: each runs on a thread of the test and ends with it; each counts whom it lied to.

use anyhow::Result;
use bt_tests::random_bytes;
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
    /// A lying peer of this torrent, which has so many pieces.
    pub(crate) fn peer(kind: Kind, info_hash: [u8; 20], pieces: usize) -> Result<Liar> {
        Liar::listen(move |stream, lies| lie(kind, &stream, info_hash, pieces, lies))
    }

    /// A web server whose every answer makes no sense as a tracker's.
    pub(crate) fn http_tracker(body: &'static [u8]) -> Result<Liar> {
        Liar::listen(move |mut stream, lies| {
            lies.fetch_add(1, Ordering::Relaxed);
            let mut request = [0; 4096];
            if stream.read(&mut request)? > 0 {
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
                stream.write_all(body)?;
            }
            Ok(())
        })
    }

    /// A UDP tracker that answers each datagram with noise.
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

    /// How often it lied.
    pub(crate) fn lies(&self) -> u32 {
        self.lies.load(Ordering::Relaxed)
    }

    fn listen(answer: impl Fn(TcpStream, &AtomicU32) -> std::io::Result<()> + Clone + Send + 'static) -> Result<Liar> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let liar = Liar { at: listener.local_addr()?, lies: Arc::default() };
        let lies = Arc::clone(&liar.lies);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, lies) = (answer.clone(), Arc::clone(&lies));
                // An error means that the other side hung up, as it should.
                thread::spawn(move || answer(stream, &lies));
            }
        });
        Ok(liar)
    }
}

fn lie(kind: Kind, mut stream: &TcpStream, info_hash: [u8; 20], pieces: usize, lies: &AtomicU32) -> std::io::Result<()> {
    if kind == Kind::Noise {
        lies.fetch_add(1, Ordering::Relaxed);
        stream.write_all(&random_bytes(1, 1 << 16))?;
        return std::io::copy(&mut stream, &mut std::io::sink()).map(drop);
    }
    let mut handshake = [0; 68];
    stream.read_exact(&mut handshake)?;
    // No reserved bit is set: base protocol only. Each kind is a peer of its own: a second one with the same id is turned away.
    let peer_id = format!("-XX0001-{:12.12}", format!("{kind:?}"));
    let hello = [&b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0"[..], &info_hash, peer_id.as_bytes()].concat();
    stream.write_all(&hello)?;
    match kind {
        Kind::Noise => {}
        Kind::HugeFrame => {
            lies.fetch_add(1, Ordering::Relaxed);
            stream.write_all(&[0xff; 64])?;
        }
        Kind::BadMessages => {
            lies.fetch_add(1, Ordering::Relaxed);
            // A `have` of one byte, then a piece out of range.
            stream.write_all(&[0, 0, 0, 2, 4, 0, 0, 0, 0, 5, 4, 0xff, 0xff, 0xff, 0xff])?;
        }
        Kind::Poison => {
            let bitfield: Vec<u8> = (0..pieces.div_ceil(8)).map(|byte| spread(pieces - byte * 8)).collect();
            stream.write_all(&(bitfield.len() as u32 + 1).to_be_bytes())?;
            stream.write_all(&[5])?;
            stream.write_all(&bitfield)?;
            stream.write_all(&[0, 0, 0, 1, 1])?;
            serve_poison(stream, lies)?;
        }
    }
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}

/// A byte whose first `count` bits are set, all eight if there are more.
fn spread(count: usize) -> u8 {
    if count >= 8 { 0xff } else { !(0xff >> count) }
}

/// Answers requests with zeros, until the other side has had enough.
fn serve_poison(mut stream: &TcpStream, lies: &AtomicU32) -> std::io::Result<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut message)?;
        if let [6, place @ .., a, b, c, d] = message.as_slice() {
            lies.fetch_add(1, Ordering::Relaxed);
            let block = vec![0; u32::from_be_bytes([*a, *b, *c, *d]) as usize];
            let length = (9 + block.len()) as u32;
            stream.write_all(&[&length.to_be_bytes()[..], &[7], place, &block].concat())?;
        }
    }
}

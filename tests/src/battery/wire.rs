//! A connection to a `bt`, byte for byte: frames are built by hand, so that a case shows what it
//! sends.
//!
//! Decides: how long it waits for an answer, and which answer is good. Must not know: what is
//! hostile.
//! Invariant: it judges by what comes back on the wire; a failed send to a closed connection is no
//! error.

use crate::frames::*;
use anyhow::{Context as _, Result, bail, ensure};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The wait for an answer or for the end of the connection. It is longer than every handshake
/// deadline and shorter than every deadline for silence.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);

/// What every peer of the swarm knows.
#[derive(Debug)]
pub(super) struct Swarm {
    pub(super) info_hash: [u8; 20],
    /// The `info` dictionary.
    pub(super) info: Vec<u8>,
    pub(super) content: Vec<u8>,
    /// The length of a piece, in bytes.
    pub(super) piece: u32,
}

impl Swarm {
    /// Returns the number of pieces.
    pub(super) fn pieces(&self) -> u32 {
        self.content.len().div_ceil(self.piece as usize) as u32
    }

    /// Returns the bytes of a block, cut at the end of the content.
    pub(super) fn block(&self, [piece, begin, len]: [u32; 3]) -> &[u8] {
        let start = self.content.len().min(piece as usize * self.piece as usize + begin as usize);
        &self.content[start..self.content.len().min(start + len as usize)]
    }

    /// Builds a bitfield that claims every piece.
    pub(super) fn bitfield(&self) -> Vec<u8> {
        all_bits(self.pieces() as usize)
    }
}

/// The hostile end of a connection.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    pub(super) swarm: Arc<Swarm>,
    /// This end dialled, so that its handshake comes first.
    dialled: bool,
    /// The peer id of this end.
    pub(super) id: [u8; 20],
    /// The peer id of the other side, once it is known.
    pub(super) their_id: [u8; 20],
    is_unchoked: bool,
    /// The message number of `ut_pex` at the other side.
    pex: u8,
    metadata: u8,
}

impl Wire {
    /// Dials a `bt`.
    pub(super) fn dial(at: SocketAddr, swarm: &Arc<Swarm>) -> Result<Wire> {
        let stream =
            TcpStream::connect_timeout(&at, ANSWER_WITHIN).context("it accepts no connection")?;
        Wire::new(stream, swarm, true)
    }

    /// Takes a connection that a `bt` opened.
    pub(super) fn accepted(stream: TcpStream, swarm: &Arc<Swarm>) -> Result<Wire> {
        Wire::new(stream, swarm, false)
    }

    fn new(stream: TcpStream, swarm: &Arc<Swarm>, dialled: bool) -> Result<Wire> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        let mut id = *b"-XX0001-000000000000";
        id[8..]
            .copy_from_slice(format!("{:012}", NUMBER.fetch_add(1, Ordering::Relaxed)).as_bytes());
        Ok(Wire {
            stream,
            swarm: Arc::clone(swarm),
            dialled,
            id,
            their_id: [0; 20],
            is_unchoked: false,
            pex: 1,
            metadata: 2,
        })
    }

    /// Opens another connection to the same process.
    pub(super) fn another(&self) -> Result<Wire> {
        Wire::dial(self.stream.peer_addr()?, &self.swarm)
    }

    // ---- what is sent ----

    /// Sends bytes as they are. A closed connection is noticed at the next read.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self.stream.write_all(bytes) {
            Err(error) if is_over(&error) => Ok(()),
            sent => Ok(sent.context("it takes no more bytes")?),
        }
    }

    /// Sends `count` copies of a frame, many in one write.
    pub(super) fn flood(&mut self, frame: &[u8], count: usize) -> Result<()> {
        let many = (64usize << 10).div_ceil(frame.len());
        let chunk = frame.repeat(many);
        for sent in (0..count).step_by(many) {
            self.send(&chunk[..frame.len() * many.min(count - sent)])?;
        }
        Ok(())
    }

    /// Exchanges valid handshakes, as a client with all extensions does.
    pub(super) fn shake(&mut self) -> Result<()> {
        self.shake_as(MODERN)
    }

    /// Exchanges valid handshakes with these reserved bytes.
    pub(super) fn shake_as(&mut self, reserved: [u8; 8]) -> Result<()> {
        let ours = handshake(reserved, self.swarm.info_hash, &self.id);
        if self.dialled {
            self.send(&ours)?;
        }
        self.hear_handshake()?;
        if self.dialled { Ok(()) } else { self.send(&ours) }
    }

    /// Reads the other side's handshake.
    fn hear_handshake(&mut self) -> Result<()> {
        let mut theirs = [0; 68];
        self.stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        self.stream.read_exact(&mut theirs).context("it does not shake hands")?;
        ensure!(theirs[28..48] == self.swarm.info_hash, "the handshake is for another torrent");
        self.their_id.copy_from_slice(&theirs[48..]);
        Ok(())
    }

    /// Reads the other side's handshake if that comes first.
    pub(super) fn hear_first(&mut self) -> Result<()> {
        if self.dialled { Ok(()) } else { self.hear_handshake() }
    }

    /// Sends an extension handshake (BEP 10) that offers `ut_metadata` and `ut_pex`, and metadata
    /// of `metadata_size` bytes.
    pub(super) fn greet(&mut self, metadata_size: i64) -> Result<()> {
        let hello = format!("d1:md11:ut_metadatai3e6:ut_pexi4ee13:metadata_sizei{metadata_size}ee");
        self.send(&extended(0, hello.as_bytes()))
    }

    /// Sends a message of `ut_metadata` (BEP 9).
    pub(super) fn metadata(&mut self, payload: &[u8]) -> Result<()> {
        self.send(&extended(self.metadata, payload))
    }

    /// Sends a message of `ut_pex` (BEP 11).
    pub(super) fn pex(&mut self, payload: &[u8]) -> Result<()> {
        self.send(&extended(self.pex, payload))
    }

    /// Closes the sending direction and keeps the receiving one open.
    pub(super) fn close_half(&self) -> Result<()> {
        Ok(self.stream.shutdown(std::net::Shutdown::Write)?)
    }

    /// Makes the connection end with a reset: unread bytes of the other side are lost.
    pub(super) fn reset(&self) -> Result<()> {
        Ok(rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))?)
    }

    // ---- what comes back ----

    /// Returns the next message that `pick` accepts. Fails when the connection ends before, or at
    /// the deadline.
    pub(super) fn hear<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            let message = self.message(deadline).with_context(|| format!("waited for {what}"))?;
            if let Some(found) = pick(&message) {
                return Ok(found);
            }
        }
    }

    /// Returns the body of the next message with this id.
    pub(super) fn hear_id(&mut self, id: u8) -> Result<Vec<u8>> {
        self.hear(&format!("message {id}"), |message| {
            message.strip_prefix(&[id]).map(<[u8]>::to_vec)
        })
    }

    /// Returns the next request of the other side: piece, begin, length.
    pub(super) fn hear_request(&mut self) -> Result<[u32; 3]> {
        self.hear("a request", |message| message.strip_prefix(&[REQUEST]).and_then(three))
    }

    /// Returns the payload of the next `ut_metadata` message.
    pub(super) fn hear_metadata(&mut self) -> Result<Vec<u8>> {
        self.hear("a message of ut_metadata", |message| {
            message.strip_prefix(&[EXTENDED, 3]).map(<[u8]>::to_vec)
        })
    }

    /// Waits until the other side has closed the connection, and ignores what it sends before.
    pub(super) fn ensure_end(&mut self) -> Result<()> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        let mut bytes = vec![0; 64 << 10];
        loop {
            self.set_deadline(deadline)?;
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_over(&error) => return Ok(()),
                Err(error) => bail!("the connection should have ended: {error}"),
            }
        }
    }

    /// Fails unless the other side serves a right block.
    pub(super) fn ensure_served(&mut self) -> Result<()> {
        let block = [self.swarm.pieces() / 2, 0, BLOCK];
        self.send(&frame(INTERESTED, &[]))?;
        if self.is_unchoked {
            self.send(&numbers(REQUEST, &block))?;
        }
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            let message = self.message(deadline).context("waited for a block")?;
            match message.split_first() {
                Some((&UNCHOKE, _)) => self.send(&numbers(REQUEST, &block))?,
                // The request exceeded a limit, or crossed a choke.
                Some((&REJECT, body)) if three(body) == Some(block) && self.is_unchoked => {
                    self.send(&numbers(REQUEST, &block))?;
                }
                Some((&PIECE, body))
                    if body.starts_with(
                        &[block[0].to_be_bytes(), block[1].to_be_bytes()].concat(),
                    ) =>
                {
                    ensure!(body[8..] == *self.swarm.block(block), "the block has wrong bytes");
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Fails unless the connection stands: the other side must reject a request that it cannot
    /// grant (BEP 6).
    pub(super) fn ensure_answered(&mut self) -> Result<()> {
        let block = [self.swarm.pieces() - 1, 0, 1];
        self.send(&numbers(REQUEST, &block))?;
        self.hear("an answer to a request", |message| match message.split_first()? {
            (&REJECT, body) if three(body) == Some(block) => Some(()),
            (&PIECE, body) if body.len() == 9 => Some(()),
            _ => None,
        })
    }

    /// Returns the next message that is no keep-alive.
    pub(super) fn message(&mut self, deadline: Instant) -> Result<Vec<u8>> {
        loop {
            let mut len = [0; 4];
            self.read(&mut len, deadline)?;
            let len = u32::from_be_bytes(len) as usize;
            ensure!(len <= MESSAGE_MAX, "it sends a message of {len} bytes");
            let mut message = vec![0; len];
            self.read(&mut message, deadline)?;
            match message.as_slice() {
                [] => continue,
                [CHOKE] => self.is_unchoked = false,
                [UNCHOKE] => self.is_unchoked = true,
                [EXTENDED, 0, hello @ ..] => {
                    let number = |name| {
                        number_after(hello, name).and_then(|number| u8::try_from(number).ok())
                    };
                    self.pex = number("6:ut_pexi").unwrap_or(self.pex);
                    self.metadata = number("11:ut_metadatai").unwrap_or(self.metadata);
                }
                _ => {}
            }
            return Ok(message);
        }
    }

    fn read(&mut self, bytes: &mut [u8], deadline: Instant) -> Result<()> {
        self.set_deadline(deadline)?;
        match self.stream.read_exact(bytes) {
            Err(error) if is_over(&error) => bail!("the other side hung up"),
            read => Ok(read.context("nothing came")?),
        }
    }

    fn set_deadline(&self, deadline: Instant) -> Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        Ok(self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?)
    }
}

fn is_over(error: &io::Error) -> bool {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof,
    };
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
    )
}

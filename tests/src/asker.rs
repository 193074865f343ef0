//! A peer that asks a program for its pieces: what the program claims, and what it sends.
//!
//! Decides: how long it waits for an answer. Must not know: which data is right.
//! Invariant: it reports what the other side sent on the wire, and nothing that a program prints of
//! itself.

use crate::frames::*;
use anyhow::{Context as _, Result, ensure};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The wait for the other side's claims. A peer without pieces sends none.
const CLAIMS_WITHIN: Duration = Duration::from_secs(1);

/// A connection to a peer that shares a torrent (BEP 3, without any extension).
#[derive(Debug)]
pub struct Asker {
    stream: TcpStream,
    claims: Vec<bool>,
    is_unchoked: bool,
}

/// A block of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// The index of the piece.
    pub piece: u32,
    /// The offset of the first byte in the piece.
    pub begin: u32,
    /// The length in bytes.
    pub len: u32,
}

impl Asker {
    /// Connects, exchanges handshakes, and hears which of the torrent's `pieces` pieces the other
    /// side claims.
    pub fn meet(at: &str, info_hash: [u8; 20], pieces: usize) -> Result<Asker> {
        let at: SocketAddr = at.parse().with_context(|| format!("{at} is no address"))?;
        let mut stream = TcpStream::connect_timeout(&at, CLAIMS_WITHIN)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CLAIMS_WITHIN))?;
        let id = format!("-AK0001-{:012}", stream.local_addr()?.port());
        stream.write_all(&handshake(PLAIN, info_hash, id.as_bytes()))?;
        let mut theirs = [0; 68];
        stream.read_exact(&mut theirs).context("no handshake")?;
        ensure!(theirs[28..48] == info_hash, "the handshake is for another torrent");
        let mut asker = Asker { stream, claims: vec![false; pieces], is_unchoked: false };
        asker.hear(CLAIMS_WITHIN, |asker, _| asker.claims.contains(&true).then_some(()))?;
        Ok(asker)
    }

    /// Returns which pieces the other side has claimed so far.
    pub fn claims(&self) -> &[bool] {
        &self.claims
    }

    /// Requests blocks and returns those that came. Ends when all have come, or when nothing comes
    /// for `patience`.
    pub fn ask(&mut self, parts: &[Part], patience: Duration) -> Result<Vec<(Part, Vec<u8>)>> {
        if !self.is_unchoked {
            self.stream.write_all(&frame(INTERESTED, &[]))?;
            self.hear(patience, |asker, _| asker.is_unchoked.then_some(()))?;
        }
        if !self.is_unchoked {
            return Ok(Vec::new());
        }
        for part in parts {
            self.stream.write_all(&numbers(REQUEST, &[part.piece, part.begin, part.len]))?;
        }
        let mut came = Vec::new();
        while came.len() < parts.len()
            && let Some(block) = self.hear(patience, |_, message| block(message))?
        {
            came.push(block);
        }
        Ok(came)
    }

    /// Waits until the other side claims a further piece; returns false when none comes within
    /// `patience`.
    pub fn hear_more(&mut self, patience: Duration) -> Result<bool> {
        let before = self.claims.clone();
        Ok(self.hear(patience, |asker, _| (asker.claims != before).then_some(()))?.is_some())
    }

    /// Reads messages until `pick` accepts one; returns `None` at the deadline and at the end of
    /// the connection.
    fn hear<T>(
        &mut self,
        limit: Duration,
        mut pick: impl FnMut(&Asker, &[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            let message = match read_message(&self.stream) {
                Ok(message) => message,
                Err(error) if is_silence(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            match message.split_first() {
                Some((&UNCHOKE, _)) => self.is_unchoked = true,
                Some((&CHOKE, _)) => self.is_unchoked = false,
                Some((&HAVE, number)) => {
                    let number =
                        number.try_into().map(u32::from_be_bytes).context("a have has a number")?;
                    *self
                        .claims
                        .get_mut(number as usize)
                        .context("a have of a piece that there is not")? = true;
                }
                Some((&BITFIELD, bits)) => {
                    for (number, claim) in self.claims.iter_mut().enumerate() {
                        *claim = bits
                            .get(number / 8)
                            .is_some_and(|byte| byte & (0x80 >> (number % 8)) != 0);
                    }
                }
                _ => {}
            }
            if let Some(found) = pick(self, &message) {
                return Ok(Some(found));
            }
        }
    }
}

fn block(message: &[u8]) -> Option<(Part, Vec<u8>)> {
    let rest = message.strip_prefix(&[PIECE])?;
    let (&[a, b, c, d, e, f, g, h], data) = rest.split_first_chunk::<8>()?;
    let part = Part {
        piece: u32::from_be_bytes([a, b, c, d]),
        begin: u32::from_be_bytes([e, f, g, h]),
        len: u32::try_from(data.len()).ok()?,
    };
    Some((part, data.to_vec()))
}

/// Tells whether an error means that nothing came or will come. The other side may close the
/// connection at any time.
fn is_silence(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | UnexpectedEof | ConnectionReset | BrokenPipe)
}

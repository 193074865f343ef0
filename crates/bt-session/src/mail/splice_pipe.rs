//! Pipes that hold blocks on their way from a file to a socket: the file's own pages, no copies.
//!
//! Decides: how many pipes exist.
//! Must not know: which blocks and connections are worth a pipe.
//! Invariant: a pipe that is left with bytes in it is closed, never used again.

use bt_peer_wire::{PIECE_HEADER_LEN, piece_header};
use bt_types::Block;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a pipe of blocks: the longest that Linux allows every user. It has one slot for each
/// page or part of a page, 256 with pages of 4 KiB.
pub(crate) const PIPE_LEN: usize = 1 << 20;
/// Bytes of a pipe of headers: one page. A block takes at least two slots, so the headers of a full
/// pipe of blocks fit.
const HEADERS_LEN: usize = 4 << 10;
const _: () = assert!(PIPE_LEN / HEADERS_LEN / 2 * PIECE_HEADER_LEN <= HEADERS_LEN);
/// Most pairs of pipes in a session: a quarter of the pages that Linux lets a user have in pipes.
pub(crate) const PIPES_MAX: usize = 16;
/// Bytes that a pipe takes at once or not at all (POSIX `PIPE_BUF`).
pub(crate) const ATOMIC: usize = 512;

/// Piece messages in a pipe.
#[derive(Debug)]
pub(crate) struct SplicePipe {
    pipes: Arc<Pipes>,
    pair: Option<Pair>,
    len: usize,
    payload: usize,
}

impl SplicePipe {
    /// Returns the number of bytes in the pipe.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the number of block bytes that were put in; the rest were headers.
    pub(crate) fn payload(&self) -> usize {
        self.payload
    }

    /// Writes the headers of the blocks into the pipe of headers.
    ///
    /// After an error `len` overstates the content, so `Drop` closes the pipes. The same holds for
    /// [`SplicePipe::put_header`] and [`SplicePipe::put`].
    pub(crate) fn lay(&mut self, blocks: &[Block]) -> io::Result<()> {
        let Some(pair) = &self.pair else { return Ok(()) };
        let headers: Vec<u8> = blocks.iter().flat_map(|block| piece_header(block.raw())).collect();
        self.len += headers.len();
        let laid = rustix::io::write(&pair.headers.to, &headers)?;
        if laid == headers.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Appends the next header that was laid.
    pub(crate) fn put_header(&self) -> io::Result<()> {
        let Some(Pair { blocks, headers }) = &self.pair else { return Ok(()) };
        match self.pipes.moved(pour(&headers.from, &blocks.to, PIECE_HEADER_LEN))? {
            PIECE_HEADER_LEN => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Appends bytes of a file, which are part of a block.
    pub(crate) fn put(&mut self, file: BorrowedFd<'_>, offset: u64, len: u32) -> io::Result<()> {
        let Some(pair) = &self.pair else { return Ok(()) };
        self.len += len as usize;
        self.payload += len as usize;
        let (mut at, end) = (offset, offset + u64::from(len));
        while at < end {
            match self.pipes.moved(draw(file, at, &pair.blocks.to, (end - at) as usize))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => at += n as u64,
            }
        }
        Ok(())
    }

    /// Appends small messages to the pipe; returns whether it could.
    pub(crate) fn append(&mut self, messages: &[u8]) -> bool {
        let room = self.len > 0 && messages.len() <= ATOMIC;
        let wrote = room
            && self
                .pair
                .as_ref()
                .is_some_and(|pair| rustix::io::write(&pair.blocks.to, messages).is_ok());
        if wrote {
            self.len += messages.len();
        }
        wrote
    }

    /// Moves into a socket the bytes that it takes at once; returns how many.
    pub(crate) fn pour(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let Some(pair) = &self.pair else { return Ok(0) };
        let poured = self.pipes.moved(pour(&pair.blocks.from, socket, self.len))?;
        self.len -= poured;
        Ok(poured)
    }
}

impl Drop for SplicePipe {
    fn drop(&mut self) {
        match self.pair.take() {
            Some(pair) if self.len == 0 => self.pipes.spare().push(pair),
            pair => self.pipes.close(pair),
        }
    }
}

/// The pipes of a session, in pairs.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    /// Empty pairs.
    spare: Mutex<Vec<Pair>>,
    /// How many pairs exist.
    open: AtomicUsize,
}

/// The two pipes of a splice.
#[derive(Debug)]
struct Pair {
    /// The piece messages to send.
    blocks: Pipe,
    /// Headers on their way to `blocks`. Many headers share one page here; there each would fill a
    /// page.
    headers: Pipe,
}

/// Both ends of a pipe. Neither ever blocks.
#[derive(Debug)]
struct Pipe {
    from: OwnedFd,
    to: OwnedFd,
}

impl Pipes {
    /// Returns an empty pipe; `None` when all are in use, or the system opens none.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<SplicePipe> {
        let pair = self.take()?;
        Some(SplicePipe { pipes: Arc::clone(self), pair: Some(pair), len: 0, payload: 0 })
    }

    /// Takes an empty pair, or opens one while fewer than [`PIPES_MAX`] exist.
    fn take(&self) -> Option<Pair> {
        if let Some(pair) = self.spare().pop() {
            return Some(pair);
        }
        if self.open.fetch_add(1, Ordering::Relaxed) < PIPES_MAX {
            // If the system refuses, the count stays raised, so that attempts end after a few.
            return Some(Pair { blocks: open(PIPE_LEN).ok()?, headers: open(HEADERS_LEN).ok()? });
        }
        self.close(None);
        None
    }

    fn close(&self, pair: Option<Pair>) {
        drop(pair);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Returns how many bytes the system moved. If the system cannot or must not splice, no pipe is
    /// made any more, and idle pipes are closed.
    fn moved(&self, bytes: Result<usize, Errno>) -> io::Result<usize> {
        if let Err(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) = bytes {
            self.open.fetch_add(PIPES_MAX, Ordering::Relaxed);
            self.spare().clear();
        }
        Ok(bytes?)
    }

    /// Returns how many pairs exist, and how many of them are empty.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.open.load(Ordering::Relaxed), self.spare().len())
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Pair>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(target_os = "linux")]
fn open(len: usize) -> Result<Pipe, Errno> {
    use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
    let (from, to) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&to, len)?;
    Ok(Pipe { from, to })
}

/// Puts pages of a file into a pipe; returns how many bytes, 0 at the end of the file.
#[cfg(target_os = "linux")]
fn draw(file: BorrowedFd<'_>, mut offset: u64, to: &OwnedFd, len: usize) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::sendfile(to, file, Some(&mut offset), len))
}

/// Moves bytes from a pipe into a socket or another pipe, at most as many as it takes at once.
#[cfg(target_os = "linux")]
fn pour(from: &OwnedFd, to: &impl AsFd, len: usize) -> Result<usize, Errno> {
    use rustix::pipe::{SpliceFlags, splice};
    rustix::io::retry_on_intr(|| splice(from, None, to, None, len, SpliceFlags::NONBLOCK))
}

#[cfg(not(target_os = "linux"))]
fn open(_: usize) -> Result<Pipe, Errno> {
    Err(Errno::OPNOTSUPP)
}

#[cfg(not(target_os = "linux"))]
fn draw(_: BorrowedFd<'_>, _: u64, _: &OwnedFd, _: usize) -> Result<usize, Errno> {
    Err(Errno::OPNOTSUPP)
}

#[cfg(not(target_os = "linux"))]
fn pour(_: &OwnedFd, _: &impl AsFd, _: usize) -> Result<usize, Errno> {
    Err(Errno::OPNOTSUPP)
}

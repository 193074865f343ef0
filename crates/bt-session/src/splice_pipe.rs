//! Sends blocks from a file to a socket without copying: a pipe holds the file's own pages.
//!
//! Decides: which connections and blocks are worth a pipe, and how many pipes exist.
//! Must not know: which peer asked, or how fast it is.
//! Invariant: a pipe holds whole piece messages, of files that no other program had changed by
//! then. A pipe that is left with bytes in it is closed, never used again.
//!
//! A write to a file also changes what lies in a pipe or a socket's queue. So pipes serve only
//! peers that take their payload at once, by the engine's judgement. docs/decisions/0015 has the
//! measurements.

use bt_peer_wire::{PIECE_HEADER_LEN, piece_header};
use bt_piece_store::{Layout, Span, Storage};
use bt_types::Block;
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Fewest blocks worth a pipe: copying fewer is as fast.
const BLOCKS_MIN: usize = 4;
/// Least mean length of blocks worth a pipe, in bytes: each block takes two system calls.
const MEAN_MIN: usize = 8 << 10;
/// Bytes of a pipe of blocks: the longest that Linux allows every user. It has one slot for each
/// page or part of a page, 256 with pages of 4 KiB.
const PIPE_LEN: usize = 1 << 20;
/// Bytes of a pipe of headers: one page. A block takes at least two slots, so the headers of a full
/// pipe of blocks fit.
const HEADERS_LEN: usize = 4 << 10;
const _: () = assert!(PIPE_LEN / HEADERS_LEN / 2 * PIECE_HEADER_LEN <= HEADERS_LEN);
/// Most pairs of pipes in a session: a quarter of the pages that Linux lets a user have in pipes.
const PIPES_MAX: usize = 16;
/// Bytes that a pipe takes at once or not at all (POSIX `PIPE_BUF`).
const ATOMIC: usize = 512;

/// Returns whether pipes are worth it on a connection: not where TCP paces (BBR). Such a socket
/// takes little at a time, and pages then cost more than copies.
pub(crate) fn suits(socket: &impl AsFd) -> bool {
    congestion(socket).is_ok_and(|name| !name.starts_with("bbr"))
}

/// Piece messages in a pipe.
#[derive(Debug)]
pub(crate) struct SplicePipe {
    pipes: Arc<Pipes>,
    pair: Option<Pair>,
    len: usize,
    payload: usize,
}

/// Why blocks are not in a pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotSpliced {
    /// Reading may have to wait for a device.
    Waits,
    /// The caller must copy the blocks: they are few or short, no pipe is free, the system cannot
    /// splice, or reading failed. The copying read finds such an error again.
    Refused,
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
    /// [`SplicePipe::put`].
    fn lay(&mut self, blocks: &[Block]) -> io::Result<()> {
        let Some(pair) = &self.pair else { return Ok(()) };
        let headers: Vec<u8> = blocks.iter().flat_map(|block| piece_header(block.raw())).collect();
        self.len += headers.len();
        let laid = rustix::io::write(&pair.headers.to, &headers)?;
        if laid == headers.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Appends parts of a file to the pipe, each block after its header.
    fn put(&mut self, file: BorrowedFd<'_>, parts: &[Part<'_>]) -> io::Result<()> {
        let Some(Pair { blocks, headers }) = &self.pair else { return Ok(()) };
        for Part { is_first, span } in parts {
            if *is_first
                && self.pipes.moved(pour(&headers.from, &blocks.to, PIECE_HEADER_LEN))?
                    != PIECE_HEADER_LEN
            {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.len += span.len as usize;
            self.payload += span.len as usize;
            let (mut at, end) = (span.offset, span.offset + u64::from(span.len));
            while at < end {
                match self.pipes.moved(draw(file, at, &blocks.to, (end - at) as usize))? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    n => at += n as u64,
                }
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
    /// Puts blocks with their headers into a pipe. With `wait` false it never waits for a device.
    pub(crate) fn fill(
        self: &Arc<Self>,
        layout: &Layout,
        storage: &dyn Storage,
        blocks: &[Block],
        wait: bool,
    ) -> Result<SplicePipe, NotSpliced> {
        let parts = parts(layout, blocks).ok_or(NotSpliced::Refused)?;
        let pair = self.take().ok_or(NotSpliced::Refused)?;
        let mut pipe = SplicePipe { pipes: Arc::clone(self), pair: Some(pair), len: 0, payload: 0 };
        for run in parts.chunk_by(|a, b| a.span.index == b.span.index) {
            let Some(Part { span, .. }) = run.first() else { continue };
            match storage.lend(&span.file.path, wait, &mut |file| {
                if pipe.len() == 0 {
                    pipe.lay(blocks)?;
                }
                pipe.put(file, run)
            }) {
                Ok(true) => {}
                Ok(false) => return Err(NotSpliced::Waits),
                Err(_) => return Err(NotSpliced::Refused),
            }
        }
        Ok(pipe)
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

    fn spare(&self) -> MutexGuard<'_, Vec<Pair>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of a block in one file; the block's header goes before its first part.
struct Part<'a> {
    is_first: bool,
    span: Span<'a>,
}

/// Splits the blocks into parts, if they are worth a pipe and fit into one. In some kernels
/// `sendfile` may wait for room.
fn parts<'a>(layout: &'a Layout, blocks: &[Block]) -> Option<Vec<Part<'a>>> {
    let bytes: usize = blocks.iter().map(|block| block.len() as usize).sum();
    if blocks.len() < BLOCKS_MIN || bytes < blocks.len() * MEAN_MIN {
        return None;
    }
    let page = rustix::param::page_size();
    let mut places = PIPE_LEN / page;
    let mut parts = Vec::with_capacity(blocks.len());
    for block in blocks {
        let mut is_first = true;
        for span in layout.spans(block.piece(), block.begin(), block.len()) {
            let pages = (span.offset as usize % page + span.len as usize).div_ceil(page);
            places = places
                .checked_sub(pages + usize::from(is_first))
                .filter(|_| span.file.is_stored)?;
            parts.push(Part { is_first, span });
            is_first = false;
        }
    }
    Some(parts)
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

/// Returns the name of a connection's congestion control.
#[cfg(target_os = "linux")]
fn congestion(socket: &impl AsFd) -> Result<String, Errno> {
    rustix::net::sockopt::tcp_congestion(socket)
}

/// Refuses: other systems copy.
#[cfg(not(target_os = "linux"))]
fn congestion(_: &impl AsFd) -> Result<String, Errno> {
    Err(Errno::OPNOTSUPP)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::torrent;
    use bt_piece_store::{MemStorage, read_blocks};
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_poured_is_what_would_have_been_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (_, layout, storage, mut blocks) = torrent(dir.path());
        let pipes = Arc::new(Pipes::default());
        for _ in 0..2 {
            blocks.reverse();
            let copied = read_blocks(&layout, &storage, &blocks, true).unwrap().unwrap();
            let expected: Vec<u8> = blocks
                .iter()
                .zip(copied)
                .flat_map(|(block, data)| [&piece_header(block.raw())[..], &data].concat())
                .collect();

            let mut pipe = pipes.fill(&layout, &storage, &blocks, true).unwrap();
            assert_eq!((pipe.len(), pipe.payload()), (expected.len(), 200_002));
            assert!(pipe.append(b"and this") && !pipe.append(&[0; ATOMIC + 1]));
            let expected = [&expected[..], b"and this"].concat();
            let (mut near, far) = UnixStream::pair().unwrap();
            far.set_nonblocking(true).unwrap();
            let (mut got, mut buf) = (Vec::new(), [0; 5000]);
            while got.len() < expected.len() {
                match pipe.pour(&far) {
                    Ok(poured) => assert!(poured > 0 || pipe.len() == 0),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
                let read = near.read(&mut buf).unwrap();
                got.extend_from_slice(&buf[..read]);
            }
            assert!(got == expected && pipe.len() == 0);
            drop(pipe);
            assert_eq!(
                (pipes.open.load(Ordering::Relaxed), pipes.spare().len()),
                (1, 1),
                "for the next"
            );
        }
    }

    #[test]
    fn what_must_not_be_passed_on_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (_, layout, storage, blocks) = torrent(dir.path());
        let pipes = Arc::new(Pipes::default());
        let fill = |blocks: &[Block]| pipes.fill(&layout, &storage, blocks, true).is_ok();
        assert!(fill(&blocks));
        assert!(!fill(&blocks[..3]), "few");
        assert!(!fill(&[&blocks[..]; 4].concat()), "many");
        let (first, last) = (&blocks[..5], &blocks[8..]);
        std::fs::OpenOptions::new()
            .write(true)
            .open(dir.path().join("t/b"))
            .unwrap()
            .set_len(100_000)
            .unwrap();
        assert!(
            fill(first) && !fill(last) && !fill(&blocks),
            "another program changed the second file"
        );
        std::fs::remove_file(dir.path().join("t/a")).unwrap();
        assert!(!fill(first), "no reader has the first any more");
    }

    #[test]
    fn a_pipe_with_something_left_in_it_is_not_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let (_, layout, storage, blocks) = torrent(dir.path());
        let pipes = Arc::new(Pipes::default());
        let fill = || pipes.fill(&layout, &storage, &blocks, true);
        let count = || (pipes.open.load(Ordering::Relaxed), pipes.spare().len());
        for _ in 0..3 * PIPES_MAX {
            drop(fill().expect("pipes that were closed make room for others"));
            assert_eq!(count(), (0, 0));
        }
        let pathless = MemStorage::new();
        assert_eq!(
            pipes.fill(&layout, &pathless, &blocks, false).unwrap_err(),
            NotSpliced::Refused
        );
        assert_eq!(count(), (1, 1), "nothing was put in");
        std::fs::write(dir.path().join("t/b"), b"other").unwrap();
        assert_eq!(fill().unwrap_err(), NotSpliced::Refused);
        assert_eq!(count(), (0, 0), "the first file's part was in it");
    }

    #[test]
    fn there_are_so_many_pipes_and_none_where_the_system_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let (_, layout, storage, blocks) = torrent(dir.path());
        let pipes = Arc::new(Pipes::default());
        let fill = || pipes.fill(&layout, &storage, &blocks, true);
        let held: Vec<SplicePipe> = std::iter::from_fn(|| fill().ok()).collect();
        assert!((1..=PIPES_MAX).contains(&held.len()), "{} pipes", held.len());
        drop(held);
        let mut pipe = fill().unwrap();
        let appended = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.path().join("x"))
            .unwrap();
        assert_eq!(
            pipe.pour(&appended).unwrap_err().kind(),
            io::ErrorKind::InvalidInput,
            "pages do not go there"
        );
        assert_eq!(fill().unwrap_err(), NotSpliced::Refused);
    }
}

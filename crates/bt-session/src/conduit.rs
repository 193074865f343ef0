//! Blocks on their way from a file to a socket that are not copied: a pipe holds the pages of the file themselves.
//!
//! Decides: which connections and blocks are worth a pipe, and how many pipes there are. Must not know: who asked, or why.
//! Invariant: what is in a pipe is whole piece messages, of files that nobody else had changed by then; a pipe in which something is left
//! is closed, never used again.
//!
//! Whoever writes to a file changes what lies in a pipe or a socket's queue, too: so this is for peers that take it at once.
//! docs/decisions/0015 has the measurements.

use bt_peer_wire::piece_header;
use bt_piece_store::{Layout, LayoutFile, Storage};
use bt_types::{Block, Time};
use rustix::io::Errno;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Blocks in one pipe. Copying fewer is as fast; more may not fit, as a block and its header take up to six of a pipe's places.
const BLOCKS: RangeInclusive<usize> = 4..=40;
/// Length of a pipe in bytes: 256 places, each for a page or a part of one. The longest that Linux lets everyone have.
const PIPE_LEN: usize = 1 << 20;
/// So many bytes are written into a pipe at once or not at all (POSIX `PIPE_BUF`).
const ATOMIC: usize = 512;
/// Pipes of a session: half of what Linux lets a user have of that length.
const PIPES_MAX: usize = 32;
/// A peer that takes so many bytes within [`PACE`] is fast: 32 MiB/s.
const FAST: u64 = PACE.as_millis() as u64 * (32 << 20) / 1000;
/// How long is counted at least.
const PACE: Duration = Duration::from_millis(100);

/// How fast a peer takes payload.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Time,
    bytes: u64,
    is_fast: bool,
}

impl Pace {
    pub(crate) fn new(now: Time) -> Pace {
        Pace { since: now, bytes: 0, is_fast: false }
    }

    /// So many bytes were taken. Returns whether the peer is fast: little of what it is sent lies in queues, and not for long.
    pub(crate) fn note(&mut self, now: Time, bytes: u64) -> bool {
        self.bytes += bytes;
        let elapsed = now.since(self.since);
        if elapsed >= PACE {
            let is_fast = u128::from(self.bytes) * PACE.as_micros() >= u128::from(FAST) * elapsed.as_micros();
            *self = Pace { since: now, bytes: 0, is_fast };
        }
        self.is_fast
    }
}

/// Piece messages in a pipe.
#[derive(Debug)]
pub(crate) struct Conduit {
    pipes: Arc<Pipes>,
    pipe: Option<Pipe>,
    len: usize,
    payload: usize,
}

impl Conduit {
    /// Whether pipes are worth it on a connection: not where TCP paces. It takes little at a time then, and pages cost more than copies.
    pub(crate) fn suits(socket: &impl AsFd) -> bool {
        congestion(socket).is_ok_and(|name| !name.starts_with("bbr"))
    }

    /// Whether so many blocks are worth a pipe.
    pub(crate) fn is_for(blocks: &[Block]) -> bool {
        BLOCKS.contains(&blocks.len())
    }

    /// Bytes that are in it.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many bytes of the blocks were put in; the rest were headers.
    pub(crate) fn payload(&self) -> usize {
        self.payload
    }

    /// Puts small messages behind what is in it; whether it could be done.
    pub(crate) fn append(&mut self, messages: &[u8]) -> bool {
        let room = self.len > 0 && messages.len() <= ATOMIC;
        let wrote = room && self.pipe.as_ref().is_some_and(|pipe| rustix::io::write(&pipe.to, messages).is_ok());
        if wrote {
            self.len += messages.len();
        }
        wrote
    }

    /// Moves what a socket takes at once into it; how many bytes those were.
    pub(crate) fn pour(&mut self, socket: &impl AsFd) -> io::Result<usize> {
        let Some(pipe) = &self.pipe else { return Ok(0) };
        let poured = pour(&pipe.from, socket, self.len)?;
        self.len -= poured;
        Ok(poured)
    }
}

impl Drop for Conduit {
    fn drop(&mut self) {
        match self.pipe.take() {
            Some(pipe) if self.len == 0 => self.pipes.spare().push(pipe),
            pipe => self.pipes.close(pipe),
        }
    }
}

/// The pipes of a session.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    /// Empty ones.
    spare: Mutex<Vec<Pipe>>,
    /// How many there are.
    open: AtomicUsize,
}

/// Both ends of a pipe. Neither ever waits.
#[derive(Debug)]
struct Pipe {
    from: OwnedFd,
    to: OwnedFd,
}

impl Pipes {
    /// Puts blocks with their headers into a pipe. `None` when they must be copied instead: `wait` is false and a device may have to be
    /// waited for, or the system does not do it, or there is an error, which whoever copies will find again.
    pub(crate) fn fill(
        self: &Arc<Self>,
        layout: &Layout,
        storage: &dyn Storage,
        blocks: &[Block],
        wait: bool,
    ) -> Option<Conduit> {
        if !Conduit::is_for(blocks) {
            return None;
        }
        let pipe = self.take()?;
        let filled = Source { layout, storage, wait, file: None }.put_all(blocks, &pipe);
        // From here on the pipe is closed with the conduit, as something is in it.
        let len = filled.as_ref().map_or(1, |filled| *filled);
        let payload = blocks.iter().map(|block| block.len() as usize).sum();
        let conduit = Conduit { pipes: Arc::clone(self), pipe: Some(pipe), len, payload };
        filled.is_some().then_some(conduit)
    }

    /// An empty pipe, if there can be one.
    fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.spare().pop() {
            return Some(pipe);
        }
        if self.open.fetch_add(1, Ordering::Relaxed) < PIPES_MAX {
            // Where the system refuses, its place stays taken: nobody tries for ever.
            return open().map(|(from, to)| Pipe { from, to }).ok();
        }
        self.close(None);
        None
    }

    fn close(&self, pipe: Option<Pipe>) {
        drop(pipe);
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Pipe>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where blocks come from.
struct Source<'a> {
    layout: &'a Layout,
    storage: &'a dyn Storage,
    wait: bool,
    /// The file that was read last, not looked at since.
    file: Option<(&'a LayoutFile, Arc<OwnedFd>)>,
}

impl Source<'_> {
    /// Puts blocks with their headers into a pipe; how many bytes those are. `None` when it could not be, or must not be passed on.
    fn put_all(mut self, blocks: &[Block], pipe: &Pipe) -> Option<usize> {
        let mut len = 0;
        for block in blocks {
            let header = piece_header(block.raw());
            if rustix::io::write(&pipe.to, &header) != Ok(header.len()) || !self.put(block, pipe).ok()? {
                return None;
            }
            len += header.len() + block.len() as usize;
        }
        self.close().ok()?.then_some(len)
    }

    /// Whether the block's pages are in the pipe.
    fn put(&mut self, block: &Block, pipe: &Pipe) -> io::Result<bool> {
        for span in self.layout.spans(block.piece(), block.begin(), block.len()) {
            if !self.file.as_ref().is_some_and(|(file, _)| std::ptr::eq(*file, span.file)) {
                if !span.file.is_stored || !self.close()? {
                    return Ok(false);
                }
                self.file = self.storage.lend(&span.file.path, self.wait)?.map(|fd| (span.file, fd));
            }
            let Some((_, file)) = &self.file else { return Ok(false) };
            let (mut at, end) = (span.offset, span.offset + u64::from(span.len));
            while at < end {
                match draw(file, at, &pipe.to, (end - at) as usize)? {
                    0 => return Ok(false),
                    n => at += n as u64,
                }
            }
        }
        Ok(true)
    }

    /// Looks at the file that was read: whether nobody changed it before or while it was.
    fn close(&mut self) -> io::Result<bool> {
        self.file.take().map_or(Ok(true), |(file, _)| self.storage.is_changed(&file.path).map(|is_changed| !is_changed))
    }
}

#[cfg(target_os = "linux")]
fn open() -> Result<(OwnedFd, OwnedFd), Errno> {
    use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
    let (from, to) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&to, PIPE_LEN)?;
    Ok((from, to))
}

/// Puts pages of a file into a pipe; how many bytes, 0 at its end.
#[cfg(target_os = "linux")]
fn draw(file: &OwnedFd, mut offset: u64, to: &OwnedFd, len: usize) -> Result<usize, Errno> {
    // Not `splice`, which does the same: so whoever counts calls can tell these from those that send.
    rustix::io::retry_on_intr(|| rustix::fs::sendfile(to, file, Some(&mut offset), len))
}

/// Puts what is in a pipe into a socket, as far as it takes it.
#[cfg(target_os = "linux")]
fn pour(from: &OwnedFd, socket: &impl AsFd, len: usize) -> Result<usize, Errno> {
    use rustix::pipe::{SpliceFlags, splice};
    rustix::io::retry_on_intr(|| splice(from, None, socket, None, len, SpliceFlags::NONBLOCK))
}

/// The name of a connection's congestion control.
#[cfg(target_os = "linux")]
fn congestion(socket: &impl AsFd) -> Result<String, Errno> {
    rustix::net::sockopt::tcp_congestion(socket)
}

/// Other systems copy.
#[cfg(not(target_os = "linux"))]
fn congestion(_: &impl AsFd) -> Result<String, Errno> {
    Err(Errno::OPNOTSUPP)
}

#[cfg(not(target_os = "linux"))]
fn open() -> Result<(OwnedFd, OwnedFd), Errno> {
    Err(Errno::OPNOTSUPP)
}

#[cfg(not(target_os = "linux"))]
fn draw(_: &OwnedFd, _: u64, _: &OwnedFd, _: usize) -> Result<usize, Errno> {
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
    use bt_piece_store::read_blocks;
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_poured_is_what_would_have_been_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (_, layout, storage, mut blocks) = torrent(dir.path());
        blocks.reverse();
        let copied = read_blocks(&layout, &storage, &blocks, true).unwrap().unwrap();
        let expected: Vec<u8> =
            blocks.iter().zip(copied).flat_map(|(block, data)| [&piece_header(block.raw())[..], &data].concat()).collect();

        let mut conduit = Arc::new(Pipes::default()).fill(&layout, &storage, &blocks, true).unwrap();
        assert_eq!((conduit.len(), conduit.payload()), (expected.len(), 200_002));
        assert!(conduit.append(b"and this") && !conduit.append(&[0; ATOMIC + 1]));
        let expected = [&expected[..], b"and this"].concat();
        let (mut near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let (mut got, mut buf) = (Vec::new(), [0; 5000]);
        while got.len() < expected.len() {
            match conduit.pour(&far) {
                Ok(poured) => assert!(poured > 0 || conduit.len() == 0),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            let read = near.read(&mut buf).unwrap();
            got.extend_from_slice(&buf[..read]);
        }
        assert!(got == expected && conduit.len() == 0);
    }

    #[test]
    fn what_must_not_be_passed_on_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (_, layout, storage, blocks) = torrent(dir.path());
        let pipes = Arc::new(Pipes::default());
        let fill = |blocks: &[Block]| pipes.fill(&layout, &storage, blocks, true).is_some();
        assert!(fill(&blocks));
        assert!(!fill(&blocks[..3]), "few");
        assert!(!fill(&[&blocks[..]; 4].concat()), "many");
        let (first, last) = (&blocks[..5], &blocks[8..]);
        std::fs::OpenOptions::new().write(true).open(dir.path().join("t/b")).unwrap().set_len(100_000).unwrap();
        assert!(fill(first) && !fill(last) && !fill(&blocks), "somebody else changed the second file");
        std::fs::remove_file(dir.path().join("t/a")).unwrap();
        assert!(!fill(first), "nobody has the first any more");
    }

    #[test]
    fn a_pipe_with_something_left_in_it_is_not_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let (_, layout, storage, blocks) = torrent(dir.path());
        let pipes = Arc::new(Pipes::default());
        let fill = || pipes.fill(&layout, &storage, &blocks, true);
        for _ in 0..3 * PIPES_MAX {
            let (_near, far) = UnixStream::pair().unwrap();
            let mut conduit = fill().expect("pipes that were closed make room for others");
            conduit.pour(&far).unwrap();
        }
        let held: Vec<Conduit> = std::iter::from_fn(fill).collect();
        assert!((1..=PIPES_MAX).contains(&held.len()), "{} pipes", held.len());
    }

    #[test]
    fn a_peer_is_fast_while_it_takes_32_mib_a_second() {
        let ms = |ms: u64| Time::ZERO + Duration::from_millis(ms);
        let mut pace = Pace::new(ms(0));
        let half = FAST / 2;
        let table = [
            (50, half, false),
            (100, half + 1, true),
            (150, 0, true),
            (201, half, false),
            (301, FAST, true),
            (9000, FAST, false),
        ];
        for (at, bytes, is_fast) in table {
            assert_eq!(pace.note(ms(at), bytes), is_fast, "at {at} ms");
        }
    }
}

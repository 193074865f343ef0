//! How blocks get from their files to a peer: copied, or spliced. A pipe takes the pages of the
//! files to the socket then.
//!
//! Decides: copy or splice, and nothing else decides that. All of this must hold for a splice:
//!
//! | what | where |
//! |---|---|
//! | the peer takes its payload at once, by the engine's judgement | [`send_method`] |
//! | the stream is plain TCP that is not paced, and few pipes wait for the peer | [`PipeQueue`] |
//! | the blocks are many and long, fit into a pipe, and a pipe is free | [`fill`] |
//! | their pages are in memory, or the disk thread has only reads to do | [`read`] |
//!
//! Must not know: which peer asked; transports, except that a stream may be plain TCP.
//! Invariant: a pipe holds whole piece messages, of files that no other program had changed by
//! then.
//!
//! A write to a file also changes what lies in a pipe or a socket's queue. So pipes serve only
//! peers that take their payload at once, by the engine's judgement. docs/decisions/0015 has the
//! measurements.

use crate::mail::disk_order::SendMethod;
use crate::mail::splice_pipe::{PIPE_LEN, Pipes, SplicePipe};
use crate::net::stream::Stream;
use bt_piece_store::{Layout, Span, Storage, read_blocks};
use bt_types::Block;
use bytes::Bytes;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use tokio::io::Interest;

/// Fewest blocks worth a pipe: copying fewer is as fast.
const BLOCKS_MIN: usize = 4;
/// Least mean length of blocks worth a pipe, in bytes: each block takes two system calls.
const MEAN_MIN: usize = 8 << 10;

/// Pipes that wait for one peer. A peer that has not taken these gets no more.
const WAITING_MAX: usize = 4;

/// Chooses how blocks are sent to a peer.
pub(crate) fn send_method(takes_at_once: bool, connection_takes_pipes: bool) -> SendMethod {
    match takes_at_once && connection_takes_pipes {
        true => SendMethod::Splice,
        false => SendMethod::Copy,
    }
}

/// Blocks on their way to a peer.
#[derive(Debug)]
pub(crate) enum Sendable {
    /// The bytes of each.
    Copied(Vec<Bytes>),
    /// All of them, with their headers.
    Piped(SplicePipe),
}

/// Reads blocks without waiting for a device; `None` if a disk thread must do it. `only_reads` says
/// whether that thread has nothing else to do.
pub(crate) fn read_cached(
    pipes: &Arc<Pipes>,
    layout: &Layout,
    storage: &dyn Storage,
    blocks: &[Block],
    method: SendMethod,
    only_reads: impl FnOnce() -> bool,
) -> io::Result<Option<Sendable>> {
    match fill_by(method, pipes, layout, storage, blocks, false) {
        Ok(pipe) => Ok(Some(Sendable::Piped(pipe))),
        // A pipe is worth a thread hop, but not a wait for pieces that are hashed and written.
        Err(NotSpliced::Waits) if only_reads() => Ok(None),
        Err(_) => Ok(read_blocks(layout, storage, blocks, false)?.map(Sendable::Copied)),
    }
}

/// Reads blocks on a thread that may wait for a device.
pub(crate) fn read(
    pipes: &Arc<Pipes>,
    layout: &Layout,
    storage: &dyn Storage,
    blocks: &[Block],
    method: SendMethod,
) -> io::Result<Sendable> {
    match fill_by(method, pipes, layout, storage, blocks, true) {
        Ok(pipe) => Ok(Sendable::Piped(pipe)),
        Err(_) => {
            let read = read_blocks(layout, storage, blocks, true)?;
            Ok(Sendable::Copied(read.unwrap_or_default()))
        }
    }
}

/// Fills a pipe, if that is the method.
fn fill_by(
    method: SendMethod,
    pipes: &Arc<Pipes>,
    layout: &Layout,
    storage: &dyn Storage,
    blocks: &[Block],
    wait: bool,
) -> Result<SplicePipe, NotSpliced> {
    match method {
        SendMethod::Splice => fill(pipes, layout, storage, blocks, wait),
        SendMethod::Copy => Err(NotSpliced::Refused),
    }
}

/// The pipes that wait for one peer, in order.
#[derive(Debug)]
pub(crate) struct PipeQueue {
    /// Whether pipes are worth it on this connection at all.
    suits: bool,
    waiting: VecDeque<SplicePipe>,
}

impl PipeQueue {
    pub(crate) fn of(stream: &Stream) -> PipeQueue {
        PipeQueue { suits: stream.plain_tcp().is_some_and(suits), waiting: VecDeque::new() }
    }

    /// Returns whether the connection takes another pipe.
    pub(crate) fn takes_more(&self) -> bool {
        self.suits && self.waiting.len() < WAITING_MAX
    }

    pub(crate) fn push(&mut self, pipe: SplicePipe) {
        self.waiting.push_back(pipe);
    }

    /// Appends small messages behind the last pipe's blocks; returns whether it could.
    pub(crate) fn append(&mut self, messages: &[u8]) -> bool {
        self.waiting.back_mut().is_some_and(|pipe| pipe.append(messages))
    }

    /// Moves into the stream what it takes of the first pipe at once; returns how many bytes.
    /// `None` without a pipe.
    pub(crate) fn pour(&mut self, stream: &Stream) -> Option<io::Result<usize>> {
        let (pipe, tcp) = (self.waiting.front_mut()?, stream.plain_tcp()?);
        let poured = tcp.try_io(Interest::WRITABLE, || pipe.pour(tcp));
        if pipe.len() == 0 {
            self.waiting.pop_front();
        }
        Some(poured)
    }
}

/// Returns whether pipes are worth it on a connection: not where TCP paces (BBR). Such a socket
/// takes little at a time, and pages then cost more than copies.
fn suits(socket: &impl AsFd) -> bool {
    congestion(socket).is_ok_and(|name| !name.starts_with("bbr"))
}

/// Why blocks are not in a pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NotSpliced {
    /// Reading may have to wait for a device.
    Waits,
    /// The caller must copy the blocks: they are few or short, no pipe is free, the system cannot
    /// splice, or reading failed. The copying read finds such an error again.
    Refused,
}

/// Puts blocks with their headers into a pipe. With `wait` false it never waits for a device.
fn fill(
    pipes: &Arc<Pipes>,
    layout: &Layout,
    storage: &dyn Storage,
    blocks: &[Block],
    wait: bool,
) -> Result<SplicePipe, NotSpliced> {
    let parts = parts(layout, blocks).ok_or(NotSpliced::Refused)?;
    let mut pipe = pipes.begin().ok_or(NotSpliced::Refused)?;
    for run in parts.chunk_by(|a, b| a.span.index == b.span.index) {
        let Some(Part { span, .. }) = run.first() else { continue };
        match storage.lend(&span.file.path, wait, &mut |file| {
            if pipe.len() == 0 {
                pipe.lay(blocks)?;
            }
            put(&mut pipe, file, run)
        }) {
            Ok(true) => {}
            Ok(false) => return Err(NotSpliced::Waits),
            Err(_) => return Err(NotSpliced::Refused),
        }
    }
    Ok(pipe)
}

/// Appends parts of a file to the pipe, each block after its header.
fn put(pipe: &mut SplicePipe, file: BorrowedFd<'_>, parts: &[Part<'_>]) -> io::Result<()> {
    for Part { is_first, span } in parts {
        if *is_first {
            pipe.put_header()?;
        }
        pipe.put(file, span.offset, span.len)?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::splice_pipe::{ATOMIC, PIPES_MAX};
    use crate::testkit::torrent;
    use bt_peer_wire::piece_header;
    use bt_piece_store::MemStorage;
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

            let mut pipe = fill(&pipes, &layout, &storage, &blocks, true).unwrap();
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
            assert_eq!(pipes.counts(), (1, 1), "for the next");
        }
    }

    #[test]
    fn what_must_not_be_passed_on_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (_, layout, storage, blocks) = torrent(dir.path());
        let pipes = Arc::new(Pipes::default());
        let fills = |blocks: &[Block]| fill(&pipes, &layout, &storage, blocks, true).is_ok();
        assert!(fills(&blocks));
        assert!(!fills(&blocks[..3]), "few");
        assert!(!fills(&[&blocks[..]; 4].concat()), "many");
        let (first, last) = (&blocks[..5], &blocks[8..]);
        std::fs::OpenOptions::new()
            .write(true)
            .open(dir.path().join("t/b"))
            .unwrap()
            .set_len(100_000)
            .unwrap();
        assert!(
            fills(first) && !fills(last) && !fills(&blocks),
            "another program changed the second file"
        );
        std::fs::remove_file(dir.path().join("t/a")).unwrap();
        assert!(!fills(first), "no reader has the first any more");
    }

    #[test]
    fn a_pipe_with_something_left_in_it_is_not_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let (_, layout, storage, blocks) = torrent(dir.path());
        let pipes = Arc::new(Pipes::default());
        let fill_all = || fill(&pipes, &layout, &storage, &blocks, true);
        let count = || pipes.counts();
        for _ in 0..3 * PIPES_MAX {
            drop(fill_all().expect("pipes that were closed make room for others"));
            assert_eq!(count(), (0, 0));
        }
        let pathless = MemStorage::new();
        assert_eq!(
            fill(&pipes, &layout, &pathless, &blocks, false).unwrap_err(),
            NotSpliced::Refused
        );
        assert_eq!(count(), (1, 1), "nothing was put in");
        std::fs::write(dir.path().join("t/b"), b"other").unwrap();
        assert_eq!(fill_all().unwrap_err(), NotSpliced::Refused);
        assert_eq!(count(), (0, 0), "the first file's part was in it");
    }

    #[test]
    fn pipes_are_bounded_and_absent_where_the_system_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let (_, layout, storage, blocks) = torrent(dir.path());
        let pipes = Arc::new(Pipes::default());
        let fill_all = || fill(&pipes, &layout, &storage, &blocks, true);
        let held: Vec<SplicePipe> = std::iter::from_fn(|| fill_all().ok()).collect();
        assert!((1..=PIPES_MAX).contains(&held.len()), "{} pipes", held.len());
        drop(held);
        let mut pipe = fill_all().unwrap();
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
        assert_eq!(fill_all().unwrap_err(), NotSpliced::Refused);
    }

    #[test]
    fn blocks_are_copied_unless_everything_speaks_for_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let (_, layout, storage, blocks) = torrent(dir.path());
        let pipes = Arc::new(Pipes::default());
        let is_piped = |takes_at_once, connection_takes_pipes, blocks: &[Block]| {
            let method = send_method(takes_at_once, connection_takes_pipes);
            let patient = read(&pipes, &layout, &storage, blocks, method).unwrap();
            let cached = read_cached(&pipes, &layout, &storage, blocks, method, || true).unwrap();
            let piped = matches!(patient, Sendable::Piped(_));
            // Pages that are not in memory wait for a disk thread, in either way.
            assert!(cached.is_none_or(|cached| matches!(cached, Sendable::Piped(_)) == piped));
            piped
        };
        assert!(is_piped(true, true, &blocks));
        assert!(!is_piped(false, true, &blocks), "the peer is slow");
        assert!(!is_piped(true, false, &blocks), "the connection takes no pipes");
        assert!(!is_piped(true, true, &blocks[..BLOCKS_MIN - 1]), "they are few");
    }

    #[test]
    fn a_peer_that_takes_no_pipe_gets_no_more_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let (_, layout, storage, blocks) = torrent(dir.path());
        let pipes = Arc::new(Pipes::default());
        let mut queue = PipeQueue { suits: true, waiting: VecDeque::new() };
        for _ in 0..WAITING_MAX {
            assert!(queue.takes_more());
            queue.push(fill(&pipes, &layout, &storage, &blocks, true).unwrap());
        }
        assert!(!queue.takes_more());
        queue.waiting.pop_front();
        assert!(queue.takes_more());
    }
}

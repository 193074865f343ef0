//! Reads blocks for peers.
//!
//! Decides: which blocks are read together.
//! Must not know: which peer asked.
//! Invariant: one read for each file span of a group of contiguous blocks. The blocks share its
//! buffer, of which every byte was read or cleared.

use crate::memory::Memory;
use crate::{Layout, Storage};
use bt_types::Block;
use bytes::Bytes;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest group of blocks in bytes that is read into one buffer.
const GROUP_MAX: u64 = 256 * 1024;
/// Buffers of that length that are kept for later: 4 MiB.
const SPENT_MAX: usize = 16;

/// Reads blocks, in the order given. A file that is too short is an error.
///
/// With `wait` false it returns `None` as soon as a byte is not in memory: try again on a thread
/// that may block.
pub fn read_blocks(
    layout: &Layout,
    storage: &dyn Storage,
    blocks: &[Block],
    wait: bool,
) -> io::Result<Option<Vec<Bytes>>> {
    let mut read = Vec::with_capacity(blocks.len());
    let mut rest = blocks;
    while !rest.is_empty() {
        let (group, after) = rest.split_at(group_len(layout, rest));
        let Some(mut bytes) = read_group(layout, storage, group, wait)? else { return Ok(None) };
        read.extend(group.iter().map(|block| bytes.split_to(block.len() as usize)));
        rest = after;
    }
    Ok(Some(read))
}

/// Returns how many of the first blocks follow each other in the torrent and fit one buffer; at
/// least one.
fn group_len(layout: &Layout, blocks: &[Block]) -> usize {
    let Some(first) = blocks.first().map(|block| start(layout, block)) else { return 0 };
    let mut end = first;
    let fits = |block: &&Block| {
        let contiguous = start(layout, block) == end;
        end += u64::from(block.len());
        contiguous && end - first <= GROUP_MAX
    };
    blocks.iter().take_while(fits).count().max(1)
}

/// Returns the offset in bytes of the block in the torrent.
fn start(layout: &Layout, block: &Block) -> u64 {
    layout.geometry().piece_start(block.piece()) + u64::from(block.begin())
}

fn read_group(
    layout: &Layout,
    storage: &dyn Storage,
    group: &[Block],
    wait: bool,
) -> io::Result<Option<Bytes>> {
    let len: usize = group.iter().map(|block| block.len() as usize).sum();
    let mut buffer = Buffer::new(len);
    let mut rest = buffer.as_mut();
    let first = group.first().map_or(0, |block| start(layout, block));
    for span in layout.range(first, len as u64) {
        let (part, after) = rest.split_at_mut(span.len as usize);
        rest = after;
        if !span.file.is_stored {
            // The buffer may hold bytes of other blocks, even of another torrent.
            part.fill(0);
            continue;
        }
        let read = match wait {
            true => Some(storage.read_at(&span.file.path, span.offset, part)?),
            false => storage.try_read_at(&span.file.path, span.offset, part)?,
        };
        match read {
            None => return Ok(None),
            Some(read) if read < part.len() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some(_) => {}
        }
    }
    Ok(Some(Bytes::from_owner(buffer)))
}

/// Large buffers whose blocks were sent, for reuse: memory that the system need not hand out, nor
/// clear.
static SPENT: Mutex<Vec<Memory>> = Mutex::new(Vec::new());

/// The buffer of a group.
struct Buffer {
    memory: Memory,
    len: usize,
}

impl Buffer {
    /// Makes room for `len` bytes. A small group gets its own memory, as it would keep a large
    /// buffer from others.
    fn new(len: usize) -> Buffer {
        let kept = (GROUP_MAX as usize / 2..=GROUP_MAX as usize).contains(&len);
        let spent = kept.then(|| spent().pop()).flatten();
        let memory =
            spent.unwrap_or_else(|| Memory::new(if kept { GROUP_MAX as usize } else { len }));
        Buffer { memory, len }
    }

    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.memory[..self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spent = spent();
        if self.memory.len() == GROUP_MAX as usize && spent.len() < SPENT_MAX {
            spent.push(std::mem::take(&mut self.memory));
        }
    }
}

fn spent() -> MutexGuard<'static, Vec<Memory>> {
    SPENT.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemStorage;
    use crate::testkit::Fixture;
    use std::io::IoSlice;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// Counts reads; some bytes are not in memory.
    struct Slow {
        inner: MemStorage,
        cached: bool,
        reads: AtomicUsize,
    }

    impl Storage for Slow {
        fn read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            self.reads.fetch_add(1, Relaxed);
            self.inner.read_at(path, offset, buf)
        }
        fn try_read_at(
            &self,
            path: &Path,
            offset: u64,
            buf: &mut [u8],
        ) -> io::Result<Option<usize>> {
            if self.cached { self.read_at(path, offset, buf).map(Some) } else { Ok(None) }
        }
        fn write_at(&self, _: &Path, _: u64, _: &[IoSlice<'_>]) -> io::Result<()> {
            unreachable!("reading writes nothing")
        }
        fn set_len(&self, _: &Path, _: u64) -> io::Result<()> {
            unreachable!("reading writes nothing")
        }
        fn len(&self, path: &Path) -> io::Result<Option<u64>> {
            self.inner.len(path)
        }
        fn sync(&self, _: &Path) -> io::Result<()> {
            unreachable!("reading writes nothing")
        }
        fn create_new(&self, _: &Path) -> io::Result<()> {
            unreachable!("reading writes nothing")
        }
        fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
            unreachable!("reading writes nothing")
        }
        fn remove(&self, _: &Path) -> io::Result<()> {
            unreachable!("reading writes nothing")
        }
    }

    fn slow(fixture: &Fixture, cached: bool) -> Slow {
        let slow = Slow { inner: MemStorage::new(), cached, reads: AtomicUsize::new(0) };
        (0..fixture.layout.files().len()).for_each(|file| fixture.put(&slow.inner, file));
        slow
    }

    #[test]
    fn contiguous_blocks_are_read_together_and_come_in_order() {
        let fixture = Fixture::new(&[600_000, 5, 100_000], 65_536);
        let storage = slow(&fixture, true);
        let geometry = *fixture.layout.geometry();
        let mut blocks: Vec<Block> =
            geometry.pieces().flat_map(|piece| geometry.blocks(piece)).collect();
        for wait in [true, false] {
            storage.reads.store(0, Relaxed);
            let read = read_blocks(&fixture.layout, &storage, &blocks, wait).unwrap().unwrap();
            assert_eq!(read.concat(), fixture.data);
            // Groups of 256 KiB; the third crosses the two file borders.
            assert_eq!(storage.reads.load(Relaxed), 5);
        }
        blocks.reverse();
        let read = read_blocks(&fixture.layout, &storage, &blocks, true).unwrap().unwrap();
        assert!(read.iter().zip(&blocks).all(|(data, block)| data.len() == block.len() as usize));
        assert_eq!(read.into_iter().rev().collect::<Vec<_>>().concat(), fixture.data);
    }

    #[test]
    fn padding_is_zeros_whatever_the_buffer_held() {
        // A buffer that is used again, full of other bytes.
        let data = vec![0xab; 200_000];
        let (info, storage) = crate::testkit::padded(&data, 16_384);
        let layout = Layout::new(&info);
        let blocks: Vec<Block> =
            info.geometry.pieces().flat_map(|piece| info.geometry.blocks(piece)).collect();
        for wait in [true, false] {
            for _ in 0..2 {
                let read = read_blocks(&layout, &storage, &blocks, wait).unwrap().unwrap().concat();
                assert!(
                    read[..200_000] == data[..] && read[200_000..].iter().all(|&byte| byte == 0),
                    "wait: {wait}"
                );
            }
            // The padding alone, into a buffer that data was in.
            let last = blocks
                .iter()
                .filter(|block| start(&layout, block) >= 200_000)
                .copied()
                .collect::<Vec<_>>();
            assert!(!last.is_empty());
            drop(read_blocks(&layout, &storage, &blocks[..8], wait).unwrap());
            let read = read_blocks(&layout, &storage, &last, wait).unwrap().unwrap().concat();
            assert!(read.iter().all(|&byte| byte == 0), "wait: {wait}");
        }
    }

    #[test]
    fn without_waiting_it_may_give_nothing() {
        let fixture = Fixture::new(&[40_000], 16_384);
        let blocks: Vec<Block> = fixture.layout.geometry().blocks(fixture.piece(0)).collect();
        assert_eq!(
            read_blocks(&fixture.layout, &slow(&fixture, false), &blocks, false).unwrap(),
            None
        );
        assert!(
            read_blocks(&fixture.layout, &slow(&fixture, false), &blocks, true).unwrap().is_some()
        );
    }

    #[test]
    fn a_file_that_is_too_short_is_an_error() {
        let fixture = Fixture::new(&[40_000], 16_384);
        let storage = slow(&fixture, true);
        storage.inner.set_len(&fixture.path(0), 5).unwrap();
        let blocks: Vec<Block> = fixture.layout.geometry().blocks(fixture.piece(0)).collect();
        assert_eq!(
            read_blocks(&fixture.layout, &storage, &blocks, true).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}

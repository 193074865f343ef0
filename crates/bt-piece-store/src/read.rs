//! Blocks for peers.
//!
//! Decides: which blocks are read together. Must not know: who asked.
//! Invariant: one read for each file span of a group of contiguous blocks; the blocks share its buffer.

use crate::{Layout, Storage};
use bt_types::Block;
use bytes::Bytes;
use std::io;

/// The longest group in bytes that is read into one buffer.
const GROUP_MAX: u64 = 256 * 1024;

/// Reads blocks, in the order given. With `wait` false it returns `None` as soon as a byte is not in memory: try again on a
/// thread that may block. A file that is too short is an error.
pub fn read_blocks(layout: &Layout, storage: &dyn Storage, blocks: &[Block], wait: bool) -> io::Result<Option<Vec<Bytes>>> {
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

/// How many of the first blocks follow each other in the torrent and fit one buffer; at least one.
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

/// Offset in bytes of the block in the torrent.
fn start(layout: &Layout, block: &Block) -> u64 {
    layout.geometry().piece_start(block.piece()) + u64::from(block.begin())
}

fn read_group(layout: &Layout, storage: &dyn Storage, group: &[Block], wait: bool) -> io::Result<Option<Bytes>> {
    let len: usize = group.iter().map(|block| block.len() as usize).sum();
    let mut bytes = vec![0; len];
    let mut rest = bytes.as_mut_slice();
    let first = group.first().map_or(0, |block| start(layout, block));
    for span in layout.range(first, len as u64) {
        let (part, after) = rest.split_at_mut(span.len as usize);
        rest = after;
        if !span.file.is_stored {
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
    Ok(Some(Bytes::from(bytes)))
}

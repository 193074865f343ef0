//! Encodes and decodes the records of a journal.
//!
//! Decides: how a record is laid out, and what it must hold to be read.
//! Must not know: files, what a record means.
//! Invariant: a record is read as it was written; anything else is refused whole.

use super::Home;
use crate::identity::{FolderId, Noted, Stat};
use crate::storage::newer_format;
use bt_types::{Geometry, InfoHash, Piece};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

/// The format that is written.
pub(super) const VERSION: u8 = 2;
/// The oldest format that is read; `version_1.rs` says how.
pub(super) const VERSION_OLDEST: u8 = 1;
/// Bytes of length and checksum before a body.
pub(super) const FRAME: usize = 8;
/// Bytes of a file in a `B` record: number, whether we made it, device, inode, length, when it and
/// its inode last changed, when it was made.
const FILE_LEN: usize = 53;
/// Bytes of a file in an `F` record.
const FILE_LEN_WITHOUT_BIRTH: usize = 45;
/// Stands for an unknown birth of a file.
const NO_BIRTH: i64 = i64::MIN;
/// Numbers of files are below this: no torrent has more.
const FILES_MAX: usize = 500_000;

pub(super) fn numbers(kind: u8, pieces: &[Piece]) -> Vec<u8> {
    std::iter::once(kind)
        .chain(pieces.iter().flat_map(|piece| piece.number().to_le_bytes()))
        .collect()
}

pub(super) fn file_record(files: &[(usize, Noted)]) -> Vec<u8> {
    let mut body = vec![b'B'];
    for &(index, Noted { stat, made }) in files {
        body.extend_from_slice(&u32::try_from(index).unwrap_or(u32::MAX).to_le_bytes());
        body.push(u8::from(made));
        for number in [stat.id.0, stat.id.1, stat.len] {
            body.extend_from_slice(&number.to_le_bytes());
        }
        for time in [stat.mtime_ns, stat.ctime_ns, stat.birth_ns.unwrap_or(NO_BIRTH)] {
            body.extend_from_slice(&time.to_le_bytes());
        }
    }
    body
}

/// Reads the files of a record of this kind.
pub(super) fn read_files(kind: u8, body: &[u8]) -> Option<Vec<(usize, Noted)>> {
    let files = body.chunks_exact(if kind == b'B' { FILE_LEN } else { FILE_LEN_WITHOUT_BIRTH });
    if !files.remainder().is_empty() {
        return None;
    }
    files.map(read_file).collect()
}

fn read_file(bytes: &[u8]) -> Option<(usize, Noted)> {
    let (&index, rest) = bytes.split_first_chunk::<4>()?;
    let (&made, rest) = rest.split_first()?;
    let (words, []) = rest.as_chunks::<8>() else { return None };
    let &[device, inode, len, mtime, ctime, ref birth @ ..] = words else { return None };
    let id = (u64::from_le_bytes(device), u64::from_le_bytes(inode));
    let (mtime_ns, ctime_ns) = (i64::from_le_bytes(mtime), i64::from_le_bytes(ctime));
    let birth_ns =
        birth.first().map(|birth| i64::from_le_bytes(*birth)).filter(|birth| *birth != NO_BIRTH);
    let stat = Stat { id, birth_ns, len: u64::from_le_bytes(len), mtime_ns, ctime_ns };
    let index =
        usize::try_from(u32::from_le_bytes(index)).ok().filter(|index| *index < FILES_MAX)?;
    Some((index, Noted { stat, made: made == 1 }))
}

pub(super) fn home_record(home: &Home) -> Vec<u8> {
    let mut body = vec![b'R'];
    for number in [home.folder.id.0, home.folder.id.1] {
        body.extend_from_slice(&number.to_le_bytes());
    }
    body.extend_from_slice(&home.folder.birth_ns.unwrap_or(NO_BIRTH).to_le_bytes());
    body.extend_from_slice(&u32::try_from(home.name.len()).unwrap_or(u32::MAX).to_le_bytes());
    body.extend_from_slice(home.name.as_bytes());
    body.extend_from_slice(home.path.as_os_str().as_bytes());
    body
}

pub(super) fn read_home(body: &[u8]) -> Option<Home> {
    let (&device, rest) = body.split_first_chunk::<8>()?;
    let (&inode, rest) = rest.split_first_chunk::<8>()?;
    let (&birth, rest) = rest.split_first_chunk::<8>()?;
    let (&name_len, rest) = rest.split_first_chunk::<4>()?;
    let (name, path) =
        rest.split_at_checked(usize::try_from(u32::from_le_bytes(name_len)).ok()?)?;
    let id = (u64::from_le_bytes(device), u64::from_le_bytes(inode));
    let birth_ns = Some(i64::from_le_bytes(birth)).filter(|birth| *birth != NO_BIRTH);
    let name = String::from_utf8(name.to_vec()).ok()?;
    Some(Home {
        folder: FolderId { id, birth_ns },
        name,
        path: PathBuf::from(OsStr::from_bytes(path)),
    })
}

/// Fails when a journal has a newer format.
pub(super) fn refuse_newer(journal: &[u8]) -> io::Result<()> {
    match take_record(&mut &*journal) {
        Some(&[b'H', version, ..]) if version > VERSION => Err(newer_format(version, VERSION)),
        _ => Ok(()),
    }
}

pub(super) fn header(version: u8, id: InfoHash, geometry: &Geometry) -> Vec<u8> {
    let mut body = vec![b'H', version];
    body.extend_from_slice(&id.0);
    body.extend_from_slice(&geometry.piece_length().to_le_bytes());
    body.extend_from_slice(&geometry.total().to_le_bytes());
    body
}

/// Reads the torrent that a header names, and its geometry.
pub(super) fn read_header(body: &[u8]) -> Option<(InfoHash, Geometry)> {
    let (&[b'H', VERSION_OLDEST..=VERSION], rest) = body.split_first_chunk::<2>()? else {
        return None;
    };
    let (&id, rest) = rest.split_first_chunk::<20>()?;
    let (&piece_length, rest) = rest.split_first_chunk::<4>()?;
    let total = u64::from_le_bytes(*rest.first_chunk::<8>()?);
    let geometry = Geometry::new(total, u32::from_le_bytes(piece_length)).ok()?;
    Some((InfoHash(id), geometry))
}

pub(super) fn framed(body: &[u8]) -> Vec<u8> {
    // The longest body holds the looks of all files: 500,000 times 53 bytes.
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&len.to_le_bytes(), &crc32c::crc32c(body).to_le_bytes(), body].concat()
}

/// Splits off the first record, if it is whole.
pub(super) fn take_record<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (frame, after) = rest.split_first_chunk::<FRAME>()?;
    let &[a, b, c, d, ref crc @ ..] = frame;
    let (body, after) =
        after.split_at_checked(usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?)?;
    if crc32c::crc32c(body).to_le_bytes() != *crc {
        return None;
    }
    *rest = after;
    Some(body)
}

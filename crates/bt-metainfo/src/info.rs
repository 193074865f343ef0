//! The `info` dictionary: the files and pieces of a torrent.
//!
//! Decides: the file table, offsets, and that sizes and hashes fit together.
//! Must not know: trackers, disks.
//! Invariant: files follow each other without overlap and end at the geometry's total.

use crate::attr::Attr;
use crate::listing::Listing;
use crate::raw_file::RawFile;
use crate::sanitise;
use crate::{Format, MetainfoError, PieceDigests, fields, tree};
use alloc::{format, string::String, sync::Arc, vec, vec::Vec};
use bt_bencoding::{Cursor, Kind, Limits, scan};
use bt_types::{Geometry, GeometryError};
use bytes::Bytes;

/// The shortest piece length of a v2 torrent in bytes (BEP 52).
const PIECE_LENGTH_MIN_V2: u32 = 16 * 1024;

/// The content of a torrent. Made only by parsing.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Info {
    /// The sanitised name: of the file, or of the directory that holds the files.
    pub name: String,
    /// Total length and pieces. In a v2-only torrent each file begins a piece, and the gaps count.
    pub geometry: Geometry,
    /// All files in torrent order, with padding files and symlinks.
    pub files: Vec<FileEntry>,
    /// The expected digests of the pieces: `None` for a v2-only torrent, which cannot be
    /// transferred yet.
    pub digests: Option<Arc<PieceDigests>>,
}

/// One file of a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct FileEntry {
    /// Sanitised components below the download directory; the first is the torrent's name.
    pub path: Vec<String>,
    /// The components as the torrent lists them, if they differ from `path` and a Unix system can
    /// have them. Another client may have stored its data there.
    pub listed: Option<Vec<Vec<u8>>>,
    /// Length in bytes.
    pub length: u64,
    /// Offset in bytes of its first byte in the torrent.
    pub offset: u64,
    /// Attributes.
    pub attr: Attr,
}

impl FileEntry {
    /// Returns whether the file exists on a disk: neither padding nor a symlink.
    pub fn is_stored(&self) -> bool {
        self.attr.is_stored()
    }
}

impl Info {
    /// Returns the bytes that the user gets: padding not counted.
    pub fn payload_len(&self) -> u64 {
        self.files.iter().filter(|file| file.is_stored()).map(|file| file.length).sum()
    }

    /// Returns the digests to check pieces against, or the reason why this torrent cannot be
    /// transferred.
    pub fn require_digests(&self) -> Result<Arc<PieceDigests>, MetainfoError> {
        self.digests.clone().ok_or(MetainfoError::V2Unsupported)
    }

    /// Parses an `info` value that the scanner accepted, `bytes`; appends to `warnings`.
    pub(crate) fn parse(
        info: Cursor<'_>,
        bytes: &Bytes,
        warnings: &mut Vec<String>,
    ) -> Result<(Info, Format), MetainfoError> {
        let format = Format::of(info)?;
        if format != Format::V1 && !scan(info.span(), Limits::TORRENT)?.is_canonical() {
            return Err(MetainfoError::NotCanonical);
        }
        let name = info
            .get(b"name.utf-8")
            .and_then(|name| name.as_bytes())
            .map_or_else(|| fields::bytes(info, "name"), Ok)?;
        let raw = match format {
            Format::V1 => {
                if info.get(b"files").is_some() && info.get(b"length").is_some() {
                    warnings.push("it has both \"length\" and \"files\": \"files\" counts".into());
                }
                list_files(info, name)?
            }
            Format::V2 => tree::files(info, name)?,
            Format::Hybrid => agreeing(list_files(info, name)?, &tree::files(info, name)?)?,
        };
        let stored = sanitise::storable(&raw, warnings)?;
        if let links @ 1.. = raw.iter().filter(|file| file.attr.symlink).count() {
            warnings.push(format!("symlinks left out: {links}"));
        }

        let piece_length = piece_length(info, format)?;
        let align = if format == Format::V2 { u64::from(piece_length) } else { 1 };
        let (files, total) = place(raw, stored.paths, align)?;
        let geometry = Geometry::new(total, piece_length)?;
        let digests = if format == Format::V2 {
            None
        } else {
            Some(Arc::new(digests(info, bytes, &geometry)?))
        };
        Ok((Info { name: stored.name, geometry, files, digests }, format))
    }
}

/// Lists the files of the v1 side: `files`, or `length` (BEP 3). If both exist, `files` counts, as
/// in other clients.
fn list_files<'a>(info: Cursor<'a>, name: &'a [u8]) -> Result<Vec<RawFile<'a>>, MetainfoError> {
    let Some(list) = fields::optional(info, "files", Kind::List)? else {
        return Ok(vec![RawFile::new(vec![name], info)?]);
    };
    let mut files = Listing::new();
    for file in list.list() {
        let parts = match fields::optional(file, "path.utf-8", Kind::List)? {
            Some(path) => Some(path),
            None => fields::optional(file, "path", Kind::List)?,
        };
        let mut path = vec![name];
        for part in parts.into_iter().flat_map(|parts| parts.list()) {
            path.push(part.as_bytes().ok_or(MetainfoError::WrongType("path"))?);
        }
        let file = RawFile::new(path, file)?;
        // Only a padding file may come without a path, as it is never stored.
        if file.path.len() == 1 && !file.attr.padding {
            return Err(MetainfoError::MissingKey("path"));
        }
        files.push(file)?;
    }
    files.finish()
}

/// Returns the v1 files of a hybrid, if the v2 side lists the same ones in the same order.
fn agreeing<'a>(
    v1: Vec<RawFile<'a>>,
    v2: &[RawFile<'_>],
) -> Result<Vec<RawFile<'a>>, MetainfoError> {
    let listed = v1.iter().filter(|file| !file.attr.padding).map(|file| (&file.path, file.length));
    let agree = listed.eq(v2.iter().map(|file| (&file.path, file.length)));
    if agree { Ok(v1) } else { Err(MetainfoError::HybridMismatch) }
}

fn piece_length(info: Cursor<'_>, format: Format) -> Result<u32, MetainfoError> {
    let claimed = fields::int(info, "piece length")?;
    let valid = u32::try_from(claimed).ok().filter(|length| {
        format == Format::V1 || (length.is_power_of_two() && *length >= PIECE_LENGTH_MIN_V2)
    });
    match valid {
        Some(length) if Geometry::new(0, length) != Err(GeometryError::PieceLength) => Ok(length),
        _ => Err(MetainfoError::PieceLength(claimed)),
    }
}

/// Gives each file its offset, a multiple of `align`; also returns the total length.
fn place(
    raw: Vec<RawFile<'_>>,
    paths: Vec<Vec<String>>,
    align: u64,
) -> Result<(Vec<FileEntry>, u64), MetainfoError> {
    let mut end = 0u64;
    let mut files = Vec::with_capacity(raw.len());
    for (file, path) in raw.into_iter().zip(paths) {
        let offset = if file.length == 0 { Some(end) } else { end.checked_next_multiple_of(align) };
        let offset = offset.ok_or(MetainfoError::FileSize)?;
        end = offset.checked_add(file.length).ok_or(MetainfoError::FileSize)?;
        let listed = sanitise::listed(&file, &path);
        files.push(FileEntry { path, listed, length: file.length, offset, attr: file.attr });
    }
    Ok((files, end))
}

fn digests(
    info: Cursor<'_>,
    bytes: &Bytes,
    geometry: &Geometry,
) -> Result<PieceDigests, MetainfoError> {
    let pieces = fields::bytes(info, "pieces")?;
    // A slice of the kept bytes: there is no need to keep them twice.
    let from = pieces.as_ptr().addr() - info.span().as_ptr().addr();
    let digests = bytes.slice(from..from + pieces.len());
    PieceDigests::v1(digests, geometry)
        .ok_or(MetainfoError::PieceHashes { expected: geometry.piece_count(), found: pieces.len() })
}

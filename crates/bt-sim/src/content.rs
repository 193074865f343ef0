//! The truth: one torrent and its bytes.
//!
//! Decides: the bytes, by the seed. Must not know: who has them.
//! Invariant: layout, digests and bytes belong to each other.

use crate::stream::Detail;
use bt_metainfo::{Builder, Metainfo, PieceDigests};
use bt_piece_store::{Layout, MemStorage, Storage};
use bt_types::{Geometry, InfoHash, Piece, Rng};
use bytes::Bytes;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

/// Length in bytes of the metadata of a torrent without bytes.
const METADATA_LEN: usize = 20;

/// One torrent.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) info_hash: InfoHash,
    /// The `info` dictionary; in a world of messages, bytes of chance.
    pub(crate) metadata: Bytes,
    /// How it is cut.
    pub(crate) geometry: Geometry,
    /// Its bytes, in a world of bytes.
    pub(crate) files: Option<Arc<Files>>,
}

/// Three files, one of them empty, whose borders lie inside of pieces.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) layout: Arc<Layout>,
    pub(crate) digests: Arc<PieceDigests>,
    bytes: Vec<u8>,
}

impl Content {
    /// A torrent with this many pieces of this length in bytes, the last one shorter.
    pub(crate) fn new(pieces: u32, piece_length: u32, detail: Detail, rng: &mut Rng) -> Content {
        let total = u64::from(pieces) * u64::from(piece_length) - u64::from(piece_length / 3);
        match detail {
            Detail::Bytes => Content::with_bytes(total, piece_length, rng),
            Detail::Messages => {
                let mut metadata = vec![0; METADATA_LEN];
                rng.fill(&mut metadata);
                let info_hash = InfoHash(bt_hash::sha1(&metadata));
                let geometry = Geometry::new(total, piece_length)
                    .expect("a scenario names a geometry that can be");
                Content { info_hash, metadata: metadata.into(), geometry, files: None }
            }
        }
    }

    fn with_bytes(total: u64, piece_length: u32, rng: &mut Rng) -> Content {
        let mut bytes = vec![0; usize::try_from(total).expect("the torrent fits memory")];
        rng.fill(&mut bytes);
        let file = |name: &str, length: u64| (vec![name.to_owned()], length);
        let files =
            vec![file("first", total / 3), file("empty", 0), file("second", total - total / 3)];
        let digests: Vec<_> = bytes.chunks(piece_length as usize).map(bt_hash::sha1).collect();
        let torrent = Builder { piece_length, ..Builder::new("swarm", files) }.build(&digests);
        let Metainfo { info, info_hashes, info_bytes, .. } =
            Metainfo::from_bytes(&torrent).expect("what the builder makes can be read");
        let layout = Arc::new(Layout::new(&info));
        let digests = info.require_digests().expect("a v1 torrent has digests");
        Content {
            info_hash: info_hashes.swarm().expect("a v1 torrent has an info-hash"),
            metadata: info_bytes,
            geometry: *layout.geometry(),
            files: Some(Arc::new(Files { layout, digests, bytes })),
        }
    }
}

impl Files {
    /// Whether these are the bytes of a file at this offset.
    pub(crate) fn is_true(&self, path: &Path, offset: u64, data: &[u8]) -> bool {
        let Some(file) = self.layout.files().iter().find(|file| file.path == path) else {
            return false;
        };
        let from = usize::try_from(file.offset + offset).unwrap_or(usize::MAX);
        let fits = offset + data.len() as u64 <= file.length;
        fits && self.bytes.get(from..).is_some_and(|rest| rest.starts_with(data))
    }

    /// Whether a disk holds every byte of a piece.
    pub(crate) fn holds(&self, disk: &MemStorage, piece: Piece) -> bool {
        self.layout.spans(piece, 0, self.layout.geometry().piece_len(piece)).all(|span| {
            let mut bytes = vec![0; span.len as usize];
            let read = disk.read_at(&span.file.path, span.offset, &mut bytes);
            read.is_ok_and(|read| read == bytes.len())
                && self.is_true(&span.file.path, span.offset, &bytes)
        })
    }

    /// Whether a disk holds every byte of every file.
    pub(crate) fn is_whole(&self, disk: &MemStorage) -> bool {
        let is_right = |path: &Path, length| {
            disk.content(path)
                .is_some_and(|data| data.len() as u64 == length && self.is_true(path, 0, &data))
        };
        self.layout.files().iter().all(|file| is_right(&file.path, file.length))
    }

    /// Puts everything on a disk.
    pub(crate) fn put(&self, disk: &dyn Storage) -> io::Result<()> {
        for file in self.layout.files() {
            let from = usize::try_from(file.offset).unwrap_or(usize::MAX);
            let bytes = self.bytes.get(from..).unwrap_or_default();
            disk.create_new(&file.path)?;
            disk.write_at(
                &file.path,
                0,
                &[IoSlice::new(&bytes[..usize::try_from(file.length).unwrap_or(0)])],
            )?;
            disk.sync(&file.path)?;
        }
        Ok(())
    }
}

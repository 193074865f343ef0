//! Torrents and their data for the tests of this crate.
//!
//! Decides: nothing.
//! Must not know: what is tested.
//! Invariant: the digests are those of the data.

use crate::{Journal, Layout, MemStorage, Order, Storage};
use bt_metainfo::{Builder, Metainfo, PieceDigests};
use bt_types::{InfoHash, Piece};
use bytes::Bytes;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A torrent with its data, and a disk for its journal.
pub(crate) struct Fixture {
    pub(crate) layout: Arc<Layout>,
    pub(crate) digests: Arc<PieceDigests>,
    pub(crate) data: Vec<u8>,
    pub(crate) state: Arc<MemStorage>,
}

impl Fixture {
    /// Makes a torrent `t` of files `0`, `1`, ... with these lengths.
    pub(crate) fn new(lengths: &[u64], piece_length: u32) -> Fixture {
        let total: u64 = lengths.iter().sum();
        let data: Vec<u8> = (0..total).map(|n| (n * 31 % 251) as u8 ^ (n / 251) as u8).collect();
        let digests: Vec<_> = data.chunks(piece_length as usize).map(bt_hash::sha1).collect();
        let files =
            lengths.iter().enumerate().map(|(n, length)| (vec![n.to_string()], *length)).collect();
        let bytes = Builder { piece_length, ..Builder::new("t", files) }.build(&digests);
        let info = Metainfo::from_bytes(&bytes).unwrap().info;
        Fixture {
            layout: Arc::new(Layout::new(&info)),
            digests: info.require_digests().unwrap(),
            data,
            state: Arc::new(MemStorage::new()),
        }
    }

    pub(crate) fn journal(&self) -> Journal {
        let state = Arc::<MemStorage>::clone(&self.state);
        Journal::open(state, Path::new("journal"), InfoHash([1; 20]), self.layout.geometry())
            .unwrap()
    }

    pub(crate) fn piece(&self, number: u32) -> Piece {
        self.layout.geometry().piece(number).unwrap()
    }

    pub(crate) fn path(&self, file: usize) -> PathBuf {
        self.layout.files()[file].path.clone()
    }

    /// Returns the right content of a file.
    pub(crate) fn content(&self, file: usize) -> &[u8] {
        let file = &self.layout.files()[file];
        &self.data[file.offset as usize..][..file.length as usize]
    }

    /// Puts the right content of a file on a disk.
    pub(crate) fn put(&self, storage: &MemStorage, file: usize) {
        put(storage, &self.path(file), self.content(file));
    }

    /// Returns the orders that bring a piece: its blocks, last one first, and the check.
    pub(crate) fn arrival(&self, number: u32) -> Vec<Order> {
        let piece = self.piece(number);
        let start = self.layout.geometry().piece_start(piece);
        let mut orders: Vec<Order> = self
            .layout
            .geometry()
            .blocks(piece)
            .map(|block| {
                let from = (start + u64::from(block.begin())) as usize;
                Order::Store {
                    block,
                    data: Bytes::copy_from_slice(&self.data[from..from + block.len() as usize]),
                }
            })
            .collect();
        orders.reverse();
        orders.push(Order::Check { piece, urgent: false });
        orders
    }

    /// Returns whether every byte of the piece is right on this disk.
    pub(crate) fn is_right(&self, storage: &dyn Storage, piece: Piece) -> bool {
        self.layout.piece_spans(piece).all(|span| {
            let mut bytes = vec![0; span.len as usize];
            let from = (span.file.offset + span.offset) as usize;
            storage
                .read_at(&span.file.path, span.offset, &mut bytes)
                .is_ok_and(|read| read == bytes.len())
                && bytes == self.data[from..from + bytes.len()]
        })
    }
}

/// Makes a torrent of one file with these bytes and as much padding behind it (BEP 47), and a disk
/// with the file.
pub(crate) fn padded(data: &[u8], piece_length: u32) -> (bt_metainfo::Info, MemStorage) {
    let total = data.len() * 2;
    let pieces = total.div_ceil(piece_length as usize);
    let file = |path: &str, attr: &str| {
        format!("d{attr}6:lengthi{}e4:pathl{}:{path}ee", data.len(), path.len())
    };
    let files = [file("a", ""), file("pad", "4:attr1:p")].concat();
    let head = format!(
        "d4:infod5:filesl{files}e4:name1:t12:piece lengthi{piece_length}e6:pieces{}:",
        pieces * 20
    );
    let torrent = [head.as_bytes(), &vec![0; pieces * 20], b"ee"].concat();
    let storage = MemStorage::new();
    put(&storage, Path::new("t/a"), data);
    (Metainfo::from_bytes(&torrent).unwrap().info, storage)
}

/// Makes a file with this content.
pub(crate) fn put(storage: &MemStorage, path: &Path, content: &[u8]) {
    storage.create_new(path).unwrap();
    storage.write_at(path, 0, &[IoSlice::new(content)]).unwrap();
    storage.sync(path).unwrap();
}

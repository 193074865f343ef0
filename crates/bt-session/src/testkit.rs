//! A small torrent on the disk, for tests.
//!
//! Decides: its shape.
//! Must not know: what is tested.
//! Invariant: pieces cross the border of its files.

use bt_metainfo::{Builder, Info, Metainfo};
use bt_piece_store::{DiskStorage, Layout, Storage as _};
use bt_types::Block;
use std::path::Path;

const PIECE: u32 = 32 << 10;

/// Makes a torrent of two files, 100,001 bytes each, and its files in a directory.
pub(crate) fn torrent(dir: &Path) -> (Info, Layout, DiskStorage, Vec<Block>) {
    let files = ["a", "b"].map(|name| (vec![name.to_owned()], 100_001));
    let bytes =
        Builder { piece_length: PIECE, ..Builder::new("t", files.to_vec()) }.build(&[[0; 20]; 7]);
    let info = Metainfo::from_bytes(&bytes).unwrap().info;
    std::fs::create_dir(dir.join("t")).unwrap();
    for (salt, name) in [(1, "a"), (2, "b")] {
        let data: Vec<u8> = (0..100_001u32)
            .map(|n| ((n * 4 + salt).wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        std::fs::write(dir.join("t").join(name), data).unwrap();
    }
    let (layout, storage) = (Layout::new(&info), DiskStorage::open(dir).unwrap());
    layout.files().iter().for_each(|file| assert!(storage.len(&file.path).unwrap().is_some()));
    let blocks = info.geometry.pieces().flat_map(|piece| info.geometry.blocks(piece)).collect();
    (info, layout, storage, blocks)
}

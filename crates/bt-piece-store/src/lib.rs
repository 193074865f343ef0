//! A torrent's pieces on a disk: assembled, verified, written, remembered, found again; and
//! torrents made of a tree of files.
//!
//! Decides: when a piece is good, written and safe.
//! Must not know: peers, trackers, sockets, tokio.
//! Invariant: an unverified byte never reaches a payload file, and the journal says "have" only for
//! synced pieces.
//!
//! ```
//! use bt_piece_store::{CreateOptions, Layout, Progress, create_torrent, verify, DiskStorage};
//! let dir = tempfile::tempdir().unwrap();
//! std::fs::write(dir.path().join("hello.txt"), "hello").unwrap();
//!
//! let (path, options) = (dir.path().join("hello.txt"), CreateOptions::default());
//! let created = create_torrent(&path, &options, &Progress::default()).unwrap();
//! let info = &created.metainfo.info;
//! let storage = DiskStorage::open(dir.path()).unwrap();
//! let digests = info.require_digests().unwrap();
//! let report = verify(&Layout::new(info), &digests, &storage, &Progress::default()).unwrap();
//! assert!(report.is_complete());
//! ```

mod check;
mod claim;
mod create;
mod doubt;
mod failed_blocks;
mod hashing;
mod identity;
mod journal;
mod layout;
mod long;
mod memory;
mod move_files;
mod pattern;
mod progress;
mod read;
mod slices;
mod storage;
#[cfg(test)]
mod testkit;
mod worker;

pub use check::{
    FileReport, FileState, OpenError, Opened, Trust, Use, VerifyReport, open_torrent, verify,
};
pub use claim::{NotedTime, PieceClaim};
pub use create::{
    CreateError, CreateOptions, Created, Renamed, Skipped, create_torrent, torrent_name,
};
pub use hashing::HashError;
pub use identity::{Change, FolderId, Stat};
pub use journal::{Journal, Remembered};
pub use layout::{Layout, LayoutFile, NameError, Span, locate};
pub use move_files::{MoveError, Moved, delete_data, move_data, rename_file, rename_top};
pub use pattern::PathPattern;
pub use progress::Progress;
pub use read::read_blocks;
pub use storage::{
    Directory, DiskStorage, FaultyStorage, Identity, MemStorage, Op, OpenFiles, Place, Storage,
    StoreError, fault_of,
};
pub use worker::{Done, Order, Worker};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

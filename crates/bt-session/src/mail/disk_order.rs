//! What other threads order of a disk thread.
//!
//! Decides: the orders. Must not know: how a disk thread carries them out.
//! Invariant: what is sent can be dropped unread: an answer that is awaited then comes as an error.

use crate::mail::events::Unsaved;
use crate::mail::owner::Claim;
use crate::mail::to_shard::ToShard;
use bt_engine::PeerKey;
use bt_model::Priority;
use bt_piece_store::{Directory, Layout, Order, Storage, Worker};
use bt_types::{Block, Piece};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// An order to a disk thread about one torrent.
pub(crate) enum DiskOrder {
    /// Take over this torrent.
    Attach(Box<Attached>),
    /// An order for the torrent's worker.
    Work(Order),
    /// Read these blocks for a peer.
    Read { peer: PeerKey, blocks: Vec<Block>, method: SendMethod },
    /// Read these blocks of verified pieces for the user.
    Fetch { blocks: Vec<Block>, done: oneshot::Sender<io::Result<Vec<Bytes>>> },
    /// Give the files these priorities. Answered with `Selected`, once that may count.
    Select(Vec<Priority>),
    /// Write and sync complete pieces, then answer with `Settled`. The engine was replaced:
    /// incomplete blocks are overwritten when they are fetched again.
    Settle,
    /// Write and sync what is left, drop the torrent, and answer with the reason if that failed.
    Detach(oneshot::Sender<Option<Unsaved>>),
}

/// How blocks get from their files to a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SendMethod {
    /// Read, then written.
    Copy,
    /// As pages in a pipe; copied where that is impossible, or not worth it.
    Splice,
}

/// A torrent's worker and what it works with.
pub(crate) struct Attached {
    pub(crate) worker: Worker,
    pub(crate) layout: Arc<Layout>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) shard: mpsc::Sender<ToShard>,
    pub(crate) claim: Claim,
    /// The directory of the torrent's top; `None` for a storage of the program's own.
    pub(crate) dir: Option<Arc<Directory>>,
}

impl DiskOrder {
    pub(crate) fn store(block: Block, data: Bytes) -> DiskOrder {
        DiskOrder::Work(Order::Store { block, data })
    }

    pub(crate) fn check(piece: Piece, urgent: bool) -> DiskOrder {
        DiskOrder::Work(Order::Check { piece, urgent })
    }

    pub(crate) fn forget(piece: Piece) -> DiskOrder {
        DiskOrder::Work(Order::Forget { piece })
    }

    /// Returns whether it is an order for the torrent's worker.
    pub(crate) fn is_work(&self) -> bool {
        matches!(self, DiskOrder::Work(_))
    }
}

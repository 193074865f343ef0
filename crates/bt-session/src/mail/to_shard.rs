//! What other threads and tasks tell a shard.
//!
//! Decides: the messages. Must not know: how a shard carries them out.
//! Invariant: what is sent can be dropped unread: an answer that is awaited then comes as an error.

use crate::mail::admission::AdmissionGuard;
use crate::mail::events::TorrentError;
use crate::mail::splice_pipe::SplicePipe;
use crate::mail::torrent::SharedTorrent;
use bt_engine::{Input, MagnetSpec, PeerKey, SourceStat, TorrentKey, TorrentSpec, TorrentView};
use bt_model::{PeerView, Priority, SessionView, TrackerView};
use bt_peer_wire::{Connection, Handshake, Message};
use bt_piece_store::{Layout, Storage};
use bt_types::{Bitfield, Block, Piece};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Messages that wait for a shard. A full inbox stops sockets from being read.
pub(crate) const INBOX_MAX: usize = 1024;

/// A message to a shard.
#[derive(Debug)]
pub(crate) enum ToShard {
    /// An input for the engine.
    Input(Input),
    /// Messages of one peer, and the room that they take in the inbox.
    Frames(PeerKey, Vec<Message>, OwnedSemaphorePermit),
    /// A torrent to work on, its data checked.
    Add(TorrentKey, Box<NewTorrent>),
    /// A magnet link to follow.
    AddMagnet(TorrentKey, Box<NewMagnet>),
    /// The torrent of a magnet link, or one that was opened again, cannot be used: leave it.
    Fail(TorrentKey, TorrentError),
    /// The user wants a torrent otherwise; its settings are read now.
    Set(TorrentKey),
    /// Leave a torrent's swarm, and keep the torrent: it will be opened again. The answer comes
    /// when the engine has removed it.
    Leave(TorrentKey, oneshot::Sender<()>),
    /// Leave a torrent; the answer comes when the engine has removed it.
    Remove(TorrentKey, oneshot::Sender<Departure>),
    /// An incoming connection whose handshake named one of our torrents.
    Accepted(TorrentKey, Box<Handshaken>, SocketAddr, AdmissionGuard),
    /// A dial ended.
    Dialled(TorrentKey, SocketAddr, Option<Box<Handshaken>>),
    /// Blocks that a disk thread read for a peer; `None` for those that cannot be read.
    Read(PeerKey, Vec<(Block, Option<Bytes>)>),
    /// Blocks that a disk thread put into a pipe for a peer.
    Piped(PeerKey, SplicePipe),
    /// Addresses or routes of this machine changed.
    NetworkChanged(NetworkChange),
    /// The error text for the user when a torrent's store failed.
    StoreDetail(TorrentKey, String),
    /// The disk thread has done all that an earlier engine ordered for this torrent: it can come
    /// back.
    Settled(TorrentKey),
    /// The files have these priorities now; their data is safe if nothing of it is missing.
    Selected(TorrentKey, Vec<Priority>),
    /// Report what is known of a torrent.
    View(TorrentKey, View),
    /// Report what is known of all torrents of the shard together.
    SessionView(oneshot::Sender<SessionView>),
    /// A bug, for tests: a panic in the turn, or in a connection's task.
    #[cfg(test)]
    Bug(Option<TorrentKey>),
    /// Finish.
    Stop,
}

/// A report that is asked for, and where it goes.
#[derive(Debug)]
pub(crate) enum View {
    /// The torrent.
    Torrent(oneshot::Sender<Box<TorrentView>>),
    /// Its connected peers.
    Peers(oneshot::Sender<Vec<PeerView>>),
    /// Its trackers.
    Trackers(oneshot::Sender<Vec<TrackerView>>),
    /// A piece is there: the answer comes as soon as it is verified and written.
    Piece(Piece, oneshot::Sender<()>),
    /// The pieces that it has.
    Pieces(oneshot::Sender<Bitfield>),
}

/// What a shard needs for a new torrent.
pub(crate) struct NewTorrent {
    pub(crate) torrent: Arc<SharedTorrent>,
    pub(crate) spec: TorrentSpec,
    pub(crate) layout: Arc<Layout>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) peers: Vec<SocketAddr>,
    /// The shard has the torrent already, or the torrent has left meanwhile: a magnet link led to
    /// it, or it is opened again.
    pub(crate) is_known: bool,
}

/// What a shard needs for a magnet link.
pub(crate) struct NewMagnet {
    pub(crate) torrent: Arc<SharedTorrent>,
    pub(crate) spec: MagnetSpec,
    pub(crate) peers: Vec<SocketAddr>,
    pub(crate) on_metadata: OnMetadata,
}

/// What the shard does once with the metadata of a magnet link: it must not block, and hands the
/// bytes to a thread that may.
pub(crate) type OnMetadata = Box<dyn FnOnce(Bytes) + Send>;

impl std::fmt::Debug for NewMagnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewMagnet").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for NewTorrent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewTorrent").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// The last report on a torrent that was removed.
#[derive(Debug, Default)]
pub(crate) struct Departure {
    pub(crate) status: Option<TorrentView>,
    pub(crate) sources: Vec<SourceStat>,
}

/// A connection on which the peer's handshake has arrived. Bytes behind it wait in `wire`.
#[derive(Debug)]
pub(crate) struct Handshaken {
    pub(crate) stream: UnboundStream,
    pub(crate) wire: Connection,
    pub(crate) handshake: Handshake,
}

/// A stream that is bound to no runtime, so that it can move to its shard.
#[derive(Debug)]
pub(crate) enum UnboundStream {
    Tcp(std::net::TcpStream),
}

/// A change of the network.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct NetworkChange {
    /// Addresses that this machine has lost: connections from them are dead.
    pub(crate) gone: BTreeSet<IpAddr>,
    /// Peers reach this machine in another way, and it them: trackers must be told, and failed
    /// dials may work now.
    pub(crate) is_elsewhere: bool,
    /// The machine slept so long that no connection is alive.
    pub(crate) slept_long: bool,
}

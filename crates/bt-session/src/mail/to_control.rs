//! What other threads tell the control thread.
//!
//! Decides: the messages. Must not know: how the control thread carries them out.
//! Invariant: what is sent can be dropped unread: an answer that is awaited then comes as an error.

use crate::mail::to_shard::ToShard;
use bt_engine::{AnnounceOrder, Discovery, TorrentKey};
use bt_types::InfoHash;
use tokio::sync::{mpsc, oneshot};

/// Messages that wait for the control thread.
pub(crate) const INBOX_MAX: usize = 1024;

/// A message to the control thread.
#[derive(Debug)]
pub(crate) enum ToControl {
    /// From now on connections for this torrent go to this shard.
    Register(InfoHash, TorrentKey, mpsc::Sender<ToShard>),
    /// The torrent is gone.
    Unregister(InfoHash, TorrentKey),
    /// Announce to a tracker.
    Announce(TorrentKey, InfoHash, Box<AnnounceOrder>),
    /// Resolve the peers that a magnet link names (`x.pe`, BEP 9), and pass their addresses on.
    Peers(TorrentKey, Vec<(String, u16)>),
    /// Look for peers by DHT or LSD.
    FindPeers(TorrentKey, InfoHash, Discovery),
    /// The torrent turned out to be private: end every search for it, before a search names us (BEP
    /// 27).
    Hide(TorrentKey),
    /// Finish: wait for the `stopped` announces, then answer.
    Stop(oneshot::Sender<()>),
    /// Finish at once: the session was dropped. No tracker is told.
    Drop,
}

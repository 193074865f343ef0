//! Holds the peers of a torrent that wait for a turn: to be served, and to be sent requests.
//!
//! Decides: when a peer joins the uplink's queue. Must not know: the queues that all torrents
//! share.
//! Invariant: the engine takes the peers that join a queue after each act of the torrent.

use crate::io::PeerKey;
use crate::peer::Peer;
use crate::torrent_rate_limit::RateLimit;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

/// Turns on the uplink.
#[derive(Debug, Default)]
pub(crate) struct UploadTurns {
    /// The torrent's own rate limit.
    pub(crate) limit: RateLimit,
    /// Peers that join the uplink's queue.
    pub(crate) joining: Vec<PeerKey>,
}

impl UploadTurns {
    /// Lets a peer join the uplink's queue if it has blocks to be served, has credit, and is not in
    /// the queue yet.
    pub(crate) fn join(&mut self, peer: &mut Peer) {
        let uploads = &mut peer.uploads;
        if !uploads.is_queued
            && !uploads.waiting.is_empty()
            && uploads.sending < uploads.send_credit
        {
            uploads.is_queued = true;
            self.joining.push(peer.key);
        }
    }
}

/// Turns to be sent requests.
#[derive(Debug, Default)]
pub(crate) struct RequestTurns {
    /// The torrent's own rate limit.
    pub(crate) limit: RateLimit,
    /// Peers that join the downlink's queue.
    pub(crate) joining: Vec<PeerKey>,
    /// Peers that could take more requests than there were blocks to request.
    pub(crate) wants_requests: VecDeque<PeerKey>,
    /// Bytes of requests that were given up.
    pub(crate) unasked: u64,
}

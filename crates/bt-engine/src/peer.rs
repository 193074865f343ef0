//! Holds one connected peer as plain data: what it has, what was said, what it is owed.
//!
//! Decides: when this peer counts as idle, as trusted, or as sending too many unrequested blocks.
//! Must not know: other peers, the torrent.
//! Invariant: `pieces.wanted` is the number of pieces that the peer has and that we want and lack.

use crate::bandwidth_queue::SEND_CREDIT_MIN;
use crate::ctx::Ctx;
use crate::fast::NEWCOMER;
use crate::io::PeerKey;
use crate::metadata_upload::MetadataUpload;
use crate::meter::Meter;
use crate::outboxes::OutboxKey;
use crate::pipeline::Pipeline;
use crate::sources::SourceId;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bt_peer_wire::{Handshake, Message, Reserved};
use bt_types::{Bitfield, Block, Piece, Time};
use core::net::SocketAddr;
use core::time::Duration;

/// Unrequested blocks that are tolerated from a peer, beyond cancelled or abandoned requests. The
/// peer may have sent them before our message reached it.
const UNREQUESTED_FORGIVEN: u32 = 64;

/// Seconds after which an unchoked peer that requests nothing leaves its slot to a waiting peer.
const IDLE_SLOT: Duration = Duration::from_secs(2);

/// Right pieces of a peer for each further piece that it may own unchecked.
const PROVEN_FOR_ONE: u32 = 4;

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) key: PeerKey,
    pub(crate) addr: SocketAddr,
    pub(crate) source: SourceId,
    /// Both sides support the fast extension (BEP 6).
    pub(crate) fast: bool,
    /// It supports the extension protocol (BEP 10).
    pub(crate) extended: bool,
    /// It said that it downloads nothing (BEP 21).
    pub(crate) upload_only: bool,
    pub(crate) pieces: PeerPieces,
    pub(crate) choking: Choking,
    pub(crate) requests: Requests,
    pub(crate) uploads: Uploads,
    /// The upload of our metadata to it (BEP 9).
    pub(crate) metadata_upload: MetadataUpload,
    pub(crate) outbox: OutboxKey,
}

/// The pieces of a peer.
#[derive(Debug)]
pub(crate) struct PeerPieces {
    pub(crate) has: Bitfield,
    /// The number of pieces that it has and that we want and lack.
    pub(crate) wanted: u32,
    /// Its pieces are counted in the picker's availability. Peers that were seeds when they
    /// connected are not counted.
    pub(crate) counted: bool,
    /// The next message may still be a bitfield.
    pub(crate) may_send_bitfield: bool,
}

/// Choking and interest, on both sides (BEP 3).
#[derive(Debug)]
pub(crate) struct Choking {
    pub(crate) am_choking: bool,
    /// We told it that we are interested.
    pub(crate) am_interested: bool,
    pub(crate) peer_choking: bool,
    pub(crate) peer_interested: bool,
    /// We unchoked it by chance, to get to know it.
    pub(crate) optimistic: bool,
    /// When we last choked or unchoked it.
    pub(crate) changed: Time,
    /// When it last requested a block.
    pub(crate) asked_at: Time,
    /// It was unchoked and requested nothing, and has requested nothing since.
    pub(crate) wasteful: bool,
}

/// Our requests to a peer, and how far we trust it.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) pipeline: Pipeline,
    /// It had a part in a piece that failed: it fetches pieces alone until one of them is right.
    pub(crate) on_parole: bool,
    /// The open piece that it owns.
    pub(crate) owned: Option<Piece>,
    /// Pieces that it owns, or owned to the end, and that are not checked yet.
    pub(crate) unproven: u32,
    /// Pieces that it owned and that were right.
    pub(crate) proven: u32,
    /// Pieces that we may request while it chokes us (BEP 6).
    pub(crate) allowed_fast: Vec<Piece>,
    /// Pieces that it suggests to take first (BEP 6).
    pub(crate) suggested: VecDeque<Piece>,
    /// It could take more requests than there were blocks to request.
    pub(crate) wants_requests: bool,
    /// It is in the downlink's queue, or parked.
    pub(crate) asks: bool,
    /// Unrequested blocks that are still tolerated.
    unrequested_left: u32,
}

/// A peer's requests to us.
#[derive(Debug)]
pub(crate) struct Uploads {
    /// Blocks that it requested and that are not ordered yet.
    pub(crate) waiting: VecDeque<Block>,
    /// Payload bytes that are ordered and not written yet.
    pub(crate) sending: u64,
    /// Most such bytes that it may have.
    pub(crate) send_credit: u64,
    /// It is in the uplink's queue, or parked.
    pub(crate) is_queued: bool,
    /// What was sent to it.
    pub(crate) meter: Meter,
    /// Pieces that it may request while we choke it (BEP 6).
    pub(crate) allowed_fast: Vec<Piece>,
}

/// A connection that was just made.
#[derive(Debug)]
pub(crate) struct NewConnection {
    pub(crate) key: PeerKey,
    pub(crate) addr: SocketAddr,
    pub(crate) outbound: bool,
    pub(crate) handshake: Handshake,
}

impl NewConnection {
    /// Returns whether both sides support the fast extension (BEP 6).
    pub(crate) fn is_fast(&self) -> bool {
        self.handshake.reserved.fast() && Reserved::OURS.fast()
    }
}

impl Peer {
    pub(crate) fn new(
        now: Time,
        connection: &NewConnection,
        source: SourceId,
        pieces: u32,
        metadata_upload: MetadataUpload,
        outbox: OutboxKey,
    ) -> Peer {
        Peer {
            key: connection.key,
            addr: connection.addr,
            source,
            fast: connection.is_fast(),
            extended: connection.handshake.reserved.extended(),
            upload_only: false,
            pieces: PeerPieces {
                has: Bitfield::empty(pieces),
                wanted: 0,
                counted: true,
                may_send_bitfield: true,
            },
            choking: Choking {
                am_choking: true,
                am_interested: false,
                peer_choking: true,
                peer_interested: false,
                optimistic: false,
                changed: now,
                asked_at: now,
                wasteful: false,
            },
            requests: Requests {
                // Until the peer says how many requests it queues: clients without `reqq` take 250.
                pipeline: Pipeline::new(now, 250),
                on_parole: false,
                owned: None,
                unproven: 0,
                proven: 0,
                allowed_fast: Vec::new(),
                suggested: VecDeque::new(),
                wants_requests: false,
                asks: false,
                unrequested_left: UNREQUESTED_FORGIVEN,
            },
            uploads: Uploads {
                waiting: VecDeque::new(),
                sending: 0,
                send_credit: SEND_CREDIT_MIN,
                is_queued: false,
                meter: Meter::default(),
                allowed_fast: Vec::new(),
            },
            metadata_upload,
            outbox,
        }
    }

    /// Returns whether it may be sent requests now.
    pub(crate) fn can_be_asked(&self) -> bool {
        (!self.choking.peer_choking || !self.requests.allowed_fast.is_empty())
            && self.pieces.wanted > 0
    }

    /// Returns whether it wants nothing from any peer.
    pub(crate) fn wants_nothing(&self) -> bool {
        self.pieces.has.is_full() || self.upload_only
    }

    /// Cancels its requests for blocks of these pieces. Returns their bytes.
    pub(crate) fn take_back(&mut self, ctx: &mut Ctx<'_>, pieces: &[Piece]) -> u64 {
        let blocks = self.requests.pipeline.take_of(pieces);
        self.forgive(blocks.len());
        for block in &blocks {
            ctx.send(self.outbox, Message::Cancel(block.raw()));
        }
        blocks.iter().map(|block| u64::from(block.len())).sum()
    }

    /// Returns how many pieces it may own unchecked at a time: one, and one more for every
    /// [`PROVEN_FOR_ONE`] right pieces. Even a fast poisoner spoils few pieces before it is known.
    pub(crate) fn trust(&self) -> u32 {
        1 + self.requests.proven / PROVEN_FOR_ONE
    }

    /// Returns whether it is unchoked, has requested nothing for a while, and nothing is on its way
    /// to it.
    pub(crate) fn is_idle(&self, now: Time) -> bool {
        let is_idle = !self.choking.am_choking
            && self.uploads.waiting.is_empty()
            && self.uploads.sending == 0;
        is_idle && now - self.choking.changed.max(self.choking.asked_at) >= IDLE_SLOT
    }

    /// Returns whether its requests for this piece are served: always while it is unchoked, else as
    /// a newcomer.
    pub(crate) fn may_have(&self, piece: Piece) -> bool {
        !self.choking.am_choking
            || (self.uploads.allowed_fast.contains(&piece) && self.pieces.has.count() < NEWCOMER)
    }

    /// Tolerates the blocks of cancelled or abandoned requests: they may still come.
    pub(crate) fn forgive(&mut self, requests: usize) {
        self.requests.unrequested_left =
            self.requests.unrequested_left.saturating_add(requests as u32);
    }

    /// Takes note of a block that was not requested. False if there were too many.
    pub(crate) fn unrequested(&mut self) -> bool {
        let forgiven = self.requests.unrequested_left > 0;
        self.requests.unrequested_left = self.requests.unrequested_left.saturating_sub(1);
        forgiven
    }
}

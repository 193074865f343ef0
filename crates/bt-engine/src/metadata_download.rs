//! Assembles a torrent's metadata from the parts that peers send (BEP 9).
//!
//! Decides: which part is asked of which peer, which copy is believed, which peer lied.
//! Must not know: connections, the content of metadata.
//! Invariant: only bytes with the right hash come out. A peer is called a liar only for a copy that
//! is its own from end to end. All copies together claim at most [`COPIES_BYTES_MAX`].
//!
//! At first the peers that offer the same length make one copy together, each with other parts. If
//! such a copy is wrong, it is unknown which peer lied. From then on every peer makes a copy alone,
//! and a liar is found.

use crate::close_reason::CloseReason;
use crate::io::PeerKey;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bt_peer_wire::METADATA_PART;
use bt_types::{InfoHash, Time};
use bytes::Bytes;
use core::net::SocketAddr;
use core::time::Duration;

/// The longest metadata that is accepted, in bytes.
const METADATA_MAX: u32 = 16 << 20;
/// The total length in bytes of all copies under way. Short copies push out longer ones.
const COPIES_BYTES_MAX: u64 = 32 << 20;
/// Parts that one peer is asked for at a time at first, and at most: one more for each part that it
/// gave.
const ASKED_START: usize = 2;
const ASKED_MAX: usize = 8;
/// Seconds after which a requested part may be asked of other peers too.
const HEDGE: Duration = Duration::from_secs(2);
/// Seconds after which the engine disconnects a peer that offers metadata, is asked, and does not
/// answer.
const SILENCE: Duration = Duration::from_secs(30);
/// Seconds within which a copy must be complete while another copy or connection waits for room.
const COPY_PATIENCE: Duration = Duration::from_secs(60);
/// Seconds that a peer rests after a reject; doubles up to the second value.
const REST_MIN: Duration = Duration::from_secs(5);
const REST_MAX: Duration = Duration::from_secs(300);

/// The copies of one torrent's metadata.
#[derive(Debug)]
pub(crate) struct MetadataDownload {
    info_hash: InfoHash,
    suppliers: BTreeMap<PeerKey, Supplier>,
    copies: BTreeMap<CopyId, Copy>,
    /// A copy of several peers was wrong: every peer makes a copy alone now.
    apart: bool,
    /// A peer waits until there is room for its copy.
    is_short: bool,
}

/// A peer that offers metadata.
#[derive(Debug)]
struct Supplier {
    addr: SocketAddr,
    size: u32,
    /// The parts that it was asked for and has not answered, and how many they may be.
    asked: Vec<u32>,
    window: usize,
    /// It gave a part.
    gave: bool,
    /// When it answered last, or was asked after it had answered everything.
    heard: Time,
    rests_until: Time,
    rest: Duration,
}

/// The id of a copy; short copies sort first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct CopyId {
    size: u32,
    /// The peer that makes it alone; `None` if peers make it together.
    by: Option<PeerKey>,
}

#[derive(Debug)]
struct Copy {
    since: Time,
    parts: Vec<Option<Part>>,
    lacking: usize,
    /// When each part was last asked of any peer.
    asked: BTreeMap<u32, Time>,
}

#[derive(Debug)]
struct Part {
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// The result of a part that completed a copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Whole {
    /// The metadata.
    Right(Bytes),
    /// A wrong copy; the peer that made it, if a single peer did.
    Wrong(Option<SocketAddr>),
}

impl MetadataDownload {
    pub(crate) fn new(info_hash: InfoHash) -> MetadataDownload {
        MetadataDownload {
            info_hash,
            suppliers: BTreeMap::new(),
            copies: BTreeMap::new(),
            apart: false,
            is_short: false,
        }
    }

    /// Notes that a peer offers metadata of `size` bytes.
    pub(crate) fn offered(
        &mut self,
        now: Time,
        peer: PeerKey,
        addr: SocketAddr,
        size: u32,
    ) -> Result<(), CloseReason> {
        let is_new = self.suppliers.get(&peer).is_none_or(|supplier| supplier.size == size);
        if size > METADATA_MAX || !is_new {
            return Err(CloseReason::MetadataSize);
        }
        let (asked, window) = (Vec::new(), ASKED_START);
        let supplier = Supplier {
            addr,
            size,
            asked,
            window,
            gave: false,
            heard: now,
            rests_until: now,
            rest: REST_MIN,
        };
        self.suppliers.entry(peer).or_insert(supplier);
        Ok(())
    }

    /// Removes a peer whose connection ended. Parts that it gave to a shared copy stay.
    pub(crate) fn left(&mut self, peer: PeerKey) {
        let Some(Supplier { size, asked, .. }) = self.suppliers.remove(&peer) else { return };
        self.copies.remove(&CopyId { size, by: Some(peer) });
        // The parts that it was asked for can be asked of other peers at once.
        if let Some(copy) = self.copies.get_mut(&CopyId { size, by: None }) {
            copy.asked.retain(|part, _| !asked.contains(part));
        }
    }

    /// Returns whether the peer gives metadata. An offer alone does not count: a peer may offer
    /// metadata and reject every request.
    pub(crate) fn is_giving(&self, now: Time, peer: PeerKey) -> bool {
        self.suppliers
            .get(&peer)
            .is_some_and(|supplier| supplier.gave && supplier.rests_until <= now)
    }

    /// Picks the parts to ask a peer for now. They count as asked.
    pub(crate) fn ask(&mut self, now: Time, peer: PeerKey) -> Vec<u32> {
        let Some(supplier) =
            self.suppliers.get(&peer).filter(|supplier| supplier.rests_until <= now)
        else {
            return Vec::new();
        };
        let id = self.copy_of(peer, supplier.size);
        if !self.has_begun(now, id) {
            return Vec::new();
        }
        let (Some(supplier), Some(copy)) =
            (self.suppliers.get_mut(&peer), self.copies.get_mut(&id))
        else {
            return Vec::new();
        };
        let already = supplier.asked.len();
        while supplier.asked.len() < supplier.window
            && let Some(part) = copy.free_part(now, &supplier.asked)
        {
            if supplier.asked.is_empty() {
                supplier.heard = now;
            }
            copy.asked.insert(part, now);
            supplier.asked.push(part);
        }
        supplier.asked.get(already..).unwrap_or_default().to_vec()
    }

    /// Takes a part. A part that was not asked for is ignored.
    pub(crate) fn received(
        &mut self,
        now: Time,
        peer: PeerKey,
        part: u32,
        total: u32,
        data: &[u8],
    ) -> Result<Option<Whole>, CloseReason> {
        let Some(supplier) = self.suppliers.get_mut(&peer) else { return Ok(None) };
        if total != supplier.size && supplier.asked.contains(&part) {
            return Err(CloseReason::MetadataSize);
        }
        if !supplier.answer(now, part) {
            return Ok(None);
        }
        supplier.gave = true;
        supplier.rest = REST_MIN;
        supplier.window = ASKED_MAX.min(supplier.window + 1);
        let (from, size) = (supplier.addr, supplier.size);
        let id = self.copy_of(peer, size);
        let Some(copy) = self.copies.get_mut(&id) else { return Ok(None) };
        copy.put(part, Part { from, bytes: data.to_vec() });
        if copy.lacking > 0 {
            return Ok(None);
        }
        Ok(self.copies.remove(&id).map(|copy| self.judge(copy)))
    }

    /// Notes that a peer rejected a part: other peers may be asked for it, and this peer again
    /// after a rest.
    pub(crate) fn rejected(&mut self, now: Time, peer: PeerKey, part: u32) {
        let Some(supplier) = self.suppliers.get_mut(&peer) else { return };
        if !supplier.answer(now, part) {
            return;
        }
        supplier.rests_until = now + supplier.rest;
        supplier.rest = (2 * supplier.rest).min(REST_MAX);
        let size = supplier.size;
        let id = self.copy_of(peer, size);
        if let Some(copy) = self.copies.get_mut(&id) {
            copy.asked.remove(&part);
        }
    }

    /// Returns the peers to disconnect for silence or slowness, once a second. `crowded`: there is
    /// no room for further peers.
    pub(crate) fn watch(&mut self, now: Time, crowded: bool) -> Vec<PeerKey> {
        let is_silent =
            |supplier: &Supplier| !supplier.asked.is_empty() && supplier.heard + SILENCE <= now;
        let silent = self
            .suppliers
            .iter()
            .filter(|(_, supplier)| is_silent(supplier))
            .map(|(peer, _)| *peer);
        let mut left: BTreeSet<PeerKey> = silent.collect();
        let is_short = core::mem::take(&mut self.is_short);
        let slow = self
            .copies
            .iter()
            .filter(|(_, copy)| copy.since + COPY_PATIENCE <= now)
            .map(|(id, _)| id.by);
        let slow: Vec<Option<PeerKey>> = slow.filter(|_| is_short || crowded).collect();
        if is_short && slow.contains(&None) {
            self.part_ways();
        }
        left.extend(slow.into_iter().flatten());
        left.into_iter().collect()
    }

    /// Returns the bytes that are held, and the bytes of the fullest copy with its length.
    pub(crate) fn progress(&self) -> (u64, Option<(u64, u32)>) {
        let held = self.copies.values().map(Copy::held).sum();
        (held, self.copies.iter().map(|(id, copy)| (copy.held(), id.size)).max())
    }

    // ---- inside ----

    fn copy_of(&self, peer: PeerKey, size: u32) -> CopyId {
        CopyId { size, by: self.apart.then_some(peer) }
    }

    /// Returns whether this copy is under way, or there is room to begin it.
    fn has_begun(&mut self, now: Time, id: CopyId) -> bool {
        if self.copies.contains_key(&id) {
            return true;
        }
        let size = u64::from(id.size);
        let mut claimed: u64 = self.copies.keys().map(|id| u64::from(id.size)).sum();
        while claimed + size > COPIES_BYTES_MAX {
            let Some(longest) =
                self.copies.last_entry().filter(|longest| longest.key().size > id.size)
            else {
                self.is_short = true;
                return false;
            };
            claimed -= u64::from(longest.key().size);
            longest.remove();
        }
        self.copies.insert(id, Copy::new(now, id.size));
        true
    }

    fn judge(&mut self, copy: Copy) -> Whole {
        let senders: BTreeSet<SocketAddr> =
            copy.parts.iter().flatten().map(|part| part.from).collect();
        let mut bytes = Vec::new();
        copy.parts.iter().flatten().for_each(|part| bytes.extend_from_slice(&part.bytes));
        if bt_hash::sha1(&bytes) == self.info_hash.0 {
            self.copies.clear();
            return Whole::Right(bytes.into());
        }
        match (senders.first(), senders.len()) {
            (Some(liar), 1) => Whole::Wrong(Some(*liar)),
            _ => {
                self.part_ways();
                Whole::Wrong(None)
            }
        }
    }

    /// Makes every peer make a copy alone from now on.
    fn part_ways(&mut self) {
        if !core::mem::replace(&mut self.apart, true) {
            self.copies.clear();
        }
    }
}

impl Supplier {
    /// Notes that it answers a request; false if there was no such request.
    fn answer(&mut self, now: Time, part: u32) -> bool {
        let Some(place) = self.asked.iter().position(|asked| *asked == part) else { return false };
        self.asked.swap_remove(place);
        self.heard = now;
        true
    }
}

impl Copy {
    fn new(since: Time, size: u32) -> Copy {
        // The size was checked to be at most 16 MiB: about a thousand parts.
        let count = size.div_ceil(METADATA_PART) as usize;
        Copy {
            since,
            parts: (0..count).map(|_| None).collect(),
            lacking: count,
            asked: BTreeMap::new(),
        }
    }

    /// Picks the first lacking part that no peer was asked for lately.
    fn free_part(&self, now: Time, not_these: &[u32]) -> Option<u32> {
        let is_free = |part: &u32| {
            !not_these.contains(part) && self.asked.get(part).is_none_or(|at| *at + HEDGE <= now)
        };
        (0u32..)
            .zip(&self.parts)
            .filter(|(_, held)| held.is_none())
            .map(|(part, _)| part)
            .find(is_free)
    }

    fn put(&mut self, part: u32, what: Part) {
        let place = usize::try_from(part).ok().and_then(|index| self.parts.get_mut(index));
        if let Some(place @ None) = place {
            *place = Some(what);
            self.lacking -= 1;
            self.asked.remove(&part);
        }
    }

    fn held(&self) -> u64 {
        self.parts.iter().flatten().map(|part| part.bytes.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests;

//! A torrent's metadata, put together from what peers send (BEP 9).
//!
//! Decides: which part is asked of whom, whose copy is believed, who lied. Must not know: connections, what metadata says.
//! Invariant: only bytes with the right hash come out; a peer is called a liar only for a copy that is its own from end to end;
//! all copies together claim at most [`COPIES_BYTES_MAX`].
//!
//! At first peers that offer the same length make one copy together, each with other parts. If one such copy is wrong, nobody
//! knows whose fault it is: from then on everybody makes a copy alone, and whoever lies is found.

use crate::io::PeerKey;
use crate::status::Why;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bt_peer_wire::METADATA_PART;
use bt_types::{InfoHash, Time};
use bytes::Bytes;
use core::net::SocketAddr;
use core::time::Duration;

/// The longest metadata that is taken, in bytes.
const METADATA_MAX: u32 = 16 << 20;
/// The length in bytes of all copies under way together. Short ones push out longer ones.
const COPIES_BYTES_MAX: u64 = 32 << 20;
/// Parts that one peer is asked for at a time.
const ASKED_MAX: usize = 2;
/// A part that was asked for so long ago may be asked of others too.
const HEDGE: Duration = Duration::from_secs(2);
/// A peer that offers metadata, is asked, and answers nothing for so long is left.
const SILENCE: Duration = Duration::from_secs(30);
/// While others wait for room, a copy must be whole after so long.
const COPY_PATIENCE: Duration = Duration::from_secs(60);
/// A peer that rejects rests for so long; it doubles up to the second.
const REST_MIN: Duration = Duration::from_secs(5);
const REST_MAX: Duration = Duration::from_secs(300);

/// The copies of one torrent's metadata.
#[derive(Debug)]
pub(crate) struct Assembly {
    info_hash: InfoHash,
    suppliers: BTreeMap<PeerKey, Supplier>,
    copies: BTreeMap<CopyId, Copy>,
    /// A copy of several peers was wrong: now everybody makes one alone.
    apart: bool,
    /// Somebody waits until there is room for its copy.
    is_short: bool,
}

/// A peer that offers metadata.
#[derive(Debug)]
struct Supplier {
    addr: SocketAddr,
    size: u32,
    /// The parts that it was asked for and has not answered.
    asked: Vec<u32>,
    /// When it answered last, or was asked after it had answered everything.
    heard: Time,
    rests_until: Time,
    rest: Duration,
}

/// Which copy: short ones come first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct CopyId {
    size: u32,
    /// Who makes it alone; `None` is together.
    by: Option<PeerKey>,
}

#[derive(Debug)]
struct Copy {
    since: Time,
    parts: Vec<Option<Part>>,
    lacking: usize,
    /// When each part was last asked of anybody.
    asked: BTreeMap<u32, Time>,
}

#[derive(Debug)]
struct Part {
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// What a part that came made whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Whole {
    /// The metadata.
    Right(Bytes),
    /// A wrong copy; who made it alone, if anybody did.
    Wrong(Option<SocketAddr>),
}

impl Assembly {
    pub(crate) fn new(info_hash: InfoHash) -> Assembly {
        Assembly { info_hash, suppliers: BTreeMap::new(), copies: BTreeMap::new(), apart: false, is_short: false }
    }

    /// A peer offers metadata of so many bytes.
    pub(crate) fn offered(&mut self, now: Time, peer: PeerKey, addr: SocketAddr, size: u32) -> Result<(), Why> {
        let is_new = self.suppliers.get(&peer).is_none_or(|supplier| supplier.size == size);
        if size > METADATA_MAX || !is_new {
            return Err(Why::MetadataSize);
        }
        let supplier = Supplier { addr, size, asked: Vec::new(), heard: now, rests_until: now, rest: REST_MIN };
        self.suppliers.entry(peer).or_insert(supplier);
        Ok(())
    }

    /// The connection is gone. What it gave to a copy of several stays.
    pub(crate) fn left(&mut self, peer: PeerKey) {
        if let Some(supplier) = self.suppliers.remove(&peer) {
            self.copies.remove(&CopyId { size: supplier.size, by: Some(peer) });
        }
    }

    /// Whether the peer offers metadata.
    pub(crate) fn is_supplier(&self, peer: PeerKey) -> bool {
        self.suppliers.contains_key(&peer)
    }

    /// The parts to ask of a peer now. They count as asked.
    pub(crate) fn ask(&mut self, now: Time, peer: PeerKey) -> Vec<u32> {
        let Some(supplier) = self.suppliers.get(&peer).filter(|supplier| supplier.rests_until <= now) else { return Vec::new() };
        let id = self.copy_of(peer, supplier.size);
        if !self.has_begun(now, id) {
            return Vec::new();
        }
        let (Some(supplier), Some(copy)) = (self.suppliers.get_mut(&peer), self.copies.get_mut(&id)) else { return Vec::new() };
        let already = supplier.asked.len();
        while supplier.asked.len() < ASKED_MAX
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

    /// A part came. What nobody asked for is ignored.
    pub(crate) fn received(
        &mut self,
        now: Time,
        peer: PeerKey,
        part: u32,
        total: u32,
        data: &[u8],
    ) -> Result<Option<Whole>, Why> {
        let Some(supplier) = self.suppliers.get_mut(&peer) else { return Ok(None) };
        if !supplier.answer(now, part) {
            return Ok(None);
        }
        if total != supplier.size {
            return Err(Why::MetadataSize);
        }
        supplier.rest = REST_MIN;
        let (from, size) = (supplier.addr, supplier.size);
        let id = self.copy_of(peer, size);
        let Some(copy) = self.copies.get_mut(&id) else { return Ok(None) };
        copy.put(part, Part { from, bytes: data.to_vec() });
        if copy.lacking > 0 {
            return Ok(None);
        }
        Ok(self.copies.remove(&id).map(|copy| self.judge(copy)))
    }

    /// A peer does not send a part: others may, and it is asked again after a rest.
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

    /// A second has passed: who is to be left for its silence.
    pub(crate) fn watch(&mut self, now: Time) -> Vec<PeerKey> {
        let is_silent = |supplier: &Supplier| !supplier.asked.is_empty() && supplier.heard + SILENCE <= now;
        let silent = self.suppliers.iter().filter(|(_, supplier)| is_silent(supplier)).map(|(peer, _)| *peer);
        let mut left: BTreeSet<PeerKey> = silent.collect();
        if core::mem::take(&mut self.is_short) {
            let slow = self.copies.iter().filter(|(_, copy)| copy.since + COPY_PATIENCE <= now).map(|(id, _)| id.by);
            let slow: Vec<Option<PeerKey>> = slow.collect();
            if slow.contains(&None) {
                self.part_ways();
            }
            left.extend(slow.into_iter().flatten());
        }
        left.into_iter().collect()
    }

    /// Bytes that are held, and bytes of the fullest copy with its length.
    pub(crate) fn progress(&self) -> (u64, Option<(u64, u32)>) {
        let held = self.copies.values().map(Copy::held).sum();
        (held, self.copies.iter().map(|(id, copy)| (copy.held(), id.size)).max())
    }

    // ---- inside ----

    fn copy_of(&self, peer: PeerKey, size: u32) -> CopyId {
        CopyId { size, by: self.apart.then_some(peer) }
    }

    /// Whether this copy is under way, or there is room to begin it.
    fn has_begun(&mut self, now: Time, id: CopyId) -> bool {
        if self.copies.contains_key(&id) {
            return true;
        }
        let size = u64::from(id.size);
        let mut claimed: u64 = self.copies.keys().map(|id| u64::from(id.size)).sum();
        while claimed + size > COPIES_BYTES_MAX {
            let Some(longest) = self.copies.last_entry().filter(|longest| longest.key().size > id.size) else {
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
        let senders: BTreeSet<SocketAddr> = copy.parts.iter().flatten().map(|part| part.from).collect();
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

    /// From now on everybody makes a copy alone.
    fn part_ways(&mut self) {
        if !core::mem::replace(&mut self.apart, true) {
            self.copies.clear();
        }
    }
}

impl Supplier {
    /// It answers a request, or not if there was none.
    fn answer(&mut self, now: Time, part: u32) -> bool {
        let Some(place) = self.asked.iter().position(|asked| *asked == part) else { return false };
        self.asked.swap_remove(place);
        self.heard = now;
        true
    }
}

impl Copy {
    fn new(since: Time, size: u32) -> Copy {
        // At most 16 MiB were let in: a thousand parts.
        let count = size.div_ceil(METADATA_PART) as usize;
        Copy { since, parts: (0..count).map(|_| None).collect(), lacking: count, asked: BTreeMap::new() }
    }

    /// The first part that is lacking and that nobody was asked for of late.
    fn free_part(&self, now: Time, not_these: &[u32]) -> Option<u32> {
        let is_free = |part: &u32| !not_these.contains(part) && self.asked.get(part).is_none_or(|at| *at + HEDGE <= now);
        (0u32..).zip(&self.parts).filter(|(_, held)| held.is_none()).map(|(part, _)| part).find(is_free)
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

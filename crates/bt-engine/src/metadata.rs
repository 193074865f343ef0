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

use crate::io::PeerKey;
use crate::status::CloseReason;
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
mod tests {
    use super::*;
    use bt_types::Rng;
    use std::vec;

    /// What a peer does.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum Does {
        /// Gives the parts that it is asked for.
        Gives,
        /// Gives wrong bytes of the right length.
        Lies,
        /// Offers this number of bytes, and gives wrong ones.
        Offers(u32),
        /// Says nothing.
        IsSilent,
        /// Rejects everything.
        Rejects,
        /// Gives a part, wrong, every twenty seconds.
        Drips,
    }
    use Does::{Drips, Gives, IsSilent, Lies, Offers, Rejects};

    fn addr(peer: PeerKey) -> SocketAddr {
        SocketAddr::from(([9, 0, 0, peer.0 as u8], 1))
    }

    /// Returns the bytes of a part of metadata of this length, with `wrong` added to each byte.
    fn part(metadata: &[u8], part: u32, total: u32, wrong: u8) -> Vec<u8> {
        let start = part * METADATA_PART;
        let byte = |at: u32| metadata.get(at as usize).copied().unwrap_or(0).wrapping_add(wrong);
        (start..total.min(start + METADATA_PART)).map(byte).collect()
    }

    /// The result of a played download.
    struct Outcome {
        /// The second at which the metadata was right.
        second: u64,
        left: BTreeMap<PeerKey, CloseReason>,
        most_held: u64,
        parts: usize,
    }

    /// Lets peers give metadata of `len` bytes, each a part in a tenth of a second, in random
    /// order.
    fn play(seed: u64, len: usize, peers: &[Does]) -> Outcome {
        let mut rng = Rng::from_seed(seed);
        let mut metadata = vec![0; len];
        rng.fill(&mut metadata);
        let mut metadata_download = MetadataDownload::new(InfoHash(bt_hash::sha1(&metadata)));
        let mut outcome = Outcome { second: 0, left: BTreeMap::new(), most_held: 0, parts: 0 };
        let mut asked: BTreeMap<PeerKey, Vec<u32>> = BTreeMap::new();
        let keys: Vec<PeerKey> = (0..peers.len() as u64).map(PeerKey).collect();
        let size_of = |peer: PeerKey| {
            if let Offers(size) = peers[peer.0 as usize] { size } else { len as u32 }
        };
        for &peer in &keys {
            if let Err(why) = metadata_download.offered(Time::ZERO, peer, addr(peer), size_of(peer))
            {
                outcome.left.insert(peer, why);
            }
        }
        for tenth in 0..10 * 3600u64 {
            let now = Time::from_millis(tenth * 100);
            let mut leaves = Vec::new();
            if tenth % 10 == 0 {
                leaves.extend(
                    metadata_download
                        .watch(now, false)
                        .into_iter()
                        .map(|peer| (peer, CloseReason::NoMetadata)),
                );
            }
            let mut order = keys.clone();
            rng.shuffle(&mut order);
            for peer in order {
                if outcome.left.contains_key(&peer) || leaves.iter().any(|(left, _)| *left == peer)
                {
                    continue;
                }
                let wants = asked.entry(peer).or_default();
                wants.extend(metadata_download.ask(now, peer));
                assert!(wants.len() <= ASKED_MAX, "{peer:?} is asked for {wants:?}");
                let does = peers[peer.0 as usize];
                if wants.is_empty() || does == IsSilent || (does == Drips && tenth % 200 != 0) {
                    continue;
                }
                let number = wants.remove(0);
                if does == Rejects {
                    metadata_download.rejected(now, peer, number);
                    continue;
                }
                let data = part(&metadata, number, size_of(peer), u8::from(does != Gives));
                outcome.parts += 1;
                match metadata_download.received(now, peer, number, size_of(peer), &data).unwrap() {
                    Some(Whole::Right(bytes)) => {
                        assert_eq!(bytes, metadata);
                        assert_eq!(metadata_download.progress().0, 0, "nothing is held any more");
                        outcome.second = tenth / 10;
                        return outcome;
                    }
                    Some(Whole::Wrong(liar)) => {
                        leaves.extend(liar.map(|_| (peer, CloseReason::BadMetadata)))
                    }
                    None => {}
                }
            }
            outcome.most_held = outcome.most_held.max(metadata_download.progress().0);
            for (peer, why) in leaves {
                metadata_download.left(peer);
                outcome.left.insert(peer, why);
            }
        }
        panic!("the metadata never came");
    }

    #[test]
    fn one_honest_peer_of_ten_is_enough() {
        // (length, what the nine other peers do, seconds at most)
        let table: [(usize, &[Does], u64); 9] = [
            (100, &[Lies], 25),
            (40_000, &[Lies], 10),
            (40_000, &[IsSilent], 40),
            (40_000, &[Rejects], 10),
            (40_000, &[Offers(1 << 30)], 1),
            (40_000, &[Offers(METADATA_MAX)], 10),
            (40_000, &[Offers(39_999), Offers(40_001)], 10),
            (400_000, &[Drips], 60),
            (400_000, &[Lies, IsSilent, Rejects, Offers(300_000), Drips, Offers(u32::MAX)], 60),
        ];
        for (len, others, seconds) in table {
            for seed in 0..5 {
                let mut peers: Vec<Does> = others.iter().copied().cycle().take(9).collect();
                peers.insert(seed as usize * 2, Gives);
                let outcome = play(seed, len, &peers);
                assert!(
                    outcome.second <= seconds,
                    "{len} bytes among {others:?}: {} s",
                    outcome.second
                );
                let honest = PeerKey(seed * 2);
                assert!(
                    !outcome.left.contains_key(&honest),
                    "{len} bytes among {others:?}: {:?}",
                    outcome.left
                );
            }
        }
    }

    #[test]
    fn metadata_of_eight_mebibytes_among_liars_and_the_memory_that_it_takes() {
        for (others, seconds) in
            [(Lies, 700), (IsSilent, 100), (Offers(METADATA_MAX), 100), (Drips, 700)]
        {
            let mut peers = vec![others; 9];
            peers.insert(4, Gives);
            let outcome = play(1, 8 << 20, &peers);
            assert!(outcome.second <= seconds, "among {others:?}: {} s", outcome.second);
            assert!(
                outcome.most_held <= COPIES_BYTES_MAX,
                "among {others:?}: {}",
                outcome.most_held
            );
            assert!(
                !outcome.left.contains_key(&PeerKey(4)),
                "among {others:?}: {:?}",
                outcome.left
            );
        }
    }

    #[test]
    fn honest_peers_give_each_part_about_once() {
        let outcome = play(1, 8 << 20, &[Gives; 10]);
        assert_eq!((outcome.parts, outcome.left.len()), (512, 0));
        assert!(outcome.second <= 10, "ten give ten times as fast: {} s", outcome.second);
    }

    #[test]
    fn what_somebody_was_asked_for_who_left_is_asked_of_others_at_once() {
        let mut metadata_download = MetadataDownload::new(InfoHash([0; 20]));
        let (one, other) = (PeerKey(0), PeerKey(1));
        for peer in [one, other] {
            metadata_download.offered(Time::ZERO, peer, addr(peer), 60_000).unwrap();
        }
        assert_eq!(
            (metadata_download.ask(Time::ZERO, one), metadata_download.ask(Time::ZERO, other)),
            (vec![0, 1], vec![2, 3])
        );
        metadata_download.received(Time::ZERO, other, 2, 60_000, &[0; 16_384]).unwrap();
        assert_eq!(metadata_download.ask(Time::ZERO, other), [], "it is asked of somebody");
        // It gives a part that is as long as another size would make it.
        assert_eq!(
            metadata_download.received(Time::ZERO, one, 0, 10, &[1; 10]),
            Err(CloseReason::MetadataSize)
        );
        metadata_download.left(one);
        assert_eq!(metadata_download.ask(Time::ZERO, other), [0, 1]);
    }

    #[test]
    fn who_makes_a_copy_slowly_is_left_when_others_wait_for_its_place() {
        for (crowded, left) in [(false, vec![]), (true, vec![PeerKey(0), PeerKey(1)])] {
            let mut metadata_download = MetadataDownload::new(InfoHash([0; 20]));
            metadata_download.apart = true;
            for (peer, second) in [(0, 0), (1, 0), (2, 30)]
                .map(|(peer, second)| (PeerKey(peer), Time::from_secs(second)))
            {
                metadata_download.offered(second, peer, addr(peer), 40_000).unwrap();
                assert_eq!(metadata_download.ask(second, peer), [0, 1]);
                metadata_download
                    .received(Time::from_secs(50), peer, 0, 40_000, &[0; 16_384])
                    .unwrap();
            }
            assert_eq!(metadata_download.watch(Time::from_secs(59), crowded), []);
            assert_eq!(metadata_download.watch(Time::from_secs(60), crowded), left);
        }
    }

    #[test]
    fn a_claim_allocates_nothing() {
        let mut metadata_download = MetadataDownload::new(InfoHash([0; 20]));
        let peer = PeerKey(1);
        for size in [METADATA_MAX + 1, 1 << 30, u32::MAX] {
            assert_eq!(
                metadata_download.offered(Time::ZERO, peer, addr(peer), size),
                Err(CloseReason::MetadataSize)
            );
        }
        assert!(
            metadata_download.ask(Time::ZERO, peer).is_empty()
                && metadata_download.copies.is_empty()
        );
        assert_eq!(metadata_download.offered(Time::ZERO, peer, addr(peer), METADATA_MAX), Ok(()));
        assert_eq!(metadata_download.offered(Time::ZERO, peer, addr(peer), METADATA_MAX), Ok(()));
        assert_eq!(
            metadata_download.offered(Time::ZERO, peer, addr(peer), 5),
            Err(CloseReason::MetadataSize),
            "it changes"
        );
        assert_eq!(metadata_download.ask(Time::ZERO, peer), [0, 1]);
        assert_eq!(
            metadata_download.received(Time::ZERO, peer, 7, METADATA_MAX, &[1]),
            Ok(None),
            "nobody asked for it"
        );
        assert_eq!(
            metadata_download.received(Time::ZERO, peer, 1, 5, &[1]),
            Err(CloseReason::MetadataSize)
        );
        assert_eq!(metadata_download.progress(), (0, Some((0, METADATA_MAX))));
    }
}

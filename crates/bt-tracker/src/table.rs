//! Holds all swarms, bounded in memory and in time.
//!
//! Decides: what an announce changes. Must not know: transports, and the form of a reply.
//! Invariant: `peers` is the number of peers in all pools. A torrent without peers is open only
//! for its completed count.

use crate::budget::Budget;
use crate::clock::Clock;
use crate::completions::Completions;
use crate::keyed_hash::KeyedHash;
use crate::peer::{Meta, Peer, V4, V6};
use crate::pool::{Peers, Pool, Role};
use crate::sample::Draw;
use crate::torrents::{Torrent, Torrents};
use bt_tracker_wire::{
    AddressFamily, Announce, Event, Failure, LEFT_UNKNOWN, RetryIn, SwarmCounts,
};
use bt_types::{Closeness, InfoHash, Rng};
use core::net::SocketAddr;
use core::time::Duration;

/// Minutes after which a peer that found no room may ask again (BEP 31).
const FULL_RETRY: RetryIn = RetryIn::Minutes(10);
/// More bytes than any torrent has: some clients report such a `left` when they do not know it.
const LEFT_ABSURD: u64 = 1 << 60;
/// Peers or torrents that give way for one newcomer, at most: no announce waits for more, and no
/// newcomer costs many others their place.
const GIVE_WAY_MAX: usize = 3;
/// One in this many renewals moves the peer to another place of its role, so that peers that came
/// together do not stay neighbours.
const SHUFFLED: u64 = 8;

/// The limits of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes.
    pub(crate) memory: usize,
    pub(crate) torrents: usize,
    pub(crate) peers: usize,
}

/// The swarm table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) torrents: Torrents,
    pub(crate) v4: Pool<V4>,
    pub(crate) v6: Pool<V6>,
    pub(crate) budget: Budget,
    /// Hashes addresses and peer ids.
    pub(crate) hash: KeyedHash,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    completions: Completions,
    peers: usize,
    limits: Limits,
}

/// The kind of peers that an announcing peer needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Needs {
    /// All peers: it downloads.
    All,
    /// Peers that download: it has all that it wants.
    Leechers,
    /// Peers that download first, and other peers as well: it reports `left=0`, but may not know
    /// better. Clients with only a magnet link report that until they have the metadata.
    Unproven,
}

/// A peer that is in a swarm now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) torrent: u32,
    /// Its position among the peers of its family.
    pub(crate) at: u32,
    pub(crate) port: u16,
    pub(crate) closeness: Closeness,
    pub(crate) meta: Meta,
    pub(crate) needs: Needs,
}

/// A family of peers: its pool, and its part of a torrent.
pub(crate) trait Family: Peer {
    const FAMILY: AddressFamily;
    fn pool(table: &Table) -> &Pool<Self>;
    fn peers(torrent: &Torrent) -> Peers;
    /// Returns the parts of a table that a change of a swarm needs.
    fn parts(table: &mut Table, torrent: u32)
    -> Option<(&mut Peers, &mut Pool<Self>, &mut Budget)>;
}

impl Family for V4 {
    const FAMILY: AddressFamily = AddressFamily::V4;

    fn pool(table: &Table) -> &Pool<V4> {
        &table.v4
    }

    fn peers(torrent: &Torrent) -> Peers {
        torrent.v4
    }

    fn parts(table: &mut Table, torrent: u32) -> Option<(&mut Peers, &mut Pool<V4>, &mut Budget)> {
        let torrent = table.torrents.get_mut(torrent)?;
        Some((&mut torrent.v4, &mut table.v4, &mut table.budget))
    }
}

impl Family for V6 {
    const FAMILY: AddressFamily = AddressFamily::V6;

    fn pool(table: &Table) -> &Pool<V6> {
        &table.v6
    }

    fn peers(torrent: &Torrent) -> Peers {
        torrent.v6
    }

    fn parts(table: &mut Table, torrent: u32) -> Option<(&mut Peers, &mut Pool<V6>, &mut Budget)> {
        let torrent = table.torrents.get_mut(torrent)?;
        Some((&mut torrent.v6, &mut table.v6, &mut table.budget))
    }
}

impl Table {
    /// Makes an empty table; `peer_age` is how long a peer is remembered after its last announce.
    pub(crate) fn new(limits: Limits, peer_age: Duration, mut rng: Rng) -> Table {
        let mut key = || KeyedHash::new(&mut rng);
        let (torrents, addresses) = (key(), key());
        Table {
            torrents: Torrents::new(torrents),
            v4: Pool::new(addresses.clone()),
            v6: Pool::new(addresses.clone()),
            budget: Budget::new(limits.memory),
            completions: Completions::new(limits.memory / COMPLETION_SHARE, key()),
            hash: addresses,
            clock: Clock::new(peer_age),
            rng,
            peers: 0,
            limits,
        }
    }

    /// Returns the number of torrents.
    pub(crate) fn torrents(&self) -> usize {
        self.torrents.len()
    }

    /// Returns the number of peers over all swarms.
    pub(crate) fn peers(&self) -> usize {
        self.peers
    }

    /// Returns the bytes that the table holds.
    pub(crate) fn bytes(&self) -> usize {
        self.budget.held()
    }

    /// Returns the number of a torrent, if a peer is in it or completed it.
    pub(crate) fn swarm(&self, hash: InfoHash) -> Option<u32> {
        self.torrents.find(hash)
    }

    /// Returns the counts of a swarm; zeros if it is unknown.
    pub(crate) fn counts(&mut self, hash: InfoHash) -> SwarmCounts {
        let found = self.swarm(hash).filter(|&torrent| self.clean(torrent));
        found.map_or_else(no_counts, |torrent| self.counts_of(torrent))
    }

    /// Returns the counts of a torrent.
    pub(crate) fn counts_of(&self, torrent: u32) -> SwarmCounts {
        let Some(torrent) = self.torrents.get(torrent) else { return no_counts() };
        let (v4, v6) = (torrent.v4, torrent.v6);
        let leechers = v4.leechers.saturating_add(v6.leechers);
        SwarmCounts {
            complete: v4.seeds.saturating_add(v6.seeds),
            downloaded: torrent.completed,
            incomplete: leechers.saturating_add(v4.partial).saturating_add(v6.partial),
            downloaders: Some(leechers),
        }
    }

    /// Adds a peer or takes its announce. In a full table other peers give way to a new peer. A new
    /// peer is refused if its subscriber has too many peers in this swarm. `None` for a peer at an
    /// address that cannot be reached.
    pub(crate) fn upsert<P: Family>(
        &mut self,
        addr: SocketAddr,
        announce: &Announce,
    ) -> Result<Option<Member>, Failure> {
        let tag = self.hash.bytes(&announce.peer_id.0);
        let meta = Meta::new(self.clock.tick(), tag);
        let Some(peer) = P::new(addr, meta) else { return Ok(None) };
        let Some(closeness) = peer.closeness() else { return Ok(None) };
        let torrent = self.swarm(announce.info_hash).filter(|&torrent| self.clean(torrent));
        let known = torrent.and_then(|torrent| {
            let peers = P::peers(self.torrents.get(torrent)?);
            P::pool(self).find(peers, peer).map(|at| (torrent, at))
        });
        let before = known.and_then(|(torrent, at)| {
            let peers = P::peers(self.torrents.get(torrent)?);
            Some(P::pool(self).get(peers, at).meta()).filter(|before| before.has_tag_of(meta))
        });
        // A peer that lacked something, uploads or completed has had metadata, so it knows what is
        // left.
        let informed = announce.left > 0
            || announce.uploaded > 0
            || announce.event == Event::Completed
            || before.is_some_and(Meta::is_informed);
        let (role, needs) = match (announce.left == 0, announce.event == Event::Paused) {
            (true, _) => (Role::Seed, if informed { Needs::Leechers } else { Needs::Unproven }),
            (false, true) => (Role::Partial, Needs::Leechers),
            (false, false) => (Role::Leecher, Needs::All),
        };
        // A peer with only a magnet link reports one block, or more than any torrent has: that
        // proves nothing of a later `left`.
        let informed = informed && announce.left != LEFT_UNKNOWN && announce.left < LEFT_ABSURD;
        let meta = meta.informed(informed);
        let Some(peer) = P::new(addr, meta) else { return Ok(None) };
        let place = match known {
            Some((torrent, at)) => self.renew(torrent, at, peer, role).map(|at| (torrent, at)),
            None => Some(self.admit(announce.info_hash, torrent, peer, role)?),
        };
        let Some((torrent, at)) = place else { return Ok(None) };
        self.note(torrent, known.is_some(), addr, announce);
        Ok(Some(Member { torrent, at, closeness, meta, port: addr.port(), needs }))
    }

    /// Removes a peer, if it is known.
    pub(crate) fn remove<P: Family>(&mut self, hash: InfoHash, addr: SocketAddr) {
        let Some(peer) = P::new(addr, Meta::default()) else { return };
        let Some(torrent) = self.swarm(hash) else { return };
        let Some(peers) = self.torrents.get(torrent).map(P::peers) else { return };
        if let Some(at) = P::pool(self).find(peers, peer) {
            self.forget::<P>(torrent, at);
            self.settle(torrent);
        }
    }

    /// Removes the peer at a position. The caller settles the torrent.
    pub(crate) fn forget<P: Family>(&mut self, torrent: u32, at: u32) {
        if let Some((peers, pool, budget)) = P::parts(self, torrent)
            && at < peers.len()
        {
            pool.remove(peers, at, budget);
            self.peers -= 1;
        }
    }

    /// Closes a torrent that has no peers and no completed count. Returns whether it stays.
    pub(crate) fn settle(&mut self, torrent: u32) -> bool {
        let stays = self.torrents.get(torrent).is_some_and(|it| it.len() > 0 || it.completed > 0);
        if !stays {
            self.torrents.close(torrent, &mut self.budget);
        }
        stays
    }

    /// Renews a peer; returns its new position.
    fn renew<P: Family>(&mut self, torrent: u32, at: u32, peer: P, role: Role) -> Option<u32> {
        let word = Draw::new(&mut self.rng).word();
        let (peers, pool, _) = P::parts(self, torrent)?;
        pool.renew(*peers, at, peer);
        let at = pool.set_role(peers, at, role);
        match word % SHUFFLED {
            0 => Some(shuffle(pool, *peers, at, role, word)),
            _ => Some(at),
        }
    }

    /// Adds a peer; returns its torrent and position.
    fn admit<P: Family>(
        &mut self,
        hash: InfoHash,
        torrent: Option<u32>,
        peer: P,
        role: Role,
    ) -> Result<(u32, u32), Failure> {
        let peers = torrent.and_then(|torrent| self.torrents.get(torrent)).map(P::peers);
        if peers.is_some_and(|peers| P::pool(self).is_crowded(peers, peer)) {
            return Err(Failure::new("too many peers at this address").retry(FULL_RETRY));
        }
        let newcomer = peer.subscriber(&self.hash);
        for _ in 0..GIVE_WAY_MAX {
            if self.peers >= self.limits.peers {
                self.drop_peer(newcomer);
                continue;
            }
            // What gave way may have been the last peer of this swarm.
            let found = self.swarm(hash);
            if found.is_none() && self.torrents.len() >= self.limits.torrents {
                self.drop_torrent(newcomer);
                continue;
            }
            let Some(torrent) = found.or_else(|| self.torrents.open(hash, &mut self.budget)) else {
                self.drop_torrent(newcomer);
                continue;
            };
            if let Some(at) = self.insert(torrent, peer, role) {
                return Ok((torrent, at));
            }
            // The memory is used up. A peer that gives way may leave a place of the right size.
            self.settle(torrent);
            self.drop_peer(newcomer);
        }
        // The place of a peer of this swarm is exactly the one that is needed.
        self.swarm(hash)
            .and_then(|torrent| Some((torrent, self.replace(torrent, peer, role)?)))
            .ok_or_else(|| Failure::new("the tracker is full").retry(FULL_RETRY))
    }

    fn insert<P: Family>(&mut self, torrent: u32, peer: P, role: Role) -> Option<u32> {
        let word = Draw::new(&mut self.rng).word();
        let (peers, pool, budget) = P::parts(self, torrent)?;
        let at = pool.insert(peers, peer, role, budget)?;
        let at = shuffle(pool, *peers, at, role, word);
        self.peers += 1;
        Some(at)
    }

    /// Gives a newcomer that found no room the place of a random peer of its swarm.
    fn replace<P: Family>(&mut self, torrent: u32, peer: P, role: Role) -> Option<u32> {
        let mut draw = Draw::new(&mut self.rng);
        let (peers, pool, budget) = P::parts(self, torrent).filter(|parts| parts.0.len() > 0)?;
        let at = draw.below(peers.len().into()) as u32;
        let at = pool.replace(peers, at, peer, role, budget);
        Some(shuffle(pool, *peers, at, role, draw.word()))
    }

    /// Notes when the torrent was heard of, and counts a completed download.
    fn note(&mut self, torrent: u32, known: bool, addr: SocketAddr, announce: &Announce) {
        // A peer that we never saw may have completed while the tracker was down: it did if it
        // downloaded anything.
        let credible = known || announce.downloaded > 0;
        let completed = announce.event == Event::Completed && announce.left == 0 && credible;
        let counts =
            completed && self.completions.count(announce.info_hash, addr, &mut self.budget);
        let second = self.clock.now.as_micros() / 1_000_000;
        if let Some(torrent) = self.torrents.get_mut(torrent) {
            torrent.completed = torrent.completed.saturating_add(counts.into());
            torrent.heard = u32::try_from(second).unwrap_or(u32::MAX - 1);
        }
    }
}

/// Bytes of memory for each completion that may be remembered: together they take a tenth.
const COMPLETION_SHARE: usize = 256;

fn no_counts() -> SwarmCounts {
    SwarmCounts { downloaders: Some(0), ..SwarmCounts::default() }
}

/// Exchanges a peer with a random one of its role; returns its new position.
fn shuffle<P: Peer>(pool: &mut Pool<P>, peers: Peers, at: u32, role: Role, word: u64) -> u32 {
    let range = peers.range(role);
    let to = range.start + (((word >> 32) * range.len() as u64) >> 32) as u32;
    pool.swap(peers, at, to);
    to
}

//! The peers that announced themselves to us (BEP 5), their counts (BEP 33) and a sample of their
//! torrents (BEP 51).
//!
//! Decides: which peers are kept, and for how long.
//! Must not know: tokens, messages.
//! Invariant: one peer per torrent and subscriber; never more torrents or peers than the limits;
//! `opened` holds exactly the torrents.

use crate::bloom::Bloom;
use crate::contact::Family;
use crate::crowd::{crowd_of, who_yields};
use crate::message::Samples;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bt_types::{Closeness, InfoHash, Rng, Shares, Time, Yields, closeness, subscriber};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Most torrents that are kept.
pub(crate) const TORRENTS_MAX: usize = 5000;
/// Most peers that are kept for each torrent.
pub(crate) const PEERS_MAX: usize = 500;
/// Most peers in one answer.
const ANSWER_MAX: usize = 100;
/// Time that a peer is kept after its last announce.
const PEER_LIFE: Duration = Duration::from_secs(30 * 60);
/// Torrents in a sample, and how long it stays the same.
const SAMPLE_MAX: usize = 20;
const SAMPLE_LIFE: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
pub(crate) struct PeerStore {
    torrents: BTreeMap<InfoHash, Swarm>,
    /// The torrents by the network that opened them.
    opened: Shares<InfoHash>,
    sample: Vec<InfoHash>,
    sample_until: Time,
}

/// The peers of a torrent.
#[derive(Debug)]
struct Swarm {
    /// By subscriber.
    peers: BTreeMap<SocketAddr, Peer>,
    /// The network of its first peer, which never changes. Else two networks that open torrents
    /// together would have none that count. A host with IPv4 and IPv6 can do that.
    opener: IpAddr,
    last: Time,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    addr: SocketAddr,
    seed: bool,
    since: Time,
}

impl Default for PeerStore {
    fn default() -> PeerStore {
        let opened = Shares::new(InfoHash([0; 20]));
        PeerStore {
            torrents: BTreeMap::new(),
            opened,
            sample: Vec::new(),
            sample_until: Time::ZERO,
        }
    }
}

impl PeerStore {
    /// Adds or renews a peer. With too many torrents, one gives way. With too many peers in this
    /// torrent, the oldest of the network with most peers gives way.
    pub(crate) fn announce(&mut self, now: Time, hash: InfoHash, peer: SocketAddr, seed: bool) {
        let network = crowd_of(peer.ip());
        if !self.torrents.contains_key(&hash) {
            if self.torrents.len() >= TORRENTS_MAX {
                self.make_room(network);
            }
            self.opened.insert(network, hash);
        }
        let swarm = self.torrents.entry(hash).or_insert_with(|| Swarm {
            peers: BTreeMap::new(),
            opener: network,
            last: now,
        });
        if swarm.peers.len() >= PEERS_MAX && !swarm.peers.contains_key(&host(peer)) {
            let gone = who_yields(
                peer.ip(),
                swarm.peers.iter().map(|(host, peer)| (peer.addr.ip(), peer.since, *host)),
            );
            gone.map(|gone| swarm.peers.remove(&gone));
        }
        swarm.last = now;
        swarm.peers.insert(host(peer), Peer { addr: peer, seed, since: now });
    }

    /// Evicts a torrent of the network that opened most; when each network opened one, any torrent
    /// may go.
    ///
    /// Of these the torrent with the fewest peers goes, and of those the oldest.
    fn make_room(&mut self, newcomer: IpAddr) {
        let crowd = match self.opened.yields_to(newcomer) {
            Yields::Entry(hash) => self.torrents.get(&hash).map(|swarm| swarm.opener),
            Yields::Oldest => None,
        };
        let may_go = self
            .torrents
            .iter()
            .filter(|(_, swarm)| crowd.is_none_or(|crowd| swarm.opener == crowd));
        if let Some((&hash, swarm)) =
            may_go.min_by_key(|(_, swarm)| (swarm.peers.len(), swarm.last))
        {
            self.opened.remove(swarm.opener, hash);
            self.torrents.remove(&hash);
        }
    }

    /// Returns peers of one family: random ones, if there are more than fit into an answer.
    pub(crate) fn peers(
        &self,
        hash: InfoHash,
        family: Family,
        no_seed: bool,
        rng: &mut Rng,
    ) -> Vec<SocketAddr> {
        let Some(swarm) = self.torrents.get(&hash) else { return Vec::new() };
        let wanted = |peer: &Peer| {
            (Family::of(peer.addr) == family && !(no_seed && peer.seed)).then_some(peer.addr)
        };
        let mut found: Vec<SocketAddr> = swarm.peers.values().filter_map(wanted).collect();
        rng.shuffle(&mut found);
        found.truncate(ANSWER_MAX);
        found
    }

    /// Makes filters of the seeds and of the other peers; `None` when the torrent is not known (BEP
    /// 33).
    pub(crate) fn blooms(&self, hash: InfoHash) -> Option<(Bloom, Bloom)> {
        let swarm = self.torrents.get(&hash)?;
        let (mut seeds, mut peers) = (Bloom::default(), Bloom::default());
        for peer in swarm.peers.values() {
            if peer.seed { seeds.insert(peer.addr.ip()) } else { peers.insert(peer.addr.ip()) }
        }
        Some((seeds, peers))
    }

    /// Returns a sample that stays the same for a while (BEP 51).
    pub(crate) fn sample(&mut self, now: Time, rng: &mut Rng) -> Samples {
        if now >= self.sample_until {
            let mut hashes: Vec<InfoHash> = self.torrents.keys().copied().collect();
            rng.shuffle(&mut hashes);
            hashes.truncate(SAMPLE_MAX);
            self.sample = hashes;
            self.sample_until = now + SAMPLE_LIFE;
        }
        let left = self.sample_until.since(now).as_secs().min(SAMPLE_LIFE.as_secs());
        Samples {
            hashes: self.sample.clone(),
            total: u32::try_from(self.torrents.len()).unwrap_or(u32::MAX),
            interval_secs: u32::try_from(left).unwrap_or(0),
        }
    }

    /// Forgets peers that did not announce again.
    pub(crate) fn expire(&mut self, now: Time) {
        let opened = &mut self.opened;
        self.torrents.retain(|hash, swarm| {
            swarm.peers.retain(|_, peer| now.since(peer.since) < PEER_LIFE);
            let stays = !swarm.peers.is_empty();
            if !stays {
                opened.remove(swarm.opener, *hash);
            }
            stays
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.torrents.len()
    }
}

/// Returns the key of a peer: its subscriber, with any port (BEP 33). On this machine every port is
/// another peer.
fn host(peer: SocketAddr) -> SocketAddr {
    let port = if closeness(peer.ip()) == Some(Closeness::Loopback) { peer.port() } else { 0 };
    SocketAddr::new(subscriber(peer.ip()), port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::format;
    use std::net::Ipv4Addr;

    fn hash(number: usize) -> InfoHash {
        let mut hash = [0; 20];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        InfoHash(hash)
    }

    fn peer(number: u16) -> SocketAddr {
        let [high, low] = number.to_be_bytes();
        SocketAddr::new(Ipv4Addr::new(5, 6, high, low).into(), 7)
    }

    #[test]
    fn a_peer_is_kept_once_per_address_and_for_half_an_hour() {
        let (mut store, mut rng) = (PeerStore::default(), Rng::from_seed(1));
        store.announce(Time::ZERO, hash(1), peer(1), false);
        store.announce(Time::from_secs(1000), hash(1), SocketAddr::new(peer(1).ip(), 8), true);
        store.announce(Time::ZERO, hash(1), peer(2), false);
        store.announce(Time::ZERO, hash(1), "[2a00::1]:9".parse().unwrap(), false);
        assert_eq!(store.peers(hash(1), Family::V4, false, &mut rng).len(), 2);
        assert_eq!(store.peers(hash(1), Family::V4, true, &mut rng), [peer(2)], "without the seed");
        assert_eq!(
            store.peers(hash(1), Family::V6, false, &mut rng),
            ["[2a00::1]:9".parse().unwrap()]
        );
        let (seeds, peers) = store.blooms(hash(1)).unwrap();
        assert_eq!((seeds.estimate(), peers.estimate()), (1, 2));
        store.expire(Time::from_secs(1800));
        assert_eq!(
            store.peers(hash(1), Family::V4, false, &mut rng),
            [SocketAddr::new(peer(1).ip(), 8)]
        );
        store.expire(Time::from_secs(2800));
        assert_eq!((store.len(), store.blooms(hash(1))), (0, None));
    }

    #[test]
    fn nothing_grows_past_its_limit() {
        let (mut store, mut rng) = (PeerStore::default(), Rng::from_seed(1));
        (0..600).for_each(|number| store.announce(Time::ZERO, hash(0), peer(number), false));
        assert_eq!(store.torrents[&hash(0)].peers.len(), PEERS_MAX);
        assert_eq!(store.peers(hash(0), Family::V4, false, &mut rng).len(), ANSWER_MAX);
        for number in 1..TORRENTS_MAX + 10 {
            store.announce(Time(u64::try_from(number).unwrap()), hash(number), peer(1), false);
        }
        assert_eq!(store.len(), TORRENTS_MAX);
        assert!(store.blooms(hash(0)).is_some(), "the fullest stays");
        assert!(
            store.blooms(hash(1)).is_none() && store.blooms(hash(TORRENTS_MAX)).is_some(),
            "the oldest of the others goes"
        );
    }

    /// Makes the n-th address of an IPv6 /48, each in its own /64.
    fn flooder(n: usize) -> SocketAddr {
        let ip = core::net::Ipv6Addr::from((0x2a00 << 112) | ((n as u128) << 64));
        SocketAddr::new(ip.into(), 7)
    }

    #[test]
    fn a_subscriber_has_one_peer_in_a_torrent() {
        let (mut store, mut rng) = (PeerStore::default(), Rng::from_seed(1));
        for host in 1..100 {
            store.announce(
                Time::ZERO,
                hash(1),
                format!("[2a00::{host}]:7").parse().unwrap(),
                false,
            );
        }
        assert_eq!(
            store.peers(hash(1), Family::V6, false, &mut rng),
            ["[2a00::99]:7".parse().unwrap()]
        );
    }

    #[test]
    fn one_network_fills_neither_a_torrent_nor_the_store() {
        let (mut store, mut rng) = (PeerStore::default(), Rng::from_seed(1));
        (0..50).for_each(|n| {
            store.announce(Time::ZERO, hash(0), SocketAddr::from(([n, 6, 7, 8], 9)), false)
        });
        (0..2_000).for_each(|n| store.announce(Time::from_secs(1), hash(0), flooder(n), false));
        store.announce(Time::from_secs(2), hash(0), "99.1.1.1:9".parse().unwrap(), false);
        assert_eq!(store.peers(hash(0), Family::V4, false, &mut rng).len(), 51);

        (1..50).for_each(|n| {
            store.announce(Time::ZERO, hash(n), peer(u16::try_from(n * 256).unwrap()), false)
        });
        (1_000..8_000).for_each(|n| store.announce(Time::from_secs(1), hash(n), flooder(n), false));
        assert_eq!(store.len(), TORRENTS_MAX);
        assert!(
            (0..50).all(|n| store.blooms(hash(n)).is_some()),
            "what others announced is still there"
        );
    }

    #[test]
    fn two_networks_together_push_out_nobodys_torrents() {
        let mut store = PeerStore::default();
        let honest = |n: usize| SocketAddr::from(([9, u8::try_from(n / 3).unwrap(), 7, 8], 9));
        (0..60).for_each(|n| store.announce(Time::ZERO, hash(n), honest(n), false));
        for n in 1_000..8_000 {
            store.announce(Time::from_secs(1), hash(n), "1.1.1.1:9".parse().unwrap(), false);
            store.announce(Time::from_secs(1), hash(n), flooder(0), false);
        }
        (60..90).for_each(|n| store.announce(Time::from_secs(2), hash(n), honest(n), false));
        assert_eq!(store.len(), TORRENTS_MAX);
        assert!(
            (0..90).all(|n| store.blooms(hash(n)).is_some()),
            "three torrents of each network are still there"
        );
        store.expire(Time::from_secs(1_801));
        assert_eq!(
            (store.len(), store.opened.count(honest(89).ip()), store.opened.count(flooder(0).ip())),
            (30, 0, 0)
        );
    }

    #[test]
    fn a_sample_stays_for_its_interval() {
        let (mut store, mut rng) = (PeerStore::default(), Rng::from_seed(1));
        (0..100).for_each(|number| store.announce(Time::ZERO, hash(number), peer(1), false));
        let first = store.sample(Time::from_secs(1), &mut rng);
        assert_eq!((first.total, first.interval_secs), (100, 300));
        assert_eq!(first.hashes.iter().collect::<BTreeSet<_>>().len(), SAMPLE_MAX);
        let second = store.sample(Time::from_secs(101), &mut rng);
        assert_eq!((second.interval_secs, second.hashes == first.hashes), (200, true));
        assert_ne!(store.sample(Time::from_secs(301), &mut rng).hashes, first.hashes);
    }
}

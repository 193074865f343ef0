//! Packs a peer into 8 bytes (IPv4) or 20 bytes (IPv6).
//!
//! Decides: which bits mean what. Must not know: swarms, the clock.
//! Invariant: a peer whose address cannot be reached has no packed form.

use crate::keyed_hash::KeyedHash;
use alloc::vec::Vec;
use bt_types::{Closeness, closeness};
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bits of the tick in which a peer was last heard.
const TICK_BITS: u32 = 8;
const TICK: u16 = (1 << TICK_BITS) - 1;
const INFORMED: u16 = 1 << TICK_BITS;
const TAG_SHIFT: u32 = TICK_BITS + 1;

/// A moment in units of which [`AGE`] make the life of a silent peer; it wraps around.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Tick(u16);

/// Ticks after which a silent peer is forgotten. The other half of the ring is time for the sweep
/// to find it.
pub(crate) const AGE: u16 = 120;

impl Tick {
    pub(crate) const ZERO: Tick = Tick(0);

    /// Makes the tick of a count of units.
    pub(crate) fn of(units: u64) -> Tick {
        Tick((units & u64::from(TICK)) as u16)
    }

    /// Returns the ticks from then to now.
    pub(crate) fn since(self, then: Tick) -> u16 {
        self.0.wrapping_sub(then.0) & TICK
    }
}

/// What a table knows of a peer besides its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Meta(u16);

impl Meta {
    /// Packs it. Of `tag`, a hash of the peer id, seven bits are kept: they tell a client that came
    /// back from another client at its address.
    pub(crate) fn new(heard: Tick, tag: u64) -> Meta {
        Meta(heard.0 | ((tag >> 57) as u16) << TAG_SHIFT)
    }

    /// Marks a peer that has shown that it knows what it lacks: it has metadata.
    pub(crate) fn informed(self, informed: bool) -> Meta {
        Meta(if informed { self.0 | INFORMED } else { self.0 & !INFORMED })
    }

    pub(crate) fn is_informed(self) -> bool {
        self.0 & INFORMED != 0
    }

    pub(crate) fn has_tag_of(self, other: Meta) -> bool {
        self.0 >> TAG_SHIFT == other.0 >> TAG_SHIFT
    }

    pub(crate) fn heard(self) -> Tick {
        Tick(self.0 & TICK)
    }

    /// Returns whether the peer was silent for too long.
    pub(crate) fn is_expired(self, now: Tick) -> bool {
        now.since(self.heard()) >= AGE
    }
}

/// A packed peer of one family.
pub(crate) trait Peer: Copy + Default {
    /// Packs a peer; `None` for an address of the other family.
    fn new(addr: SocketAddr, meta: Meta) -> Option<Self>;
    fn addr(self) -> SocketAddr;
    fn port(self) -> u16;
    fn meta(self) -> Meta;
    fn closeness(self) -> Option<Closeness> {
        closeness(self.addr().ip())
    }
    /// Appends the compact form (BEP 23, BEP 7).
    fn push(self, out: &mut Vec<u8>);
    /// Returns a number that is equal for all peers of one public subscriber: an IPv4 address, an
    /// IPv6 /64. Near us each address is a host of its own.
    fn subscriber(self, hash: &KeyedHash) -> u64;
    /// Returns the hash under which it is found in a large swarm. All peers of a public subscriber,
    /// who are few, have the same.
    fn hash(self, hash: &KeyedHash) -> u64;
    /// Returns whether both have one address and port.
    fn is_at(self, other: Self) -> bool;
    /// A free place instead of a peer: the number of the next free place.
    fn free(next: u32) -> Self;
    fn next_free(self) -> u32;
}

/// An IPv4 peer: from the top 32 bits of address, 16 of port, 16 of [`Meta`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct V4(u64);

impl Peer for V4 {
    fn new(addr: SocketAddr, meta: Meta) -> Option<V4> {
        let SocketAddr::V4(addr) = addr else { return None };
        let ip = u64::from(addr.ip().to_bits());
        Some(V4(ip << 32 | u64::from(addr.port()) << 16 | u64::from(meta.0)))
    }

    fn addr(self) -> SocketAddr {
        (Ipv4Addr::from_bits((self.0 >> 32) as u32), self.port()).into()
    }

    fn port(self) -> u16 {
        (self.0 >> 16) as u16
    }

    fn meta(self) -> Meta {
        Meta(self.0 as u16)
    }

    fn push(self, out: &mut Vec<u8>) {
        let [compact @ .., _, _] = self.0.to_be_bytes();
        out.extend_from_slice(&compact);
    }

    fn subscriber(self, hash: &KeyedHash) -> u64 {
        hash.word(self.0 >> 32)
    }

    fn hash(self, hash: &KeyedHash) -> u64 {
        if self.closeness() == Some(Closeness::Public) {
            self.subscriber(hash)
        } else {
            hash.word(self.0 >> 16)
        }
    }

    fn is_at(self, other: V4) -> bool {
        self.0 >> 16 == other.0 >> 16
    }

    fn free(next: u32) -> V4 {
        V4(next.into())
    }

    fn next_free(self) -> u32 {
        self.0 as u32
    }
}

/// An IPv6 peer: in 20 bytes, so the address is not aligned to its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct V6 {
    ip: [u8; 16],
    port: u16,
    meta: Meta,
}

impl Peer for V6 {
    fn new(addr: SocketAddr, meta: Meta) -> Option<V6> {
        let SocketAddr::V6(addr) = addr else { return None };
        Some(V6 { ip: addr.ip().octets(), port: addr.port(), meta })
    }

    fn addr(self) -> SocketAddr {
        (Ipv6Addr::from(self.ip), self.port).into()
    }

    fn port(self) -> u16 {
        self.port
    }

    fn meta(self) -> Meta {
        self.meta
    }

    fn push(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ip);
        out.extend_from_slice(&self.port.to_be_bytes());
    }

    fn subscriber(self, hash: &KeyedHash) -> u64 {
        let ip = u128::from_be_bytes(self.ip);
        let network = ip & !u128::from(u64::MAX);
        hash.wide(if self.closeness() == Some(Closeness::Public) { network } else { ip }, 0)
    }

    fn hash(self, hash: &KeyedHash) -> u64 {
        if self.closeness() == Some(Closeness::Public) {
            self.subscriber(hash)
        } else {
            hash.wide(u128::from_be_bytes(self.ip), self.port)
        }
    }

    fn is_at(self, other: V6) -> bool {
        self.ip == other.ip && self.port == other.port
    }

    fn free(next: u32) -> V6 {
        let mut ip = [0; 16];
        ip.iter_mut().zip(next.to_be_bytes()).for_each(|(to, from)| *to = from);
        V6 { ip, ..V6::default() }
    }

    fn next_free(self) -> u32 {
        let [a, b, c, d, ..] = self.ip;
        u32::from_be_bytes([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_types::{Rng, push_compact};

    const ADDRS: [&str; 8] = [
        "1.2.3.4:5",
        "10.0.0.1:65535",
        "169.254.1.1:1",
        "127.0.0.1:80",
        "[2001:db8::1]:5",
        "[fd00::1]:6",
        "[fe80::1]:7",
        "[::1]:8",
    ];

    fn check<P: Peer>(addr: SocketAddr, meta: Meta) {
        let Some(peer) = P::new(addr, meta) else { return };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        peer.push(&mut ours);
        push_compact(&mut theirs, addr);
        assert_eq!(
            (peer.addr(), peer.port(), peer.meta(), ours),
            (addr, addr.port(), meta, theirs)
        );
        assert_eq!(P::free(0x1234_5678).next_free(), 0x1234_5678);
        assert!(peer.is_at(P::new(addr, Meta::default()).unwrap()));
    }

    #[test]
    fn a_packed_peer_has_its_size_and_everything_in_it() {
        assert_eq!((size_of::<V4>(), size_of::<V6>()), (8, 20));
        for addr in ADDRS.map(|addr| addr.parse::<SocketAddr>().unwrap()) {
            let meta = Meta::new(Tick::of(255), u64::MAX).informed(true);
            assert!(meta.is_informed() && !meta.informed(false).is_informed());
            check::<V4>(addr, meta);
            check::<V6>(addr, meta);
        }
    }

    #[test]
    fn a_tick_wraps_around() {
        for then in [0, 100, 255, 256, 5_000] {
            assert_eq!(Tick::of(then + 119).since(Tick::of(then)), 119);
            let meta = Meta::new(Tick::of(then), 0);
            assert!(
                !meta.is_expired(Tick::of(then + 119)) && meta.is_expired(Tick::of(then + 120))
            );
            assert!(meta.is_expired(Tick::of(then + 255)));
        }
    }

    #[test]
    fn the_peers_of_a_subscriber_have_one_hash_unless_they_are_near_us() {
        let hash = KeyedHash::new(&mut Rng::from_seed(1));
        let of = |addr: &str| {
            let addr: SocketAddr = addr.parse().unwrap();
            let meta = Meta::default();
            let v4 = V4::new(addr, meta).map(|peer| peer.hash(&hash));
            v4.or_else(|| V6::new(addr, meta).map(|peer| peer.hash(&hash))).unwrap()
        };
        assert_eq!(of("1.2.3.4:5"), of("1.2.3.4:6"));
        assert_eq!(of("[2001:db8::1]:5"), of("[2001:db8::2]:6"));
        assert_ne!(of("1.2.3.4:5"), of("1.2.3.5:5"));
        assert_ne!(of("[2001:db8::1]:5"), of("[2001:db8:0:1::1]:5"));
        assert_ne!(of("127.0.0.1:5"), of("127.0.0.1:6"));
        assert_ne!(of("[fd00::1]:5"), of("[fd00::1]:6"));
    }
}

//! Addresses that nothing is to do with: a list of ranges, as blocklists have them.
//!
//! Decides: what a line of a list means.
//! Must not know: where a list comes from, connections.
//! Invariant: ranges are sorted and apart from one another, so that a look-up halves them.

use crate::error::NetError;
use crate::gzip;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};

/// Ranges with at least this level in an eMule list are allowed.
const ALLOWED_LEVEL: u32 = 128;

/// Addresses that nothing is to do with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IpFilter {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl IpFilter {
    /// Most bytes of a list, compressed and not.
    pub const BYTES_MAX: usize = 128 << 20;

    /// Reads the bytes of a list, which may be gzip. Names in it may have any encoding.
    pub fn from_bytes(bytes: &[u8]) -> Result<(IpFilter, usize), NetError> {
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let bytes = gzip::inflate(bytes, IpFilter::BYTES_MAX)?;
            return Ok(IpFilter::parse(&String::from_utf8_lossy(&bytes)));
        }
        Ok(IpFilter::parse(&String::from_utf8_lossy(bytes)))
    }

    /// Reads a list: lines of P2P text (`name:1.2.3.4-1.2.3.9`), of eMule
    /// (`1.2.3.4 - 1.2.3.9 , 100 , name`), and of addresses and networks (`1.2.3.0/24`). Returns
    /// also how many lines are none of these; empty ones and comments are not counted.
    pub fn parse(text: &str) -> (IpFilter, usize) {
        let (mut filter, mut unknown) = (IpFilter::default(), 0);
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', ';']) || line.starts_with("//") {
                continue;
            }
            match range(line) {
                Some(Line::Blocked(from, to)) => filter.push(from, to),
                Some(Line::Allowed) => {}
                None => unknown += 1,
            }
        }
        (filter.sorted(), unknown)
    }

    /// Returns the filter of these and of other ranges.
    #[must_use]
    pub fn and(mut self, other: IpFilter) -> IpFilter {
        self.v4.extend(other.v4);
        self.v6.extend(other.v6);
        self.sorted()
    }

    /// Returns the filter of single addresses.
    pub fn of(addresses: impl IntoIterator<Item = IpAddr>) -> IpFilter {
        let mut filter = IpFilter::default();
        addresses.into_iter().for_each(|ip| filter.push(ip, ip));
        filter.sorted()
    }

    /// Returns whether an address is in it.
    pub fn has(&self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => is_in(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => is_in(&self.v6, ip.to_bits()),
        }
    }

    /// Returns how many ranges there are.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, from: IpAddr, to: IpAddr) {
        match (from.to_canonical(), to.to_canonical()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => self.v4.push((from.to_bits(), to.to_bits())),
            (IpAddr::V6(from), IpAddr::V6(to)) => self.v6.push((from.to_bits(), to.to_bits())),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {}
        }
    }

    fn sorted(mut self) -> IpFilter {
        self.v4 = joined(self.v4, |last| last.checked_add(1));
        self.v6 = joined(self.v6, |last| last.checked_add(1));
        self
    }
}

/// Sorts ranges, and joins those that touch.
fn joined<T: Copy + Ord>(mut all: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Vec<(T, T)> {
    all.sort_unstable();
    let mut joined: Vec<(T, T)> = Vec::new();
    for (from, to) in all {
        match joined.last_mut() {
            Some((_, last)) if next(*last).is_none_or(|next| from <= next) => *last = to.max(*last),
            _ => joined.push((from, to)),
        }
    }
    joined.shrink_to_fit();
    joined
}

fn is_in<T: Copy + Ord>(ranges: &[(T, T)], ip: T) -> bool {
    let after = ranges.partition_point(|(from, _)| *from <= ip);
    let before = after.checked_sub(1).and_then(|at| ranges.get(at));
    before.is_some_and(|(_, to)| ip <= *to)
}

enum Line {
    Blocked(IpAddr, IpAddr),
    Allowed,
}

fn range(line: &str) -> Option<Line> {
    // A name may have commas, slashes, colons and dashes: what is no other form may be P2P text.
    emule(line).or_else(|| single(line)).or_else(|| p2p(line))
}

/// Reads `FROM - TO , LEVEL , NAME`.
fn emule(line: &str) -> Option<Line> {
    let (addresses, rest) = line.split_once(',')?;
    let (from, to) = addresses.split_once('-')?;
    let level: u32 = rest.split(',').next()?.trim().parse().ok()?;
    let blocked = ordered(padded(from)?, padded(to)?)?;
    Some(if level >= ALLOWED_LEVEL { Line::Allowed } else { blocked })
}

/// Reads an address or a network.
fn single(line: &str) -> Option<Line> {
    match line.split_once('/') {
        Some((ip, bits)) => network(ip.trim().parse().ok()?, bits.trim().parse().ok()?),
        None => line.parse().ok().map(|ip| Line::Blocked(ip, ip)),
    }
}

/// Reads `NAME:FROM-TO`, or `FROM-TO`.
fn p2p(line: &str) -> Option<Line> {
    let (before, to) = line.rsplit_once('-')?;
    let to = padded(to)?;
    // An IPv6 address has colons itself: the longest end that is an address is the first one.
    let ends = before.match_indices(':').filter_map(|(at, _)| before.get(at + 1..));
    let from = std::iter::once(before).chain(ends).find_map(padded)?;
    ordered(from, to)
}

/// Parses an IPv4 address whose numbers may have zeros before them, as eMule writes them, or an
/// IPv6 address.
fn padded(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let mut parts = [0; 4];
    let mut texts = text.split('.');
    for part in &mut parts {
        *part = texts.next()?.parse().ok()?;
    }
    texts.next().is_none().then(|| IpAddr::from(parts))
}

fn ordered(from: IpAddr, to: IpAddr) -> Option<Line> {
    (from.is_ipv4() == to.is_ipv4() && from <= to).then_some(Line::Blocked(from, to))
}

fn network(ip: IpAddr, bits: u32) -> Option<Line> {
    match ip {
        IpAddr::V4(ip) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            let from = ip.to_bits() & mask;
            ordered(Ipv4Addr::from_bits(from).into(), Ipv4Addr::from_bits(from | !mask).into())
        }
        IpAddr::V6(ip) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            let from = ip.to_bits() & mask;
            ordered(Ipv6Addr::from_bits(from).into(), Ipv6Addr::from_bits(from | !mask).into())
        }
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// A filter that all parts of a session share, and that can be replaced.
#[derive(Clone, Debug, Default)]
pub struct SharedIpFilter(Arc<RwLock<Arc<IpFilter>>>);

impl SharedIpFilter {
    /// Makes one of this filter.
    pub fn new(filter: Arc<IpFilter>) -> SharedIpFilter {
        SharedIpFilter(Arc::new(RwLock::new(filter)))
    }

    /// Replaces it.
    pub fn set(&self, filter: Arc<IpFilter>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = filter;
    }

    /// Returns whether an address is in it.
    pub fn has(&self, ip: IpAddr) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).has(ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_all_kinds_are_read() {
        let text = "# a comment\n\nSome: name - of one:1.2.3.4-1.2.3.9\n\
                    005.006.007.000 - 005.006.007.255 , 100 , eMule\n\
                    9.9.9.0 - 9.9.9.9 , 200 , allowed\n10.0.0.0/8\n192.0.2.1\n\
                    2001:db8::/32\nname:2.0.0.9-2.0.0.1\nnonsense\n\
                    Foo, Inc:66.0.0.1-66.0.0.2\nAS/400 - x:67.0.0.1-67.0.0.2\n\
                    Six:2001:dba::1-2001:dba::9\n";
        let (filter, unknown) = IpFilter::parse(text);
        assert_eq!((filter.len(), unknown), (8, 2));
        for (ip, expected) in [
            ("1.2.3.3", false),
            ("1.2.3.4", true),
            ("1.2.3.9", true),
            ("1.2.3.10", false),
            ("5.6.7.8", true),
            ("9.9.9.5", false),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("66.0.0.2", true),
            ("67.0.0.1", true),
            ("2001:dba::5", true),
            ("2001:dba::10", false),
        ] {
            assert_eq!(filter.has(ip.parse().expect("an address")), expected, "{ip}");
        }
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let (filter, _) = IpFilter::parse("1.0.0.0/9\n1.128.0.0/9\n1.2.3.4\n0.0.0.0/0\n::/0\n");
        assert_eq!(filter.len(), 2);
        assert!(filter.has([255; 4].into()) && filter.has([0xffff; 8].into()));
        let more = IpFilter::of(["192.0.2.1".parse().expect("an address")]);
        assert_eq!(filter.and(more).len(), 2);
    }

    #[test]
    fn half_a_million_ranges_are_looked_up_by_halves() {
        let line = |n: u32| format!("x:{}-{}\n", Ipv4Addr::from(n * 8), Ipv4Addr::from(n * 8 + 3));
        let text: String = (0..500_000).map(line).collect();
        let (filter, unknown) = IpFilter::parse(&text);
        assert_eq!((filter.len(), unknown), (500_000, 0));
        for n in [0, 77, 499_999] {
            assert!(filter.has(Ipv4Addr::from(n * 8 + 3).into()));
            assert!(!filter.has(Ipv4Addr::from(n * 8 + 4).into()));
        }
    }
}

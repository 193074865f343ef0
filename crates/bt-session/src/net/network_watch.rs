//! Watches for changes of this machine's network: its addresses, its default routes, and sleep.
//!
//! Decides: what counts as a change.
//! Must not know: connections, torrents.
//! Invariant: a burst of changes is reported once, when it has settled. A change that leaves the
//! machine reachable as before is not reported. Renewed leases, repeated router advertisements and
//! starting containers cause kernel messages all day, and each report announces every torrent.

use crate::mail::to_shard::{NetworkChange, ToShard};
use crate::net::interfaces::ip_of;
use bt_types::{Closeness, closeness, normalise};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

/// Wait for a burst of changes to settle: an address goes, another comes, then a route.
const SETTLE: Duration = Duration::from_millis(300);
/// Time between two looks: notices sleep, and changes where the system reports none.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Least lead of the clock that runs in sleep over the clock that does not, before it counts as
/// sleep.
const SLEEP_MIN: Duration = Duration::from_secs(5);
/// Sleep after which peers have closed their connections (BEP 3: two minutes without a message).
const SLEEP_LONG: Duration = Duration::from_secs(120);

/// Watches the network of this machine.
pub(crate) struct NetworkWatch {
    messages: Messages,
    addresses: BTreeSet<IpAddr>,
    /// The local addresses towards the Internet, of each family.
    ways_out: [Option<IpAddr>; 2],
    asleep: Duration,
}

impl NetworkWatch {
    pub(crate) fn start() -> NetworkWatch {
        let messages = Messages::open().unwrap_or_else(|error| {
            tracing::info!(%error, "the system does not tell of changes of the network; they are looked for");
            Messages::none()
        });
        NetworkWatch {
            messages,
            addresses: addresses().unwrap_or_default(),
            ways_out: ways_out(),
            asleep: asleep(),
        }
    }

    /// Tells all shards of each change, until they are gone.
    pub(crate) async fn run(mut self, shards: Vec<mpsc::Sender<ToShard>>) {
        loop {
            let change = self.changed().await;
            tracing::info!(?change, "the network of this machine changed");
            for shard in &shards {
                if shard.send(ToShard::NetworkChanged(change.clone())).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Waits for the next change. A caller that stops waiting loses a change that has not settled.
    async fn changed(&mut self) -> NetworkChange {
        loop {
            let is_told = tokio::select! {
                is_told = self.messages.next() => is_told,
                () = sleep(LOOK_EVERY) => false,
            };
            let slept = asleep().saturating_sub(self.asleep) >= SLEEP_MIN;
            if self.messages.are_told() && !is_told && !slept {
                continue;
            }
            if is_told {
                let settled = Instant::now() + SETTLE;
                loop {
                    tokio::select! {
                        _ = self.messages.next() => {}
                        () = sleep_until(settled) => break,
                    }
                }
            }
            if let Some(change) = self.look() {
                return change;
            }
        }
    }

    /// Compares the network with the last look.
    fn look(&mut self) -> Option<NetworkChange> {
        let addresses = addresses().unwrap_or_else(|_| self.addresses.clone());
        let (ways_out, asleep) = (ways_out(), asleep());
        let slept = asleep.saturating_sub(self.asleep);
        let gone: BTreeSet<IpAddr> = self.addresses.difference(&addresses).copied().collect();
        // Each container's interface has a link-local address, at which only the container reaches
        // us.
        let is_far = |ip: &IpAddr| closeness(*ip) < Some(Closeness::Link);
        let is_elsewhere = ways_out != self.ways_out
            || self.addresses.symmetric_difference(&addresses).any(is_far)
            || slept >= SLEEP_MIN;
        (self.addresses, self.ways_out, self.asleep) = (addresses, ways_out, asleep);
        let change = NetworkChange { gone, is_elsewhere, slept_long: slept >= SLEEP_LONG };
        (change != NetworkChange::default()).then_some(change)
    }
}

/// Returns the local address that the system would use towards the Internet, for each family. Sends
/// nothing.
fn ways_out() -> [Option<IpAddr>; 2] {
    let strangers =
        [IpAddr::from([1, 0, 0, 1]), Ipv6Addr::new(0x2606, 0x4700, 0, 0, 0, 0, 0, 1).into()];
    strangers.map(|stranger| {
        let any: IpAddr =
            if stranger.is_ipv4() { [0; 4].into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
        socket.connect(SocketAddr::new(stranger, 9)).ok()?;
        socket.local_addr().ok().map(|local| local.ip())
    })
}

/// Lists the addresses of all interfaces that are up.
fn addresses() -> io::Result<BTreeSet<IpAddr>> {
    let up = getifaddrs()?.filter(|entry| entry.flags.contains(InterfaceFlags::IFF_UP));
    Ok(up.filter_map(|entry| ip_of(&entry.address?)).map(normalise).collect())
}

/// Returns how long the machine has slept since it started.
#[cfg(target_os = "linux")]
fn asleep() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let now = |clock| {
        let now = clock_gettime(clock);
        Duration::new(
            u64::try_from(now.tv_sec).unwrap_or(0),
            u32::try_from(now.tv_nsec).unwrap_or(0),
        )
    };
    now(ClockId::Boottime).saturating_sub(now(ClockId::Monotonic))
}

#[cfg(not(target_os = "linux"))]
fn asleep() -> Duration {
    Duration::ZERO
}

/// The kernel's messages about addresses and routes (rtnetlink).
struct Messages {
    /// A netlink socket in the runtime's type for UDP: reading a datagram is the same in every
    /// family.
    #[cfg(target_os = "linux")]
    socket: Option<tokio::net::UdpSocket>,
}

#[cfg(target_os = "linux")]
impl Messages {
    fn open() -> io::Result<Messages> {
        use nix::sys::socket::{
            AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket,
        };
        use std::os::fd::AsRawFd as _;
        /// Groups of `linux/rtnetlink.h`: addresses and routes of both families.
        const GROUPS: u32 = 0x10 | 0x40 | 0x100 | 0x400;
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket =
            socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Messages { socket: Some(tokio::net::UdpSocket::from_std(socket.into())?) })
    }

    fn none() -> Messages {
        Messages { socket: None }
    }

    /// Returns whether the system reports changes at all.
    fn are_told(&self) -> bool {
        self.socket.is_some()
    }

    /// Waits for a datagram; returns whether it reports a change that matters.
    async fn next(&mut self) -> bool {
        let Some(socket) = &self.socket else { return std::future::pending().await };
        let mut buffer = [0; 8192];
        match socket.recv(&mut buffer).await {
            Ok(len) => tells_of_change(buffer.get(..len).unwrap_or_default()),
            // The socket's buffer overflowed: something changed.
            Err(error)
                if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) =>
            {
                true
            }
            Err(_) => {
                self.socket = None;
                false
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Messages {
    fn open() -> io::Result<Messages> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn none() -> Messages {
        Messages {}
    }

    fn are_told(&self) -> bool {
        false
    }

    async fn next(&mut self) -> bool {
        std::future::pending().await
    }
}

/// Returns whether netlink messages report an address or a default route (`linux/netlink.h`,
/// `linux/rtnetlink.h`).
#[cfg(target_os = "linux")]
fn tells_of_change(mut messages: &[u8]) -> bool {
    const HEADER: usize = 16;
    const ADDRESSES: [u16; 2] = [20, 21];
    const ROUTES: [u16; 2] = [24, 25];
    while let Some(header) = messages.first_chunk::<HEADER>() {
        let [a, b, c, d, low, high, ..] = *header;
        let len = u32::from_ne_bytes([a, b, c, d]) as usize;
        let Some(body) = messages.get(HEADER..len) else { return false };
        let kind = u16::from_ne_bytes([low, high]);
        // The second byte of a route is its prefix length: 0 is the default route.
        if ADDRESSES.contains(&kind) || (ROUTES.contains(&kind) && body.get(1) == Some(&0)) {
            return true;
        }
        // Messages begin at multiples of four bytes.
        messages = messages.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn addresses_and_default_routes_matter_and_rubbish_does_no_harm() {
        let message = |kind: u16, body: &[u8]| {
            let len = 16 + body.len() as u32;
            let mut message =
                [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat();
            message.resize(message.len().next_multiple_of(4), 0);
            message
        };
        let (address, route, default) =
            (message(20, &[2, 24, 0, 0]), message(24, &[2, 24, 0, 0, 0]), message(25, &[2, 0]));
        let table = [
            (address.clone(), true),
            (route.clone(), false),
            (default.clone(), true),
            ([route.clone(), default].concat(), true),
            ([route, address[..10].to_vec()].concat(), false),
            (vec![0xff; 100], false),
            (vec![0; 100], false),
            (Vec::new(), false),
        ];
        for (messages, expected) in table {
            assert_eq!(tells_of_change(&messages), expected, "{}", messages.escape_ascii());
        }
    }

    #[tokio::test]
    async fn a_lost_address_is_reported() {
        let mut watch = NetworkWatch::start();
        assert_eq!(watch.look(), None, "nothing changed");
        let change = |gone: &[IpAddr], is_elsewhere| {
            Some(NetworkChange {
                gone: gone.iter().copied().collect(),
                is_elsewhere,
                slept_long: false,
            })
        };
        let (lost, of_a_container): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "fe80::1:2:3".parse().unwrap());
        watch.addresses.insert(lost);
        assert_eq!(watch.look(), change(&[lost], true));
        watch.addresses.insert(of_a_container);
        assert_eq!(
            watch.look(),
            change(&[of_a_container], false),
            "what leaves from there ends, and nothing else"
        );
        watch.ways_out = [Some(lost), None];
        assert_eq!(watch.look(), change(&[], true), "another way out");
        // A machine that never slept has no such time to take away.
        if asleep() >= SLEEP_LONG {
            watch.asleep = Duration::ZERO;
            assert_eq!(
                watch.look(),
                Some(NetworkChange {
                    is_elsewhere: true,
                    slept_long: true,
                    ..NetworkChange::default()
                })
            );
        }
    }
}

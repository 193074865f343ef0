//! The tracker's program: the real tracker, behind datagrams and requests of this world.
//!
//! Decides: its address and intervals. Must not know: peers.
//! Invariant: one swarm table behind both protocols.

use crate::network::{Event, HostId, Link, Network};
use bt_tracker::{Config, Tracker};
use bt_tracker_wire::{read_scrape_body, scrape_url};
use bt_types::{InfoHash, Rng, Time};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The host of the tracker, up from the start.
#[derive(Debug)]
pub(crate) struct TrackerHost {
    pub(crate) id: HostId,
    addr: SocketAddr,
    tracker: Tracker,
}

impl TrackerHost {
    pub(crate) fn new(net: &mut Network, rng: &mut Rng) -> TrackerHost {
        let addr = SocketAddr::from((Ipv4Addr::new(9, 9, 9, 9), 6969));
        let id = net
            .add(addr, Link { up: 10 << 20, down: 10 << 20, latency: Duration::from_millis(10) });
        net.start(id);
        let mut secret = [0; 32];
        rng.fill(&mut secret);
        let intervals = (Duration::from_secs(120), Duration::from_secs(30));
        let config =
            Config { interval: intervals.0, min_interval: intervals.1, ..Config::default() };
        TrackerHost { id, addr, tracker: Tracker::new(config, secret) }
    }

    /// Where this peer announces: half of them over UDP, half over HTTP.
    pub(crate) fn url(&self, peer: HostId) -> String {
        if peer.0.is_multiple_of(2) { format!("udp://{}", self.addr) } else { self.http_url() }
    }

    /// How many peers told it that they completed their download.
    pub(crate) fn completed(&mut self, now: Time, swarm: InfoHash) -> u32 {
        let url = scrape_url(&self.http_url(), &[swarm]).unwrap_or_default();
        let target = url.splitn(4, '/').nth(3).unwrap_or_default();
        let answer = self.tracker.http(now, self.addr.ip(), &format!("/{target}"));
        let counts = read_scrape_body(&answer.body)
            .ok()
            .and_then(|reply| reply.swarms.first().map(|(_, counts)| *counts));
        counts.map_or(0, |counts| counts.downloaded)
    }

    pub(crate) fn handle(&mut self, now: Time, event: Event, net: &mut Network) {
        match event {
            Event::Datagram(from, datagram) => {
                if let Some(reply) = self.tracker.udp(now, from, &datagram) {
                    net.datagram(now, self.id, from, reply);
                }
            }
            Event::HttpRequest(id, from, target) => {
                let answer = self.tracker.http(now, from, &target);
                net.answer(now, self.id, id, answer.body);
            }
            // No peer connects to a tracker's peer port: it has none.
            _ => {}
        }
    }

    fn http_url(&self) -> String {
        format!("http://{}/announce", self.addr)
    }
}

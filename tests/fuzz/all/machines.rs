//! The tracker, a node of the DHT, and the exchange with a UDP tracker.
//!
//! Decides: what must hold after each step. Must not know: the inside of a machine.
//! Invariant: time goes forward; each step is answered to its end before the next.

use crate::steps::Steps;
use bt_dht::{AnnounceOptions, Ask, AskKey, Config, Event, Id, Input, Node, Output};
use bt_fuzz::fuzz;
use bt_tracker::Tracker;
use bt_tracker_wire::{AddressFamily, UdpExchange, UdpRequest};
use bt_types::{InfoHash, PeerId, Rng, Time};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The greatest number of orders after one input.
const ORDERS_MAX: usize = 2_000;

fn host(number: u8) -> IpAddr {
    match number % 4 {
        0 => Ipv6Addr::new(0x2001, 0xdb8, 0, number.into(), 0, 0, 0, 1).into(),
        _ => Ipv4Addr::new(8, 8, number, 1).into(),
    }
}

/// A datagram of the corpus is one; the transaction in it stays as it is.
#[test]
fn tracker() {
    fuzz("tracker", |input| {
        let config = bt_tracker::Config {
            torrents_limit: 8,
            peers_limit: 16,
            ..bt_tracker::Config::default()
        };
        let mut tracker = Tracker::new(config, [7; 32]);
        let (mut steps, mut now) = (Steps::new(input), Time::ZERO);
        let mut ids = Vec::new();
        while let Some(step) = steps.choose(4) {
            let from = host(steps.below(12));
            match step {
                0 => {
                    let target = String::from_utf8_lossy(steps.bytes());
                    let answer = tracker.http(now, from, &target);
                    assert!(matches!(answer.status, 200 | 404));
                    assert!(answer.body.len() <= 64 << 10, "{} bytes", answer.body.len());
                }
                1 | 2 => {
                    let mut datagram = steps.bytes().to_vec();
                    // An id that was given out stands in place of the one in the corpus.
                    if let (Some(id), Some(place)) =
                        (ids.last().filter(|_| step == 2), datagram.first_chunk_mut::<8>())
                    {
                        *place = *id;
                    }
                    let port = 1 + u16::from(steps.below(4));
                    let Some(answer) = tracker.udp(now, (from, port).into(), &datagram) else {
                        continue;
                    };
                    assert!(
                        UdpRequest::parse(&datagram).is_some(),
                        "what is malformed is not answered"
                    );
                    if step == 1 {
                        assert!(
                            answer.len() <= datagram.len(),
                            "{} bytes for {}",
                            answer.len(),
                            datagram.len()
                        );
                    }
                    ids.extend(
                        answer
                            .get(8..16)
                            .filter(|_| answer.len() == 16)
                            .and_then(|id| <[u8; 8]>::try_from(id).ok()),
                    );
                }
                _ => now = steps.later(now),
            }
            let stats = tracker.stats();
            assert!(stats.torrents <= 8 && stats.peers <= 16, "{stats:?}");
        }
    });
}

#[test]
fn udp_exchange() {
    fuzz("udp_exchange", |input| {
        let announce = bt_tracker_wire::Announce::new(InfoHash([1; 20]), PeerId([2; 20]), 6881);
        let ask = bt_tracker_wire::TrackerRequest::Announce(announce);
        let give_up_at = Time::from_secs(100);
        let mut exchange = UdpExchange::new(
            Time::ZERO,
            ask,
            AddressFamily::V4,
            None,
            Rng::from_seed(1),
            give_up_at,
        );
        let (mut steps, mut now, mut sent) = (Steps::new(input), Time::ZERO, Vec::new());
        let mut is_over = false;
        loop {
            while let Some(output) = exchange.poll() {
                assert!(!is_over, "{output:?} after the end");
                match output {
                    bt_tracker_wire::Output::Send(datagram) => sent = datagram,
                    _ => is_over = true,
                }
            }
            if is_over {
                assert_eq!(exchange.deadline(), None);
            }
            let Some(step) = steps.choose(3) else { break };
            let mut datagram = steps.bytes().to_vec();
            match step {
                0 => exchange.handle(now, &datagram),
                1 => {
                    // An answer to what was asked: with its transaction.
                    if let (Some(place), Some(transaction)) =
                        (datagram.get_mut(4..8), sent.get(12..16))
                    {
                        place.copy_from_slice(transaction);
                    }
                    exchange.handle(now, &datagram);
                }
                _ => {
                    now = exchange
                        .deadline()
                        .unwrap_or_else(|| now + Duration::from_secs(1))
                        .max(now);
                    exchange.wake(now);
                }
            }
        }
        // The exchange ends after any input.
        for _ in 0..100 {
            let Some(at) = exchange.deadline() else { break };
            exchange.wake(at);
            while exchange.poll().is_some() {}
        }
        assert_eq!(exchange.deadline(), None);
    });
}

#[test]
fn dht_node() {
    fuzz("dht_node", |input| {
        let config = Config { v6: true, ..Config::default() };
        let mut node = Node::new(Time::ZERO, config, Rng::from_seed(1));
        let (mut steps, mut now) = (Steps::new(input), Time::ZERO);
        let (mut asked, mut ended, mut sent) = (0, BTreeSet::new(), Vec::new());
        while let Some(step) = steps.choose(8) {
            let from: SocketAddr = (host(steps.below(40)), 1000 + u16::from(steps.below(4))).into();
            let mut answered = None;
            match step {
                0 | 1 => {
                    let bytes = steps.bytes();
                    answered = Some(from);
                    node.handle(now, Input::Datagram { from, bytes });
                }
                2 | 3 => {
                    // An answer to a query of the node, from the queried address.
                    let (mut bytes, nth) = (steps.bytes().to_vec(), steps.below(255));
                    let Some((to, query)) = sent.get(usize::from(nth) % sent.len().max(1)).cloned()
                    else {
                        continue;
                    };
                    let query: bt_dht::KrpcMessage = query;
                    if let Ok(mut message) = bt_dht::KrpcMessage::parse(&bytes) {
                        message.transaction = query.transaction;
                        bytes = message.write();
                    }
                    answered = Some(to);
                    node.handle(now, Input::Datagram { from: to, bytes: &bytes });
                }
                4 => {
                    let id = Id(InfoHash([steps.below(255); 20]).0);
                    let ask = match steps.below(6) {
                        0 => Ask::Ping(from),
                        1 => Ask::FindNode(id),
                        2 => Ask::GetPeers {
                            info_hash: InfoHash(id.0),
                            announce: None,
                            scrape: true,
                        },
                        3 => {
                            let announce = Some(AnnounceOptions { port: Some(6881), seed: false });
                            Ask::GetPeers { info_hash: InfoHash(id.0), announce, scrape: false }
                        }
                        4 => Ask::Get { target: id, salt: steps.bytes().to_vec() },
                        _ => Ask::SampleInfohashes(from),
                    };
                    asked += 1;
                    node.handle(now, Input::Ask(AskKey(asked), ask));
                }
                5 => node.handle(
                    now,
                    if steps.below(2) == 0 { Input::Port(from) } else { Input::Router(from) },
                ),
                6 => node.handle(now, Input::Cancel(AskKey(u64::from(steps.below(8))))),
                _ => {
                    now = node
                        .deadline()
                        .filter(|_| steps.below(4) > 0)
                        .unwrap_or_else(|| steps.later(now))
                        .max(now);
                    node.wake(now);
                }
            }
            let mut orders = 0;
            while let Some(output) = node.poll() {
                orders += 1;
                assert!(orders <= ORDERS_MAX, "it orders without end");
                match output {
                    Output::Send { to, bytes, .. } => {
                        assert!(bytes.len() <= bt_dht::DATAGRAM_MAX);
                        let message =
                            bt_dht::KrpcMessage::parse(&bytes).expect("what it sends can be read");
                        match (&message.body, answered) {
                            (bt_dht::Body::Query { .. }, _) => sent.push((to, message)),
                            (_, Some(from)) => assert_eq!(to, from, "an answer to another host"),
                            _ => panic!("an answer to nothing"),
                        }
                    }
                    Output::Event(Event::Done { ask, .. }) => {
                        assert!(ended.insert(ask) && ask.0 <= asked, "{ask:?} ended twice")
                    }
                    Output::Event(_) => {}
                }
            }
            sent.drain(..sent.len().saturating_sub(64));
        }
        // Every query ends after any input.
        for _ in 0..20_000 {
            if ended.len() as u64 == asked {
                return;
            }
            now = node.deadline().expect("a query waits").max(now);
            node.wake(now);
            while let Some(output) = node.poll() {
                if let Output::Event(Event::Done { ask, .. }) = output {
                    assert!(ended.insert(ask), "{ask:?} ended twice");
                }
            }
        }
        panic!("{} of {asked} questions ended", ended.len());
    });
}

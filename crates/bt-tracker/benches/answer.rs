//! The time of an answer over UDP, without sockets: `cargo bench -p bt-tracker`.
//!
//! Decides: the sizes of the table. Must not know: the table inside.
//! Invariant: peers renew themselves in a random order, as they do in a large tracker.

use bt_tracker::{Config, Tracker};
use bt_tracker_wire::{Announce, UdpRequest};
use bt_types::{InfoHash, PeerId, Rng, Time};
use std::net::{Ipv4Addr, SocketAddr};

fn main() {
    divan::main();
}

/// Peers, torrents, peers wanted.
const TABLES: [(u32, u32, u32); 6] = [
    (200_000, 100_000, 30),
    (1_000_000, 250_000, 30),
    (3_000_000, 750_000, 30),
    (1_000_000, 1, 0),
    (1_000_000, 1, 30),
    (1_000_000, 1, 200),
];

#[divan::bench(args = TABLES, sample_count = 20, sample_size = 20_000)]
fn renew(bencher: divan::Bencher<'_, '_>, (peers, torrents, wanted): (u32, u32, u32)) {
    let mut tracker = Tracker::new(Config::default(), [1; 32]);
    let mut reply = Vec::new();
    let mut announce = |number: u32| {
        let addr = SocketAddr::from((Ipv4Addr::from(0x1000_0000 + number), 6881));
        // The id is good for every address of the benchmark's own making: ask for it.
        let connect = UdpRequest::Connect { transaction: 1 }.write();
        assert!(tracker.answer(Time::ZERO, addr, &connect, &mut reply));
        let connection = u64::from_be_bytes(reply[8..16].try_into().unwrap_or_default());
        let mut hash = [3; 20];
        hash[..4].copy_from_slice(&(number.wrapping_mul(0x9e37_79b1) % torrents).to_be_bytes());
        let announce = Announce {
            left: u64::from(!number.is_multiple_of(4)),
            uploaded: 1,
            num_want: Some(wanted),
            ..Announce::new(InfoHash(hash), PeerId([5; 20]), 6881)
        };
        (addr, UdpRequest::Announce { connection, transaction: 2, announce }.write())
    };
    let mut rng = Rng::from_seed(1);
    let all: Vec<_> = (0..peers).map(&mut announce).collect();
    for (addr, request) in &all {
        assert!(tracker.answer(Time::ZERO, *addr, request, &mut reply));
    }
    let few: Vec<_> = (0..20_000).map(|_| all[rng.index(all.len())].clone()).collect();
    let mut next = 0;
    bencher.bench_local(|| {
        let (addr, request) = &few[next % few.len()];
        next += 1;
        tracker.answer(Time::ZERO, *addr, request, &mut reply)
    });
}

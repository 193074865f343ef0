//! The named scenarios: who is in the swarm, what goes wrong, and when all must be done.
//!
//! Decides: sizes, rates and faults. Must not know: how anything is carried out.
//! Invariant: everything but the numbers drawn from the seed is fixed, so a name and a seed show a run again.

use crate::client::Manners;
use crate::network::{HostId, Link};
use crate::report::Report;
use crate::stream::Detail;
use crate::violation::Violation;
use crate::world::{Act, Peer, World};
use bt_engine::Budget;
use bt_types::Time;
use std::ops::Range;
use std::time::Duration;

/// A scenario: its name, and the world that it begins with, with the deadline of virtual time.
type Scenario = (&'static str, fn(u64) -> (World, Time));

const TABLE: [Scenario; 11] = [
    ("small", small),
    ("seed-crash", seed_crash),
    ("liars", liars),
    ("silent", silent),
    ("churn", churn),
    ("tracker-late", tracker_late),
    ("full-disk", full_disk),
    ("flash-50", |seed| flash(seed, 50)),
    ("flash-200", |seed| flash(seed, 200)),
    ("unequal-50", unequal),
    ("leave-50", leave),
];

const NAMES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut n = 0;
    while n < TABLE.len() {
        names[n] = TABLE[n].0;
        n += 1;
    }
    names
};

/// The names that [`run`] knows.
pub fn names() -> &'static [&'static str] {
    &NAMES
}

/// Runs a scenario. Equal arguments give equal reports.
pub fn run(name: &str, seed: u64) -> Result<Report, Violation> {
    let (_, begin) = TABLE.iter().find(|(at, _)| *at == name).ok_or_else(|| Violation::UnknownScenario(name.to_owned()))?;
    let (world, deadline) = begin(seed);
    world.run(deadline)
}

/// One seed, three leechers.
fn small(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Bytes, 32, 64 << 10);
    add_seed(&mut world, 2 << 20);
    add_leechers(&mut world, 3, FAST);
    (world, Time::from_secs(60))
}

/// The seed is gone after one and a half copies: the leechers have every piece among them, and must find each other.
fn seed_crash(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Bytes, 256, 64 << 10);
    let first = add_seed(&mut world, 512 << 10);
    add_leechers(&mut world, 19, SLOW);
    let bytes = world.torrent_len() * 3 / 2;
    world.plan_on_upload(first, bytes, Act::Crash(first));
    (world, Time::from_secs(300))
}

/// Two of twelve send wrong bytes, and nobody honest is blamed for it.
fn liars(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Bytes, 64, 64 << 10);
    add_seed(&mut world, 1 << 20);
    for n in 1..=2 {
        world.add(Peer { is_seed: true, manners: Manners::Liar(3), ..peer(&format!("liar {n}")) });
    }
    add_leechers(&mut world, 9, FAST);
    (world, Time::from_secs(120))
}

/// Peers that have everything, take requests and never answer.
fn silent(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Bytes, 64, 64 << 10);
    add_seed(&mut world, 1 << 20);
    for n in 1..=3 {
        world.add(Peer { is_seed: true, manners: Manners::Silent, ..peer(&format!("silent {n}")) });
    }
    add_leechers(&mut world, 8, FAST);
    (world, Time::from_secs(180))
}

/// Some leave as soon as they have finished; three lose their power on the way and come back with what their disks held.
fn churn(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Bytes, 128, 64 << 10);
    add_seed(&mut world, 512 << 10);
    let steady = add_leechers(&mut world, 6, SLOW);
    for n in 1..=4 {
        let joins = Time::from_millis(world.chance(20_000));
        let leaves_after = Some(Duration::from_millis(world.chance(3_000)));
        world.add(Peer { joins, leaves_after, ..peer(&format!("guest {n}")) });
    }
    for &unlucky in &steady[..3] {
        let cut = Time::from_millis(6_000 + world.chance(6_000));
        let back = cut + Duration::from_millis(1_000 + world.chance(8_000));
        world.plan(cut, Act::Crash(unlucky));
        world.plan(back, Act::Start(unlucky));
    }
    (world, Time::from_secs(240))
}

/// Nobody can reach the tracker at first.
fn tracker_late(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Bytes, 32, 64 << 10);
    world.plan(Time::ZERO, Act::Tracker(false));
    add_seed(&mut world, 1 << 20);
    add_leechers(&mut world, 5, FAST);
    world.plan(Time::from_secs(45), Act::Tracker(true));
    (world, Time::from_secs(300))
}

/// A disk is full for a while.
fn full_disk(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Bytes, 64, 64 << 10);
    add_seed(&mut world, 512 << 10);
    let leechers = add_leechers(&mut world, 4, FAST);
    let half = world.torrent_len() / 2;
    world.plan(Time::ZERO, Act::DiskRoom(leechers[0], Some(half)));
    world.plan(Time::from_secs(30), Act::DiskRoom(leechers[0], None));
    (world, Time::from_secs(120))
}

// ---- swarms as large as real ones, in messages ----

/// 256 MiB in pieces of 256 KiB.
const LARGE: (u32, u32) = (1024, 256 << 10);
/// 20 Mbit/s up and 100 Mbit/s down.
const HOME: (u64, u64) = (2_500_000, 12_500_000);

/// Everybody comes at once, and all are equal.
fn flash(seed: u64, leechers: usize) -> (World, Time) {
    let mut world = World::new(seed, Detail::Messages, LARGE.0, LARGE.1);
    add_home(&mut world, true, HOME.0);
    (0..leechers).for_each(|_| drop(add_home(&mut world, false, HOME.0)));
    (world, Time::from_secs(600))
}

/// Half of the leechers have four times the uplink of the others.
fn unequal(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Messages, LARGE.0, LARGE.1);
    add_home(&mut world, true, HOME.0);
    (0..50).for_each(|n| drop(add_home(&mut world, false, if n % 2 == 0 { HOME.0 } else { HOME.0 / 4 })));
    (world, Time::from_secs(900))
}

/// The seed leaves after it gave 1.05 copies.
fn leave(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Messages, LARGE.0, LARGE.1);
    let first = add_home(&mut world, true, HOME.0);
    (0..50).for_each(|_| drop(add_home(&mut world, false, HOME.0)));
    let bytes = world.torrent_len() * 21 / 20;
    world.plan_on_upload(first, bytes, Act::Leave(first));
    (world, Time::from_secs(900))
}

/// A peer with at most thirty connections and a way of 20 to 60 ms to others and back; leechers join within a second.
fn add_home(world: &mut World, is_seed: bool, up: u64) -> HostId {
    let latency = Duration::from_micros(5_000 + world.chance(10_000));
    let link = Link { up, down: HOME.1, latency };
    let joins = Time::from_millis(if is_seed { 0 } else { world.chance(1_000) });
    let budget = Budget { peers_per_torrent: 30, ..Budget::default() };
    let name = if is_seed { "seed".to_owned() } else { format!("leecher {}", world.size()) };
    world.add(Peer { link, joins, budget, is_seed, ..peer(&name) })
}

// ---- parts ----

/// Uplinks of leechers in bytes per second.
const FAST: Range<u64> = 512 << 10..2 << 20;
const SLOW: Range<u64> = 128 << 10..384 << 10;

/// A seed with an uplink of so many bytes per second.
fn add_seed(world: &mut World, up: u64) -> HostId {
    let link = Link { up, down: 8 << 20, latency: Duration::from_millis(15) };
    world.add(Peer { is_seed: true, link, ..peer("seed") })
}

/// Leechers with links of chance that join within the first two seconds.
fn add_leechers(world: &mut World, count: usize, up: Range<u64>) -> Vec<HostId> {
    let leecher = |n: usize| {
        let up = up.start + world.chance(up.end - up.start);
        let link = Link { up, down: 4 * up, latency: Duration::from_millis(2 + world.chance(60)) };
        let joins = Time::from_millis(world.chance(2_000));
        world.add(Peer { link, joins, ..peer(&format!("leecher {}", n + 1)) })
    };
    (0..count).map(leecher).collect()
}

fn peer(name: &str) -> Peer {
    Peer {
        name: name.to_owned(),
        link: Link { up: 1 << 20, down: 4 << 20, latency: Duration::from_millis(20) },
        manners: Manners::Honest,
        is_seed: false,
        joins: Time::ZERO,
        leaves_after: None,
        budget: Budget::default(),
    }
}

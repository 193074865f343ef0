//! The named scenarios: who is in the swarm, what goes wrong, and when all must be done.
//!
//! Decides: sizes, rates and faults. Must not know: how anything is carried out.
//! Invariant: everything but the numbers drawn from the seed is fixed, so a name and a seed show a
//! run again.

use crate::client::{Manners, MetadataLie};
use crate::network::{HostId, Link};
use crate::report::Report;
use crate::stream::Detail;
use crate::trace::Sink;
use crate::violation::Violation;
use crate::world::{Act, Knows, Peer, World};
use bt_engine::Budget;
use bt_types::Time;
use std::ops::Range;
use std::time::Duration;

/// A scenario: its name, and the world that it begins with, with the deadline of virtual time.
type Scenario = (&'static str, fn(u64) -> (World, Time));

const TABLE: &[Scenario] = &[
    ("small", small),
    ("seed-crash", seed_crash),
    ("liars", liars),
    ("silent", silent),
    ("churn", churn),
    ("tracker-late", tracker_late),
    ("full-disk", full_disk),
    ("strangers", strangers),
    ("magnets", magnets),
    ("word-of-mouth", word_of_mouth),
    ("poison-all", |seed| poison(seed, Manners::Liar { after: 0, one_in: 1 })),
    ("poison-some", |seed| poison(seed, Manners::Liar { after: 160, one_in: 5 })),
    ("flash-50", |seed| flash(seed, 50)),
    ("flash-200", |seed| flash(seed, 200)),
    ("unequal-50", unequal),
    ("leave-50", leave),
    ("leave-12", leave_early),
    ("hostile-50", hostile),
    ("riders-20", |seed| riders(seed, HOME.0)),
    ("riders-slow", |seed| riders(seed, HOME.0 / 4)),
    ("far", far),
];

/// The names that [`run`] knows.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    TABLE.iter().map(|(name, _)| *name)
}

/// Runs a scenario. Equal arguments give equal reports.
pub fn run(name: &str, seed: u64) -> Result<Report, Violation> {
    let (world, deadline) = begin(name, seed)?;
    world.run(deadline)
}

/// Runs a scenario and tells every order of every engine.
pub fn run_traced(name: &str, seed: u64, sink: Sink) -> Result<Report, Violation> {
    let (mut world, deadline) = begin(name, seed)?;
    world.trace(sink);
    world.run(deadline)
}

fn begin(name: &str, seed: u64) -> Result<(World, Time), Violation> {
    let (_, begin) = TABLE
        .iter()
        .find(|(at, _)| *at == name)
        .ok_or_else(|| Violation::UnknownScenario(name.to_owned()))?;
    Ok(begin(seed))
}

/// One seed, three leechers.
fn small(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Bytes, 32, 64 << 10);
    add_seed(&mut world, 2 << 20);
    add_leechers(&mut world, 3, FAST);
    (world, Time::from_secs(60))
}

/// The seed is gone after one and a half copies: the leechers have every piece among them, and must
/// find each other.
fn seed_crash(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Bytes, 256, 64 << 10);
    let first = add_seed(&mut world, 512 << 10);
    add_leechers(&mut world, 19, SLOW);
    let bytes = world.torrent_len() * 3 / 2;
    world.plan_on_upload(first, bytes, Act::Crash(first));
    (world, Time::from_secs(300))
}

/// Two of twelve send wrong bytes, and no honest peer is blamed for it.
fn liars(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Bytes, 64, 64 << 10);
    add_seed(&mut world, 1 << 20);
    for n in 1..=2 {
        world.add(Peer {
            is_seed: true,
            manners: Manners::Liar { after: 0, one_in: 3 },
            ..peer(&format!("liar {n}"))
        });
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

/// Five who know a magnet link only. Of ten who have the metadata, which has three parts, nine lie
/// about it.
fn magnets(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Bytes, 2048, 1 << 10);
    add_seed(&mut world, 1 << 20);
    let lies = [MetadataLie::Bytes, MetadataLie::Size(1 << 30), MetadataLie::Silence];
    for (n, lie) in lies.into_iter().cycle().take(9).enumerate() {
        let manners = Manners::AboutMetadata(lie);
        world.add(Peer { is_seed: true, manners, ..peer(&format!("liar {}", n + 1)) });
    }
    for n in 1..=5 {
        let joins = Time::from_millis(world.chance(2_000));
        world.add(Peer { joins, is_magnet: true, ..peer(&format!("magnet {n}")) });
    }
    (world, Time::from_secs(120))
}

/// Ten leechers that know of the seed alone: of each other they hear from it.
fn word_of_mouth(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Bytes, 64, 64 << 10);
    add_seed(&mut world, 512 << 10);
    for n in 1..=10 {
        world.add(Peer { knows: Knows::First, ..peer(&format!("leecher {n}")) });
    }
    (world, Time::from_secs(120))
}

/// Some leave as soon as they have finished; three lose their power on the way and come back with
/// what their disks held.
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

/// No peer can reach the tracker at first.
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

/// Nine seeds that know no peer, so that each thinks it is the first; leechers come one after
/// another and go when they have finished.
fn strangers(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Messages, 80, 256 << 10);
    for n in 1..=9 {
        let link = Link {
            up: 1 << 20,
            down: 8 << 20,
            latency: Duration::from_millis(1 + world.chance(20)),
        };
        world.add(Peer { is_seed: true, knows: Knows::NoPeer, link, ..peer(&format!("seed {n}")) });
    }
    for n in 1..=4 {
        let joins = Time::from_secs(2 + 15 * (n - 1)) + Duration::from_millis(world.chance(10_000));
        let leaves_after = Some(Duration::from_millis(world.chance(3_000)));
        let link = Link {
            up: 1 << 20,
            down: 16 << 20,
            latency: Duration::from_millis(1 + world.chance(20)),
        };
        world.add(Peer {
            knows: Knows::Earlier,
            joins,
            leaves_after,
            link,
            ..peer(&format!("leecher {n}"))
        });
    }
    (world, Time::from_secs(120))
}

// ---- swarms as large as real ones, in messages ----

/// 256 MiB in pieces of 256 KiB.
const LARGE: (u32, u32) = (1024, 256 << 10);
/// 20 Mbit/s up and 100 Mbit/s down.
const HOME: (u64, u64) = (2_500_000, 12_500_000);

/// Everybody comes at once, and all are equal.
fn flash(seed: u64, leechers: usize) -> (World, Time) {
    let (world, _) = crowd(seed, leechers, |_| HOME.0);
    (world, Time::from_secs(600))
}

/// Half of the leechers have four times the uplink of the others.
fn unequal(seed: u64) -> (World, Time) {
    let (world, _) = crowd(seed, 50, |n| if n % 2 == 0 { HOME.0 } else { HOME.0 / 4 });
    (world, Time::from_secs(900))
}

/// The seed leaves as soon as it gave 1.02 copies.
fn leave(seed: u64) -> (World, Time) {
    let (mut world, first) = crowd(seed, 50, |_| HOME.0);
    let bytes = world.torrent_len() / 100 * 102;
    world.plan_on_upload(first, bytes, Act::Leave(first));
    (world, Time::from_secs(900))
}

/// The seed leaves a small swarm, with a torrent of 80 pieces, as soon as it gave 1.02 copies.
fn leave_early(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Messages, 80, LARGE.1);
    let first = swarm(&mut world, HOME.0 / 2, 12, |_| HOME.0 / 2);
    let bytes = world.torrent_len() / 100 * 102;
    world.plan_on_upload(first, bytes, Act::Leave(first));
    (world, Time::from_secs(300))
}

/// One in ten lies, boasts or is silent; of the others some come late, some leave when they have
/// finished, and some have power cuts.
fn hostile(seed: u64) -> (World, Time) {
    let (mut world, _) = crowd(seed, 25, |_| HOME.0);
    let bad = [
        ("poisoner", true, Manners::Liar { after: 0, one_in: 1 }),
        ("liar", true, Manners::Liar { after: 160, one_in: 5 }),
        ("liar", false, Manners::Liar { after: 160, one_in: 5 }),
        ("silent", true, Manners::Silent),
        ("boaster", false, Manners::Boaster),
    ];
    for (number, (what, is_seed, manners)) in bad.into_iter().enumerate() {
        let home = home(&mut world, HOME.0);
        world.add(Peer { is_seed, manners, name: format!("{what} {number}"), ..home });
    }
    for n in 1..=20 {
        let home = home(&mut world, HOME.0);
        let joins = Time::from_millis(world.chance(60_000));
        let leaves_after = (n % 2 == 0).then(|| Duration::from_millis(world.chance(20_000)));
        let guest = world.add(Peer { joins, leaves_after, name: format!("guest {n}"), ..home });
        if n % 5 == 0 {
            let cut = joins + Duration::from_millis(5_000 + world.chance(30_000));
            let back = cut + Duration::from_millis(1_000 + world.chance(8_000));
            world.plan(cut, Act::Crash(guest));
            world.plan(back, Act::Start(guest));
        }
    }
    (world, Time::from_secs(900))
}

/// Four of twenty only take.
fn riders(seed: u64, seed_up: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Messages, LARGE.0, LARGE.1);
    swarm(&mut world, seed_up, 16, |_| HOME.0 / 4);
    for n in 1..=4 {
        let home = home(&mut world, HOME.0 / 4);
        world.add(Peer { manners: Manners::FreeRider, name: format!("rider {n}"), ..home });
    }
    (world, Time::from_secs(1800))
}

/// One poisoner among nine honest seeds, and one leecher.
fn poison(seed: u64, manners: Manners) -> (World, Time) {
    let mut world = World::new(seed, Detail::Messages, 256, LARGE.1);
    for n in 1..=9 {
        let home = home(&mut world, HOME.0);
        world.add(Peer { is_seed: true, name: format!("seed {n}"), ..home });
    }
    let poisoner = home(&mut world, HOME.0);
    world.add(Peer { is_seed: true, manners, name: "poisoner".to_owned(), ..poisoner });
    let leecher = home(&mut world, HOME.0);
    world.add(Peer { joins: Time::from_secs(2), ..leecher });
    (world, Time::from_secs(120))
}

/// One seed and one leecher with 1 Gbit/s each and 200 ms between them, there and back: 25 MB are
/// under way when nothing is wasted.
fn far(seed: u64) -> (World, Time) {
    let mut world = World::new(seed, Detail::Messages, 2048, 1 << 20);
    let link = Link { up: 125_000_000, down: 125_000_000, latency: Duration::from_millis(50) };
    world.add(Peer { is_seed: true, link, ..peer("seed") });
    world.add(Peer { link, ..peer("leecher") });
    (world, Time::from_secs(120))
}

/// A seed, and leechers that join within a second.
fn crowd(seed: u64, leechers: usize, up: impl Fn(usize) -> u64) -> (World, HostId) {
    let mut world = World::new(seed, Detail::Messages, LARGE.0, LARGE.1);
    let first = swarm(&mut world, HOME.0, leechers, up);
    (world, first)
}

/// A seed with an uplink of this many bytes per second, and leechers that come within a second.
fn swarm(world: &mut World, seed_up: u64, leechers: usize, up: impl Fn(usize) -> u64) -> HostId {
    let seed = home(world, seed_up);
    let first = world.add(Peer { is_seed: true, name: "seed".to_owned(), ..seed });
    for n in 0..leechers {
        let home = home(world, up(n));
        let joins = Time::from_millis(world.chance(1_000));
        world.add(Peer { joins, ..home });
    }
    first
}

/// A leecher with at most thirty connections and a way of 20 to 60 ms to others and back.
fn home(world: &mut World, up: u64) -> Peer {
    let latency = Duration::from_micros(5_000 + world.chance(10_000));
    let budget = Budget { peers_per_torrent: 30, ..Budget::default() };
    let name = format!("leecher {}", world.size());
    Peer { link: Link { up, down: HOME.1, latency }, budget, ..peer(&name) }
}

// ---- parts ----

/// Uplinks of leechers in bytes per second.
const FAST: Range<u64> = 512 << 10..2 << 20;
const SLOW: Range<u64> = 128 << 10..384 << 10;

/// A seed with an uplink of this many bytes per second.
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
        knows: Knows::Tracker,
        is_magnet: false,
    }
}

//! Bugs and pauses in the middle of downloads: what they end, and what goes on.
//!
//! Decides: where the panic is.
//! Must not know: how it is contained.
//! Invariant: a panic comes when a torrent has some pieces and lacks others, so that it has
//! something to lose.

use super::*;
use crate::mail::events::TorrentState;
use bt_engine::{Priority, SlowReason, TorrentStatus};
use bt_model::{Rates, TorrentSettings};
use bt_piece_store::{CreateOptions, Progress, create_torrent};
use std::net::Ipv4Addr;
use std::path::Path;

const SIZE: u32 = 6 << 20;
const PIECE: u32 = 64 << 10;
/// Bytes per second: slow enough for a panic midway, and quick enough to wait for the end.
const RATE: u64 = 3 << 20;

fn config() -> SessionConfig {
    SessionConfig { listen: Some((Ipv4Addr::LOCALHOST, 0).into()), ..SessionConfig::default() }
}

fn torrent(dir: &Path, name: &str) -> Metainfo {
    let salt = u32::from(name.as_bytes()[0]);
    let data: Vec<u8> =
        (0..SIZE).map(|n| ((n ^ salt << 23).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(dir.join(name), data).unwrap();
    let options = CreateOptions { piece_length: Some(PIECE), ..CreateOptions::default() };
    create_torrent(&dir.join(name), &options, &Progress::default()).unwrap().metainfo
}

/// Starts a seed that sends at most `rate` bytes per second.
async fn seed(torrent: &Metainfo, dir: &Path, rate: Option<u64>) -> Session {
    let limits = Budget { rates: Rates { up: rate, down: None }, ..Budget::default() };
    let seeder = Session::start(SessionConfig { limits, ..config() }).unwrap();
    seeder.add(torrent, AddOptions::new(dir)).unwrap().wait_active().await.unwrap();
    seeder
}

/// Waits until a third of the pieces is verified, and returns the status then.
async fn a_third(of: &TorrentHandle) -> TorrentStatus {
    let mut state = of.state();
    let is_third = |state: &TorrentState| matches!(state, TorrentState::Active(status) if 3 * status.pieces_done >= status.pieces_total);
    match &*state.wait_for(is_third).await.unwrap() {
        TorrentState::Active(status) => status.clone(),
        _ => unreachable!("it was waited for"),
    }
}

fn assert_equal(from: &Path, to: &Path, name: &str) {
    let read = |dir: &Path| std::fs::read(dir.join(name)).unwrap();
    assert!(read(from) == read(to), "{name} differs");
}

#[tokio::test]
async fn a_panic_in_a_connection_ends_that_connection_and_no_other() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrents = ["a", "b"].map(|name| torrent(from.path(), name));
    let leecher = Session::start(config()).unwrap();
    let (mut seeders, mut leeches) = (Vec::new(), Vec::new());
    for torrent in &torrents {
        let twins = [
            seed(torrent, from.path(), Some(RATE)).await,
            seed(torrent, from.path(), Some(RATE)).await,
        ];
        let peers = twins.iter().flat_map(|seeder| seeder.listen_addrs().to_vec()).collect();
        leeches.push(
            leecher.add(torrent, AddOptions { peers, ..AddOptions::new(to.path()) }).unwrap(),
        );
        seeders.extend(twins);
    }
    a_third(&leeches[0]).await;
    leecher.shards[0].0.send(ToShard::Bug(Some(TorrentKey(0)))).await.unwrap();
    for (leech, name) in leeches.iter().zip(["a", "b"]) {
        leech.wait_complete().await.unwrap();
        assert_equal(from.path(), to.path(), name);
    }
    assert_eq!(leecher.panics(), Panics { connections: 1, ..Panics::default() });
    leecher.stop().await;
    for seeder in seeders {
        seeder.stop().await;
    }
}

#[tokio::test]
async fn a_panic_in_an_engine_takes_no_piece_and_no_torrent_of_another_shard() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let [hit, other] = ["a", "b"].map(|name| torrent(from.path(), name));
    let leecher = Session::start(SessionConfig { shards: 2, ..config() }).unwrap();
    let (hit_seed, other_seed) =
        (seed(&hit, from.path(), Some(RATE)).await, seed(&other, from.path(), Some(RATE)).await);
    let options = |seeder: &Session| AddOptions {
        peers: seeder.listen_addrs().to_vec(),
        ..AddOptions::new(to.path())
    };
    let hit_leech = leecher.add(&hit, options(&hit_seed)).unwrap();
    let other_leech = leecher.add(&other, options(&other_seed)).unwrap();
    // The user's wishes outlive the engine.
    hit_leech.wait_active().await.unwrap();
    hit_leech.want(90..96, Priority::Skip).await;
    let before = a_third(&hit_leech).await;
    leecher.shards[0].0.send(ToShard::Bug(None)).await.unwrap();

    let done = hit_leech.wait_complete().await.unwrap();
    assert_eq!((done.pieces_done, done.pieces_total), (90, 96), "the pieces that are not wanted");
    assert!(
        done.bytes_down > before.bytes_down,
        "what came before is told too: {} bytes",
        done.bytes_down
    );
    let verified = u64::from(90 * PIECE);
    assert_eq!(done.bytes_down, verified + done.bytes_wasted, "every byte is accounted for");
    // Blocks under way are lost, and no verified piece: a third was verified at least.
    assert!(done.bytes_wasted < verified / 3, "{} bytes came late or twice", done.bytes_wasted);
    let read = |dir: &Path| std::fs::read(dir.join("a")).unwrap();
    assert!(
        read(from.path())[..90 * PIECE as usize] == read(to.path())[..90 * PIECE as usize],
        "a differs"
    );

    let account = other_leech.wait_complete().await.unwrap();
    assert_equal(from.path(), to.path(), "b");
    assert_eq!(leecher.panics(), Panics { engines: 1, ..Panics::default() });
    let account = (account.bytes_down, other_leech.stop().await.sources.len());
    assert_eq!(account, (u64::from(SIZE), 1), "the other shard's torrent lost nothing");
    let sources = hit_leech.stop().await.sources;
    assert_eq!(sources.iter().map(|source| source.down).sum::<u64>(), done.bytes_down);
    for session in [leecher, hit_seed, other_seed] {
        session.stop().await;
    }
}

#[tokio::test]
async fn a_magnet_link_goes_on_with_another_engine() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path(), "a");
    let leecher = Session::start(config()).unwrap();
    let link =
        Magnet::parse(&format!("magnet:?xt=urn:btih:{}", torrent.info_hashes.v1.unwrap())).unwrap();
    // A peer that only listens. A dial shows that the leecher follows the link; the second dial,
    // that it still does after the panic.
    let silent = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let peers = vec![silent.local_addr().unwrap()];
    let leech =
        leecher.add_magnet(&link, AddOptions { peers, ..AddOptions::new(to.path()) }).unwrap();
    let first = silent.accept().await.unwrap();
    leecher.shards[0].0.send(ToShard::Bug(None)).await.unwrap();
    let second = silent.accept().await.unwrap();
    let seeder = seed(&torrent, from.path(), None).await;
    let found =
        Input::PeersFound(TorrentKey(0), bt_types::Source::User, seeder.listen_addrs().to_vec());
    leecher.shards[0].0.send(ToShard::Input(found)).await.unwrap();
    leech.wait_complete().await.unwrap();
    assert_equal(from.path(), to.path(), "a");
    assert_eq!(leecher.panics().engines, 1);
    drop((first, second));
    leecher.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn engines_that_panic_again_and_again_fail_their_torrents_and_no_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let [first, later] = ["a", "b"].map(|name| torrent(dir.path(), name));
    let session = Session::start(config()).unwrap();
    let gone = session.add(&first, AddOptions::new(dir.path())).unwrap();
    gone.wait_active().await.unwrap();
    for _ in 0..4 {
        session.shards[0].0.send(ToShard::Bug(None)).await.unwrap();
    }
    let mut state = gone.state();
    assert!(matches!(
        &*state.wait_for(TorrentState::is_over).await.unwrap(),
        TorrentState::Failed(AddError::Bug(_))
    ));
    assert_eq!(session.panics().engines, 4);
    session.remove(&gone).await;
    session.add(&later, AddOptions::new(dir.path())).unwrap().wait_active().await.unwrap();
    session.add(&first, AddOptions::new(dir.path())).unwrap().wait_active().await.unwrap();
    session.stop().await;
}

/// Waits until the torrent is paused and has no connections, and returns the status then.
async fn paused(of: &TorrentHandle) -> TorrentStatus {
    let mut state = of.state();
    let is_still = |state: &TorrentState| matches!(state, TorrentState::Active(status) if status.is_paused && status.peers == 0);
    match &*state.wait_for(is_still).await.unwrap() {
        TorrentState::Active(status) => status.clone(),
        _ => unreachable!("it was waited for"),
    }
}

#[tokio::test]
async fn a_torrent_pauses_also_over_a_panic_and_goes_on_where_it_was() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path(), "a");
    let seeder = seed(&torrent, from.path(), Some(RATE)).await;
    let leecher = Session::start(config()).unwrap();
    let peers = seeder.listen_addrs().to_vec();
    let leech = leecher.add(&torrent, AddOptions { peers, ..AddOptions::new(to.path()) }).unwrap();
    a_third(&leech).await;
    leech.pause().await;
    let before = paused(&leech).await;
    assert_eq!(before.slow, Some(SlowReason::Paused));
    assert!(!before.is_done(), "the rate limit leaves time to pause");
    leecher.shards[0].0.send(ToShard::Bug(None)).await.unwrap();
    // Another engine has it, and knows that it is paused.
    while leecher.panics().engines == 0 {
        tokio::task::yield_now().await;
    }
    assert!(paused(&leech).await.bytes_done >= before.bytes_done);
    // Who connects is sent away.
    let [on_seed] = &seeder.torrents()[..] else { panic!("the seed has one torrent") };
    let sent = alone(on_seed).await;
    assert!(sent.is_done());
    leech.resume().await;
    let done = leech.wait_complete().await.unwrap();
    assert!(!done.is_paused);
    assert_equal(from.path(), to.path(), "a");
    leecher.stop().await;
    seeder.stop().await;
}

/// Waits until no peer is connected, and returns the status then.
async fn alone(of: &TorrentHandle) -> TorrentStatus {
    let mut state = of.state();
    let is_alone =
        |state: &TorrentState| matches!(state, TorrentState::Active(status) if status.peers == 0);
    match &*state.wait_for(is_alone).await.unwrap() {
        TorrentState::Active(status) => status.clone(),
        _ => unreachable!("it was waited for"),
    }
}

#[tokio::test]
async fn a_torrent_that_is_added_paused_waits_and_its_own_limit_holds() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path(), "a");
    let seeder = seed(&torrent, from.path(), None).await;
    let leecher = Session::start(config()).unwrap();
    let settings = TorrentSettings { running: false, ..TorrentSettings::default() };
    let peers = seeder.listen_addrs().to_vec();
    let options = AddOptions { peers, settings, ..AddOptions::new(to.path()) };
    let leech = leecher.add(&torrent, options).unwrap();
    assert_eq!(paused(&leech).await.bytes_down, 0);
    assert_eq!(leecher.torrent(leech.info_hash()).unwrap().settings(), settings);

    let limits = Rates { up: None, down: Some(RATE) };
    let began = std::time::Instant::now();
    leech.set(TorrentSettings { limits, ..TorrentSettings::default() }).await;
    leech.wait_complete().await.unwrap();
    // The first second's worth may come at once.
    let least = f64::from(SIZE) / RATE as f64 - 1.0;
    assert!(began.elapsed().as_secs_f64() >= least, "it took {:?}", began.elapsed());
    assert_equal(from.path(), to.path(), "a");
    leecher.remove(&leech).await;
    assert!(leecher.torrents().is_empty() && leecher.torrent(leech.info_hash()).is_none());
    leecher.stop().await;
    seeder.stop().await;
}

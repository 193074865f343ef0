//! Bugs and pauses in the middle of downloads: what they end, and what goes on.
//!
//! Decides: where the panic is.
//! Must not know: how it is contained.
//! Invariant: a panic comes when a torrent has some pieces and lacks others, so that it has
//! something to lose.

use super::*;
use crate::client::options::OwnStorage;
use crate::client::torrent::FileView;
use crate::mail::events::TorrentState;
use bt_engine::{Input, Priority, SlowReason, TorrentView};
use bt_model::{Rates, TorrentSettings};
use bt_piece_store::{CreateOptions, FaultyStorage, MemStorage, Progress, Storage, create_torrent};
use std::io::SeekFrom;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

mod removal;
mod settings;

const SIZE: u32 = 6 << 20;
const PIECE: u32 = 64 << 10;
/// Bytes per second: slow enough for a panic midway, and quick enough to wait for the end.
const RATE: u64 = 3 << 20;

fn config() -> SessionConfig {
    SessionConfig { listen: Some((Ipv4Addr::LOCALHOST, 0).into()), ..SessionConfig::default() }
}

fn torrent(dir: &Path, name: &str) -> Metainfo {
    std::fs::write(dir.join(name), data(name.as_bytes()[0], SIZE)).unwrap();
    torrent_at(dir, name)
}

/// Makes a torrent of files `0`, `1` and so on, of these lengths.
fn torrent_of_files(dir: &Path, name: &str, lengths: &[u32]) -> Metainfo {
    std::fs::create_dir(dir.join(name)).unwrap();
    for (number, len) in (0..).zip(lengths) {
        std::fs::write(dir.join(name).join(number.to_string()), data(number, *len)).unwrap();
    }
    torrent_at(dir, name)
}

fn data(salt: u8, len: u32) -> Vec<u8> {
    let salt = u32::from(salt) << 23;
    (0..len).map(|n| ((n ^ salt).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn torrent_at(dir: &Path, name: &str) -> Metainfo {
    let options = CreateOptions { piece_length: Some(PIECE), ..CreateOptions::default() };
    create_torrent(&dir.join(name), &options, &Progress::default()).unwrap().metainfo
}

/// Starts a seed that sends at most `rate` bytes per second.
async fn seed(torrent: &Metainfo, dir: &Path, rate: Option<u64>) -> Session {
    let limits = Rates { up: rate, down: None };
    let settings = SessionSettings { limits, ..SessionSettings::default() };
    let seeder = Session::start(SessionConfig { settings, ..config() }).unwrap();
    seeder.add(torrent, AddOptions::new(dir)).unwrap().wait_active().await.unwrap();
    seeder
}

/// Waits until a third of the pieces is verified, and returns the status then.
async fn a_third(of: &TorrentHandle) -> TorrentView {
    view_once(of, |view| 3 * view.pieces_done >= view.pieces_total).await
}

/// Waits until the torrent is active and this holds, and returns what is known of it then.
async fn view_once(of: &TorrentHandle, holds: impl Fn(&TorrentView) -> bool) -> TorrentView {
    let mut state = of.state();
    let is_it = |state: &TorrentState| matches!(state, TorrentState::Active(view) if holds(view));
    match &*state.wait_for(is_it).await.unwrap() {
        TorrentState::Active(view) => view.clone(),
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
    leecher.shards[0].inbox.send(ToShard::Bug(Some(TorrentKey(0)))).await.unwrap();
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
    let other = torrent(from.path(), "b");
    let hit = torrent_of_files(from.path(), "a", &[90 * PIECE, 6 * PIECE]);
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
    hit_leech.change(|settings| settings.set_file(1, Priority::Skip)).await;
    let before = a_third(&hit_leech).await;
    leecher.shards[0].inbox.send(ToShard::Bug(None)).await.unwrap();

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
    assert_equal(from.path(), to.path(), "a/0");
    assert!(!to.path().join("a/1").exists());

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
    leecher.shards[0].inbox.send(ToShard::Bug(None)).await.unwrap();
    let second = silent.accept().await.unwrap();
    let seeder = seed(&torrent, from.path(), None).await;
    let found =
        Input::PeersFound(TorrentKey(0), bt_types::Source::User, seeder.listen_addrs().to_vec());
    leecher.shards[0].inbox.send(ToShard::Input(found)).await.unwrap();
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
        session.shards[0].inbox.send(ToShard::Bug(None)).await.unwrap();
    }
    let mut state = gone.state();
    assert!(matches!(
        &*state.wait_for(TorrentState::is_over).await.unwrap(),
        TorrentState::Failed(TorrentError::Bug(_))
    ));
    assert_eq!(session.panics().engines, 4);
    session.remove(&gone).await;
    session.add(&later, AddOptions::new(dir.path())).unwrap().wait_active().await.unwrap();
    session.add(&first, AddOptions::new(dir.path())).unwrap().wait_active().await.unwrap();
    session.stop().await;
}

/// Waits until the torrent is paused and has no connections, and returns the status then.
async fn paused(of: &TorrentHandle) -> TorrentView {
    view_once(of, |view| view.is_paused && view.peers == 0).await
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
    leecher.shards[0].inbox.send(ToShard::Bug(None)).await.unwrap();
    // Another engine has it, and knows that it is paused.
    while leecher.panics().engines == 0 {
        tokio::task::yield_now().await;
    }
    assert!(paused(&leech).await.bytes_done >= before.bytes_done);
    // Who connects is sent away.
    let [on_seed] = &seeder.torrents()[..] else { panic!("the seed has one torrent") };
    let sent = view_once(on_seed, |view| view.peers == 0).await;
    assert!(sent.is_done());
    leech.resume().await;
    let done = leech.wait_complete().await.unwrap();
    assert!(!done.is_paused);
    assert_equal(from.path(), to.path(), "a");
    leecher.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn a_torrent_that_is_added_paused_waits_and_its_own_limit_holds() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path(), "a");
    let seeder = seed(&torrent, from.path(), None).await;
    let leecher = Session::start(config()).unwrap();
    let settings = TorrentSettings { running: false, ..TorrentSettings::default() };
    let peers = seeder.listen_addrs().to_vec();
    let options = AddOptions { peers, settings: settings.clone(), ..AddOptions::new(to.path()) };
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

/// Adds a torrent that a seeder has, and waits until it is complete.
async fn download(leecher: &Session, seeder: &Session, of: &Metainfo, to: &Path) -> TorrentHandle {
    let peers = seeder.listen_addrs().to_vec();
    let leech = leecher.add(of, AddOptions { peers, ..AddOptions::new(to) }).unwrap();
    leech.wait_complete().await.unwrap();
    leech
}

#[tokio::test]
async fn files_are_chosen_while_it_runs_and_are_seen_with_peers_and_trackers() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent_of_files(from.path(), "a", &[10 * PIECE, 0, 5 * PIECE + 1]);
    let seeder = seed(&torrent, from.path(), None).await;
    let leecher = Session::start(config()).unwrap();
    let files = vec![Priority::Skip, Priority::Skip];
    let settings = TorrentSettings { files, ..TorrentSettings::default() };
    let peers = seeder.listen_addrs().to_vec();
    let options = AddOptions { peers, settings, ..AddOptions::new(to.path()) };
    let leech = leecher.add(&torrent, options).unwrap();
    leech.wait_complete().await.unwrap();
    let done = |files: &[FileView]| files.iter().map(|file| file.bytes_done).collect::<Vec<_>>();
    assert_eq!(done(&leech.files().await), [0, 0, u64::from(5 * PIECE + 1)]);
    assert!(!to.path().join("a/0").exists() && !to.path().join("a/1").exists());

    leech.change(|settings| settings.files.clear()).await;
    view_once(&leech, |view| view.pieces_done == view.pieces_total).await;
    assert_equal(from.path(), to.path(), "a/0");
    assert_equal(from.path(), to.path(), "a/1");
    let files = leech.files().await;
    assert_eq!((files[0].bytes_done, files[0].priority), (files[0].length, Priority::Normal));

    let trackers = vec![vec!["http://127.0.0.1:9/announce".to_owned()]];
    leech.change(|settings| settings.trackers = Some(trackers)).await;
    assert_eq!(leech.trackers().await[0].url, "http://127.0.0.1:9/announce");
    assert_eq!(leech.pieces().await.unwrap().count(), 16);
    // The seeder may have hung up: neither side wants anything.
    assert!(leech.peers().await.iter().all(|peer| peer.outbound));
    leecher.stop().await;
    seeder.stop().await;
    assert!(leech.files().await.iter().all(|file| file.bytes_done == 0));
    assert!(leech.pieces().await.is_none() && leech.view().await.is_none());
}

#[tokio::test]
async fn a_check_finds_what_is_wrong_and_it_is_fetched_again() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path(), "a");
    let seeder = seed(&torrent, from.path(), None).await;
    let leecher = Session::start(config()).unwrap();
    let leech = download(&leecher, &seeder, &torrent, to.path()).await;
    let before = leech.view().await.unwrap();
    leech.pause().await;
    let path = to.path().join("a");
    let mut spoilt = std::fs::read(&path).unwrap();
    spoilt[7 * PIECE as usize] ^= 1;
    std::fs::write(&path, spoilt).unwrap();
    let checked = leech.check().await.unwrap();
    assert_eq!((checked.pieces_done, checked.is_paused), (95, true));
    assert_eq!(leech.check_progress(), (u64::from(SIZE), u64::from(SIZE)));
    leech.resume().await;
    let after = leech.wait_complete().await.unwrap();
    assert_equal(from.path(), to.path(), "a");
    let fetched = after.bytes_down - before.bytes_down;
    assert_eq!(fetched, u64::from(PIECE), "the counts go on, and one piece is fetched again");
    leecher.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn a_torrent_moves_with_its_data_and_is_not_hashed_again() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (state, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent_of_files(from.path(), "a", &[400 * PIECE, 0, 5 * PIECE + 1]);
    let seeder = seed(&torrent, from.path(), None).await;
    let state_dir = Some(state.path().to_owned());
    let leecher = Session::start(SessionConfig { state_dir, ..config() }).unwrap();
    let leech = download(&leecher, &seeder, &torrent, to.path()).await;

    // A file that is in the way: all stays as it is, and the torrent goes on.
    std::fs::create_dir_all(new.path().join("x/a")).unwrap();
    std::fs::write(new.path().join("x/a/2"), "mine").unwrap();
    let error = leech.move_to(new.path().join("x")).await.unwrap_err();
    assert!(error.to_string().contains("x/a/2"), "{error}");
    assert_eq!(leech.wait_active().await.unwrap().pieces_done, 406);
    assert_equal(from.path(), to.path(), "a/2");
    assert_eq!(leech.dir().unwrap(), to.path());

    let moved = leech.move_to(new.path().join("y")).await.unwrap();
    assert_eq!(moved.pieces_done, 406);
    // The bytes that were moved, and a sample that was hashed.
    let (size, done) = (torrent.info.geometry.total(), leech.check_progress().0);
    assert!(done - size < size / 4 * 3, "{done} of {size}");
    for name in ["a/0", "a/1", "a/2"] {
        assert_equal(from.path(), &new.path().join("y"), name);
    }
    assert!(!to.path().join("a").exists());
    assert_eq!(leech.dir().unwrap(), new.path().join("y"));
    let saved = crate::saved_torrents(state.path()).unwrap();
    assert_eq!(saved.len(), 1, "one place is remembered");

    for (path, refused) in [("b/x", "no path"), ("a/../x", "no path"), ("a/0", "another file")] {
        let error = leech.rename_file(2, path).await.unwrap_err();
        assert!(error.to_string().contains(refused), "{path}: {error}");
    }
    std::fs::write(new.path().join("y/a/mine"), "mine").unwrap();
    assert!(leech.rename_file(2, "a/mine").await.is_err());
    assert_eq!(leech.wait_active().await.unwrap().pieces_done, 406);
    assert_eq!(leech.rename_file(2, "a/sub/two").await.unwrap().pieces_done, 406);
    let named = std::fs::read(new.path().join("y/a/sub/two")).unwrap();
    assert!(named == std::fs::read(from.path().join("a/2")).unwrap());
    assert_eq!(leech.names(), [(2, "a/sub/two".into())].into());
    assert_eq!(leech.files().await[2].path, Path::new("a/sub/two"));
    std::fs::create_dir(new.path().join("y/taken")).unwrap();
    for name in ["taken", "a/b", "..", ""] {
        assert!(leech.rename_top(name).await.is_err(), "{name:?}");
    }
    assert_eq!(leech.rename_top("b").await.unwrap().pieces_done, 406);
    assert!(std::fs::read(new.path().join("y/b/sub/two")).unwrap() == named);
    assert!(new.path().join("y/b/mine").exists() && !new.path().join("y/a").exists());
    let options = AddOptions { names: leech.names(), ..AddOptions::new(new.path().join("y")) };
    leecher.remove(&leech).await;
    let leech = leecher.add(&torrent, options).unwrap();
    assert_eq!(leech.wait_active().await.unwrap().pieces_done, 406);
    std::fs::remove_file(new.path().join("y/b/mine")).unwrap();
    leecher.remove_with_data(&leech).await.unwrap();
    assert!(!new.path().join("y/b").exists());
    assert!(crate::saved_torrents(state.path()).unwrap().is_empty());
    leecher.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn a_reader_gets_what_it_wants_before_all_else() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Behind a file that no reader wants, and far from the borders of pieces.
    let torrent = torrent_of_files(from.path(), "a", &[60 * PIECE + 7, 30 * PIECE, 6 * PIECE]);
    let first = seed(&torrent, from.path(), None).await;
    // An initial seed would offer one piece after another. This one has everything from it.
    let seeder = Session::start(config()).unwrap();
    let between = tempfile::tempdir().unwrap();
    download(&seeder, &first, &torrent, between.path()).await;
    first.stop().await;
    // So slow that most of the torrent is missing when the reader is done, on any machine.
    seeder.change(|settings| settings.limits.up = Some(RATE / 12));
    let leecher = Session::start(config()).unwrap();
    let settings = TorrentSettings { running: false, ..TorrentSettings::default() };
    let peers = seeder.listen_addrs().to_vec();
    let options = AddOptions { peers, settings, ..AddOptions::new(to.path()) };
    let leech = leecher.add(&torrent, options).unwrap();
    leech.wait_active().await.unwrap();
    let mut reader = leech.reader(1).unwrap();
    assert!(leech.reader(3).is_none());
    assert_eq!(reader.len(), u64::from(30 * PIECE));
    let expected = std::fs::read(from.path().join("a/1")).unwrap();

    // From the last third of the file on, then from its start.
    let at = 20 * PIECE as usize + 5;
    reader.seek(SeekFrom::Start(at as u64)).await.unwrap();
    let mut found = Vec::new();
    let read = async { reader.read_to_end(&mut found).await.unwrap() };
    let (_, ()) = tokio::join!(read, leech.resume());
    assert!(found == expected[at..], "{} bytes differ", found.len());
    let there = leech.view().await.unwrap();
    assert!(there.pieces_done < 60, "{} pieces came before the reader's", there.pieces_done);
    seeder.set(SessionSettings::default());
    reader.rewind().await.unwrap();
    found.clear();
    reader.read_to_end(&mut found).await.unwrap();
    assert!(found == expected);

    let skipped = leech.reader(2).unwrap();
    drop(skipped);
    leech.wait_complete().await.unwrap();
    leecher.stop().await;
    reader.rewind().await.unwrap();
    let error = reader.read_u8().await.unwrap_err();
    assert_eq!(error.to_string(), "the torrent was stopped");
    seeder.stop().await;
}

#[tokio::test]
async fn a_storage_of_the_programs_own_is_filled_checked_and_emptied() {
    let from = tempfile::tempdir().unwrap();
    let torrent = torrent(from.path(), "a");
    let seeder = seed(&torrent, from.path(), None).await;
    let leecher = Session::start(config()).unwrap();
    let memory = Arc::new(MemStorage::new());
    let nowhere = from.path().join("nowhere");
    let storage = Some(OwnStorage(Arc::clone(&memory) as Arc<dyn Storage>));
    let peers = seeder.listen_addrs().to_vec();
    let options = AddOptions { peers, storage, ..AddOptions::new(&nowhere) };
    let leech = leecher.add(&torrent, options).unwrap();
    leech.wait_complete().await.unwrap();
    let original = std::fs::read(from.path().join("a")).unwrap();
    assert!(memory.content(Path::new("a")).unwrap() == original);
    assert_eq!(leech.check().await.unwrap().pieces_done, 96);
    assert!(matches!(leech.move_to("b").await, Err(TorrentError::Unsupported(_))));
    leecher.remove_with_data(&leech).await.unwrap();
    assert!(memory.content(Path::new("a")).is_none() && !nowhere.exists());
    leecher.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn peers_that_are_added_while_the_data_is_checked_are_connected_to_later() {
    let from = tempfile::tempdir().unwrap();
    let torrent = torrent(from.path(), "a");
    let seeder = seed(&torrent, from.path(), None).await;
    let settings = SessionSettings { lsd: false, ..SessionSettings::default() };
    let leecher = Session::start(SessionConfig { settings, ..config() }).unwrap();
    // The check waits until `go_on` is dropped.
    let (go_on, waits) = std::sync::mpsc::channel::<()>();
    let waits = Mutex::new(waits);
    let slow = FaultyStorage::new(MemStorage::new(), move |_, _| {
        let _ = waits.lock().unwrap().recv();
        None
    });
    let storage = Some(OwnStorage(Arc::new(slow)));
    let options = AddOptions { storage, ..AddOptions::new(from.path().join("nowhere")) };
    let leech = leecher.add(&torrent, options).unwrap();
    leech.add_peers(seeder.listen_addrs().to_vec()).await;
    assert_eq!(*leech.state().borrow(), TorrentState::Checking);
    drop(go_on);
    let complete = tokio::time::timeout(Duration::from_secs(30), leech.wait_complete()).await;
    complete.expect("the peer was forgotten").unwrap();
    leecher.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn data_that_another_torrent_reads_is_neither_moved_nor_deleted() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(dir.path(), "a");
    let other = seed(&torrent, dir.path(), None).await;
    let session = Session::start(config()).unwrap();
    let seeding = session.add(&torrent, AddOptions::new(dir.path())).unwrap();
    seeding.wait_active().await.unwrap();
    let is_owned = |error| matches!(error, TorrentError::Owned { is_written: false, .. });
    assert!(is_owned(seeding.move_to(to.path()).await.unwrap_err()));
    assert!(is_owned(seeding.rename_file(0, "b").await.unwrap_err()));
    assert_eq!(seeding.wait_active().await.unwrap().pieces_done, 96);
    assert!(is_owned(session.remove_with_data(&seeding).await.unwrap_err()));
    assert!(session.torrents().is_empty() && dir.path().join("a").exists());
    other.stop().await;
    let again = session.add(&torrent, AddOptions::new(dir.path())).unwrap();
    again.wait_active().await.unwrap();
    session.remove_with_data(&again).await.unwrap();
    assert!(!dir.path().join("a").exists());
    session.stop().await;
}

#[tokio::test]
async fn a_torrent_is_reopened_with_watchers_and_with_renamed_files() {
    let (dir, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(dir.path(), "a");
    let session = Session::start(config()).unwrap();
    // The content itself is named, not its directory.
    let seeding = session.add(&torrent, AddOptions::new(dir.path().join("a"))).unwrap();
    seeding.wait_active().await.unwrap();
    // A caller that waits no longer.
    let soon = Duration::ZERO;
    assert!(tokio::time::timeout(soon, seeding.check()).await.is_err());
    assert_eq!(seeding.wait_active().await.unwrap().pieces_done, 96);
    while let Err(TorrentError::NotReady) = seeding.rename_file(0, "b").await {
        tokio::task::yield_now().await;
    }
    assert_eq!(seeding.rename_file(0, "c").await.unwrap().pieces_done, 96);
    assert_eq!(
        (seeding.dir().unwrap(), seeding.names()),
        (dir.path().into(), [(0, "c".into())].into())
    );
    assert_eq!(seeding.move_to(new.path()).await.unwrap().pieces_done, 96);
    assert_eq!(seeding.rename_file(0, "d").await.unwrap().pieces_done, 96);

    let mut reader = seeding.reader(0).unwrap();
    reader.seek(SeekFrom::Start(u64::MAX)).await.unwrap();
    assert_eq!(reader.read(&mut [0; 9]).await.unwrap(), 0, "there is nothing behind the end");

    // What a later run is told finds the data.
    let (dir, names) = (seeding.dir().unwrap(), seeding.names());
    session.remove(&seeding).await;
    let again = session.add(&torrent, AddOptions { names, ..AddOptions::new(dir) }).unwrap();
    assert_eq!(again.wait_active().await.unwrap().pieces_done, 96);
    session.stop().await;
}

#[tokio::test]
async fn a_torrent_that_failed_is_checked_once_its_data_is_back() {
    let (from, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path(), "a");
    let session = Session::start(config()).unwrap();
    let mut subscription = session.subscribe();
    std::fs::write(dir.path().join("a"), "none of the torrent's").unwrap();
    let failing = session.add(&torrent, AddOptions::new(dir.path())).unwrap();
    while !failing.state().borrow().is_over() {
        subscription.changed().await;
    }
    assert!(matches!(failing.wait_active().await, Err(TorrentError::Foreign { .. })));
    std::fs::copy(from.path().join("a"), dir.path().join("a")).unwrap();
    assert_eq!(failing.check().await.unwrap().pieces_done, 96);
    session.remove(&failing).await;
    assert_eq!(failing.check().await.unwrap_err(), TorrentError::Stopping);
    session.stop().await;
}

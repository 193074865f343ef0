//! What the keeper does in order, and what it refuses.

use super::*;
use crate::config::DaemonConfig;
use crate::store::SETTINGS;
use bt_api::{
    Add, AddSource, Category, DaemonSettings, Labels, Phase, QueuePlace, SeedAction, TorrentPatch,
};
use bt_session::{Priority, SessionConfig};
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use tokio::time::timeout;

pub(crate) const FILE: &[u8] =
    b"d4:infod6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces20:AAAAAAAAAAAAAAAAAAAAee";
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for what does not wait to be over.
const A_WHILE: Duration = Duration::from_millis(500);

/// Starts a keeper that speaks to no one.
pub(crate) async fn keeper(dir: &Path) -> Arc<Keeper> {
    let mut settings = DaemonSettings { dir: dir.join("data"), ..DaemonSettings::default() };
    settings.session.lsd = false;
    let state = dir.join("state");
    let store = Store::open(&state).expect("a store");
    let mut batch = Batch::default();
    batch.value(SETTINGS, &settings);
    store.write(batch).await.expect("a write");
    drop(store);
    let listen = Some((std::net::Ipv4Addr::LOCALHOST, 0).into());
    let config = DaemonConfig {
        session: SessionConfig { listen, ..SessionConfig::default() },
        ..DaemonConfig::new(state, dir.join("data"))
    };
    Keeper::open(&config).await.expect("a keeper")
}

pub(crate) async fn add(keeper: &Arc<Keeper>) -> InfoHash {
    let source = AddSource::Bytes(FILE.to_vec());
    let add = Add { start: Some(false), ..Add::new(source) };
    let done = keeper.run(Command::Add(Box::new(add))).await.expect("an addition");
    let hash = done.torrent.expect("a torrent");
    until(keeper, hash, |torrent| torrent.live.phase == Phase::Stopped).await;
    let handle = keeper.handle(hash).expect("a handle");
    timeout(PATIENCE, handle.wait_active()).await.expect("in time").expect("a check");
    hash
}

/// Waits for a value.
pub(crate) async fn until_some<T>(get: impl Fn() -> Option<T>) -> T {
    let wait = async {
        loop {
            match get() {
                Some(value) => return value,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("in time")
}

async fn until(keeper: &Keeper, hash: InfoHash, is_so: impl Fn(&Torrent) -> bool) {
    let wait = async {
        while !keeper.torrent(hash).is_ok_and(|torrent| is_so(&torrent)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("in time");
}

fn patch(running: Option<bool>) -> Box<TorrentPatch> {
    Box::new(TorrentPatch { running, ..TorrentPatch::default() })
}

fn kind(done: Result<CommandReply, Fault>) -> Option<FaultKind> {
    done.err().map(|fault| fault.kind)
}

#[tokio::test]
async fn a_command_goes_on_without_its_caller() {
    let dir = tempfile::tempdir().expect("a directory");
    let keeper = keeper(dir.path()).await;
    {
        let mut run = pin!(keeper.run(Command::Settings(serde_json::json!({ "slow": true }))));
        let once = poll_fn(|context| Poll::Ready(run.as_mut().poll(context).is_pending()));
        assert!(once.await, "it has begun, and its caller leaves");
    }
    let wait = async {
        while !keeper.state().settings.slow {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("what is stored is in the state");
}

#[tokio::test]
async fn sums_of_what_rests_are_stored_in_turn() {
    let dir = tempfile::tempdir().expect("a directory");
    let keeper = keeper(dir.path()).await;
    let hash = add(&keeper).await;
    let mut torrent = (*keeper.torrent(hash).expect("a torrent")).clone();
    torrent.hash = InfoHash([3; 20]);
    torrent.record.dates.active = Some(1000);
    assert!(sums_matter(&torrent, 1060, 1), "payload came since the last time");
    let minutes: Vec<u64> = (0..60).filter(|minute| sums_matter(&torrent, 9000, *minute)).collect();
    assert_eq!(minutes, [3, 33]);
}

#[tokio::test]
async fn sums_are_not_stored_over_a_command() {
    let dir = tempfile::tempdir().expect("a directory");
    let keeper = keeper(dir.path()).await;
    let turn = keeper.turn.lock().await;
    assert!(timeout(A_WHILE, keeper.every_second(60)).await.is_err(), "it waits for its turn");
    drop(turn);
}

#[tokio::test]
async fn a_seed_limit_that_no_longer_holds_removes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let keeper = keeper(dir.path()).await;
    let hash = add(&keeper).await;
    keeper.finish(hash, SeedAction::RemoveWithData).await;
    assert!(keeper.torrent(hash).is_ok());
}

#[tokio::test]
async fn labels_are_in_the_state_once_they_are_stored() {
    let dir = tempfile::tempdir().expect("a directory");
    let keeper = keeper(dir.path()).await;
    let labels = Labels { category: "tv".into(), tags: ["new".to_owned()].into() };
    let mut batch = Batch::default();
    let (categories, tags) = keeper.keep_labels([&labels], &mut batch);
    assert!(categories.contains_key("tv") && tags.contains("new"));
    assert!(keeper.state().categories.is_empty() && keeper.state().tags.is_empty());
}

#[tokio::test]
async fn names_and_numbers_that_cannot_be_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let keeper = keeper(dir.path()).await;
    let hash = add(&keeper).await;
    let link = || AddSource::Link(format!("magnet:?xt=urn:btih:{}", "1".repeat(40)));
    for number in [1 << 40, usize::MAX] {
        let patch =
            TorrentPatch { files: vec![(number, Priority::Skip)], ..TorrentPatch::default() };
        let add = Add { patch, ..Add::new(link()) };
        let done = keeper.run(Command::Add(Box::new(add))).await;
        assert_eq!(kind(done), Some(FaultKind::Invalid), "{number}");
    }
    for name in ["../../etc", "/etc", "a//b", "."] {
        let category = Some(name.to_owned());
        let patch = TorrentPatch { category, ..TorrentPatch::default() };
        let add = Add { patch: patch.clone(), ..Add::new(link()) };
        for command in [
            Command::Add(Box::new(add)),
            Command::Change(vec![hash], Box::new(patch)),
            Command::Category(name.to_owned(), Some(Category::default())),
        ] {
            assert_eq!(kind(keeper.run(command).await), Some(FaultKind::Invalid), "{name}");
        }
    }
    let relative = Category { dir: Some("data".into()), ..Category::default() };
    let done = keeper.run(Command::Category("tv".into(), Some(relative))).await;
    assert_eq!(kind(done), Some(FaultKind::Invalid));
    let tags = Command::AddTags(["a,b".to_owned()].into());
    assert_eq!(kind(keeper.run(tags).await), Some(FaultKind::Invalid));
    let before = keeper.state().settings.clone();
    for patch in [
        serde_json::json!({ "incomplete_dir": "data" }),
        serde_json::json!({ "queue": [] }),
        serde_json::json!({ "session": { "limits": [] } }),
        serde_json::json!([before.dir]),
        serde_json::json!(null),
    ] {
        let done = keeper.run(Command::Settings(patch.clone())).await;
        assert_eq!(kind(done), Some(FaultKind::Invalid), "{patch}");
    }
    assert_eq!(keeper.state().settings, before);
    assert_eq!(keeper.state().len(), 1);
}

#[tokio::test]
async fn a_torrent_that_failed_is_tried_again_and_does_not_move() {
    let dir = tempfile::tempdir().expect("a directory");
    let keeper = keeper(dir.path()).await;
    for again in [Command::Change as fn(_, _) -> _, |all, _| Command::Check(all)] {
        let hash = add(&keeper).await;
        let session = keeper.session().expect("a session");
        session.remove(&keeper.handle(hash).expect("a handle")).await;
        keeper.fail(hash, "no disk".into());
        let to = dir.path().join("other");
        let moved = Command::Move { torrents: vec![hash], dir: to, move_data: true };
        assert_eq!(kind(keeper.run(moved).await), Some(FaultKind::Conflict));
        assert_eq!(keeper.torrent(hash).expect("a torrent").record.moving_to, None);
        keeper.run(again(vec![hash], patch(Some(true)))).await.expect("another try");
        assert!(keeper.handle(hash).is_some());
        until(&keeper, hash, |t| !matches!(t.live.phase, Phase::Failed(_))).await;
        keeper.run(Command::Remove(vec![hash], false)).await.expect("a removal");
    }
}

#[tokio::test]
async fn one_move_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let keeper = keeper(dir.path()).await;
    let hash = add(&keeper).await;
    let to = dir.path().join("first");
    keeper.update(|state| state.change(hash, |torrent| torrent.record.moving_to = Some(to)));
    let dir = dir.path().join("second");
    let moved = Command::Move { torrents: vec![hash], dir, move_data: true };
    assert_eq!(kind(keeper.run(moved).await), Some(FaultKind::Conflict));
}

#[tokio::test]
async fn a_move_is_taken_back_once_and_the_queue_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let keeper = keeper(dir.path()).await;
    let hash = add(&keeper).await;
    let dir = dir.path().join("other");
    let moved = Command::Move { torrents: vec![hash], dir: dir.clone(), move_data: true };
    keeper.run(moved).await.expect("a move");
    let is_at = |torrent: &Torrent, dir: &Path| {
        torrent.record.dir == dir && torrent.record.moving_to.is_none()
    };
    until(&keeper, hash, |torrent| is_at(torrent, &dir)).await;
    let place = QueuePlace { place: 7, forced: false };
    keeper.update(|state| state.change(hash, |torrent| torrent.record.queue = place));
    keeper.run(Command::Undo).await.expect("undone");
    until(&keeper, hash, |torrent| is_at(torrent, &keeper.state().settings.dir)).await;
    assert_eq!(keeper.torrent(hash).expect("a torrent").record.queue.place, 7);
    assert_eq!(kind(keeper.run(Command::Undo).await), Some(FaultKind::Conflict), "no redo");
}

#[tokio::test]
async fn the_end_waits_for_who_has_the_session() {
    let dir = tempfile::tempdir().expect("a directory");
    let keeper = keeper(dir.path()).await;
    let held = keeper.session();
    let mut stop = pin!(keeper.stop());
    assert!(timeout(A_WHILE, &mut stop).await.is_err(), "the session would not be stopped");
    drop(held);
    timeout(PATIENCE, stop).await.expect("in time");
}

#[tokio::test]
async fn a_move_that_failed_is_told_until_the_next_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let keeper = keeper(dir.path()).await;
    let hash = add(&keeper).await;
    let data = dir.path().join("data/a");
    std::fs::create_dir_all(dir.path().join("data")).expect("a directory");
    std::fs::write(data, b"x").expect("data");
    let taken = dir.path().join("taken");
    std::fs::create_dir_all(taken.join("a/full")).expect("a directory in the way");
    let move_to = |dir: &Path| {
        let (torrents, dir) = (vec![hash], dir.to_owned());
        keeper.run(Command::Move { torrents, dir, move_data: true })
    };
    move_to(&taken).await.expect("a move that begins");
    until(&keeper, hash, |torrent| torrent.live.move_trouble.is_some()).await;
    keeper.refresh(hash);
    let torrent = keeper.torrent(hash).expect("a torrent");
    assert!(torrent.live.move_trouble.is_some() && torrent.record.moving_to.is_none());
    assert_eq!(torrent.record.dir, dir.path().join("data"), "it is where its data is");
    let free = dir.path().join("free");
    move_to(&free).await.expect("a move that begins");
    until(&keeper, hash, |torrent| torrent.record.dir == free).await;
    until(&keeper, hash, |torrent| torrent.live.move_trouble.is_none()).await;
}

/// Returns the addition of `FILE`, imported with its data at `dir/temp`, or at `dir/data`.
fn imported(dir: &Path, import: bt_api::import::Import) -> Command {
    let source = AddSource::Bytes(FILE.to_vec());
    let import = bt_api::import::Import {
        incomplete_dir: Some(dir.join("temp")),
        suffix: Some(".part".into()),
        ..import
    };
    Command::Add(Box::new(Add {
        dir: Some(dir.join("data")),
        start: Some(false),
        import: Some(import),
        ..Add::new(source)
    }))
}

#[tokio::test]
async fn imported_data_is_found_at_its_place_and_under_its_name() {
    use bt_api::import::Import;
    for (file, place, name, goes) in [
        ("data/a", "data", None, None),
        ("data/a.part", "data", Some("a.part"), None),
        ("temp/a", "temp", None, Some("data")),
        ("temp/a.part", "temp", Some("a.part"), Some("data")),
        ("elsewhere", "data", None, None),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let keeper = keeper(dir.path()).await;
        let path = |name: &str| dir.path().join(name);
        for name in ["data", "temp"] {
            std::fs::create_dir_all(path(name)).expect("a directory");
        }
        std::fs::write(path(file), b"").expect("a file");
        let import = Import { added: Some(7), bytes_down: 8, bytes_up: 9, ..Import::default() };
        let done = keeper.run(imported(dir.path(), import)).await.expect("an addition");
        let record = keeper.torrent(done.torrent.expect("it")).expect("it").record.clone();
        assert_eq!((record.dir, record.final_dir), (path(place), goes.map(path)), "{file}");
        let names: Vec<_> = record.names.into_values().collect();
        assert_eq!(names, name.map(PathBuf::from).into_iter().collect::<Vec<_>>());
        assert_eq!((record.dates.added, record.totals.down, record.totals.up), (7, 8, 9));
    }
}

#[tokio::test]
async fn imported_names_and_claims_that_cannot_be_are_refused() {
    use bt_api::import::{DataClaim, Import};
    let dir = tempfile::tempdir().expect("a directory");
    let keeper = keeper(dir.path()).await;
    for name in ["../a", "/etc/passwd", ""] {
        let import = Import { names: [(0, name.into())].into(), ..Import::default() };
        let done = keeper.run(imported(dir.path(), import)).await;
        assert_eq!(kind(done), Some(FaultKind::Invalid), "{name:?}");
    }
    for (pieces, written) in [(vec![0, 2], vec![]), (vec![], vec![None, None])] {
        let claim = Some(DataClaim { pieces, written });
        let import = Import { claim, ..Import::default() };
        let done = keeper.run(imported(dir.path(), import)).await;
        assert_eq!(kind(done), Some(FaultKind::Invalid));
    }
    assert!(keeper.state().is_empty());
}

#[tokio::test]
async fn a_claim_is_kept_until_the_data_was_looked_at() {
    use bt_api::import::{DataClaim, Import, Written};
    let dir = tempfile::tempdir().expect("a directory");
    let keeper = keeper(dir.path()).await;
    let claim = DataClaim { pieces: vec![0, 1], written: vec![Some(Written::By(i64::MAX))] };
    let import = || Import { claim: Some(claim.clone()), ..Import::default() };
    let done = keeper.run(imported(dir.path(), import())).await.expect("an addition");
    let hash = done.torrent.expect("a torrent");
    until(&keeper, hash, |torrent| matches!(torrent.live.phase, Phase::Failed(_))).await;
    let torrent = keeper.torrent(hash).expect("it");
    assert_eq!(torrent.record.claim, Some(claim), "all of its data is gone");
    // Other data is there now: the sample is wrong, and nothing is claimed any more.
    std::fs::create_dir_all(dir.path().join("data")).expect("a directory");
    std::fs::write(dir.path().join("data/a"), b"x").expect("a file");
    keeper.run(Command::Check(vec![hash])).await.expect("a check");
    until(&keeper, hash, |torrent| torrent.record.claim.is_none()).await;
    assert_eq!(keeper.torrent(hash).expect("it").done(), 0);
}

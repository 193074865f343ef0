//! Files that other programs touch while they are downloaded, or while the download does not run.
//!
//! Decides: the cases.
//! Must not know: how a touch is noticed.
//! Invariant: every case looks at real files, and at the reports about them.

use super::*;
use crate::testkit::Fixture;
use crate::worker::Order;
use crate::worker::tests::{NOW, good, worker};
use crate::{
    DiskStorage, FaultyStorage, Identity, Journal, MemStorage, Op, OpenError, Opened, Progress,
    Trust, open_torrent,
};
use bt_types::{StoreFault, Time};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A download to a real directory.
struct Scene {
    fixture: Fixture,
    dir: tempfile::TempDir,
    storage: DiskStorage,
    worker: Worker,
}

impl Scene {
    fn new(lengths: &[u64]) -> Scene {
        let (fixture, dir) = (Fixture::new(lengths, 16_384), tempfile::tempdir().unwrap());
        let (storage, worker) = (DiskStorage::open(dir.path()).unwrap(), worker(&fixture));
        Scene { fixture, dir, storage, worker }
    }

    fn file(&self, number: usize) -> PathBuf {
        self.dir.path().join(self.fixture.path(number))
    }

    fn run(&mut self, orders: Vec<Order>) -> Vec<Done> {
        self.worker.run(NOW, orders, &self.storage)
    }

    /// Brings pieces, and runs the work that follows by itself.
    fn arrive(&mut self, numbers: &[u32]) -> Vec<Done> {
        let orders = numbers.iter().flat_map(|&number| self.fixture.arrival(number)).collect();
        let mut done = self.run(orders);
        self.go_on(&mut done);
        done
    }

    fn retry(&mut self) -> Vec<Done> {
        let mut done = self.run(vec![Order::Retry]);
        self.go_on(&mut done);
        done
    }

    fn go_on(&mut self, done: &mut Vec<Done>) {
        while self.worker.deadline() == Some(Time::ZERO) {
            done.extend(self.run(Vec::new()));
        }
    }

    fn good(&self, numbers: &[u32]) -> Vec<Done> {
        numbers.iter().map(|&number| good(&self.fixture, number)).collect()
    }

    fn lost(&self, numbers: &[u32]) -> Done {
        Done::Lost { pieces: numbers.iter().map(|&number| self.fixture.piece(number)).collect() }
    }

    /// Opens the torrent as another process would after the first was killed.
    fn open(&mut self) -> Result<Opened, OpenError> {
        self.storage = DiskStorage::open(self.dir.path()).unwrap();
        let (layout, digests) = (&self.fixture.layout, &self.fixture.digests);
        open_torrent(
            layout,
            digests,
            self.fixture.journal(),
            &self.storage,
            Trust::Journal,
            &Progress::default(),
            &mut |_| Ok(()),
        )
    }

    /// The same, and the new process works on.
    fn reopen(&mut self) {
        let journal = self.open().unwrap().journal;
        self.worker = Worker::new(
            Arc::clone(&self.fixture.layout),
            Arc::clone(&self.fixture.digests),
            journal,
        );
    }

    fn is_right(&self) -> bool {
        self.fixture.layout.stored().all(|(number, _)| {
            fs::read(self.file(number)).is_ok_and(|data| data == self.fixture.content(number))
        })
    }
}

fn overwrite(file: &Path, at: usize, bytes: &[u8]) {
    let mut data = fs::read(file).unwrap();
    data.resize(data.len().max(at + bytes.len()), 0);
    data[at..at + bytes.len()].copy_from_slice(bytes);
    fs::write(file, data).unwrap();
}

fn fault_of(done: &[Done]) -> Option<StoreFault> {
    match done.last() {
        Some(Done::Failed { fault, .. }) => Some(*fault),
        _ => None,
    }
}

#[test]
fn what_was_verified_and_changed_is_lost_before_the_last_piece_is_good() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm, &[u32]); 5] = [
        ("overwritten", |file| overwrite(file, 20_000, b"X"), &[1]),
        (
            "overwritten, its time put back",
            |file| {
                let modified = file.metadata().unwrap().modified().unwrap();
                overwrite(file, 20_000, b"X");
                fs::File::options().write(true).open(file).unwrap().set_modified(modified).unwrap();
            },
            &[1],
        ),
        (
            "cut",
            |file| fs::File::options().write(true).open(file).unwrap().set_len(16_384).unwrap(),
            &[1, 2],
        ),
        ("longer", |file| overwrite(file, 4 * 16_384, b"more"), &[]),
        (
            "a copy in its place",
            |file| {
                fs::copy(file, file.with_extension("copy")).unwrap();
                fs::rename(file.with_extension("copy"), file).unwrap();
            },
            &[],
        ),
    ];
    for (what, harm, lost) in harms {
        let mut scene = Scene::new(&[4 * 16_384]);
        assert_eq!(scene.arrive(&[0, 1]), scene.good(&[0, 1]), "{what}");
        scene.run(vec![Order::Sync]);
        assert_eq!(scene.arrive(&[2]), scene.good(&[2]), "{what}");
        let file = scene.file(0);
        harm(&file);
        // The last piece meets the change when it is written, or when all files are looked at in
        // the end.
        let mut done = scene.arrive(&[3]);
        if fault_of(&done) == Some(StoreFault::Changed) {
            done.pop();
            done.extend(scene.retry());
        }
        let losses = (!lost.is_empty()).then(|| scene.lost(lost));
        let (mut news, told): (Vec<Done>, Vec<Done>) =
            done.into_iter().partition(|done| matches!(done, Done::Lost { .. }));
        assert_eq!((news.pop(), told), (losses, scene.good(&[3])), "{what}");
        assert_eq!(scene.worker.is_settled(), lost.is_empty(), "{what}");
        assert_eq!(scene.arrive(lost), scene.good(lost), "{what}");
        assert!(scene.worker.is_settled() && scene.is_right(), "{what}");
    }
}

#[test]
fn links_and_modes_hold_nothing_up() {
    let mut scene = Scene::new(&[2 * 16_384, 2 * 16_384]);
    let touch = |scene: &Scene, n: u32| {
        let file = scene.file(0);
        fs::hard_link(&file, file.with_extension(n.to_string())).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600 | (n % 8))).unwrap();
        fs::rename(&file, file.with_extension("away")).unwrap();
        fs::rename(file.with_extension("away"), &file).unwrap();
    };
    assert_eq!(scene.arrive(&[0]), scene.good(&[0]));
    touch(&scene, 1);
    assert_eq!(scene.arrive(&[1]), scene.good(&[1]));
    touch(&scene, 2);
    assert_eq!(scene.arrive(&[2]), scene.good(&[2]));
    touch(&scene, 3);
    assert_eq!(scene.arrive(&[3]), scene.good(&[3]));
    assert!(scene.worker.is_settled());
    touch(&scene, 4);
    let opened = scene.open().unwrap();
    assert_eq!((opened.have.count(), opened.hashed), (4, 2), "the file that was touched");
    assert_eq!(scene.open().unwrap().hashed, 0);

    // Peers are served hashed bytes, and no wrong ones.
    let blocks: Vec<Block> = scene
        .fixture
        .layout
        .geometry()
        .pieces()
        .flat_map(|piece| scene.fixture.layout.geometry().blocks(piece))
        .collect();
    let read =
        |scene: &Scene| crate::read_blocks(&scene.fixture.layout, &scene.storage, &blocks, true);
    assert!(read(&scene).is_ok());
    touch(&scene, 5);
    assert!(read(&scene).is_err());
    assert_eq!(
        scene.worker.read_hashed(&blocks, &scene.storage).unwrap().concat(),
        scene.fixture.data
    );
    scene.go_on(&mut Vec::new());
    assert_eq!(scene.run(Vec::new()), []);
    assert!(scene.worker.is_well() && read(&scene).is_ok());
    overwrite(&scene.file(0), 5, b"X");
    assert!(read(&scene).is_err() && scene.worker.read_hashed(&blocks, &scene.storage).is_none());
}

#[test]
fn what_changed_while_the_download_was_killed_is_hashed() {
    type Harm = fn(&Path);
    let nothing: Harm = |_| ();
    let harms: [(&str, Harm, (u32, u32)); 5] = [
        ("nothing", nothing, (3, 0)),
        ("overwritten", |file| overwrite(file, 20_000, b"X"), (2, 3)),
        ("longer", |file| overwrite(file, 4 * 16_384, b"more"), (3, 4)),
        ("a link", |file| fs::hard_link(file, file.with_extension("link")).unwrap(), (3, 3)),
        (
            "a link, then longer",
            |file| {
                fs::hard_link(file, file.with_extension("link")).unwrap();
                overwrite(file, 4 * 16_384, b"more");
            },
            (3, 4),
        ),
    ];
    for (what, harm, expected) in harms {
        let mut scene = Scene::new(&[4 * 16_384]);
        scene.arrive(&[0, 1]);
        scene.run(vec![Order::Sync]);
        scene.arrive(&[2]);
        scene.run(vec![Order::Sync]);
        harm(&scene.file(0));
        let opened = scene.open().unwrap();
        let hashed = if what == "overwritten" { 4 } else { expected.1 };
        assert_eq!((opened.have.count(), opened.hashed), (expected.0, hashed), "{what}");
        assert_eq!(
            fs::metadata(scene.file(0)).unwrap().len(),
            4 * 16_384,
            "{what}: what is ours is as long as it shall be"
        );
        assert_eq!(scene.open().unwrap().hashed, 0, "{what}: once");
    }
}

#[test]
fn a_file_of_the_users_is_not_overwritten_whenever_it_comes() {
    for killed in [false, true] {
        let mut scene = Scene::new(&[2 * 16_384, 2 * 16_384]);
        scene.open().unwrap();
        assert_eq!(scene.arrive(&[0]), scene.good(&[0]));
        let (file, mine) = (scene.file(1), b"the user's notes".repeat(100));
        fs::write(&file, &mine).unwrap();
        if killed {
            assert!(
                matches!(scene.open(), Err(OpenError::Foreign { path }) if path == scene.fixture.path(1))
            );
        } else {
            assert_eq!(fault_of(&scene.arrive(&[2])), Some(StoreFault::Foreign));
            assert_eq!(fault_of(&scene.retry()), Some(StoreFault::Foreign));
        }
        assert_eq!(fs::read(&file).unwrap(), mine);
        fs::remove_file(&file).unwrap();
        if killed {
            assert!(scene.open().is_ok());
        } else {
            assert_eq!(scene.retry(), scene.good(&[2]), "it was moved away");
        }
    }
    // The bytes that the user appended are kept, if the file was the user's.
    let mut scene = Scene::new(&[2 * 16_384]);
    fs::create_dir_all(scene.file(0).parent().unwrap()).unwrap();
    fs::write(scene.file(0), scene.fixture.content(0)).unwrap();
    assert_eq!(scene.open().unwrap().adopted, 2);
    overwrite(&scene.file(0), 2 * 16_384, b"more");
    assert!(matches!(scene.open(), Err(OpenError::Foreign { .. })));
    assert_eq!(fs::metadata(scene.file(0)).unwrap().len(), 2 * 16_384 + 4);
}

#[test]
fn small_files_that_share_a_piece_with_a_missing_one_are_compared() {
    for wrong in [false, true] {
        let mut scene = Scene::new(&[4_000, 4_000, 4_000, 40_000]);
        fs::create_dir_all(scene.file(0).parent().unwrap()).unwrap();
        for number in [0, 2, 3] {
            fs::write(scene.file(number), scene.fixture.content(number)).unwrap();
        }
        let notes = b"notes".repeat(800);
        if wrong {
            fs::write(scene.file(2), &notes).unwrap();
        }
        scene.reopen();
        assert_eq!(scene.worker.journal.known().have.count(), 3);
        let done = scene.arrive(&[0]);
        if wrong {
            assert_eq!(fault_of(&done), Some(StoreFault::Foreign));
            assert_eq!(fs::read(scene.file(2)).unwrap(), notes);
        } else {
            assert_eq!(done, scene.good(&[0]));
            assert!(scene.is_right());
        }
    }
}

#[test]
fn room_that_another_program_made_is_filled() {
    let mut scene = Scene::new(&[16_384, 4_000, 50_000]);
    fs::create_dir_all(scene.file(0).parent().unwrap()).unwrap();
    fs::File::create(scene.file(1)).unwrap().set_len(4_000).unwrap();
    fs::write(scene.file(2), vec![0; 50_000]).unwrap();
    scene.open().unwrap();
    let all: Vec<u32> = (0..scene.fixture.layout.geometry().piece_count()).collect();
    assert_eq!(scene.arrive(&all), scene.good(&all));
    assert!(scene.is_right());
}

#[test]
fn the_last_piece_is_good_when_all_is_synced_and_a_failed_sync_is_begun_again() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    for (op, harm) in [(Op::Sync, false), (Op::Sync, true), (Op::SyncNames, false)] {
        let fixture = Fixture::new(&[60_000], 16_384);
        let fails = Arc::new(AtomicBool::new(true));
        let rule = Arc::clone(&fails);
        let storage = FaultyStorage::new(MemStorage::new(), move |now, _| {
            (now == op && rule.load(Relaxed)).then(|| io::Error::from_raw_os_error(5))
        });
        let mut worker = worker(&fixture);
        let all = (0..4).flat_map(|number| fixture.arrival(number)).collect();
        let done = worker.run(NOW, all, &storage);
        assert!(matches!(done[..], [Done::Failed { fault: StoreFault::Io, .. }]), "{done:?}");
        assert!(matches!(worker.run(NOW, vec![Order::Retry], &storage)[..], [Done::Failed { .. }]));
        assert!(!worker.is_settled() && fixture.journal().known().have.is_empty());
        if harm {
            // The system dropped the bytes that it could not write.
            storage
                .inner()
                .write_at(&fixture.path(0), 20_000, &[io::IoSlice::new(b"old")])
                .unwrap();
        }
        fails.store(false, Relaxed);
        let lost = Done::Lost { pieces: vec![fixture.piece(1)] };
        let rest = if harm { vec![0, 2, 3] } else { vec![0, 1, 2, 3] };
        let told = rest.iter().map(|&number| good(&fixture, number));
        let expected: Vec<Done> = harm.then_some(lost).into_iter().chain(told).collect();
        assert_eq!(worker.run(NOW, vec![Order::Retry], &storage), expected);
        assert_eq!(worker.is_settled(), !harm);
        storage.inner().crash();
        assert!(
            rest.iter().all(|&number| fixture.is_right(storage.inner(), fixture.piece(number))),
            "all was written again"
        );
        assert_eq!(fixture.journal().known().have.count() as usize, rest.len());
    }
}

#[test]
fn a_complete_file_that_the_user_changes_is_left_alone() {
    let mut scene = Scene::new(&[2 * 16_384]);
    assert_eq!(scene.arrive(&[0, 1]), scene.good(&[0, 1]));
    overwrite(&scene.file(0), 5, b"edited");
    assert_eq!(scene.run(vec![Order::Doubt { piece: scene.fixture.piece(0) }]), []);
    assert_eq!(scene.retry(), []);
    assert_eq!(fault_of(&scene.retry()), Some(StoreFault::Changed));
    assert!(!scene.worker.is_well() && scene.worker.is_settled());
}

#[test]
fn a_file_that_is_spoilt_while_it_is_made_is_ours_all_the_same() {
    let (fixture, dir) = (Fixture::new(&[40_000], 16_384), tempfile::tempdir().unwrap());
    let (path, once) = (dir.path().join(fixture.path(0)), std::sync::Once::new());
    // Another program writes between the making of the file and the setting of its length.
    let rule = move |op, _: &Path| {
        if op == Op::SetLen {
            once.call_once(|| fs::write(&path, b"another program's").unwrap());
        }
        None
    };
    let storage = FaultyStorage::new(DiskStorage::open(dir.path()).unwrap(), rule);
    let mut worker = worker(&fixture);
    let mut done =
        worker.run(NOW, (0..3).flat_map(|number| fixture.arrival(number)).collect(), &storage);
    for _ in 0..5 {
        done.extend(worker.run(NOW, vec![Order::Retry], &storage));
        while worker.deadline() == Some(Time::ZERO) {
            done.extend(worker.run(NOW, Vec::new(), &storage));
        }
    }
    assert!((0..3).all(|number| done.contains(&good(&fixture, number))), "{done:?}");
    assert_eq!(fs::read(dir.path().join(fixture.path(0))).unwrap(), fixture.data);
}

#[test]
fn what_is_lost_and_not_wanted_makes_nothing_complete_before_the_rest_is_looked_at() {
    for harm in [true, false] {
        let mut scene = Scene::new(&[16_384, 16_384, 16_384]);
        assert_eq!(scene.arrive(&[0]), scene.good(&[0]));
        scene.run(vec![Order::Sync]);
        // The first file is not wanted any more.
        Arc::make_mut(&mut scene.fixture.layout).select(&BTreeSet::from([1, 2]));
        scene.reopen();
        assert_eq!(scene.arrive(&[1]), scene.good(&[1]));
        overwrite(&scene.file(0), 5, b"X");
        if harm {
            overwrite(&scene.file(1), 5, b"X");
        } else {
            fs::hard_link(scene.file(1), scene.dir.path().join("link")).unwrap();
        }
        let lost =
            if harm { vec![scene.lost(&[0]), scene.lost(&[1])] } else { vec![scene.lost(&[0])] };
        assert_eq!(scene.arrive(&[2]), [lost, scene.good(&[2])].concat());
        assert_eq!(scene.worker.is_settled(), !harm);
    }
}

#[test]
fn what_cannot_be_recorded_as_lost_stays_in_doubt() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    let mut scene = Scene::new(&[4 * 16_384]);
    let fails = Arc::new(AtomicBool::new(false));
    let rule = Arc::clone(&fails);
    // One write fails, and the next does not.
    let rule = move |op, _: &Path| {
        (op == Op::Write && rule.swap(false, Relaxed)).then(|| io::Error::from_raw_os_error(5))
    };
    let state = Arc::new(FaultyStorage::new(DiskStorage::open(scene.dir.path()).unwrap(), rule));
    let geometry = *scene.fixture.layout.geometry();
    let journal = || {
        let id = bt_types::InfoHash([1; 20]);
        Journal::open(Arc::<FaultyStorage<_>>::clone(&state), Path::new("journal"), id, &geometry)
            .unwrap()
    };
    scene.worker = Worker::new(
        Arc::clone(&scene.fixture.layout),
        Arc::clone(&scene.fixture.digests),
        journal(),
    );
    assert_eq!(scene.arrive(&[0, 1, 2]), scene.good(&[0, 1, 2]));
    scene.run(vec![Order::Sync]);
    overwrite(&scene.file(0), 20_000, b"X");
    fails.store(true, Relaxed);
    let mut done = scene.run(vec![Order::Doubt { piece: scene.fixture.piece(1) }]);
    scene.go_on(&mut done);
    assert_eq!((done.len(), fault_of(&done)), (1, Some(StoreFault::Io)));
    // A restart would find a record of earlier bytes, and a file that differs from it.
    let known = journal();
    let noted = known.known().file(0).unwrap().stat;
    let storage = DiskStorage::open(scene.dir.path()).unwrap();
    let now = storage.stat(&scene.fixture.path(0)).unwrap().unwrap();
    assert_eq!((known.known().have.count(), noted.change_to(&now)), (3, Change::Content));
    assert_eq!(scene.retry(), [scene.lost(&[1])]);
    assert!(scene.worker.is_well() && journal().known().have.count() == 2);
}

#[test]
fn a_file_that_got_the_inode_of_ours_is_the_users() {
    let mut scene = Scene::new(&[2 * 16_384, 2 * 16_384]);
    assert_eq!(scene.arrive(&[0, 2]), scene.good(&[0, 2]));
    scene.run(vec![Order::Sync]);
    // The process has ended: nothing holds the file open.
    scene.storage = DiskStorage::open(scene.dir.path()).unwrap();
    let (file, notes) = (scene.file(1), b"the user's notes".repeat(5_000));
    let inode = fs::metadata(&file).unwrap().ino();
    fs::remove_file(&file).unwrap();
    fs::write(&file, &notes).unwrap();
    let has_it = fs::metadata(&file).unwrap().ino() == inode;
    if has_it && fs::metadata(&file).unwrap().created().is_err() {
        // Here they cannot be told apart.
        return;
    }
    assert!(
        matches!(scene.open(), Err(OpenError::Foreign { path }) if path == scene.fixture.path(1))
    );
    assert_eq!(fs::read(&file).unwrap(), notes);
}

#[test]
fn how_far_a_check_is_never_goes_back_nor_past_its_end_when_a_file_is_hashed_again() {
    let mut scene = Scene::new(&[4 * 16_384]);
    assert_eq!(scene.arrive(&[0, 1, 2, 3]), scene.good(&[0, 1, 2, 3]));
    scene.run(vec![Order::Sync]);
    overwrite(&scene.file(0), 20_000, b"X");
    let (progress, seen) =
        (Arc::new(Progress::default()), Arc::new(std::sync::Mutex::new(Vec::new())));
    let (shown, watched, file) = (Arc::clone(&progress), Arc::clone(&seen), scene.file(0));
    // Another program writes while the file is hashed.
    let rule = move |op, _: &Path| {
        let mut seen = watched.lock().unwrap();
        seen.push((shown.done(), shown.total()));
        if op == Op::Read && seen.iter().filter(|(_, total)| *total > 0).count() == 1 {
            overwrite(&file, 40_000, b"Y");
        }
        None
    };
    let storage = FaultyStorage::new(DiskStorage::open(scene.dir.path()).unwrap(), rule);
    let (layout, digests) = (&scene.fixture.layout, &scene.fixture.digests);
    let journal = scene.fixture.journal();
    let opened = open_torrent(
        layout,
        digests,
        journal,
        &storage,
        Trust::Journal,
        &progress,
        &mut |_| Ok(()),
    )
    .unwrap();
    assert_eq!(opened.have.count(), 2);
    assert_eq!((progress.done(), progress.total()), (2 * 4 * 16_384, 2 * 4 * 16_384), "two rounds");
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted_by(|then, now| then.0 <= now.0 && then.1 <= now.1), "{seen:?}");
    assert!(seen.iter().all(|(done, total)| done <= total), "{seen:?}");
}

#[test]
fn a_file_whose_length_is_refused_as_another_program_touched_it_is_looked_at_at_once() {
    let mut scene = Scene::new(&[4 * 16_384]);
    assert_eq!(scene.arrive(&[0, 1]), scene.good(&[0, 1]));
    scene.run(vec![Order::Sync]);
    // The worker learns at its first write how it may write the file, and begins by setting the
    // length.
    scene.reopen();
    fs::File::options().write(true).open(scene.file(0)).unwrap().set_len(16_384).unwrap();
    assert_eq!(
        scene.arrive(&[2]),
        [vec![scene.lost(&[1])], scene.good(&[2])].concat(),
        "without another try"
    );
    assert!(scene.worker.is_well());
    assert_eq!(scene.arrive(&[1, 3]), scene.good(&[1, 3]));
    assert!(scene.is_right());
}

//! The worker: what it writes, when it syncs, and what it does when the disk refuses.
//!
//! Decides: the cases.
//! Must not know: how the worker is made.
//! Invariant: every case looks at the files and the journal, not at the worker.

mod long_pieces;

use super::*;
use crate::testkit::Fixture;
use crate::{
    DiskStorage, FaultyStorage, Identity, MemStorage, Op, Progress, Trust, open_torrent,
    read_blocks,
};
use proptest::prelude::*;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

pub(super) const NOW: Time = Time::ZERO;

pub(super) fn worker(fixture: &Fixture) -> Worker {
    let worker =
        Worker::new(Arc::clone(&fixture.layout), Arc::clone(&fixture.digests), fixture.journal());
    // The same on every processor.
    Worker { lanes: 16, ..worker }
}

pub(super) fn good(fixture: &Fixture, number: u32) -> Done {
    Done::Checked { piece: fixture.piece(number), verdict: PieceCheck::Good }
}

#[test]
fn one_record_does_for_all_that_is_written_within_moments() {
    let fixture = Fixture::new(&[4 * 32_768], 32_768);
    let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
    worker.run(NOW, fixture.arrival(0), &storage);
    worker.run(NOW + LANE_WAIT / 2, fixture.arrival(2), &storage);
    assert_eq!(recorded(&fixture).1, [0; 0]);
    worker.run(NOW + LANE_WAIT, Vec::new(), &storage);
    assert_eq!(recorded(&fixture).1, [0, 2], "only what is written");
    let look = fixture.journal().known().file(0).unwrap().stat;
    assert_eq!(Some(look), storage.stat(&fixture.layout.files()[0].path).unwrap());
}

fn recorded(fixture: &Fixture) -> (Vec<u32>, Vec<u32>) {
    let journal = fixture.journal();
    let numbers = |set: &Bitfield| set.iter(fixture.layout.geometry()).map(Piece::number).collect();
    (numbers(&journal.known().have), numbers(&journal.known().dirty))
}

#[test]
fn a_complete_piece_waits_for_company_but_not_long() {
    let fixture = Fixture::new(&[18 * 32_768], 32_768);
    let arrive = |number| fixture.arrival(number);
    // The first block of another piece: a piece is under way.
    let begun = |number: u32| fixture.arrival(number).into_iter().take(1);
    let late = NOW + LANE_WAIT;
    let hurry = |number| Order::Check { piece: fixture.piece(number), urgent: true };
    let urgent: Vec<Order> = arrive(0)
        .into_iter()
        .filter(|order| !matches!(order, Order::Check { .. }))
        .chain([hurry(0)])
        .collect();
    // (orders, moment of a second look, pieces checked at once, pieces checked by then)
    let table = [
        ("alone", arrive(0), NOW, 1, 1),
        ("another is under way", arrive(0).into_iter().chain(begun(5)).collect(), NOW, 0, 0),
        ("but not for ever", arrive(0).into_iter().chain(begun(5)).collect(), late, 0, 1),
        ("a full batch", (0..16).flat_map(arrive).chain(begun(17)).collect(), NOW, 16, 16),
        ("the next one waits", (0..17).flat_map(arrive).chain(begun(17)).collect(), late, 16, 17),
        ("urgent", urgent.into_iter().chain(begun(5)).collect(), NOW, 1, 1),
    ];
    for (what, orders, then, at_once, by_then) in table {
        let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
        let first = worker.run(NOW, orders, &storage).len();
        assert!(first > 0 || worker.deadline() == Some(late), "{what}");
        let second = worker.run(then, Vec::new(), &storage).len();
        assert_eq!((first, first + second), (at_once, by_then), "{what}");
    }
}

#[test]
fn good_pieces_reach_their_files_and_bad_ones_reach_nothing() {
    let fixture = Fixture::new(&[3, 0, 40_000, 70_000], 32_768);
    let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
    let mut orders = fixture.arrival(0);
    let mut spoilt = Vec::new();
    if let Some(Order::Store { block, data }) = orders.first_mut() {
        let mut wrong = data.to_vec();
        wrong[7] ^= 1;
        *data = wrong.into();
        spoilt.push(*block);
    }
    let bad = Done::Checked { piece: fixture.piece(0), verdict: PieceCheck::Bad };
    assert_eq!(worker.run(NOW, orders, &storage), [bad]);
    assert_eq!(storage.content(&fixture.path(0)), None, "not even a file");

    let all: Vec<Order> =
        [3, 1, 0, 2].into_iter().flat_map(|number| fixture.arrival(number)).collect();
    let done = [0, 1, 2, 3].map(|number| good(&fixture, number));
    assert_eq!(
        worker.run(NOW, all, &storage),
        [&[Done::Audited { wrong: spoilt }], &done[..]].concat()
    );
    for file in [0, 2, 3] {
        assert_eq!(storage.content(&fixture.path(file)).unwrap(), fixture.content(file));
    }
}

#[test]
fn a_check_without_all_blocks_is_bad_and_a_forgotten_piece_is_gone() {
    let fixture = Fixture::new(&[40_000], 32_768);
    let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
    let bad = Done::Checked { piece: fixture.piece(0), verdict: PieceCheck::Bad };
    assert_eq!(
        worker.run(NOW, fixture.arrival(0).split_off(1), &storage),
        std::slice::from_ref(&bad)
    );
    let mut orders = fixture.arrival(0);
    let check = orders.pop().unwrap();
    orders.extend([Order::Forget { piece: fixture.piece(0) }, check]);
    assert_eq!(worker.run(NOW, orders, &storage), [bad]);
}

#[test]
fn when_a_piece_is_right_at_last_it_is_known_which_blocks_were_wrong() {
    let fixture = Fixture::new(&[4 * 65_536], 65_536);
    let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
    let mut orders = fixture.arrival(1);
    let mut wrong = Vec::new();
    for (n, order) in orders.iter_mut().enumerate() {
        if let (Order::Store { block, data }, true) = (order, n == 0 || n == 2) {
            *data = Bytes::from(vec![0; data.len()]);
            wrong.push(*block);
        }
    }
    wrong.sort_unstable();
    let bad = Done::Checked { piece: fixture.piece(1), verdict: PieceCheck::Bad };
    assert_eq!(worker.run(NOW, orders, &storage), [bad]);
    assert_eq!(
        worker.run(NOW, fixture.arrival(1), &storage),
        [Done::Audited { wrong }, good(&fixture, 1)]
    );
    assert_eq!(worker.run(NOW, fixture.arrival(2), &storage), [good(&fixture, 2)]);
}

#[test]
fn have_is_recorded_after_the_sync_and_not_before() {
    let fixture = Fixture::new(&[100_000], 16_384);
    let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
    worker.run(NOW, fixture.arrival(0), &storage);
    assert_eq!(recorded(&fixture), (vec![], vec![]));
    assert_eq!(worker.deadline(), Some(NOW + LANE_WAIT), "its record waits for others");
    worker.run(NOW + LANE_WAIT, vec![], &storage);
    assert_eq!(recorded(&fixture), (vec![], vec![0]));
    assert_eq!(worker.deadline(), Some(NOW + SYNC_INTERVAL));
    worker.run(Time::from_secs(4), fixture.arrival(1), &storage);
    worker.run(Time::from_secs(4) + LANE_WAIT, vec![], &storage);
    assert_eq!(recorded(&fixture), (vec![], vec![0, 1]));
    worker.run(Time::from_secs(5), vec![], &storage);
    assert_eq!(recorded(&fixture), (vec![0, 1], vec![]));
    assert_eq!(worker.deadline(), None);
    worker.run(Time::from_secs(6), [fixture.arrival(2), vec![Order::Sync]].concat(), &storage);
    assert_eq!(recorded(&fixture), (vec![0, 1, 2], vec![]));
    storage.crash();
    assert!(
        (0..3).all(|number| fixture.is_right(&storage, fixture.piece(number))),
        "it was synced indeed"
    );
}

#[test]
fn many_bytes_are_synced_before_the_time_is_up() {
    let fixture = Fixture::new(&[SYNC_BYTES + 1], 16 << 20);
    let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
    for number in 0..3 {
        worker.run(NOW, fixture.arrival(number), &storage);
    }
    assert_eq!(recorded(&fixture).0, [0; 0]);
    worker.run(NOW, fixture.arrival(3), &storage);
    assert_eq!(recorded(&fixture).0, [0, 1, 2, 3]);
}

#[test]
fn a_full_disk_holds_pieces_back_and_loses_none() {
    let fixture = Fixture::new(&[10_000, 60_000], 16_384);
    let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
    storage.set_capacity(Some(24 << 10));
    let done = worker.run(NOW, [fixture.arrival(0), fixture.arrival(1)].concat(), &storage);
    let detail = "t/1: no storage space".to_owned();
    let failed = |pieces: &[u32]| Done::Failed {
        fault: StoreFault::NoSpace,
        detail: detail.clone(),
        pieces: pieces.iter().map(|&number| fixture.piece(number)).collect(),
    };
    assert_eq!(done, [good(&fixture, 0), failed(&[1])]);
    assert_eq!(worker.run(NOW, fixture.arrival(2), &storage), [], "held, and reported once");
    assert_eq!(worker.run(NOW, vec![Order::Retry], &storage), [failed(&[1, 2])]);
    storage.set_capacity(None);
    assert_eq!(
        worker.run(NOW, vec![Order::Retry], &storage),
        [good(&fixture, 1), good(&fixture, 2)]
    );
    assert!((0..3).all(|number| fixture.is_right(&storage, fixture.piece(number))));
}

#[test]
fn a_file_that_vanished_is_a_fault_and_not_made_anew() {
    let fixture = Fixture::new(&[60_000], 16_384);
    let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
    worker.run(NOW, fixture.arrival(0), &storage);
    storage.remove(&fixture.path(0)).unwrap();
    for orders in [fixture.arrival(1), vec![Order::Retry], vec![Order::Retry]] {
        let done = worker.run(NOW, orders, &storage);
        assert!(matches!(done[..], [Done::Failed { fault: StoreFault::Missing, .. }]), "{done:?}");
    }
}

#[test]
fn a_file_that_was_moved_away_keeps_no_other_from_being_made() {
    // Pieces: 0 is of file 0, 1 of file 1, 2 of file 2.
    let fixture = Fixture::new(&[16_384, 16_384, 16_384, 16_384], 16_384);
    let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
    worker.run(NOW, [fixture.arrival(0), vec![Order::Sync]].concat(), &storage);
    worker.run(NOW, [fixture.arrival(1), vec![Order::Sync]].concat(), &storage);
    storage.remove(&fixture.path(1)).unwrap();
    assert_eq!(
        worker.run(NOW, fixture.arrival(2), &storage),
        [good(&fixture, 2)],
        "the first is there"
    );
    storage.remove(&fixture.path(0)).unwrap();
    storage.remove(&fixture.path(2)).unwrap();
    let done = worker.run(NOW, fixture.arrival(3), &storage);
    assert!(matches!(done[..], [Done::Failed { fault: StoreFault::Missing, .. }]), "{done:?}");
}

#[test]
fn after_a_failed_sync_pieces_stay_dirty() {
    let fixture = Fixture::new(&[60_000], 16_384);
    let storage = FaultyStorage::new(MemStorage::new(), |op, _| {
        (op == Op::Sync).then(|| io::Error::from_raw_os_error(5))
    });
    let mut worker = worker(&fixture);
    let done = worker.run(NOW, [fixture.arrival(0), vec![Order::Sync]].concat(), &storage);
    assert!(
        matches!(done[..], [Done::Checked { .. }, Done::Failed { fault: StoreFault::Io, .. }]),
        "{done:?}"
    );
    assert_eq!(recorded(&fixture), (vec![], vec![0]));
}

#[test]
fn a_clean_stop_needs_no_hashing_afterwards() {
    let fixture = Fixture::new(&[10_000, 60_000], 16_384);
    let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
    assert_eq!(
        worker.run(NOW, [fixture.arrival(0), vec![Order::Stop]].concat(), &storage),
        [good(&fixture, 0)]
    );
    let opened = open_torrent(
        &fixture.layout,
        &fixture.digests,
        fixture.journal(),
        &storage,
        Trust::Journal,
        &Progress::default(),
        &mut |_| Ok(()),
    )
    .unwrap();
    assert_eq!((opened.have.count(), opened.hashed, opened.adopted), (1, 0, 0));
}

#[test]
fn a_file_that_changed_is_believed_again_when_it_is_right_again() {
    let fixture = Fixture::new(&[3 * 16_384], 16_384);
    let dir = tempfile::tempdir().unwrap();
    let storage = DiskStorage::open(dir.path()).unwrap();
    let mut worker = worker(&fixture);
    let orders = (0..3).flat_map(|number| fixture.arrival(number)).chain([Order::Sync]).collect();
    assert_eq!(worker.run(NOW, orders, &storage).len(), 3);
    let file = dir.path().join(fixture.path(0));
    let blocks: Vec<Block> = fixture.layout.geometry().blocks(fixture.piece(1)).collect();
    let read = || read_blocks(&fixture.layout, &storage, &blocks, true);
    let doubt = || vec![Order::Doubt { piece: fixture.piece(1) }];
    let changed = |done: &[Done]| matches!(done, [Done::Failed { fault: StoreFault::Changed, .. }]);

    std::fs::write(&file, vec![7; 3 * 16_384]).unwrap();
    assert!(read().is_err());
    assert_eq!(worker.run(NOW, doubt(), &storage), []);
    for _ in 0..3 {
        worker.run(NOW, vec![Order::Retry], &storage);
        assert!(worker.is_in_doubt() && read().is_err());
    }
    assert!(
        changed(&worker.run(NOW, vec![Order::Retry], &storage)),
        "it was looked at, and did not change since"
    );

    // Right again: put back, or replaced by a copy, or only given another name.
    let harms: [&dyn Fn(); 3] = [
        &|| std::fs::write(&file, &fixture.data).unwrap(),
        &|| {
            std::fs::write(dir.path().join("copy"), &fixture.data).unwrap();
            std::fs::rename(dir.path().join("copy"), &file).unwrap();
        },
        &|| std::fs::hard_link(&file, dir.path().join("link")).unwrap(),
    ];
    for harm in harms {
        harm();
        assert!(read().is_err());
        assert_eq!(worker.run(NOW, [doubt(), vec![Order::Retry]].concat(), &storage), []);
        assert!(!worker.is_in_doubt() && read().is_ok());
    }
}

#[test]
fn a_file_that_looked_wrong_for_what_its_neighbour_held_is_looked_at_again_with_that() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 2] = [
        ("changed", |neighbour| std::fs::write(neighbour, [7; 20_000]).unwrap()),
        ("missing", |neighbour| std::fs::remove_file(neighbour).unwrap()),
    ];
    for (what, harm) in harms {
        // They share the second piece.
        let fixture = Fixture::new(&[20_000, 20_000], 16_384);
        let dir = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(dir.path()).unwrap();
        let mut worker = worker(&fixture);
        let orders =
            (0..3).flat_map(|number| fixture.arrival(number)).chain([Order::Sync]).collect();
        assert_eq!(worker.run(NOW, orders, &storage).len(), 3);
        let [file, neighbour] = [0, 1].map(|number| dir.path().join(fixture.path(number)));
        harm(&neighbour);
        std::fs::hard_link(&file, dir.path().join("link")).unwrap();
        worker.run(NOW, vec![Order::Doubt { piece: fixture.piece(0) }, Order::Retry], &storage);
        for _ in 0..3 {
            worker.run(NOW, vec![Order::Retry], &storage);
            assert!(worker.is_in_doubt(), "{what}");
        }
        std::fs::write(&neighbour, fixture.content(1)).unwrap();
        worker.run(NOW, vec![Order::Retry], &storage);
        assert!(!worker.is_in_doubt(), "{what}");
    }
}

#[test]
fn a_file_that_changed_is_hashed_at_the_next_start_however_we_stopped() {
    for order in [None, Some(Order::Stop)] {
        let fixture = Fixture::new(&[3 * 16_384], 16_384);
        let dir = tempfile::tempdir().unwrap();
        let storage = DiskStorage::open(dir.path()).unwrap();
        let mut worker = worker(&fixture);
        let orders =
            (0..3).flat_map(|number| fixture.arrival(number)).chain([Order::Sync]).collect();
        worker.run(NOW, orders, &storage);
        let open = || {
            let storage = DiskStorage::open(dir.path()).unwrap();
            let (layout, digests) = (&fixture.layout, &fixture.digests);
            open_torrent(
                layout,
                digests,
                fixture.journal(),
                &storage,
                Trust::Journal,
                &Progress::default(),
                &mut |_| Ok(()),
            )
            .unwrap()
        };
        assert_eq!(open().hashed, 0);
        let mut wrong = fixture.data.clone();
        wrong[20_000] ^= 1;
        std::fs::write(dir.path().join(fixture.path(0)), wrong).unwrap();
        worker.run(NOW, order.into_iter().collect(), &storage);
        assert_eq!(open().have.count(), 2);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arrive(u32),
    Sync,
    Later,
    Full(bool),
    Kill,
    Crash,
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..7u32).prop_map(Step::Arrive),
        1 => Just(Step::Sync),
        1 => Just(Step::Later),
        1 => any::<bool>().prop_map(Step::Full),
        1 => Just(Step::Kill),
        1 => Just(Step::Crash),
        1 => Just(Step::Stop),
    ]
}

proptest! {
    /// The oracle of the whole store: in every case a piece that an opened torrent has is right on
    /// the disk.
    #[test]
    fn what_is_had_is_right(steps in proptest::collection::vec(step(), 1..40)) {
        let fixture = Fixture::new(&[5_000, 0, 20_000, 3, 77_000], 16_384);
        let storage = MemStorage::new();
        let open = || {
            let opened = open_torrent(&fixture.layout, &fixture.digests, fixture.journal(), &storage, Trust::Journal, &Progress::default(), &mut |_| Ok(())).unwrap();
            let wrong = opened.have.iter(fixture.layout.geometry()).find(|&piece| !fixture.is_right(&storage, piece));
            assert_eq!(wrong, None, "opened with a wrong piece");
            (opened.have, Worker::new(Arc::clone(&fixture.layout), Arc::clone(&fixture.digests), opened.journal))
        };
        let (mut have, mut worker) = open();
        let mut now = NOW;
        for step in steps {
            let orders = match step {
                Step::Arrive(number) if have.has(fixture.piece(number)) => vec![],
                Step::Arrive(number) => fixture.arrival(number),
                Step::Sync => vec![Order::Sync, Order::Retry],
                Step::Later => {
                    now = now + SYNC_INTERVAL;
                    vec![]
                }
                Step::Full(full) => {
                    storage.set_capacity(full.then_some(40_000));
                    vec![Order::Retry]
                }
                Step::Kill => {
                    (have, worker) = open();
                    vec![]
                }
                Step::Crash => {
                    storage.crash();
                    fixture.state.crash();
                    (have, worker) = open();
                    vec![]
                }
                Step::Stop => vec![Order::Stop],
            };
            let stopped = orders == [Order::Stop];
            for done in worker.run(now, orders, &storage) {
                if let Done::Checked { piece, verdict } = done {
                    prop_assert_eq!(verdict, PieceCheck::Good);
                    prop_assert!(fixture.is_right(&storage, piece));
                    have.insert(piece);
                }
            }
            if stopped {
                let before = have.clone();
                (have, worker) = open();
                prop_assert_eq!(&have, &before, "a clean stop keeps everything");
            }
        }
        prop_assert!(fixture.state.content(Path::new("journal")).is_some());
    }
}

#[test]
fn files_chosen_later_are_made_and_a_choice_that_completes_counts_after_the_sync() {
    // The second piece belongs to the files 0 and 2.
    let fixture = Fixture::new(&[40_000, 0, 70_000], 32_768);
    let select = |files: &[usize]| Order::Select { files: files.iter().copied().collect() };
    let selected = |files: &[usize]| Done::Selected { files: files.iter().copied().collect() };
    let (storage, mut worker) = (MemStorage::new(), worker(&fixture));
    assert_eq!(worker.run(NOW, vec![select(&[2])], &storage), [selected(&[2])]);
    worker.run(
        NOW,
        [0, 1].into_iter().flat_map(|number| fixture.arrival(number)).collect(),
        &storage,
    );
    assert_eq!(storage.content(&fixture.path(1)), None);
    assert!(worker.lacks(&[1].into(), &storage) && !worker.lacks(&[0].into(), &storage));
    assert_eq!(recorded(&fixture).0, [0; 0], "not synced");

    assert_eq!(worker.run(NOW, vec![select(&[0])], &storage), [selected(&[0])]);
    assert!(worker.is_settled() && !worker.has_unsynced());
    assert_eq!(recorded(&fixture).0, [0, 1], "the choice made it complete: it is synced first");

    assert_eq!(worker.run(NOW, vec![select(&[0, 1, 2])], &storage), [selected(&[0, 1, 2])]);
    assert_eq!(storage.content(&fixture.path(1)).unwrap(), [0; 0], "an empty file needs no piece");
    assert!(!worker.is_settled() && worker.lacks(&[2].into(), &storage));
    let rest = [2, 3].into_iter().flat_map(|number| fixture.arrival(number)).collect();
    let last = [good(&fixture, 2), good(&fixture, 3)];
    assert_eq!(worker.run(NOW, rest, &storage), last);
    assert_eq!(storage.content(&fixture.path(2)).unwrap(), fixture.content(2));
}

#[test]
fn a_choice_that_completes_waits_for_a_disk_that_cannot_sync() {
    let fixture = Fixture::new(&[40_000, 70_000], 32_768);
    let is_broken = Arc::new(AtomicBool::new(true));
    let rule = {
        let is_broken = Arc::clone(&is_broken);
        move |op, _: &Path| {
            (op == Op::Sync && is_broken.load(Relaxed)).then(|| io::Error::from_raw_os_error(5))
        }
    };
    let (storage, mut worker) = (FaultyStorage::new(MemStorage::new(), rule), worker(&fixture));
    worker.run(
        NOW,
        [0, 1].into_iter().flat_map(|number| fixture.arrival(number)).collect(),
        &storage,
    );
    let done = worker.run(NOW, vec![Order::Select { files: [0].into() }], &storage);
    assert!(matches!(done[..], [Done::Failed { .. }]), "{done:?}");
    assert_eq!(worker.deadline(), None, "the next try is ordered");
    is_broken.store(false, Relaxed);
    let done = worker.run(NOW, vec![Order::Retry], &storage);
    assert_eq!(done, [Done::Selected { files: [0].into() }]);
}

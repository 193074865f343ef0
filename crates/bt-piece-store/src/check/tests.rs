//! Which pieces an opened torrent is found to have: the cases.
//!
//! Decides: what is expected.
//! Must not know: how it is done.
//! Invariant: every case looks at files, not at the code under test.

use super::*;
use crate::testkit::{Fixture, put};
use crate::{DiskStorage, MemStorage, Order, Worker, fault_of};
use bt_types::Time;
use std::io::IoSlice;
use std::sync::Arc;

fn open(fixture: &Fixture, storage: &MemStorage) -> Result<Opened, OpenError> {
    open_torrent(
        &fixture.layout,
        &fixture.digests,
        fixture.journal(),
        storage,
        Trust::Journal,
        &Progress::default(),
        &mut |_| Ok(()),
    )
}

fn counts(opened: &Opened) -> (u32, u32, u32) {
    (opened.have.count(), opened.hashed, opened.adopted)
}

fn overwrite(storage: &MemStorage, fixture: &Fixture, file: usize, offset: u64, bytes: &[u8]) {
    storage.write_at(&fixture.path(file), offset, &[IoSlice::new(bytes)]).unwrap();
}

/// Files 0 (4 pieces), 1 (empty), 2 (half a piece), 3 (the other half and 3 more).
fn fixture() -> Fixture {
    Fixture::new(&[65_536, 0, 8_192, 8_192 + 49_152], 16_384)
}

/// Makes a disk and a journal as after a download that was stopped cleanly.
fn downloaded(fixture: &Fixture) -> MemStorage {
    let storage = MemStorage::new();
    let journal = open(fixture, &storage).unwrap().journal;
    let mut worker =
        Worker::new(Arc::clone(&fixture.layout), Arc::clone(&fixture.digests), journal);
    let orders = (0..8).flat_map(|number| fixture.arrival(number)).chain([Order::Stop]).collect();
    assert_eq!(worker.run(Time::ZERO, orders, &storage).len(), 8);
    storage
}

#[test]
fn nothing_there_is_nothing_to_do_but_empty_files() {
    let (fixture, storage) = (fixture(), MemStorage::new());
    assert_eq!(counts(&open(&fixture, &storage).unwrap()), (0, 0, 0));
    assert_eq!(storage.content(&fixture.path(1)).unwrap(), b"");
    assert_eq!(storage.content(&fixture.path(0)), None);
}

#[test]
fn data_that_is_there_is_adopted_and_remembered() {
    let (fixture, storage) = (fixture(), MemStorage::new());
    fixture.put(&storage, 0);
    overwrite(&storage, &fixture, 0, 20_000, b"damaged");
    let progress = Progress::default();
    let opened = open_torrent(
        &fixture.layout,
        &fixture.digests,
        fixture.journal(),
        &storage,
        Trust::Journal,
        &progress,
        &mut |_| Ok(()),
    )
    .unwrap();
    assert_eq!(counts(&opened), (3, 4, 3));
    assert_eq!((progress.done(), progress.total()), (65_536, 65_536));
    assert!(!opened.have.has(fixture.piece(1)));
    let again = open(&fixture, &storage).unwrap();
    assert_eq!(counts(&again), (3, 0, 0), "what was adopted is in the journal");
}

#[test]
fn a_file_that_is_something_else_is_refused() {
    let right = fixture().content(0).to_vec();
    let longer = [right.as_slice(), b"more"].concat();
    let table: [(&str, &[u8], bool); 7] = [
        ("right", &right, false),
        ("empty", b"", false),
        ("a beginning", &right[..20_000], false),
        ("longer", &longer, true),
        ("no piece of it", &[7; 1000], true),
        ("no piece of it, in its full length", &[7; 65_536], true),
        ("room for it", &[0; 65_536], false),
    ];
    for (name, content, foreign) in table {
        let (fixture, storage) = (fixture(), MemStorage::new());
        put(&storage, &fixture.path(0), content);
        match open(&fixture, &storage) {
            Err(OpenError::Foreign { path }) => {
                assert!(foreign && path == fixture.path(0), "{name}")
            }
            other => assert!(!foreign && other.is_ok(), "{name}: {other:?}"),
        }
        assert_eq!(storage.content(&fixture.path(0)).unwrap(), content, "{name}: untouched");
    }
}

#[test]
fn a_file_of_ours_is_never_foreign() {
    let (fixture, storage) = (fixture(), MemStorage::new());
    open(&fixture, &storage).unwrap();
    put(&storage, &fixture.path(0), &[0; 65_536]);
    for _ in 0..3 {
        assert_eq!(
            open(&fixture, &storage).unwrap().have.count(),
            0,
            "a crash before the first piece was whole"
        );
    }
}

#[test]
fn a_file_that_came_after_a_clean_stop_may_be_foreign() {
    let fixture = fixture();
    let storage = downloaded(&fixture);
    storage.remove(&fixture.path(0)).unwrap();
    let Opened { journal, .. } = open(&fixture, &storage).unwrap();
    let mut worker =
        Worker::new(Arc::clone(&fixture.layout), Arc::clone(&fixture.digests), journal);
    assert_eq!(worker.run(Time::ZERO, vec![Order::Stop], &storage), []);
    put(&storage, &fixture.path(0), b"somebody's diary");
    for _ in 0..2 {
        assert!(
            matches!(open(&fixture, &storage), Err(OpenError::Foreign { .. })),
            "also when asked twice"
        );
    }
}

#[test]
fn after_a_clean_stop_only_changed_files_are_hashed() {
    type Change = fn(&MemStorage, &Fixture);
    let table: [(&str, Change, (u32, u32)); 6] = [
        ("nothing", |_, _| (), (8, 0)),
        ("touched", |s, f| overwrite(s, f, 0, 0, &f.content(0)[..1]), (8, 4)),
        ("damaged", |s, f| overwrite(s, f, 0, 1, b"damage"), (7, 4)),
        ("cut", |s, f| s.set_len(&f.path(0), 16_384).unwrap(), (5, 1)),
        ("removed", |s, f| s.remove(&f.path(0)).unwrap(), (4, 0)),
        ("half a piece removed", |s, f| s.remove(&f.path(2)).unwrap(), (7, 0)),
    ];
    for (name, change, expected) in table {
        let fixture = fixture();
        let storage = downloaded(&fixture);
        change(&storage, &fixture);
        let opened = open(&fixture, &storage).unwrap();
        assert_eq!((opened.have.count(), opened.hashed), expected, "{name}");
    }
}

#[test]
fn what_was_deleted_is_fetched_anew_and_what_is_not_mounted_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (data, elsewhere) = (folder.path().join("data"), folder.path().join("elsewhere"));
    let fixture = fixture();
    let open_at = |dir: &Path| {
        let storage = DiskStorage::create(dir).unwrap();
        let (digests, progress) = (&fixture.digests, Progress::default());
        let journal = fixture.journal().living_in(dir);
        open_torrent(
            &fixture.layout,
            digests,
            journal,
            &storage,
            Trust::Journal,
            &progress,
            &mut |_| Ok(()),
        )
    };
    let fill = || {
        for (index, _) in fixture.layout.stored() {
            let path = data.join(fixture.path(index));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, fixture.content(index)).unwrap();
        }
        assert!(!open_at(&data).unwrap().was_deleted);
    };
    let all = fixture.layout.geometry().piece_count();
    std::fs::create_dir(&elsewhere).unwrap();
    fill();
    // As when a disk is not mounted: another directory has the path, and was there before.
    assert!(matches!(open_at(&elsewhere), Err(OpenError::Gone { .. })));
    let remembered = Journal::look(fixture.state.as_ref(), Path::new("journal")).unwrap().unwrap();
    assert_eq!((remembered.name.as_str(), &remembered.dir), ("t", &data));
    assert_eq!(
        (remembered.bytes_have, remembered.bytes_total),
        (fixture.data.len() as u64, fixture.data.len() as u64)
    );

    let delete_files = || std::fs::remove_dir_all(data.join("t")).unwrap();
    let delete_folder = || std::fs::remove_dir_all(&data).unwrap();
    for delete in [&delete_files as &dyn Fn(), &delete_folder] {
        assert_eq!(open_at(&data).unwrap().have.count(), all);
        delete();
        let opened = open_at(&data).unwrap();
        assert!(opened.was_deleted);
        assert_eq!(opened.have.count(), 0);
        drop(opened);
        fill();
    }
}

#[test]
fn what_was_moved_away_is_not_made_anew() {
    let fixture = fixture();
    let storage = downloaded(&fixture);
    let files =
        || fixture.layout.stored().map(|(index, _)| fixture.path(index)).collect::<Vec<_>>();
    files().iter().for_each(|path| storage.remove(path).unwrap());
    for _ in 0..2 {
        assert!(
            matches!(open(&fixture, &storage), Err(OpenError::Gone { path }) if path == files()[0])
        );
    }
    assert!(files().iter().all(|path| storage.content(path).is_none()));
    put(&storage, &fixture.path(0), fixture.content(0));
    assert!(open(&fixture, &storage).unwrap().have.count() > 0, "one of them is back");

    // Another file is wanted now. It shares a piece with the file that exists, and the user cut
    // that part off.
    let mut fixture = self::fixture();
    let storage = downloaded(&fixture);
    Arc::make_mut(&mut fixture.layout).select(&BTreeSet::from([2]));
    storage.remove(&fixture.path(2)).unwrap();
    assert!(open(&fixture, &storage).is_ok(), "it is fetched again");
}

#[test]
fn after_a_crash_only_dirty_pieces_are_hashed() {
    let fixture = fixture();
    let storage = downloaded(&fixture);
    fixture.journal().dirty(&[fixture.piece(5), fixture.piece(6)]).unwrap();
    overwrite(&storage, &fixture, 3, 8_192 + 16_384, b"torn");
    let opened = open(&fixture, &storage).unwrap();
    assert_eq!(
        counts(&opened),
        (7, 4, 0),
        "its time moved since our last record: all of the file is hashed"
    );
    assert!(!opened.have.has(fixture.piece(6)));
}

#[test]
fn a_kill_between_a_write_and_its_record_costs_no_piece() {
    let (fixture, storage) = (fixture(), MemStorage::new());
    let mut worker =
        Worker::new(Arc::clone(&fixture.layout), Arc::clone(&fixture.digests), fixture.journal());
    worker.run(Time::ZERO, fixture.arrival(0), &storage);
    drop(worker);
    assert!(open(&fixture, &storage).unwrap().have.has(fixture.piece(0)));
}

#[test]
fn trusted_data_is_not_hashed() {
    let (fixture, storage) = (fixture(), MemStorage::new());
    put(&storage, &fixture.path(0), &[0; 65_536]);
    let opened = open_torrent(
        &fixture.layout,
        &fixture.digests,
        fixture.journal(),
        &storage,
        Trust::Data,
        &Progress::default(),
        &mut |_| Ok(()),
    )
    .unwrap();
    assert_eq!(counts(&opened), (4, 0, 0));
}

#[test]
fn a_check_can_be_cancelled_and_changes_nothing() {
    let (fixture, storage, progress) = (fixture(), MemStorage::new(), Progress::default());
    fixture.put(&storage, 0);
    progress.cancel();
    let result = open_torrent(
        &fixture.layout,
        &fixture.digests,
        fixture.journal(),
        &storage,
        Trust::Journal,
        &progress,
        &mut |_| Ok(()),
    );
    assert!(matches!(result, Err(OpenError::Cancelled)));
    assert_eq!(storage.content(&fixture.path(1)), None);
}

#[test]
fn an_unreadable_file_is_named() {
    let fixture = fixture();
    let storage = crate::FaultyStorage::new(MemStorage::new(), |op, path| {
        (op == crate::Op::Read && path.ends_with("0"))
            .then(|| io::ErrorKind::PermissionDenied.into())
    });
    fixture.put(storage.inner(), 0);
    let error =
        verify(&fixture.layout, &fixture.digests, &storage, &Progress::default()).unwrap_err();
    let HashError::Store(error) = error else { panic!("{error}") };
    assert_eq!(
        (error.path.clone(), fault_of(&error.source).name()),
        (fixture.path(0), "permission")
    );
}

#[test]
fn verify_names_what_is_bad() {
    let fixture = fixture();
    let storage = downloaded(&fixture);
    let report =
        || verify(&fixture.layout, &fixture.digests, &storage, &Progress::default()).unwrap();
    assert!(report().is_complete());
    overwrite(&storage, &fixture, 0, 0, b"damage");
    storage.remove(&fixture.path(2)).unwrap();
    overwrite(&storage, &fixture, 3, 57_344, b"longer");
    let report = report();
    assert_eq!(report.bad, [fixture.piece(0), fixture.piece(4)]);
    let states: Vec<FileState> = report.files.iter().map(|file| file.state).collect();
    assert_eq!(
        states,
        [
            FileState::Bad { pieces: 1 },
            FileState::Good,
            FileState::Missing,
            FileState::WrongLength { found: 57_350 }
        ]
    );
}

#[test]
fn room_that_another_program_made_is_looked_through_once_unless_it_is_filled_meanwhile() {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    for filled in [false, true] {
        let (fixture, reads) = (fixture(), Arc::new(AtomicUsize::new(0)));
        let (counted, room) = (Arc::clone(&reads), fixture.path(0));
        let storage = crate::FaultyStorage::new(MemStorage::new(), move |op, path| {
            counted.fetch_add(usize::from(op == crate::Op::Read && path == room), Relaxed);
            None
        });
        put(storage.inner(), &fixture.path(0), &[0; 65_536]);
        let (layout, digests, progress) = (&fixture.layout, &fixture.digests, Progress::default());
        let opened = open_torrent(
            layout,
            digests,
            fixture.journal(),
            &storage,
            Trust::Journal,
            &progress,
            &mut |_| Ok(()),
        )
        .unwrap();
        let at_opening = reads.load(Relaxed);
        assert!(at_opening > 0);
        if filled {
            overwrite(storage.inner(), &fixture, 0, 60_000, b"the user's notes");
        }
        let mut worker = Worker::new(Arc::clone(layout), Arc::clone(digests), opened.journal);
        let done = worker.run(Time::ZERO, fixture.arrival(0), &storage);
        let is_good = matches!(done[..], [crate::Done::Checked { .. }]);
        assert_eq!((is_good, reads.load(Relaxed) > at_opening), (!filled, filled), "{done:?}");
    }
}

/// Opens with a claim of these pieces, of files that were written in this second or earlier.
fn open_claimed(
    fixture: &Fixture,
    storage: &dyn Storage,
    pieces: &[u32],
    second: i64,
) -> Result<Opened, OpenError> {
    let mut have = Bitfield::empty(8);
    for number in pieces {
        have.insert(fixture.piece(*number));
    }
    let claim = PieceClaim { have, files: vec![Some(crate::NotedTime::By(second)); 4] };
    open_torrent(
        &fixture.layout,
        &fixture.digests,
        fixture.journal(),
        storage,
        Trust::Claim(Arc::new(claim)),
        &Progress::default(),
        &mut |_| Ok(()),
    )
}

#[test]
fn a_claim_is_believed_where_files_are_as_they_were_and_a_sample_is_right() {
    let all = [0, 1, 2, 3, 4, 5, 6, 7];
    // Files 0, 2 and 3 in full; then piece 6 of them damaged, then their time after the claim, then
    // without file 3.
    for (what, second, damaged, last, expected) in [
        ("all is right", i64::MAX, false, true, (8, 8)),
        ("a sample is wrong", i64::MAX, true, true, (7, 8)),
        ("written since", i64::MIN, false, true, (8, 8)),
        ("a file is missing", i64::MAX, false, false, (4, 4)),
    ] {
        let (fixture, storage) = (fixture(), MemStorage::new());
        for file in [0, 2, 3] {
            if last || file != 3 {
                fixture.put(&storage, file);
            }
        }
        if damaged {
            overwrite(&storage, &fixture, 3, 30_000, b"damaged");
        }
        let opened = open_claimed(&fixture, &storage, &all, second).expect(what);
        assert_eq!((opened.have.count(), opened.hashed), expected, "{what}");
        let again = open(&fixture, &storage).expect(what);
        assert_eq!(counts(&again), (expected.0, 0, 0), "{what}: it is in the journal");
    }
}

#[test]
fn pieces_that_a_claim_does_not_have_are_not_hashed_unless_a_sample_is_wrong() {
    let (fixture, storage) = (fixture(), MemStorage::new());
    [0, 2, 3].iter().for_each(|file| fixture.put(&storage, *file));
    let opened = open_claimed(&fixture, &storage, &[0, 1], i64::MAX).expect("it is right");
    assert_eq!((opened.have.count(), opened.hashed), (2, 2));

    let (fixture, storage) = (self::fixture(), MemStorage::new());
    [0, 2, 3].iter().for_each(|file| fixture.put(&storage, *file));
    overwrite(&storage, &fixture, 0, 0, b"damaged");
    let opened = open_claimed(&fixture, &storage, &[0, 1], i64::MAX).expect("it is the torrent's");
    assert_eq!((opened.have.count(), opened.hashed), (7, 8));
}

#[test]
fn claimed_data_that_is_gone_is_not_made_anew() {
    let (fixture, storage) = (fixture(), MemStorage::new());
    let gone = open_claimed(&fixture, &storage, &[0, 1], i64::MAX);
    assert!(matches!(gone, Err(OpenError::Gone { .. })), "{gone:?}");
    assert_eq!(storage.content(&fixture.path(0)), None);
}

#[test]
fn a_file_that_another_client_began_is_not_foreign() {
    let (fixture, storage) = (fixture(), MemStorage::new());
    put(&storage, &fixture.path(0), &[7; 1000]);
    let refused = open_claimed(&fixture, &storage, &[], i64::MIN);
    assert!(matches!(refused, Err(OpenError::Foreign { .. })), "it was written since");
    let opened = open_claimed(&fixture, &storage, &[], i64::MAX).expect("it is the torrent's");
    assert_eq!(opened.have.count(), 0);
}

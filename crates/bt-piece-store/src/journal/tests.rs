//! Plays journals that were cut, flipped, compacted or written by earlier versions.
//!
//! Decides: what a journal must still prove. Must not know: file contents.
//! Invariant: every case reads the journal back from its bytes.

use super::*;
use crate::MemStorage;
use proptest::prelude::*;

const PIECES: u32 = 40;
const ID: InfoHash = InfoHash([7; 20]);

fn geometry() -> Geometry {
    Geometry::new(u64::from(PIECES) * 16_384, 16_384).unwrap()
}

fn pieces(numbers: &[u32]) -> Vec<Piece> {
    numbers.iter().map(|&n| geometry().piece(n).unwrap()).collect()
}

fn open(state: &Arc<MemStorage>) -> Journal {
    Journal::open(Arc::<MemStorage>::clone(state), Path::new("j"), ID, &geometry()).unwrap()
}

fn numbers_of(set: &Bitfield) -> Vec<u32> {
    set.iter(&geometry()).map(Piece::number).collect()
}

#[test]
fn what_was_recorded_is_known_again() {
    let state = Arc::new(MemStorage::new());
    let mut journal = open(&state);
    assert!(state.len(Path::new("j")).unwrap().is_none());
    journal.dirty(&pieces(&[1, 2, 3])).unwrap();
    journal.have(&pieces(&[1, 3])).unwrap();
    let noted = |len, made: bool| {
        let birth_ns = made.then_some(-7);
        Noted {
            stat: Stat { id: (u64::MAX, 7), birth_ns, len, mtime_ns: -1, ctime_ns: i64::MAX },
            made,
        }
    };
    journal.note(&[(4, noted(5, false)), (0, noted(6, true))]).unwrap();
    journal.note(&[(0, noted(7, true))]).unwrap();
    let known = open(&state).known().clone();
    assert_eq!((numbers_of(&known.have), numbers_of(&known.dirty)), (vec![1, 3], vec![2]));
    let files = |known: &Known| [0, 1, 4, 5].map(|index| known.file(index));
    assert_eq!(files(&known), [Some(noted(7, true)), None, Some(noted(5, false)), None]);

    journal.reset(Bitfield::empty(PIECES)).unwrap();
    let again = open(&state).known().clone();
    assert_eq!(
        (again.have.count(), files(&again)),
        (0, files(&known)),
        "files are kept when it is written anew"
    );
}

#[test]
fn a_file_that_an_earlier_version_noted_is_known_without_its_birth() {
    let numbers = [1u64, 7, 5, 3, 4].map(u64::to_le_bytes).concat();
    let record = framed(&[&b"F"[..], &2u32.to_le_bytes(), &[1], &numbers].concat());
    let known = reopen(&[history(&[(true, vec![1])]), record].concat());
    let stat = Stat { id: (1, 7), birth_ns: None, len: 5, mtime_ns: 3, ctime_ns: 4 };
    assert_eq!(known.file(2), Some(Noted { stat, made: true }));
    assert_eq!(numbers_of(&known.have), [1]);
}

#[test]
fn the_journal_of_another_torrent_is_ignored() {
    let state = Arc::new(MemStorage::new());
    open(&state).have(&pieces(&[1])).unwrap();
    let other = Journal::open(
        Arc::<MemStorage>::clone(&state),
        Path::new("j"),
        InfoHash([8; 20]),
        &geometry(),
    )
    .unwrap();
    assert!(other.known().have.is_empty());
}

/// The bytes of a journal of version 1.
fn version_1(records: &[&[u8]]) -> Vec<u8> {
    let header = header(VERSION_OLDEST, ID, &geometry());
    [header.as_slice()].iter().chain(records).flat_map(|body| framed(body)).collect()
}

#[test]
fn version_1_is_taken_over_after_a_clean_stop_where_files_look_as_then() {
    let file = |there: u8, len: u64, time: i64| {
        let words = [len.to_le_bytes(), time.to_le_bytes(), (time + 1).to_le_bytes()].concat();
        [&[there][..], &words].concat()
    };
    let stop = [b"C".to_vec(), file(1, 5, 7), file(0, 0, 0), file(1, 6, 8)].concat();
    let good = numbers(b'G', &pieces(&[1, 3]));
    let now = |len, time| {
        let (mtime_ns, ctime_ns) = (time, time + 1);
        Some(Stat { id: (1, 2), birth_ns: Some(3), len, mtime_ns, ctime_ns })
    };
    let state = Arc::new(MemStorage::new());
    let write = |bytes: &[u8]| {
        let _ = state.remove(Path::new("j"));
        state.create_new(Path::new("j")).unwrap();
        state.write_at(Path::new("j"), 0, &[IoSlice::new(bytes)]).unwrap();
    };
    write(&version_1(&[b"O", &numbers(b'D', &pieces(&[1, 2, 3])), &good, &stop]));
    let mut journal = open(&state);
    journal.take_over(&[now(5, 7), now(1, 1), now(6, 9)]);
    let known = journal.known();
    assert_eq!((numbers_of(&known.have), numbers_of(&known.dirty)), (vec![1, 3], vec![2]));
    let files = [0, 1, 2].map(|index| known.file(index));
    let same = now(5, 7).map(|stat| Noted { stat, made: false });
    assert_eq!(files, [same, None, None]);

    journal.have(&pieces(&[4])).unwrap();
    let again = open(&state);
    assert!(!again.is_of_version_1(), "the first record makes it a journal of today");
    assert_eq!((numbers_of(&again.known().have), again.known().file(0)), (vec![1, 3, 4], same));

    let cut = [version_1(&[b"O", &good, &stop]), vec![1]].concat();
    for bytes in [
        version_1(&[b"O", &good]),
        version_1(&[&good, &stop, b"O"]),
        version_1(&[&good, &stop, &good]),
        version_1(&[&good, &stop, b"Zzz"]),
        version_1(&[&good, b"C\x01"]),
        cut,
    ] {
        write(&bytes);
        let journal = open(&state);
        assert!(journal.known().have.is_empty() && !journal.is_of_version_1());
    }
}

#[test]
fn a_newer_version_is_refused_and_stays_as_it_is() {
    let newer = |more: &[u8]| [framed(&[b"H\x03", more].concat()), framed(b"new")].concat();
    let long = [newer(b"x"), vec![0; usize::try_from(LEN_MAX).unwrap()]].concat();
    for bytes in [newer(b""), newer(&[7; 100]), long] {
        let state = Arc::new(MemStorage::new());
        state.create_new(Path::new("j")).unwrap();
        state.write_at(Path::new("j"), 0, &[IoSlice::new(&bytes)]).unwrap();
        let refused =
            Journal::open(Arc::<MemStorage>::clone(&state), Path::new("j"), ID, &geometry());
        let error = refused.expect_err("it is of a newer version");
        assert_eq!(error.fault(), StoreFault::Newer);
        assert!(error.to_string().contains("newer version of bt wrote it (format 3"), "{error}");
        let looked = Journal::look(state.as_ref(), Path::new("j"));
        assert_eq!(looked.expect_err("it is of a newer version").fault(), StoreFault::Newer);
        let mut now = vec![0; bytes.len() + 1];
        assert_eq!(state.read_at(Path::new("j"), 0, &mut now).unwrap(), bytes.len());
        assert!(now.starts_with(&bytes));
    }
}

#[test]
fn a_record_that_makes_no_sense_changes_nothing() {
    for body in [
        &b"P\xff\xff\xff\xff\xff"[..],
        b"P\xff\xff\xff\xff\xff\xff",
        b"G\x05\0\0\0\xff\xff\xff\xff",
        b"Zzz",
        b"F\0",
        &[&b"F"[..], &[0xff; 45]].concat(),
        &[&b"B"[..], &[0xff; 53]].concat(),
        &[&b"B"[..], &[0; 45]].concat(),
        b"C\0",
        b"",
    ] {
        let bytes = [history(&[(true, vec![1])]), framed(body)].concat();
        let known = reopen(&bytes);
        assert_eq!(
            (numbers_of(&known.have), known.dirty.count()),
            (vec![1], PIECES - 1),
            "{body:?}"
        );
    }
}

#[test]
fn a_journal_that_is_too_long_is_not_read() {
    let state = Arc::new(MemStorage::new());
    open(&state).have(&pieces(&[1])).unwrap();
    state.write_at(Path::new("j"), LEN_MAX, &[IoSlice::new(b"x")]).unwrap();
    let mut journal = open(&state);
    assert!(journal.known().have.is_empty());
    journal.have(&pieces(&[2])).unwrap();
    assert_eq!(numbers_of(&open(&state).known().have), [2], "it is written anew");
}

#[test]
fn a_journal_that_was_changed_or_removed_is_written_anew() {
    let harms: [(&str, fn(&Path)); 4] = [
        ("given another name", |file| {
            std::fs::hard_link(file, file.with_extension("kept")).unwrap()
        }),
        ("cut", |file| std::fs::write(file, "").unwrap()),
        ("replaced", |file| {
            std::fs::copy(file, file.with_extension("copy")).unwrap();
            std::fs::rename(file.with_extension("copy"), file).unwrap();
        }),
        ("deleted", |file| std::fs::remove_file(file).unwrap()),
    ];
    for (what, harm) in harms {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let state = Arc::new(crate::DiskStorage::open(dir.path()).unwrap());
            Journal::open(state, Path::new("j"), ID, &geometry()).unwrap()
        };
        let mut journal = open();
        journal.have(&pieces(&[1])).unwrap();
        harm(&dir.path().join("j"));
        journal.dirty(&pieces(&[2])).unwrap();
        journal.have(&pieces(&[3])).unwrap();
        let known = open().known().clone();
        assert_eq!(
            (numbers_of(&known.have), numbers_of(&known.dirty)),
            (vec![1, 3], vec![2]),
            "{what}"
        );
    }
}

#[test]
fn it_stays_small() {
    let state = Arc::new(MemStorage::new());
    let mut journal = open(&state);
    for round in 0..50_000 {
        let piece = pieces(&[round % PIECES]);
        journal.dirty(&piece).unwrap();
        journal.have(&piece).unwrap();
    }
    assert!(state.len(Path::new("j")).unwrap().unwrap() < 2 * COMPACT_AFTER);
    assert!(open(&state).known().have.is_full());
}

/// Returns the bytes of a journal after these steps: good or dirty pieces.
fn history(steps: &[(bool, Vec<u32>)]) -> Vec<u8> {
    let state = Arc::new(MemStorage::new());
    let mut journal = open(&state);
    journal.dirty(&pieces(&[39])).unwrap();
    for (good, numbers) in steps {
        let pieces = pieces(numbers);
        if *good { journal.have(&pieces) } else { journal.dirty(&pieces) }.unwrap();
    }
    state.content(Path::new("j")).unwrap()
}

fn reopen(bytes: &[u8]) -> Known {
    let state = Arc::new(MemStorage::new());
    state.create_new(Path::new("j")).unwrap();
    state.write_at(Path::new("j"), 0, &[IoSlice::new(bytes)]).unwrap();
    let known = open(&state).known().clone();
    let mut again = open(&state);
    assert_eq!(numbers_of(&again.known().have), numbers_of(&known.have), "repairing loses nothing");
    again.have(&pieces(&[0])).unwrap();
    assert!(open(&state).known().have.has(pieces(&[0])[0]), "and it can be written again");
    known
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn no_cut_and_no_flipped_byte_invents_a_piece(
        steps in proptest::collection::vec((any::<bool>(), proptest::collection::vec(0..PIECES, 1..4)), 1..6),
        flip in 1u8..=255,
    ) {
        let bytes = history(&steps);
        // What may be trusted: the "have" sets after each step, in order.
        let states: Vec<Vec<u32>> = (0..=steps.len()).map(|n| numbers_of(&reopen(&history(&steps[..n])).have)).collect();
        for at in 0..bytes.len() {
            let cut = reopen(&bytes[..at]);
            prop_assert!(states.contains(&numbers_of(&cut.have)), "cut at {}", at);
            let mut flipped = bytes.clone();
            flipped[at] ^= flip;
            let known = reopen(&flipped);
            prop_assert!(states.contains(&numbers_of(&known.have)), "flipped at {}", at);
            prop_assert!(known == open(&Arc::default()).known().clone() || known.have.count() + known.dirty.count() == PIECES, "the rest is dirty");
        }
    }
}

//! Pieces too long for memory: how a worker assembles them on the disk.
//!
//! Decides: the cases.
//! Must not know: how the worker is made.
//! Invariant: every case looks at the files and the journal, not at the worker.

use super::*;

/// Returns the path of the file in which long pieces are assembled.
fn part() -> PathBuf {
    PathBuf::from(format!(".bt-{}.part", bt_types::InfoHash([1; 20])))
}

#[test]
fn a_piece_too_long_for_memory_is_put_together_on_the_disk() {
    let length = bt_types::PIECE_IN_MEMORY_MAX + 16_384;
    let fixture = Fixture::new(&[100, u64::from(length), 50_000], length);
    let storage = MemStorage::new();
    // A killed process left this file.
    storage.create_new(&part()).unwrap();
    let mut worker = worker(&fixture);
    // The first blocks come last.
    let mut orders = fixture.arrival(0);
    let check = orders.pop().unwrap();
    let done = worker.run(NOW, orders, &storage);
    assert_eq!(
        done,
        [Done::OnDisk { piece: fixture.piece(0), bytes: u64::from(length) }],
        "told once for all of a batch"
    );
    assert!(
        worker.assembling.is_empty() && storage.len(&fixture.path(1)).unwrap().is_none(),
        "nothing unverified in a payload file"
    );
    assert_eq!(worker.run(NOW, vec![check], &storage), [good(&fixture, 0)]);
    assert!(
        fixture.is_right(&storage, fixture.piece(0)) && storage.len(&part()).unwrap().is_none()
    );

    // One wrong block: it is found when the piece is right.
    let mut spoilt = fixture.arrival(1);
    let Some(Order::Store { block, data }) = spoilt.first_mut() else { panic!() };
    let wrong = *block;
    *data = Bytes::from(vec![7; data.len()]);
    let done = worker.run(NOW, spoilt, &storage);
    assert_eq!(
        done.last(),
        Some(&Done::Checked { piece: fixture.piece(1), verdict: PieceCheck::Bad })
    );
    let done = worker.run(NOW, fixture.arrival(1), &storage);
    assert_eq!(done.get(1..), Some(&[Done::Audited { wrong: vec![wrong] }, good(&fixture, 1)][..]));
    assert!(fixture.is_right(&storage, fixture.piece(1)));
}

#[test]
fn blocks_of_a_long_piece_that_the_disk_refuses_are_kept_and_written_later() {
    let length = bt_types::PIECE_IN_MEMORY_MAX + 16_384;
    let fixture = Fixture::new(&[u64::from(length)], length);
    let is_full = Arc::new(AtomicBool::new(true));
    let refuses = Arc::clone(&is_full);
    let rule = move |op, _: &Path| {
        let refuses = op == Op::Write && refuses.load(Relaxed);
        refuses.then(|| io::ErrorKind::StorageFull.into())
    };
    let storage = FaultyStorage::new(MemStorage::new(), rule);
    let mut worker = worker(&fixture);
    let done = worker.run(NOW, fixture.arrival(0), &storage);
    assert!(matches!(done[..], [Done::Failed { fault: StoreFault::NoSpace, .. }]), "{done:?}");
    is_full.store(false, Relaxed);
    let done = worker.run(NOW, vec![Order::Retry], &storage);
    assert_eq!(
        done,
        [Done::OnDisk { piece: fixture.piece(0), bytes: u64::from(length) }, good(&fixture, 0)]
    );
    assert!(fixture.is_right(storage.inner(), fixture.piece(0)));
}

/// A disk that refuses one kind of operation after a number of allowed ones.
struct Refusing<S = MemStorage> {
    storage: FaultyStorage<S>,
    allowed: Arc<AtomicUsize>,
}

impl Refusing {
    fn new(what: Op) -> Refusing {
        Refusing::over(MemStorage::new(), what)
    }
}

impl<S> Refusing<S> {
    fn over(storage: S, what: Op) -> Refusing<S> {
        let allowed = Arc::new(AtomicUsize::new(usize::MAX));
        let left = Arc::clone(&allowed);
        let rule = move |op, _: &Path| {
            let refuses = op == what
                && left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err();
            refuses.then(|| io::Error::from_raw_os_error(5))
        };
        Refusing { storage: FaultyStorage::new(storage, rule), allowed }
    }

    fn allow(&self, count: usize) {
        self.allowed.store(count, Relaxed);
    }

    fn left(&self) -> usize {
        self.allowed.load(Relaxed)
    }
}

fn failed(done: &Done) -> bool {
    matches!(done, Done::Failed { fault: StoreFault::Io, .. })
}

#[test]
fn a_retry_that_fails_half_way_loses_no_block_of_a_long_piece() {
    let length = bt_types::PIECE_IN_MEMORY_MAX + 16_384;
    let (fixture, disk) = (Fixture::new(&[u64::from(length)], length), Refusing::new(Op::Write));
    let mut worker = worker(&fixture);
    disk.allow(0);
    assert!(worker.run(NOW, fixture.arrival(0), &disk.storage).iter().all(failed));
    disk.allow(3);
    let done = worker.run(NOW, vec![Order::Retry], &disk.storage);
    assert_eq!(
        done.first(),
        Some(&Done::OnDisk { piece: fixture.piece(0), bytes: 3 * 16_384 }),
        "those are there"
    );
    assert!(done.len() == 2 && failed(&done[1]), "{done:?}");
    disk.allow(usize::MAX);
    let rest = Done::OnDisk { piece: fixture.piece(0), bytes: u64::from(length) - 3 * 16_384 };
    assert_eq!(worker.run(NOW, vec![Order::Retry], &disk.storage), [rest, good(&fixture, 0)]);
    assert!(fixture.is_right(disk.storage.inner(), fixture.piece(0)));
}

#[test]
fn a_long_piece_that_is_forgotten_takes_nothing_of_others_along() {
    let length = bt_types::PIECE_IN_MEMORY_MAX + 16_384;
    let (fixture, disk) =
        (Fixture::new(&[u64::from(length) + 50_000], length), Refusing::new(Op::Write));
    let mut worker = worker(&fixture);
    // The disk refuses a block when only the first piece has a slot in the file; then the whole
    // second piece waits.
    let mut blocks = fixture.arrival(0);
    blocks.truncate(2);
    disk.allow(1);
    let done = worker.run(NOW, [blocks, fixture.arrival(1)].concat(), &disk.storage);
    assert!(done.len() == 2 && failed(&done[1]), "{done:?}");
    assert_eq!(worker.run(NOW, vec![Order::Forget { piece: fixture.piece(0) }], &disk.storage), []);
    disk.allow(usize::MAX);
    let done = worker.run(NOW, vec![Order::Retry], &disk.storage);
    assert_eq!(done, [Done::OnDisk { piece: fixture.piece(1), bytes: 50_000 }, good(&fixture, 1)]);
    assert!(fixture.is_right(disk.storage.inner(), fixture.piece(1)));
    assert_eq!(disk.storage.inner().content(&part()), None, "nothing is open");
}

#[test]
fn a_block_of_a_long_piece_is_on_the_disk_also_while_something_else_is_held() {
    let length = bt_types::PIECE_IN_MEMORY_MAX + 16_384;
    let (fixture, disk) =
        (Fixture::new(&[u64::from(length) + 50_000], length), Refusing::new(Op::Sync));
    let mut worker = worker(&fixture);
    worker.run(NOW, fixture.arrival(1), &disk.storage);
    disk.allow(0);
    assert!(
        worker.run(NOW, vec![Order::Sync], &disk.storage).iter().all(failed) && !worker.is_well()
    );
    let block = fixture.arrival(0).into_iter().take(1).collect();
    assert_eq!(
        worker.run(NOW, block, &disk.storage),
        [Done::OnDisk { piece: fixture.piece(0), bytes: 16_384 }]
    );
}

#[test]
fn after_a_stop_that_could_not_write_it_a_long_piece_comes_again() {
    let length = bt_types::PIECE_IN_MEMORY_MAX + 16_384;
    let (fixture, disk) =
        (Fixture::new(&[u64::from(length) + 50_000], length), Refusing::new(Op::SetLen));
    let mut worker = worker(&fixture);
    disk.allow(0);
    worker.run(NOW, fixture.arrival(1), &disk.storage);
    assert!(worker.run(NOW, vec![Order::Stop], &disk.storage).iter().all(failed));
    assert_eq!(disk.storage.inner().content(&part()), None);
    // Another piece takes the slot in the file when the disk works again.
    disk.allow(usize::MAX);
    let begun = fixture.arrival(0).into_iter().take(1);
    let done = worker.run(NOW, begun.chain([Order::Retry]).collect(), &disk.storage);
    assert_eq!(
        done,
        [Done::OnDisk { piece: fixture.piece(0), bytes: 16_384 }],
        "what is not there is not written"
    );
    let done = worker.run(NOW, fixture.arrival(1), &disk.storage);
    assert_eq!(done.last(), Some(&good(&fixture, 1)));
    assert!(fixture.is_right(disk.storage.inner(), fixture.piece(1)));
}

#[test]
fn after_a_failed_sync_a_long_piece_is_written_again_part_by_part() {
    let length = bt_types::PIECE_IN_MEMORY_MAX + 16_384;
    let fixture = Fixture::new(&[u64::from(length)], length);
    let Refusing { storage, allowed } = Refusing::new(Op::Sync);
    let reads = Refusing::over(storage, Op::Read);
    let mut worker = worker(&fixture);
    allowed.store(0, Relaxed);
    assert!(matches!(
        worker.run(NOW, fixture.arrival(0), &reads.storage)[..],
        [Done::OnDisk { .. }, Done::Failed { .. }]
    ));
    allowed.store(usize::MAX, Relaxed);
    reads.allow(1_000);
    assert_eq!(worker.run(NOW, vec![Order::Retry], &reads.storage), [good(&fixture, 0)]);
    assert_eq!(1_000 - reads.left(), length.div_ceil(1 << 20) as usize, "reads");
    let disk = reads.storage.inner().inner();
    disk.crash();
    assert!(fixture.is_right(disk, fixture.piece(0)));
}

#[test]
fn a_long_piece_is_not_hashed_to_answer_a_peer() {
    let length = bt_types::PIECE_IN_MEMORY_MAX + 16_384;
    let (fixture, disk) = (Fixture::new(&[u64::from(length)], length), Refusing::new(Op::Read));
    let mut worker = worker(&fixture);
    worker.run(NOW, fixture.arrival(0), &disk.storage);
    disk.allow(1_000);
    let blocks: Vec<Block> = fixture.layout.geometry().blocks(fixture.piece(0)).take(1).collect();
    assert!(worker.read_hashed(&blocks, &disk.storage).is_none() && disk.left() == 1_000);
}

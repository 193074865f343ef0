//! Disk threads: each runs the workers of its torrents, one batch after another.
//!
//! Decides: which thread has a torrent, and when a failed store is tried again. Must not know: peers' wishes, what makes a piece right.
//! Invariant: a torrent, and so a piece, is always on the same thread; a shard leaves to these threads whatever may wait for a disk, but for opening a file; a panic ends the torrent
//! that it was about, and no other.

use crate::clock::Clock;
use crate::conduit::Pipes;
use crate::events::{AddError, Unsaved};
use crate::owner::Claim;
use crate::panics::{Bugs, Place};
use crate::shard::ToShard;
use bt_engine::{Input, PeerKey, TorrentKey};
use bt_piece_store::{Done, Layout, Order, Storage, Worker, fault_of, read_blocks};
use bt_types::{Block, Piece, StoreFault, Time};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A store that failed is tried again after this time.
const RETRY: Duration = Duration::from_secs(2);

/// What a disk thread is told about one torrent.
pub(crate) enum DiskOrder {
    /// This torrent is yours.
    Attach(Box<Attached>),
    /// For its worker.
    Work(Order),
    /// Read these blocks for a peer; into a pipe, if it can be, when they are to be `piped`.
    Read { peer: PeerKey, blocks: Vec<Block>, piped: bool },
    /// Finish what is complete, sync, and answer with `Settled`: whoever ordered the rest is gone. It is overwritten when it comes again.
    Settle,
    /// Write and sync what is left, let go of it, and answer with what stood against that.
    Detach(oneshot::Sender<Option<Unsaved>>),
}

/// A torrent's worker and what it works with.
pub(crate) struct Attached {
    pub(crate) worker: Worker,
    pub(crate) layout: Arc<Layout>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) shard: mpsc::Sender<ToShard>,
    pub(crate) claim: Claim,
}

impl DiskOrder {
    pub(crate) fn store(block: Block, data: Bytes) -> DiskOrder {
        DiskOrder::Work(Order::Store { block, data })
    }

    pub(crate) fn check(piece: Piece, urgent: bool) -> DiskOrder {
        DiskOrder::Work(Order::Check { piece, urgent })
    }

    pub(crate) fn forget(piece: Piece) -> DiskOrder {
        DiskOrder::Work(Order::Forget { piece })
    }

    fn is_work(&self) -> bool {
        matches!(self, DiskOrder::Work(_))
    }
}

/// The pool of disk threads.
pub(crate) struct Disks {
    queues: Vec<Arc<Queue>>,
    pipes: Arc<Pipes>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Disks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disks").field("threads", &self.queues.len()).finish_non_exhaustive()
    }
}

/// Orders for one thread. Its length is bounded by the engine's credit in store bytes and in send bytes.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    orders: Vec<(TorrentKey, DiskOrder)>,
    /// Orders for workers that wait or are being carried out.
    works: usize,
    stop: bool,
}

impl Disks {
    /// Starts so many threads.
    pub(crate) fn start(count: usize, clock: Clock, bugs: &Bugs) -> std::io::Result<Disks> {
        let pipes = Arc::<Pipes>::default();
        let queues: Vec<Arc<Queue>> = (0..count.max(1)).map(|_| Arc::default()).collect();
        let spawn = |(n, queue): (usize, &Arc<Queue>)| {
            let (queue, bugs, pipes) = (Arc::clone(queue), bugs.clone(), Arc::clone(&pipes));
            std::thread::Builder::new()
                .name(format!("bt-disk-{n}"))
                .spawn(move || Thread { clock, bugs, pipes, torrents: BTreeMap::new(), agenda: BTreeSet::new() }.run(&queue))
        };
        let threads = queues.iter().enumerate().map(spawn).collect::<std::io::Result<_>>()?;
        Ok(Disks { queues, pipes, threads: Mutex::new(threads) })
    }

    /// The pipes of the session: shards fill them, too.
    pub(crate) fn pipes(&self) -> &Arc<Pipes> {
        &self.pipes
    }

    /// Gives orders to the threads of their torrents; one lock and one wake for those of a thread that follow each other.
    pub(crate) fn submit(&self, orders: impl Iterator<Item = (TorrentKey, DiskOrder)>) {
        let mut orders = orders.peekable();
        while let Some(n) = orders.peek().map(|(key, _)| self.thread_of(*key)) {
            let Some(queue) = self.queues.get(n) else { return };
            let mut waiting = queue.lock();
            while let Some((key, order)) = orders.next_if(|(key, _)| self.thread_of(*key) == n) {
                waiting.works += usize::from(order.is_work());
                waiting.orders.push((key, order));
            }
            drop(waiting);
            queue.more.notify_one();
        }
    }

    /// Whether no order for a worker waits at the torrent's thread or is being carried out, so that reads need not wait long. What falls due
    /// by itself does not count.
    pub(crate) fn only_reads(&self, key: TorrentKey) -> bool {
        self.queues.get(self.thread_of(key)).is_some_and(|queue| queue.lock().works == 0)
    }

    fn thread_of(&self, key: TorrentKey) -> usize {
        key.0 as usize % self.queues.len()
    }

    /// Lets the threads finish what they have, and waits for them.
    pub(crate) fn stop(&self) {
        for queue in &self.queues {
            queue.lock().stop = true;
            queue.more.notify_one();
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that waits, or nothing when the deadline passed; `None` at the end.
    fn take(&self, wait: Option<Duration>) -> Option<Vec<(TorrentKey, DiskOrder)>> {
        let mut waiting = self.lock();
        let idle = |waiting: &mut Waiting| waiting.orders.is_empty() && !waiting.stop;
        waiting = match wait {
            Some(wait) => self.more.wait_timeout_while(waiting, wait, idle).unwrap_or_else(PoisonError::into_inner).0,
            None => self.more.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner),
        };
        let orders = std::mem::take(&mut waiting.orders);
        if orders.is_empty() && waiting.stop { None } else { Some(orders) }
    }
}

/// One disk thread at work.
struct Thread {
    clock: Clock,
    bugs: Bugs,
    pipes: Arc<Pipes>,
    torrents: BTreeMap<TorrentKey, Box<Desk>>,
    /// When each torrent has something to do.
    agenda: BTreeSet<(Time, TorrentKey)>,
}

/// A torrent on this thread.
struct Desk {
    attached: Box<Attached>,
    batch: Vec<Order>,
    /// Its place in the agenda.
    planned: Option<Time>,
    /// The store failed, and did not recover.
    is_faulty: bool,
    /// When it is tried again.
    retry_at: Option<Time>,
    /// Why what was written last is not safe.
    unsaved: Option<Unsaved>,
}

impl Thread {
    fn run(mut self, queue: &Queue) {
        while let Some(orders) = queue.take(self.wait()) {
            let works = orders.iter().filter(|(_, order)| order.is_work()).count();
            let mut busy: BTreeSet<TorrentKey> = orders.iter().map(|(key, _)| *key).collect();
            for (key, order) in orders {
                self.contain(key, |thread| thread.sort(key, order));
            }
            let now = self.clock.now();
            busy.extend(self.agenda.range(..=(now, TorrentKey(u32::MAX))).map(|(_, key)| *key));
            for key in busy {
                self.contain(key, |thread| thread.work(key, now));
            }
            queue.lock().works -= works;
        }
    }

    /// A panic costs one torrent its worker: it stops with a cause.
    fn contain(&mut self, key: TorrentKey, act: impl FnOnce(&mut Thread)) {
        let bugs = self.bugs.clone();
        if bugs.contain(Place::Other, || act(self)).is_none()
            && let Some(desk) = self.torrents.remove(&key)
        {
            self.replan(key, desk.planned, None);
            desk.send(ToShard::Fail(key, AddError::Bug("the worker that writes its files")));
        }
    }

    fn work(&mut self, key: TorrentKey, now: Time) {
        let Some(desk) = self.torrents.get_mut(&key) else { return };
        desk.work(key, now);
        let next = desk.deadline();
        let planned = std::mem::replace(&mut desk.planned, next);
        self.replan(key, planned, next);
    }

    fn replan(&mut self, key: TorrentKey, planned: Option<Time>, next: Option<Time>) {
        if planned != next {
            if let Some(planned) = planned {
                self.agenda.remove(&(planned, key));
            }
            self.agenda.extend(next.map(|at| (at, key)));
        }
    }

    /// How long nothing is due.
    fn wait(&self) -> Option<Duration> {
        self.agenda.first().map(|(due, _)| due.since(self.clock.now()))
    }

    /// Puts an order into its torrent's batch; reads are answered at once.
    fn sort(&mut self, key: TorrentKey, order: DiskOrder) {
        match order {
            DiskOrder::Attach(attached) => {
                self.torrents.insert(key, Box::new(Desk::new(attached)));
            }
            DiskOrder::Work(order) => {
                if let Some(desk) = self.torrents.get_mut(&key) {
                    desk.batch.push(order);
                }
            }
            DiskOrder::Read { peer, blocks, piped } => {
                if let Some(desk) = self.torrents.get_mut(&key) {
                    let pipes = piped.then_some(&self.pipes);
                    desk.read(key, self.clock.now(), peer, blocks, pipes);
                }
            }
            DiskOrder::Settle => {
                if let Some(desk) = self.torrents.get_mut(&key) {
                    desk.batch.push(Order::Stop);
                    desk.work(key, self.clock.now());
                    desk.send(ToShard::Settled(key));
                }
            }
            DiskOrder::Detach(done) => {
                let mut unsaved = None;
                if let Some(mut desk) = self.torrents.remove(&key) {
                    self.replan(key, desk.planned, None);
                    desk.batch.push(Order::Stop);
                    desk.work(key, self.clock.now());
                    unsaved = desk.unsaved.filter(|_| desk.attached.worker.has_unsynced());
                }
                let _ = done.send(unsaved);
            }
        }
    }
}

impl Desk {
    fn new(attached: Box<Attached>) -> Desk {
        let desk = Desk { attached, batch: Vec::new(), planned: None, is_faulty: false, retry_at: None, unsaved: None };
        desk.share();
        desk
    }

    fn deadline(&self) -> Option<Time> {
        [self.attached.worker.deadline(), self.retry_at].into_iter().flatten().min()
    }

    /// Other torrents may read the files of one that writes nothing any more.
    fn share(&self) {
        if self.attached.worker.is_settled() {
            self.attached.claim.share();
        }
    }

    fn work(&mut self, key: TorrentKey, now: Time) {
        let retries = self.retry_at.take_if(|at| *at <= now).is_some();
        if retries {
            self.batch.push(Order::Retry);
        }
        if self.batch.is_empty() && self.attached.worker.deadline().is_none_or(|at| at > now) {
            return;
        }
        let was_settled = self.attached.worker.is_settled();
        let batch = std::mem::take(&mut self.batch);
        let mut failed = false;
        self.unsaved = None;
        for done in self.attached.worker.run(now, batch, self.attached.storage.as_ref()) {
            match done {
                Done::Checked { piece, verdict } => self.tell(Input::Checked(key, piece, verdict)),
                Done::OnDisk { piece, bytes } => self.tell(Input::OnDisk(key, piece, bytes)),
                Done::Audited { wrong } => self.tell(Input::Audited(key, wrong)),
                Done::Lost { pieces } => self.tell(Input::Lost(key, pieces)),
                Done::Failed { fault, detail, .. } => {
                    failed = true;
                    self.unsaved = Some(Unsaved { fault, detail: detail.clone() });
                    self.fail(key, fault, detail);
                }
            }
        }
        self.is_faulty |= failed;
        if failed || (retries && !self.attached.worker.is_well()) {
            self.retry_at = Some(now + RETRY);
        } else if self.is_faulty && self.attached.worker.is_well() {
            (self.is_faulty, self.retry_at) = (false, None);
            self.tell(Input::StoreRecovered(key));
        }
        if !was_settled {
            self.share();
        }
    }

    fn fail(&self, key: TorrentKey, fault: StoreFault, detail: String) {
        self.send(ToShard::StoreDetail(key, detail));
        self.tell(Input::StoreFailed(key, fault));
    }

    /// Reads for a peer. A file that cannot be read stops the torrent with its cause, as one that cannot be written does; one of which only
    /// attributes changed does not, if its pieces are right.
    fn read(&mut self, key: TorrentKey, now: Time, peer: PeerKey, blocks: Vec<Block>, pipes: Option<&Arc<Pipes>>) {
        let Attached { layout, storage, worker, .. } = &mut *self.attached;
        if let Some(Ok(conduit)) = pipes.map(|pipes| pipes.fill(layout, storage.as_ref(), &blocks, true)) {
            return self.send(ToShard::Piped(peer, conduit));
        }
        let read = match read_blocks(layout, storage.as_ref(), &blocks, true) {
            Ok(read) => read,
            Err(error) => {
                let fault = fault_of(&error);
                let may_be_right = fault == StoreFault::Changed;
                let hashed = may_be_right.then(|| worker.read_hashed(&blocks, storage.as_ref())).flatten();
                if hashed.is_none() {
                    self.fail(key, fault, error.to_string());
                    (self.is_faulty, self.retry_at) = (true, Some(now + RETRY));
                    if matches!(fault, StoreFault::Changed | StoreFault::Missing) {
                        self.batch.extend(blocks.iter().map(|block| Order::Doubt { piece: block.piece() }));
                    }
                }
                hashed
            }
        };
        let mut read = read.into_iter().flatten();
        let answer = blocks.into_iter().map(|block| (block, read.next())).collect();
        self.send(ToShard::Read(peer, answer));
    }

    fn tell(&self, input: Input) {
        self.send(ToShard::Input(input));
    }

    /// The shard never waits for this thread, so waiting for room in its inbox cannot last.
    fn send(&self, message: ToShard) {
        let _ = self.attached.shard.blocking_send(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::torrent;
    use bt_piece_store::{FaultyStorage, Journal, Op};
    use bt_types::InfoHash;

    #[test]
    fn a_disk_that_cannot_read_puts_no_file_in_doubt() {
        const KEY: TorrentKey = TorrentKey(1);
        // EIO; too many open files; a link where a file was: something that another program did.
        for (code, in_doubt) in [(5, false), (24, false), (40, true)] {
            let dir = tempfile::tempdir().unwrap();
            let (info, layout, storage, blocks) = torrent(dir.path());
            let rule = move |op, _: &std::path::Path| (op == Op::Read).then(|| std::io::Error::from_raw_os_error(code));
            let (layout, digests) = (Arc::new(layout), info.require_digests().unwrap());
            let journal = Journal::in_memory(InfoHash([1; 20]), layout.geometry());
            let (shard, mut told) = mpsc::channel(8);
            let mut desk = Desk::new(Box::new(Attached {
                worker: Worker::new(Arc::clone(&layout), digests, journal),
                layout,
                storage: Arc::new(FaultyStorage::new(storage, rule)),
                shard,
                claim: Claim::default(),
            }));
            desk.read(KEY, Time::ZERO, PeerKey(1), blocks, None);
            desk.work(KEY, Time::ZERO);
            assert_eq!(desk.attached.worker.is_well(), !in_doubt, "{code}");
            drop(desk);
            let told: Vec<ToShard> = std::iter::from_fn(|| told.try_recv().ok()).collect();
            let is_refused =
                |told: &ToShard| matches!(told, ToShard::Read(_, blocks) if blocks.iter().all(|(_, data)| data.is_none()));
            assert!(told.iter().any(is_refused), "{code}: the peer has its answer");
        }
    }
}

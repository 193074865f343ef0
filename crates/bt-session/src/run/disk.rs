//! Disk threads: each runs the workers of its torrents, one batch after another.
//!
//! Decides: which thread has a torrent, and when a failed store is tried again.
//! Must not know: peers' wishes, what makes a piece right.
//! Invariant: a torrent, and so a piece, is always on the same thread. A shard leaves all that may
//! wait for a disk to these threads, except opening a file. A panic ends the torrent that was being
//! worked on, and no other.

use crate::mail::clock::Clock;
use crate::mail::disk_order::{Attached, DiskOrder, SendMethod};
use crate::mail::events::{TorrentError, Unsaved};
use crate::mail::panics::{Bugs, Place};
use crate::mail::splice_pipe::Pipes;
use crate::mail::to_shard::ToShard;
use crate::net::splice::{self, Sendable};
use bt_engine::{Input, PeerKey, TorrentKey};
use bt_model::Priority;
use bt_piece_store::{Done, Order, fault_of, read_blocks};
use bt_types::{Block, StoreFault, Time};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Wait before a failed store is tried again.
const RETRY: Duration = Duration::from_secs(2);

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

/// Orders for one thread. The engine's limits of bytes to store and bytes to send bound its length.
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
    /// Starts `count` threads, at least one.
    pub(crate) fn start(count: usize, clock: Clock, bugs: &Bugs) -> std::io::Result<Disks> {
        let pipes = Arc::<Pipes>::default();
        let queues: Vec<Arc<Queue>> = (0..count.max(1)).map(|_| Arc::default()).collect();
        let spawn = |(n, queue): (usize, &Arc<Queue>)| {
            let (queue, bugs, pipes) = (Arc::clone(queue), bugs.clone(), Arc::clone(&pipes));
            std::thread::Builder::new().name(format!("bt-disk-{n}")).spawn(move || {
                Thread { clock, bugs, pipes, torrents: BTreeMap::new(), agenda: BTreeSet::new() }
                    .run(&queue)
            })
        };
        let threads = queues.iter().enumerate().map(spawn).collect::<std::io::Result<_>>()?;
        Ok(Disks { queues, pipes, threads: Mutex::new(threads) })
    }

    /// Returns the pipes of the session, which shards fill too.
    pub(crate) fn pipes(&self) -> &Arc<Pipes> {
        &self.pipes
    }

    /// Gives orders to the threads of their torrents. Consecutive orders for one thread take one
    /// lock and one wake.
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

    /// Returns whether the torrent's thread has no order for a worker, waiting or under way, so
    /// that reads are quick. Work that falls due by itself does not count.
    pub(crate) fn only_reads(&self, key: TorrentKey) -> bool {
        self.queues.get(self.thread_of(key)).is_some_and(|queue| queue.lock().works == 0)
    }

    /// Returns the orders for workers that wait or are being carried out.
    pub(crate) fn orders(&self) -> usize {
        self.queues.iter().map(|queue| queue.lock().works).sum()
    }

    fn thread_of(&self, key: TorrentKey) -> usize {
        key.0 as usize % self.queues.len()
    }

    /// Lets the threads finish their orders, and waits for them.
    pub(crate) fn stop(&self) {
        for queue in &self.queues {
            queue.lock().stop = true;
            queue.more.notify_one();
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all waiting orders, none when `wait` has passed; `None` when the thread must stop.
    fn take(&self, wait: Option<Duration>) -> Option<Vec<(TorrentKey, DiskOrder)>> {
        let mut waiting = self.lock();
        let idle = |waiting: &mut Waiting| waiting.orders.is_empty() && !waiting.stop;
        waiting = match wait {
            Some(wait) => {
                self.more
                    .wait_timeout_while(waiting, wait, idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
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
    torrents: BTreeMap<TorrentKey, Box<DiskTorrent>>,
    /// When each torrent has something to do.
    agenda: BTreeSet<(Time, TorrentKey)>,
}

/// A torrent on this thread.
struct DiskTorrent {
    attached: Box<Attached>,
    batch: Vec<Order>,
    /// The torrent's entry in the agenda.
    planned: Option<Time>,
    /// The store failed, and has not recovered.
    is_faulty: bool,
    /// When the store is tried again.
    retry_at: Option<Time>,
    /// The lock was taken for writing again, and not shared since.
    has_owned: bool,
    /// The newest choice of files waits, because another torrent has the files.
    is_refused: bool,
    /// Why the last writes are not safe on disk.
    unsaved: Option<Unsaved>,
    /// The newest choice of files, while it does not count yet: the wanted ones, and the priority
    /// of each.
    selecting: Option<(BTreeSet<usize>, Vec<Priority>)>,
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

    /// Contains a panic: the torrent loses its worker and stops with an error.
    fn contain(&mut self, key: TorrentKey, act: impl FnOnce(&mut Thread)) {
        let bugs = self.bugs.clone();
        if bugs.contain(Place::Other, || act(self)).is_none()
            && let Some(torrent) = self.torrents.remove(&key)
        {
            self.replan(key, torrent.planned, None);
            torrent.send(ToShard::Fail(key, TorrentError::Bug("the worker that writes its files")));
        }
    }

    fn work(&mut self, key: TorrentKey, now: Time) {
        let Some(torrent) = self.torrents.get_mut(&key) else { return };
        torrent.work(key, now);
        let next = torrent.deadline();
        let planned = std::mem::replace(&mut torrent.planned, next);
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

    /// Returns the time until the next torrent has something to do.
    fn wait(&self) -> Option<Duration> {
        self.agenda.first().map(|(due, _)| due.since(self.clock.now()))
    }

    /// Puts an order into its torrent's batch; reads are answered at once.
    fn sort(&mut self, key: TorrentKey, order: DiskOrder) {
        match order {
            DiskOrder::Attach(attached) => {
                self.torrents.insert(key, Box::new(DiskTorrent::new(attached)));
            }
            DiskOrder::Work(order) => {
                if let Some(torrent) = self.torrents.get_mut(&key) {
                    torrent.batch.push(order);
                }
            }
            DiskOrder::Read { peer, blocks, method } => {
                if let Some(torrent) = self.torrents.get_mut(&key) {
                    torrent.read(key, self.clock.now(), peer, blocks, method, &self.pipes);
                }
            }
            DiskOrder::Fetch { blocks, done } => {
                if let Some(torrent) = self.torrents.get_mut(&key) {
                    let Attached { layout, storage, .. } = &*torrent.attached;
                    let read = read_blocks(layout, storage.as_ref(), &blocks, true);
                    let read = read.map(Option::unwrap_or_default).or_else(|error| {
                        let hashed = torrent.unreadable(key, self.clock.now(), &blocks, &error);
                        hashed.ok_or(error)
                    });
                    // The user may have moved on.
                    let _ = done.send(read);
                }
            }
            DiskOrder::Select(priorities) => {
                if let Some(torrent) = self.torrents.get_mut(&key) {
                    let count = torrent.attached.layout.files().len();
                    let wanted = Priority::wanted(&priorities, count);
                    torrent.selecting = Some((wanted, priorities));
                    torrent.select(key, self.clock.now());
                }
            }
            DiskOrder::Settle => {
                if let Some(torrent) = self.torrents.get_mut(&key) {
                    torrent.batch.push(Order::Stop);
                    torrent.work(key, self.clock.now());
                    torrent.send(ToShard::Settled(key));
                }
            }
            DiskOrder::Detach(done) => {
                let mut unsaved = None;
                if let Some(mut torrent) = self.torrents.remove(&key) {
                    self.replan(key, torrent.planned, None);
                    torrent.batch.push(Order::Stop);
                    torrent.work(key, self.clock.now());
                    unsaved = torrent.unsaved.filter(|_| torrent.attached.worker.has_unsynced());
                }
                let _ = done.send(unsaved);
            }
        }
    }
}

impl DiskTorrent {
    fn new(attached: Box<Attached>) -> DiskTorrent {
        let torrent = DiskTorrent {
            attached,
            batch: Vec::new(),
            planned: None,
            is_faulty: false,
            retry_at: None,
            has_owned: false,
            is_refused: false,
            unsaved: None,
            selecting: None,
        };
        torrent.share();
        torrent
    }

    fn deadline(&self) -> Option<Time> {
        [self.attached.worker.deadline(), self.retry_at].into_iter().flatten().min()
    }

    /// Lets other torrents read the files of a torrent that writes no more.
    fn share(&self) {
        if self.attached.worker.is_settled() {
            self.attached.claim.share();
        }
    }

    fn work(&mut self, key: TorrentKey, now: Time) {
        let retries = self.retry_at.take_if(|at| *at <= now).is_some();
        if retries {
            self.batch.push(Order::Retry);
            self.select(key, now);
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
                Done::Selected { files } => {
                    let newest = self.selecting.take_if(|(wanted, _)| *wanted == files);
                    if let Some((_, priorities)) = newest {
                        self.send(ToShard::Selected(key, priorities));
                    }
                }
                Done::Failed { fault, detail, .. } => {
                    failed = true;
                    self.unsaved = Some(Unsaved { fault, detail: detail.clone() });
                    self.fail(key, fault, detail);
                }
            }
        }
        self.is_faulty |= failed;
        if failed || (retries && !self.attached.worker.is_well()) || self.is_refused {
            self.retry_at = Some(now + RETRY);
        } else if self.is_faulty && self.attached.worker.is_well() {
            (self.is_faulty, self.retry_at) = (false, None);
            self.tell(Input::StoreRecovered(key));
        }
        if !was_settled || std::mem::take(&mut self.has_owned) {
            self.share();
        }
    }

    /// Orders the newest choice of files of the worker. A settled torrent shares its files with
    /// others: it must have them alone before it writes again.
    fn select(&mut self, key: TorrentKey, now: Time) {
        let Some((files, _)) = &self.selecting else { return };
        let Attached { worker, layout, storage, claim, dir, .. } = &mut *self.attached;
        self.is_refused = false;
        if let Some(dir) = dir
            && worker.is_settled()
            && worker.lacks(files, storage.as_ref())
        {
            let top = layout.top().unwrap_or(Path::new(""));
            self.has_owned = true;
            if let Err(error) = claim.own(dir, top, layout.is_one_file()) {
                self.fail(key, StoreFault::Owned, TorrentError::from(error).to_string());
                (self.is_refused, self.is_faulty) = (true, true);
                self.retry_at = Some(now + RETRY);
                return;
            }
        }
        self.batch.push(Order::Select { files: files.clone() });
    }

    fn fail(&self, key: TorrentKey, fault: StoreFault, detail: String) {
        self.send(ToShard::StoreDetail(key, detail));
        self.tell(Input::StoreFailed(key, fault));
    }

    /// Reads blocks for a peer.
    ///
    /// A file that cannot be read stops the torrent with an error, as a failed write does. A file
    /// with changed attributes stops nothing while its pieces pass their check.
    fn read(
        &mut self,
        key: TorrentKey,
        now: Time,
        peer: PeerKey,
        blocks: Vec<Block>,
        method: SendMethod,
        pipes: &Arc<Pipes>,
    ) {
        let Attached { layout, storage, .. } = &*self.attached;
        let read = match splice::read(pipes, layout, storage.as_ref(), &blocks, method) {
            Ok(Sendable::Piped(pipe)) => return self.send(ToShard::Piped(peer, pipe)),
            Ok(Sendable::Copied(read)) => Some(read),
            Err(error) => self.unreadable(key, now, &blocks, &error),
        };
        let mut read = read.into_iter().flatten();
        let answer = blocks.into_iter().map(|block| (block, read.next())).collect();
        self.send(ToShard::Read(peer, answer));
    }

    /// Handles an error of a read: returns the blocks if the file changed and their pieces pass
    /// their check all the same. If not, the torrent stops with the error.
    fn unreadable(
        &mut self,
        key: TorrentKey,
        now: Time,
        blocks: &[Block],
        error: &std::io::Error,
    ) -> Option<Vec<Bytes>> {
        let fault = fault_of(error);
        let Attached { storage, worker, .. } = &mut *self.attached;
        let may_be_right = fault == StoreFault::Changed;
        let hashed = may_be_right.then(|| worker.read_hashed(blocks, storage.as_ref())).flatten();
        if hashed.is_none() {
            self.fail(key, fault, error.to_string());
            (self.is_faulty, self.retry_at) = (true, Some(now + RETRY));
            if matches!(fault, StoreFault::Changed | StoreFault::Missing) {
                self.batch.extend(blocks.iter().map(|block| Order::Doubt { piece: block.piece() }));
            }
        }
        hashed
    }

    fn tell(&self, input: Input) {
        self.send(ToShard::Input(input));
    }

    /// Sends a message to the shard. Waiting for room in its inbox is short, as the shard never
    /// waits for this thread.
    fn send(&self, message: ToShard) {
        let _ = self.attached.shard.blocking_send(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::owner::Claim;
    use crate::testkit::torrent;
    use bt_piece_store::{Directory, FaultyStorage, Journal, Op, Worker};
    use bt_types::InfoHash;
    use tokio::sync::mpsc;

    #[test]
    fn a_disk_that_cannot_read_puts_no_file_in_doubt() {
        const KEY: TorrentKey = TorrentKey(1);
        // EIO; too many open files; a link in place of a file, which only another program can have
        // made.
        for (code, in_doubt) in [(5, false), (24, false), (40, true)] {
            let dir = tempfile::tempdir().unwrap();
            let (info, layout, storage, blocks) = torrent(dir.path());
            let rule = move |op, _: &Path| {
                (op == Op::Read).then(|| std::io::Error::from_raw_os_error(code))
            };
            let (layout, digests) = (Arc::new(layout), info.require_digests().unwrap());
            let journal = Journal::in_memory(InfoHash([1; 20]), layout.geometry());
            let (shard, mut told) = mpsc::channel(8);
            let mut torrent = DiskTorrent::new(Box::new(Attached {
                worker: Worker::new(Arc::clone(&layout), digests, journal),
                layout,
                storage: Arc::new(FaultyStorage::new(storage, rule)),
                shard,
                claim: Claim::default(),
                dir: Some(Arc::new(Directory::open(dir.path()).unwrap())),
            }));
            torrent.read(KEY, Time::ZERO, PeerKey(1), blocks, SendMethod::Copy, &Arc::default());
            torrent.work(KEY, Time::ZERO);
            assert_eq!(torrent.attached.worker.is_well(), !in_doubt, "{code}");
            drop(torrent);
            let told: Vec<ToShard> = std::iter::from_fn(|| told.try_recv().ok()).collect();
            let is_refused = |told: &ToShard| matches!(told, ToShard::Read(_, blocks) if blocks.iter().all(|(_, data)| data.is_none()));
            assert!(told.iter().any(is_refused), "{code}: the peer has its answer");
        }
    }
}

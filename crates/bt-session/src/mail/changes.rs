//! Tells subscribers which torrents changed.
//!
//! Decides: nothing.
//! Must not know: what changed of a torrent.
//! Invariant: a subscriber that is slow misses no torrent: each is named once, however often it
//! changed. So no more than the torrents of the session wait for it.

use bt_types::InfoHash;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// The subscribers of a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes(Arc<Subscribers>);

#[derive(Debug, Default)]
struct Subscribers {
    all: Mutex<Vec<Weak<Waiting>>>,
    /// There may be a subscriber: read for each change, and most sessions have none.
    is_some: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    torrents: Mutex<BTreeSet<InfoHash>>,
    more: Notify,
}

impl Changes {
    /// Tells all subscribers that a torrent changed.
    pub(crate) fn note(&self, torrent: InfoHash) {
        if !self.0.is_some.load(Relaxed) {
            return;
        }
        let mut all = lock(&self.0.all);
        all.retain(|subscriber| {
            let Some(waiting) = subscriber.upgrade() else { return false };
            lock(&waiting.torrents).insert(torrent);
            waiting.more.notify_one();
            true
        });
        self.0.is_some.store(!all.is_empty(), Relaxed);
    }

    /// Makes a subscriber that hears of changes from now on.
    pub(crate) fn subscribe(&self) -> Subscription {
        let waiting = Arc::<Waiting>::default();
        let mut all = lock(&self.0.all);
        all.push(Arc::downgrade(&waiting));
        self.0.is_some.store(true, Relaxed);
        drop(all);
        Subscription(waiting)
    }
}

/// Says which torrents of a session changed: their states, figures or settings, or that they came
/// or went.
#[derive(Debug)]
#[must_use]
pub struct Subscription(Arc<Waiting>);

impl Subscription {
    /// Waits until a torrent changes. Returns all that changed since the last call. What changed is
    /// read off the torrents, and [`crate::Session::torrent`] has none that went. Figures are
    /// looked at five times a second.
    pub async fn changed(&mut self) -> BTreeSet<InfoHash> {
        loop {
            let torrents = std::mem::take(&mut *lock(&self.0.torrents));
            if !torrents.is_empty() {
                return torrents;
            }
            self.0.more.notified().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_subscriber_hears_of_each_torrent_once() {
        let changes = Changes::default();
        changes.note(InfoHash([9; 20]));
        let mut subscription = changes.subscribe();
        for _ in 0..1000 {
            changes.note(InfoHash([1; 20]));
            changes.note(InfoHash([2; 20]));
        }
        let changed = subscription.changed().await;
        assert_eq!(changed, BTreeSet::from([InfoHash([1; 20]), InfoHash([2; 20])]));
        let waits = std::time::Duration::from_millis(10);
        assert!(tokio::time::timeout(waits, subscription.changed()).await.is_err());
        drop(subscription);
        changes.note(InfoHash([1; 20]));
        assert!(lock(&changes.0.all).is_empty(), "who is gone is forgotten");
    }
}

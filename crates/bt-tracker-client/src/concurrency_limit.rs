//! Limits the requests that are under way at once.
//!
//! Decides: the caps.
//! Must not know: what is asked.
//! Invariant: at most `TOTAL` in all and `PER_HOST` to one host; a host without requests is
//! forgotten.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests at once.
const TOTAL: usize = 50;
/// Of these, requests to one host.
const PER_HOST: usize = 4;

/// Lets a limited number of requests through; clones share the limit.
#[derive(Clone, Debug)]
pub(crate) struct ConcurrencyLimit {
    total: Arc<Semaphore>,
    hosts: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

/// One request under way; dropping it lets the next through.
#[derive(Debug)]
pub(crate) struct Place {
    _host: Option<OwnedSemaphorePermit>,
    _total: Option<OwnedSemaphorePermit>,
}

impl Default for ConcurrencyLimit {
    fn default() -> ConcurrencyLimit {
        ConcurrencyLimit { total: Arc::new(Semaphore::new(TOTAL)), hosts: Arc::default() }
    }
}

impl ConcurrencyLimit {
    /// Waits for a place, in the order of arrival.
    pub(crate) async fn enter(&self, host: &str) -> Place {
        // The host's first: a request that waits for a slow host must not take a place from others.
        // Semaphores are never closed, so their only error cannot happen.
        let host = self.host(host).acquire_owned().await.ok();
        let total = Arc::clone(&self.total).acquire_owned().await.ok();
        Place { _host: host, _total: total }
    }

    fn host(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        // A semaphore that only the map holds has no permit out, and no request waits for it.
        hosts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
        Arc::clone(
            hosts.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(PER_HOST))),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    async fn is_full(limit: &ConcurrencyLimit, host: &str) -> bool {
        timeout(Duration::from_secs(1), limit.enter(host)).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_and_the_whole_are_capped() {
        let limit = ConcurrencyLimit::default();
        let mut places = Vec::new();
        for _ in 0..PER_HOST {
            places.push(limit.enter("slow").await);
        }
        assert!(is_full(&limit, "slow").await);
        for n in PER_HOST..TOTAL {
            places.push(limit.enter(&format!("host {n}")).await);
        }
        assert!(is_full(&limit, "another").await);
        places.remove(0);
        assert!(!is_full(&limit, "slow").await);
        places.clear();
        assert!(!is_full(&limit, "another").await);
        assert_eq!(limit.hosts.lock().unwrap().len(), 1, "hosts without questions are forgotten");
    }
}

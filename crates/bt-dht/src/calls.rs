//! Our queries that wait for an answer.
//!
//! Decides: which answer belongs to which query, and when a query has failed.
//! Must not know: what an answer says.
//! Invariant: an answer counts once, from the address that was asked, with a transaction id that
//! cannot be guessed.

use crate::id::Id;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bt_types::{Rng, Time};
use core::net::SocketAddr;
use core::time::Duration;

/// Queries that may wait at once.
pub(crate) const CALLS_MAX: usize = 512;
/// Time after which an answer is late: a lookup then asks another node.
const LATE_AFTER: Duration = Duration::from_secs(1);
/// Time after which a query has failed.
const FAILED_AFTER: Duration = Duration::from_secs(4);

/// A query that waits.
#[derive(Clone, Debug)]
pub(crate) struct Call<P> {
    pub(crate) to: SocketAddr,
    /// The id of the node that must answer; any id when it is unknown.
    pub(crate) id: Option<Id>,
    /// The query's purpose.
    pub(crate) purpose: P,
    pub(crate) sent: Time,
    late: bool,
}

/// A query whose time for an answer has passed.
#[derive(Debug)]
pub(crate) enum Passed<P> {
    Late(Call<P>),
    Failed(Call<P>),
}

#[derive(Debug)]
pub(crate) struct Calls<P> {
    waiting: BTreeMap<u32, Call<P>>,
    rng: Rng,
}

impl<P: Clone> Calls<P> {
    pub(crate) fn new(rng: Rng) -> Calls<P> {
        Calls { waiting: BTreeMap::new(), rng }
    }

    /// Registers a query and returns its transaction id; `None` when too many wait.
    pub(crate) fn begin(
        &mut self,
        now: Time,
        to: SocketAddr,
        id: Option<Id>,
        purpose: P,
    ) -> Option<Vec<u8>> {
        if self.waiting.len() >= CALLS_MAX {
            return None;
        }
        let mut transaction = self.rng.next_u32();
        while self.waiting.contains_key(&transaction) {
            transaction = transaction.wrapping_add(1);
        }
        self.waiting.insert(transaction, Call { to, id, purpose, sent: now, late: false });
        Some(transaction.to_be_bytes().to_vec())
    }

    /// Takes the query that an answer from this address belongs to.
    pub(crate) fn end(&mut self, from: SocketAddr, transaction: &[u8]) -> Option<Call<P>> {
        let transaction = u32::from_be_bytes(transaction.try_into().ok()?);
        if self.waiting.get(&transaction)?.to != from {
            return None;
        }
        self.waiting.remove(&transaction)
    }

    /// Takes the next query that became late or failed; call it until there is none.
    pub(crate) fn pass(&mut self, now: Time) -> Option<Passed<P>> {
        let due = |call: &Call<P>| now >= due_at(call);
        let transaction = *self.waiting.iter().find(|(_, call)| due(call))?.0;
        if now.since(self.waiting.get(&transaction)?.sent) >= FAILED_AFTER {
            return self.waiting.remove(&transaction).map(Passed::Failed);
        }
        let call = self.waiting.get_mut(&transaction)?;
        call.late = true;
        Some(Passed::Late(call.clone()))
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.waiting.values().map(due_at).min()
    }

    /// Returns whether a query to this address waits for its answer.
    pub(crate) fn is_asking(&self, addr: SocketAddr) -> bool {
        self.waiting.values().any(|call| call.to == addr)
    }
}

fn due_at<P>(call: &Call<P>) -> Time {
    call.sent + if call.late { FAILED_AFTER } else { LATE_AFTER }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_once_and_only_from_who_was_asked() {
        let (node, other) = ("5.6.7.8:1".parse().unwrap(), "5.6.7.8:2".parse().unwrap());
        let mut calls = Calls::new(Rng::from_seed(1));
        let transaction = calls.begin(Time::ZERO, node, None, "ping").unwrap();
        assert!(calls.is_asking(node) && !calls.is_asking(other));
        assert!(calls.end(other, &transaction).is_none());
        assert!(calls.end(node, &transaction[1..]).is_none());
        assert_eq!(calls.end(node, &transaction).unwrap().purpose, "ping");
        assert!(calls.end(node, &transaction).is_none());
    }

    #[test]
    fn a_query_is_late_once_and_then_fails() {
        let node = "5.6.7.8:1".parse().unwrap();
        let mut calls = Calls::new(Rng::from_seed(1));
        let transaction = calls.begin(Time::ZERO, node, None, ()).unwrap();
        assert_eq!(calls.deadline(), Some(Time::from_secs(1)));
        assert!(calls.pass(Time::from_millis(999)).is_none());
        assert!(matches!(calls.pass(Time::from_secs(1)), Some(Passed::Late(_))));
        assert!(calls.pass(Time::from_secs(1)).is_none());
        assert_eq!(calls.deadline(), Some(Time::from_secs(4)));
        assert!(matches!(calls.pass(Time::from_secs(4)), Some(Passed::Failed(_))));
        assert!(
            calls.pass(Time::from_secs(4)).is_none() && calls.end(node, &transaction).is_none()
        );
        (0..CALLS_MAX).for_each(|_| drop(calls.begin(Time::ZERO, node, None, ()).unwrap()));
        assert!(calls.begin(Time::ZERO, node, None, ()).is_none());
    }
}

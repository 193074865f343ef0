//! Connections of refused peers, which end a moment after the refusal.
//!
//! Decides: for how long they are held, and how many.
//! Must not know: which peer is refused, or why.
//! Invariant: at most [`HELD_MAX`] are held; a connection beyond that ends at once.

use crate::net::wire::Mailbox;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Delay before a refused connection ends. A host has at most eight accepted connections: we refuse
/// it eight times a second, not thousands of times.
const HELD_FOR: Duration = Duration::from_secs(1);
/// Most held connections; each takes a descriptor.
const HELD_MAX: usize = 64;

/// The held connections of a shard.
#[derive(Debug, Default)]
pub(super) struct Held(Rc<Cell<usize>>);

impl Held {
    /// Hangs up a moment later. What the peer sends until then is ignored.
    pub(super) fn hang_up_later(&self, mailbox: Rc<Mailbox>) {
        if self.0.get() >= HELD_MAX {
            return mailbox.hang_up();
        }
        self.0.set(self.0.get() + 1);
        let count = Rc::clone(&self.0);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(HELD_FOR).await;
            count.set(count.get() - 1);
            mailbox.hang_up();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::LocalSet;

    #[tokio::test(start_paused = true)]
    async fn so_many_are_held_for_a_second() {
        let test = async {
            let held = Held::default();
            let mailboxes: Vec<Rc<Mailbox>> =
                (0..HELD_MAX + 5).map(|_| Rc::new(Mailbox::new(None))).collect();
            mailboxes.iter().for_each(|mailbox| held.hang_up_later(Rc::clone(mailbox)));
            let ended = || mailboxes.iter().filter(|mailbox| mailbox.is_hung_up()).count();
            assert_eq!((ended(), held.0.get()), (5, HELD_MAX));
            tokio::time::sleep(HELD_FOR * 2).await;
            assert_eq!((ended(), held.0.get()), (mailboxes.len(), 0));
        };
        LocalSet::new().run_until(test).await;
    }
}

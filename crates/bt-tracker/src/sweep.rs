//! Forgets silent peers without a timer for each: torrents are cleaned when they are touched, and a
//! cursor passes over all of them.
//!
//! Decides: when a peer is forgotten. Must not know: why it was silent.
//! Invariant: the cursor passes every peer at least once in the time between its expiry and the
//! moment at which its tick would look young again.

use crate::arena::PAGE;
use crate::clock::Clock;
use crate::peer::{Tick, V4, V6};
use crate::table::{Family, Table};
use bt_types::Time;

/// A pass takes a quarter of the age of a peer.
const PASSES: u64 = 4;
/// Steps that are worth a start of the cursor: a step looks at a torrent or at a peer.
const STEPS_MIN: u64 = 64;

impl Table {
    /// Takes the time, and moves the cursor on, by as much as the time since the last call asks
    /// for. Called often, a call looks at few peers.
    pub(crate) fn sweep(&mut self, now: Time) {
        let idle = now.as_micros().saturating_sub(self.clock.now.as_micros());
        self.clock.now = now;
        let (age, pass) = (self.clock.age(), self.clock.age() / PASSES);
        let since = |clock: &Clock| now.as_micros().saturating_sub(clock.done.as_micros());
        if idle >= age {
            // No peer announced for a whole life: all are too old, and ticks have no meaning.
            self.pass(None);
            self.clock.done = now;
        }
        while since(&self.clock) >= pass {
            self.clock.done = Time(self.clock.done.as_micros() + pass);
            self.pass(Some(self.clock.tick_of(self.clock.done)));
        }
        // What was there at the start of the pass counts, although less is left of it.
        let steps = self.clock.steps.max(self.steps());
        let due = u128::from(steps) * u128::from(since(&self.clock)) / u128::from(pass);
        let mut due = u64::try_from(due).unwrap_or(u64::MAX);
        if due >= STEPS_MIN {
            let tick = self.clock.tick();
            self.clock.done = now;
            while due > 0 {
                due = due.saturating_sub(self.step(Some(tick)));
            }
        }
    }

    /// Returns the steps of a pass over what is there now.
    fn steps(&self) -> u64 {
        u64::from(self.torrents.numbers()) + self.peers() as u64
    }

    /// Passes over all torrents at once; without a tick every peer is forgotten.
    fn pass(&mut self, tick: Option<Tick>) {
        self.clock.torrent = 0;
        self.clock.left = None;
        while self.clock.torrent < self.torrents.numbers() {
            self.step(tick);
        }
    }

    /// Looks at the next torrent, or at a page of the peers of a large swarm; returns how many
    /// steps that was.
    fn step(&mut self, tick: Option<Tick>) -> u64 {
        let number = self.clock.torrent;
        let Some(torrent) = self.torrents.get(number) else {
            self.clock.left = None;
            match number < self.torrents.numbers() {
                true => self.clock.torrent += 1,
                false => (self.clock.torrent, self.clock.steps) = (0, self.steps()),
            }
            return 1;
        };
        // Members may have left since the last step.
        let most = [torrent.v4.len(), torrent.v6.len()];
        let [v4, v6] = self.clock.left.unwrap_or(most);
        let left = [v4.min(most[0]), v6.min(most[1])];
        let (v4, v6) = (left[0].saturating_sub(PAGE), left[1].saturating_sub(PAGE));
        self.expire::<V4>(number, v4..left[0], tick);
        self.expire::<V6>(number, v6..left[1], tick);
        self.clock.left = Some([v4, v6]).filter(|left| *left != [0, 0]);
        if self.clock.left.is_none() {
            self.settle(number);
            self.clock.torrent += 1;
        }
        1 + u64::from(left[0] - v4) + u64::from(left[1] - v6)
    }

    /// Cleans a torrent that is touched, unless it is large. Returns whether it stays.
    pub(crate) fn clean(&mut self, number: u32) -> bool {
        let now = self.clock.tick();
        let Some(torrent) = self.torrents.get_mut(number) else { return false };
        if torrent.swept == now {
            return true;
        }
        torrent.swept = now;
        let [v4, v6] = [torrent.v4, torrent.v6].map(|peers| match peers.is_large() {
            true => 0,
            false => peers.len(),
        });
        let before = torrent.len();
        self.expire::<V4>(number, 0..v4, Some(now));
        self.expire::<V6>(number, 0..v6, Some(now));
        let after = self.torrents.get(number).map_or(0, |torrent| torrent.len());
        after == before || self.settle(number)
    }

    /// Forgets the expired peers at some positions.
    fn expire<P: Family>(&mut self, number: u32, at: core::ops::Range<u32>, now: Option<Tick>) {
        let Some(peers) = self.torrents.get(number).map(P::peers) else { return };
        // From behind: a peer that moves to the place of a forgotten one was looked at before.
        for at in at.rev() {
            let peers = self.torrents.get(number).map_or(peers, P::peers);
            let is_expired =
                now.is_none_or(|now| P::pool(self).get(peers, at).meta().is_expired(now));
            if is_expired {
                self.forget::<P>(number, at);
            }
        }
    }
}

//! Measures rates, and limits them with token buckets.
//!
//! Decides: how a rate is measured, and when bytes may pass. Must not know: the meaning of the
//! bytes.
//! Invariant: integers only. A bucket lets at most its rate and one burst pass, beyond the last
//! block.

use alloc::boxed::Box;
use bt_types::Time;
use core::time::Duration;

/// Length of one slot of a [`Meter`] in microseconds: a quarter of a second.
const SLOT: u64 = 250_000;
/// Slots that a [`Meter`] remembers: two seconds.
const SLOTS: usize = 8;

/// Measures bytes per second over the last two seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    /// Made for the first byte: most meters never count one.
    window: Option<Box<Window>>,
    total: u64,
}

#[derive(Clone, Debug)]
struct Window {
    slots: [u64; SLOTS],
    /// The number of the slot that is being filled, counted from time zero.
    current: u64,
    /// The first slot that was ever filled, so that a young meter is not averaged over the time
    /// before it.
    first: u64,
}

impl Meter {
    pub(crate) fn add(&mut self, now: Time, bytes: u64) {
        let slot = now.as_micros() / SLOT;
        let window = self.window.get_or_insert_with(|| {
            Box::new(Window { slots: [0; SLOTS], current: slot, first: slot })
        });
        window.advance(slot);
        if let Some(slot) = window.slots.get_mut((window.current % SLOTS as u64) as usize) {
            *slot += bytes;
        }
        self.total += bytes;
    }

    /// Returns all bytes ever added.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Returns bytes per second over the last two seconds; for a younger stream since its first
    /// byte, but over at least one second.
    pub(crate) fn rate(&self, now: Time) -> u64 {
        let slot = now.as_micros() / SLOT;
        let Some(Window { slots, current, first }) = self.window.as_deref() else { return 0 };
        let oldest = (slot + 1).saturating_sub(SLOTS as u64).max(*first);
        let sum: u64 = if slot == *current {
            // None of its slots is too old, and those before the first are empty.
            slots.iter().sum()
        } else {
            (oldest..=slot)
                .filter(|n| n <= current && n + (SLOTS as u64) > *current)
                .filter_map(|n| slots.get((n % SLOTS as u64) as usize))
                .sum()
        };
        let micros = now.as_micros().saturating_sub(oldest * SLOT).max(1_000_000);
        sum.saturating_mul(1_000_000) / micros
    }
}

impl Window {
    fn advance(&mut self, slot: u64) {
        let stale = slot.saturating_sub(self.current).min(SLOTS as u64);
        for n in 0..stale {
            if let Some(old) = self.slots.get_mut(((slot - n) % SLOTS as u64) as usize) {
                *old = 0;
            }
        }
        self.current = self.current.max(slot);
    }
}

/// A token bucket: `rate` bytes per second on average. At most a tenth of a second's worth is saved
/// while nothing passes. The last block that passes may be larger than the tokens left.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rate: Option<u64>,
    /// Bytes that may pass now; negative after a block that was larger than the tokens left.
    tokens: i64,
    /// Millionths of a byte on top of the tokens.
    part: u64,
    filled_at: Time,
}

impl Bucket {
    pub(crate) fn new(rate: Option<u64>, now: Time) -> Bucket {
        Bucket { rate, tokens: 0, part: 0, filled_at: now }
    }

    pub(crate) fn set_rate(&mut self, rate: Option<u64>, now: Time) {
        self.refill(now);
        if self.rate.is_none() {
            self.filled_at = now;
            self.tokens = 0;
        }
        self.rate = rate;
    }

    pub(crate) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Returns whether a block may pass now.
    pub(crate) fn is_open(&mut self, now: Time) -> bool {
        self.refill(now);
        self.rate.is_none() || self.tokens > 0
    }

    /// Charges a block that passes.
    pub(crate) fn take(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.tokens = self.tokens.saturating_sub_unsigned(bytes);
        }
    }

    /// Gives back charged bytes that will not pass.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.tokens = self.tokens.saturating_add_unsigned(bytes);
        }
    }

    /// Returns when a block may pass again; a time in the past if a block may pass now. `None`
    /// without a rate.
    pub(crate) fn opens_at(&self) -> Option<Time> {
        let rate = self.rate?;
        let Ok(debt) = u64::try_from(1i64.saturating_sub(self.tokens)) else {
            return Some(self.filled_at);
        };
        if rate == 0 {
            return None;
        }
        // Wait until a hundredth of a second's worth is there, so that a wake serves several
        // blocks.
        let wanted = debt.saturating_add(rate / 100);
        Some(
            self.filled_at + Duration::from_micros(wanted.saturating_mul(1_000_000).div_ceil(rate)),
        )
    }

    fn refill(&mut self, now: Time) {
        let Some(rate) = self.rate else { return };
        let micros = u64::try_from((now - self.filled_at).as_micros()).unwrap_or(u64::MAX);
        // A refill soon after the last earns less than a byte: the remainder is kept for the next
        // refill.
        let earned = rate.saturating_mul(micros).saturating_add(self.part);
        let burst = i64::try_from((rate / 10).max(1)).unwrap_or(i64::MAX);
        self.tokens = self.tokens.saturating_add_unsigned(earned / 1_000_000).min(burst);
        self.part = earned % 1_000_000;
        self.filled_at = self.filled_at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_and_forgotten() {
        let mut meter = Meter::default();
        for tenth in 0..50 {
            meter.add(Time::from_millis(tenth * 100), 1_000);
        }
        let rate = meter.rate(Time::from_millis(5_000));
        assert!((9_000..=11_500).contains(&rate), "{rate}");
        assert_eq!(meter.rate(Time::from_secs(60)), 0);
        assert_eq!(meter.total(), 50_000);
    }

    #[test]
    fn looking_often_loses_nothing() {
        let mut bucket = Bucket::new(Some(333_333), Time::ZERO);
        let mut passed = 0;
        for micros in 0..2_000_000 {
            if bucket.is_open(Time(micros)) {
                bucket.take(1_000);
                passed += 1_000;
            }
        }
        assert!((665_000..=668_000).contains(&passed), "{passed}");
    }

    #[test]
    fn a_bucket_passes_its_rate_and_one_burst() {
        for rate in [5 * 1024, 1 << 20, 100 << 20] {
            let mut bucket = Bucket::new(Some(rate), Time::ZERO);
            let mut passed = 0;
            let mut now = Time::ZERO;
            while now < Time::from_secs(20) {
                while bucket.is_open(now) {
                    bucket.take(16_384);
                    passed += 16_384;
                }
                now = now.max(bucket.opens_at().unwrap());
            }
            let (low, high) = (20 * rate - 16_384 - rate / 50, 20 * rate + 16_384 + rate / 50);
            assert!((low..=high).contains(&passed), "{passed} at {rate}");
        }
    }
}

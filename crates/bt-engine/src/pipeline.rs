//! Sizes the request queue of one peer, and notices when the peer is silent.
//!
//! Decides: the request window and the snub. Must not know: which blocks are best, or other peers.
//! Invariant: outstanding requests never exceed the window, and the window never exceeds the peer's
//! `reqq`.

use crate::meter::Meter;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bt_types::{BLOCK_LEN, Block, Piece, Time};
use core::time::Duration;

/// Requests sent to a peer before its rate is known.
const WINDOW_START: u32 = 4;
/// The smallest window, in requests, of a peer that delivers.
const WINDOW_MIN: u32 = 4;
/// Milliseconds for which the window keeps the peer busy, beyond its round trip. Twice the longest
/// pause between its blocks counts instead if that is longer, since some peers serve once or twice
/// a second. Blocks that wait longer in its queue could come earlier from other peers.
const QUEUE_TIME: Duration = Duration::from_millis(300);
const QUEUE_TIME_MAX: Duration = Duration::from_secs(3);
/// Milliseconds between two measurements of the rate.
const SAMPLE: Duration = Duration::from_millis(250);
/// Least seconds after its request before a block is late and may be asked of a second peer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Seconds of silence after which a peer with outstanding requests is snubbed: its blocks go to
/// other peers.
const SNUB: Duration = Duration::from_secs(20);

/// The outstanding requests of one peer.
#[derive(Debug)]
pub(crate) struct Pipeline {
    asked: VecDeque<(Block, Time)>,
    window: u32,
    window_max: u32,
    /// The window grows by one for each block that arrives, so it doubles in a round trip, until
    /// the rate stops growing.
    slow_start: bool,
    sampled_at: Time,
    sampled_rate: u64,
    /// The shortest time between a request and its block.
    delay_min: Duration,
    /// The longest recent pause between two blocks.
    pause: Duration,
    meter: Meter,
    heard_at: Time,
    snubbed: bool,
    /// The peer rejected a request although it has unchoked us.
    paused: bool,
}

impl Pipeline {
    pub(crate) fn new(now: Time, window_max: u32) -> Pipeline {
        Pipeline {
            asked: VecDeque::new(),
            window: WINDOW_START.min(window_max),
            window_max,
            slow_start: true,
            sampled_at: now,
            sampled_rate: 0,
            delay_min: Duration::MAX,
            pause: Duration::ZERO,
            meter: Meter::default(),
            heard_at: now,
            snubbed: false,
            paused: false,
        }
    }

    /// Sets how many requests the peer queues (`reqq`, BEP 10).
    pub(crate) fn set_window_max(&mut self, max: u32) {
        self.window_max = max.max(1);
        self.window = self.window.min(self.window_max);
    }

    /// Returns how many more requests the peer may be sent.
    pub(crate) fn room(&self) -> usize {
        if self.paused {
            return 0;
        }
        (self.window as usize).saturating_sub(self.asked.len())
    }

    /// Returns when a block that is requested now should have come: twice the time expected from
    /// its rate and queue. It is at least [`PATIENCE`], also before the rate is known.
    pub(crate) fn due(&self, now: Time) -> Time {
        let queued = (self.asked.len() as u64 + 1) * u64::from(BLOCK_LEN);
        let queue_time = Duration::from_micros(
            (queued * 1_000_000).checked_div(self.sampled_rate).unwrap_or_default(),
        );
        let delay = if self.delay_min == Duration::MAX { Duration::ZERO } else { self.delay_min };
        now + (2 * (queue_time + delay)).clamp(PATIENCE, SNUB)
    }

    pub(crate) fn has_asked(&self, block: Block) -> bool {
        self.asked.iter().any(|(asked, _)| *asked == block)
    }

    /// Counts the requests without an answer.
    pub(crate) fn requests(&self) -> usize {
        self.asked.len()
    }

    pub(crate) fn is_snubbed(&self) -> bool {
        self.snubbed
    }

    /// Returns the bytes per second that the peer delivers.
    pub(crate) fn rate(&self, now: Time) -> u64 {
        self.meter.rate(now)
    }

    /// Returns all bytes that it delivered.
    pub(crate) fn received(&self) -> u64 {
        self.meter.total()
    }

    pub(crate) fn ask(&mut self, now: Time, block: Block) {
        if self.asked.is_empty() {
            self.heard_at = now;
        }
        self.asked.push_back((block, now));
    }

    /// Notes that a block arrived. False if it was not requested, or was given up.
    pub(crate) fn answer(&mut self, now: Time, block: Block) -> bool {
        self.meter.add(now, u64::from(block.len()));
        let Some(asked_at) = self.take(block) else { return false };
        self.delay_min = self.delay_min.min(now - asked_at);
        self.pause = self.pause.max(now - self.heard_at);
        self.heard_at = now;
        if self.snubbed {
            self.snubbed = false;
            self.window = WINDOW_MIN.min(self.window_max);
        }
        if self.slow_start {
            self.window = (self.window + 1).min(self.window_max);
        }
        if now - self.sampled_at >= SAMPLE {
            self.resize(now);
        }
        true
    }

    /// Removes a request that the peer rejected, or that another peer answered. False if there was
    /// none.
    pub(crate) fn remove(&mut self, block: Block) -> bool {
        self.take(block).is_some()
    }

    /// Stops requests to it for now: it rejects them, although it has unchoked us.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Allows requests to it again. False if it was not paused.
    pub(crate) fn resume(&mut self) -> bool {
        core::mem::take(&mut self.paused)
    }

    /// Takes back all requests, as after a choke.
    pub(crate) fn clear(&mut self) -> Vec<Block> {
        self.asked.drain(..).map(|(block, _)| block).collect()
    }

    /// Takes back the requests for blocks of these pieces.
    pub(crate) fn take_of(&mut self, pieces: &[Piece]) -> Vec<Block> {
        let blocks: Vec<Block> = self
            .asked
            .iter()
            .map(|(block, _)| *block)
            .filter(|block| pieces.contains(&block.piece()))
            .collect();
        self.asked.retain(|(block, _)| !pieces.contains(&block.piece()));
        blocks
    }

    /// Takes back all requests of a peer that was silent for too long, and allows it one request at
    /// a time.
    pub(crate) fn snub_if_silent(&mut self, now: Time) -> Option<Vec<Block>> {
        if self.asked.is_empty() || now - self.heard_at < SNUB {
            return None;
        }
        self.snubbed = true;
        self.slow_start = false;
        self.window = 1;
        Some(self.clear())
    }

    fn resize(&mut self, now: Time) {
        let rate = self.meter.rate(now);
        if self.slow_start && rate < self.sampled_rate.saturating_add(self.sampled_rate / 4) {
            self.slow_start = false;
        }
        if !self.slow_start {
            let queue_time = (2 * self.pause).clamp(QUEUE_TIME, QUEUE_TIME_MAX);
            let micros =
                u64::try_from((self.delay_min + queue_time).as_micros()).unwrap_or(u64::MAX);
            let bytes = rate.saturating_mul(micros) / 1_000_000;
            let blocks = u32::try_from(bytes / u64::from(BLOCK_LEN)).unwrap_or(u32::MAX);
            self.window = blocks.saturating_add(1).max(WINDOW_MIN).min(self.window_max);
        }
        self.pause = self.pause * 3 / 4;
        self.sampled_at = now;
        self.sampled_rate = rate;
    }

    /// Removes a request. Blocks come in the order of their requests as a rule, so the search ends
    /// at once.
    fn take(&mut self, block: Block) -> Option<Time> {
        let index = self.asked.iter().position(|(asked, _)| *asked == block)?;
        self.asked.remove(index).map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_types::Geometry;

    /// Plays a peer that delivers `rate` bytes per second after `delay`, for ten seconds; returns
    /// its last window.
    fn window_after(rate: u64, delay: Duration, max: u32) -> u32 {
        let geometry = Geometry::new(1 << 40, 1 << 29).unwrap();
        let mut blocks = geometry.pieces().flat_map(|piece| geometry.blocks(piece));
        let mut pipeline = Pipeline::new(Time::ZERO, max);
        let mut line: VecDeque<(Time, Block)> = VecDeque::new();
        let (mut now, mut free_at) = (Time::ZERO, Time::ZERO);
        let per_block = Duration::from_micros(u64::from(BLOCK_LEN) * 1_000_000 / rate);
        while now < Time::from_secs(10) {
            for _ in 0..pipeline.room() {
                let block = blocks.next().unwrap();
                pipeline.ask(now, block);
                free_at = free_at.max(now + delay) + per_block;
                line.push_back((free_at, block));
            }
            let (at, block) = line.pop_front().unwrap();
            now = at;
            assert!(pipeline.answer(now, block));
        }
        pipeline.window
    }

    #[test]
    fn the_window_follows_rate_and_delay() {
        // (bytes per second, delay in ms, the peer's reqq, least window, greatest window)
        let table = [
            (100_000, 50, 2048, 4, 16),
            (5_000_000, 20, 2048, 90, 150),
            (20_000_000, 200, 2048, 550, 1_000),
            (500_000_000, 1, 2048, 2_048, 2_048),
            (500_000_000, 1, 250, 250, 250),
        ];
        for (rate, delay, max, low, high) in table {
            let window = window_after(rate, Duration::from_millis(delay), max);
            assert!((low..=high).contains(&window), "{rate} B/s after {delay} ms: window {window}");
        }
    }

    #[test]
    fn a_peer_that_serves_once_a_second_is_kept_busy() {
        let geometry = Geometry::new(1 << 40, 1 << 29).unwrap();
        let mut blocks = geometry.pieces().flat_map(|piece| geometry.blocks(piece));
        let mut pipeline = Pipeline::new(Time::ZERO, 2048);
        let (mut line, mut served) = (VecDeque::new(), 0);
        // A hundred blocks each second, if it has that many requests.
        for second in 0..30 {
            let now = Time::from_secs(second);
            let mut serves = line.len().min(100);
            served = serves;
            while let Some(block) = line.pop_front().filter(|_| serves > 0) {
                serves -= 1;
                assert!(pipeline.answer(now, block));
            }
            for block in blocks.by_ref().take(pipeline.room()) {
                pipeline.ask(now, block);
            }
            line = pipeline.asked.iter().map(|(block, _)| *block).collect();
        }
        assert_eq!(served, 100);
    }

    #[test]
    fn a_peer_that_rejects_gets_nothing_until_it_is_resumed() {
        let mut pipeline = Pipeline::new(Time::ZERO, 250);
        pipeline.pause();
        assert_eq!(pipeline.room(), 0);
        assert!(pipeline.resume());
        assert_eq!(pipeline.room(), WINDOW_START as usize);
        assert!(!pipeline.resume());
    }

    #[test]
    fn a_silent_peer_is_snubbed_and_gets_another_chance() {
        let geometry = Geometry::new(1 << 20, 1 << 20).unwrap();
        let blocks: Vec<Block> = geometry.blocks(geometry.piece(0).unwrap()).collect();
        let mut pipeline = Pipeline::new(Time::ZERO, 100);
        pipeline.ask(Time::from_secs(5), blocks[0]);
        pipeline.ask(Time::from_secs(5), blocks[1]);
        assert_eq!(pipeline.snub_if_silent(Time::from_secs(24)), None);
        assert_eq!(pipeline.snub_if_silent(Time::from_secs(25)), Some(blocks[..2].to_vec()));
        assert!(pipeline.is_snubbed());
        assert_eq!(pipeline.room(), 1);
        pipeline.ask(Time::from_secs(30), blocks[2]);
        assert!(!pipeline.answer(Time::from_secs(31), blocks[0]), "given up");
        assert!(pipeline.answer(Time::from_secs(31), blocks[2]));
        assert!(!pipeline.is_snubbed());
        assert!((4..10).contains(&pipeline.room()), "trusted with a little again");
    }
}

//! One transfer at a moment, and its figures in words.
//!
//! Decides: the words and the order of the figures, and which matter most.
//! Must not know: terminals, sessions.
//! Invariant: a figure that is unknown, or says nothing, is left out.

use crate::units;
use bt_session::{MapCell, TorrentView};
use std::time::Duration;

/// What a transfer does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The metadata of a magnet link is being fetched.
    Finding,
    /// Data is hashed.
    Checking,
    Downloading,
    Seeding,
    /// The transfer has ended as it should.
    Over,
    Failed,
}

/// One transfer at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) phase: Phase,
    /// Bytes on the disk, or bytes that were hashed; and the total, 0 while it is unknown.
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) uploaded: u64,
    /// Bytes per second.
    pub(crate) down_rate: u64,
    pub(crate) up_rate: u64,
    pub(crate) peers: usize,
    /// Peers that have everything.
    pub(crate) seeds: usize,
    pub(crate) elapsed: Duration,
    pub(crate) map: Vec<MapCell>,
    /// The link to pass on.
    pub(crate) link: Option<String>,
    /// Facts for the user besides the figures, a line each.
    pub(crate) notes: Vec<String>,
}

impl Row {
    pub(crate) fn new(name: &str, phase: Phase) -> Row {
        Row {
            name: name.to_owned(),
            phase,
            done: 0,
            total: 0,
            uploaded: 0,
            down_rate: 0,
            up_rate: 0,
            peers: 0,
            seeds: 0,
            elapsed: Duration::ZERO,
            map: Vec::new(),
            link: None,
            notes: Vec::new(),
        }
    }

    /// Sums transfers. What is checked or found counts as missing.
    pub(crate) fn sum(rows: &[Row]) -> Row {
        let sum = |of: fn(&Row) -> u64| rows.iter().map(of).fold(0, u64::saturating_add);
        let is_known =
            |row: &Row| matches!(row.phase, Phase::Downloading | Phase::Seeding | Phase::Over);
        let done = rows.iter().filter(|row| is_known(row)).map(|row| row.done);
        let all = rows.iter().filter(|row| row.phase != Phase::Finding).map(|row| row.total);
        let is_missing =
            |row: &Row| !matches!(row.phase, Phase::Seeding | Phase::Over | Phase::Failed);
        let phase = if rows.iter().any(is_missing) { Phase::Downloading } else { Phase::Seeding };
        Row {
            done: done.fold(0, u64::saturating_add),
            total: all.fold(0, u64::saturating_add),
            uploaded: sum(|row| row.uploaded),
            down_rate: sum(|row| row.down_rate),
            up_rate: sum(|row| row.up_rate),
            peers: rows.iter().map(|row| row.peers).sum(),
            ..Row::new("total", phase)
        }
    }

    /// Makes the row of a torrent that is downloaded or seeded.
    pub(crate) fn of(name: &str, phase: Phase, status: &TorrentView, elapsed: Duration) -> Row {
        Row {
            done: status.bytes_wanted - status.bytes_missing,
            total: status.bytes_wanted,
            uploaded: status.bytes_up,
            down_rate: status.down_rate,
            up_rate: status.up_rate,
            peers: status.peers,
            seeds: status.seeds,
            map: status.map.clone(),
            elapsed,
            ..Row::new(name, phase)
        }
    }

    /// Returns the time until it is complete at the present rate.
    pub(crate) fn left(&self) -> Option<Duration> {
        let rate =
            Some(self.down_rate).filter(|rate| *rate > 0 && self.phase == Phase::Downloading)?;
        Some(Duration::from_secs(self.total.saturating_sub(self.done).div_ceil(rate)))
    }

    /// Returns the bytes that were uploaded, over those of all wanted pieces.
    pub(crate) fn ratio(&self) -> f64 {
        self.uploaded as f64 / self.total.max(1) as f64
    }

    /// Lists the figures of a transfer in reading order. Where they do not fit, those with the
    /// highest numbers are left out.
    pub(crate) fn figures(&self) -> Vec<(u8, String)> {
        let of_total = || format!("{} of {}", units::size(self.done), units::size(self.total));
        let rate = |what: &str, rate| format!("{what} {}", units::rate(rate));
        let peers = || units::count(self.peers, "peer");
        let elapsed = || units::clock(self.elapsed);
        match self.phase {
            Phase::Finding if self.total > 0 => {
                vec![(1, "finding metadata".into()), (2, of_total()), (3, peers()), (4, elapsed())]
            }
            Phase::Finding => vec![(1, "finding metadata".into()), (2, peers()), (3, elapsed())],
            Phase::Checking => vec![(1, "checking".into()), (2, of_total()), (3, elapsed())],
            Phase::Downloading => {
                let mut figures = vec![
                    (1, of_total()),
                    (2, rate("down", self.down_rate)),
                    (7, rate("up", self.up_rate)),
                ];
                figures.push((4, peers()));
                // A swarm's first seed shows a few pieces only (BEP 16), and does not count as one.
                if self.seeds > 0 {
                    figures.push((5, units::count(self.seeds, "seed")));
                }
                figures.push((6, elapsed()));
                figures.extend(self.left().map(|left| (3, format!("{} left", units::clock(left)))));
                figures
            }
            Phase::Seeding => {
                vec![
                    (5, "seeding".into()),
                    (2, format!("ratio {:.2}", self.ratio())),
                    (3, format!("{} uploaded", units::size(self.uploaded))),
                    (1, rate("up", self.up_rate)),
                    (4, peers()),
                    (6, elapsed()),
                ]
            }
            Phase::Over => vec![(1, "done".into())],
            Phase::Failed => vec![(1, "failed".into())],
        }
    }

    /// Returns the figures as a plain line.
    pub(crate) fn sentence(&self) -> String {
        let figures: Vec<String> = self.figures().into_iter().map(|(_, text)| text).collect();
        figures.join(", ")
    }

    pub(crate) fn percent(&self) -> Option<u64> {
        let is_known = self.total > 0 || matches!(self.phase, Phase::Downloading | Phase::Seeding);
        is_known.then(|| units::percent(self.done, self.total))
    }
}

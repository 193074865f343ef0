//! A torrent of the daemon: what is kept of it, and what is known of it now.
//!
//! Decides: its phase, its totals.
//! Must not know: how it is stored or fetched.
//! Invariant: what is kept is a value that can be stored; what is known is thrown away at the end.

use crate::import::DataClaim;
use crate::seed_limits::SeedLimits;
use bt_metainfo::Metainfo;
use bt_model::{MagnetView, TorrentSettings, TorrentView};
use bt_types::InfoHash;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

/// A torrent of the daemon.
#[derive(Clone, Debug)]
pub struct Torrent {
    /// Its number: from 1 on, never given twice by one process.
    pub number: u64,
    /// Its info-hash.
    pub hash: InfoHash,
    /// What is kept over restarts.
    pub record: Record,
    /// What its file says; `None` for a magnet link whose metadata is not there yet.
    pub metainfo: Option<Arc<Metainfo>>,
    /// What is known of it at this moment.
    pub live: Live,
    /// The number of its last change in the sequence of all changes.
    pub changed: u64,
}

/// What is kept of a torrent over restarts.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// What the user wants of it; `running` is whether it was started, also while it waits in the
    /// queue.
    pub settings: TorrentSettings,
    /// The name that the user gave it.
    pub name: Option<String>,
    /// The directory that contains its name.
    pub dir: PathBuf,
    /// Where its data goes once it is complete, if not where it lies.
    pub final_dir: Option<PathBuf>,
    /// Files with another path below `dir` than the torrent says, by number.
    pub names: BTreeMap<usize, PathBuf>,
    /// Category and tags.
    pub labels: Labels,
    /// Its own seed limits.
    pub seed_limits: SeedLimits,
    /// Its place in the queue.
    pub queue: QueuePlace,
    /// When what happened.
    pub dates: Dates,
    /// Sums over all runs but the present one.
    pub totals: Totals,
    /// The link that it came from, while its metadata is not there.
    pub magnet: Option<String>,
    /// A comment of the user, in place of the torrent's.
    pub comment: Option<String>,
    /// Its data is on the way to this directory.
    pub moving_to: Option<PathBuf>,
    /// It lies where its category says, and moves with that.
    pub auto_dir: bool,
    /// The first and the last piece of each file come before others.
    pub first_last: bool,
    /// When it stops by itself before it downloads.
    pub stop_on: Option<StopOn>,
    /// It reached a seed limit and was stopped for that.
    pub finished: bool,
    /// The group whose limits it shares; empty for none.
    pub group: String,
    /// What another client said of its data, until that was looked at.
    pub claim: Option<DataClaim>,
    /// With what the names of its files may end until it is complete.
    pub suffix: Option<String>,
}

/// When a torrent stops by itself before it downloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopOn {
    /// Once its metadata is there.
    Metadata,
    /// Once its data is checked.
    Checked,
}

/// The user's order over torrents.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Labels {
    /// The category; empty for none.
    pub category: String,
    /// The tags.
    pub tags: BTreeSet<String>,
}

/// A torrent's place in the queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct QueuePlace {
    /// Its place: the least comes first. Where torrents went, gaps are left until others move.
    pub place: u32,
    /// It runs whatever the queue says.
    pub forced: bool,
}

/// Times in seconds since 1970; `None` for never.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Dates {
    /// It was added.
    pub added: u64,
    /// It was complete.
    pub completed: Option<u64>,
    /// It was last started.
    pub started: Option<u64>,
    /// Payload last came or went.
    pub active: Option<u64>,
    /// Its settings last changed.
    pub edited: Option<u64>,
}

/// Sums over the runs of a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Payload bytes sent.
    pub up: u64,
    /// Payload bytes received.
    pub down: u64,
    /// Payload bytes received twice or too late.
    pub wasted: u64,
    /// Payload bytes of pieces that did not verify.
    pub bad: u64,
    /// Seconds of downloading.
    pub seconds_down: u64,
    /// Seconds of seeding.
    pub seconds_seeding: u64,
}

/// What is known of a torrent at this moment.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// What it does.
    pub phase: Phase,
    /// The session's view, without the map of pieces; `None` while it is not in the session or is
    /// being checked.
    pub view: Option<Box<TorrentView>>,
    /// Since when it does that, in seconds since 1970.
    pub phase_since: u64,
    /// What its trackers said.
    pub trackers: TrackerSummary,
    /// Its place in the queue, without gaps.
    pub rank: u32,
    /// Why the last move of its data failed; it goes on where its data is.
    pub move_trouble: Option<String>,
}

/// What a torrent does.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Phase {
    /// Nothing: the user stopped it.
    #[default]
    Stopped,
    /// It waits for its turn in the queue.
    Queued,
    /// Its data is being hashed.
    Checking {
        /// Bytes hashed.
        done: u64,
        /// Bytes to hash.
        total: u64,
    },
    /// Its metadata is fetched.
    Metadata(MagnetView),
    /// It fetches data.
    Downloading,
    /// It has all that is wanted, and gives.
    Seeding,
    /// Its data moves.
    Moving,
    /// It cannot go on. The user, not time, changes that.
    Failed(String),
}

/// What the trackers of a torrent said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrackerSummary {
    /// A tracker that works.
    pub working: Option<String>,
    /// The last message of a tracker that refuses or does not answer, while none works.
    pub trouble: Option<String>,
    /// Most seeds that a tracker counts.
    pub seeders: Option<u32>,
    /// Most leechers that a tracker counts.
    pub leechers: Option<u32>,
    /// When the next announce is due, in seconds since 1970; 0 if that is not known.
    pub next_at: u64,
}

impl Torrent {
    /// Returns its name: the user's, that of its file, that of its link, or its info-hash.
    pub fn name(&self) -> String {
        if let Some(name) = &self.record.name {
            return name.clone();
        }
        if let Some(metainfo) = &self.metainfo {
            return metainfo.info.name.clone();
        }
        let magnet = self.record.magnet.as_deref();
        let magnet = magnet.and_then(|link| bt_metainfo::Magnet::parse(link).ok());
        magnet.and_then(|magnet| magnet.name).unwrap_or_else(|| self.hash.to_string())
    }

    /// Returns the comment: the user's, or that of its file.
    pub fn comment(&self) -> Option<&str> {
        let its = || self.metainfo.as_ref().and_then(|metainfo| metainfo.comment.as_deref());
        self.record.comment.as_deref().or_else(its)
    }

    /// Returns the path of its file, or of the directory of its files: never the directory that
    /// contains it.
    pub fn content_path(&self) -> PathBuf {
        let renamed = self.record.names.values().next();
        let first = renamed.and_then(|path| path.components().next());
        let first = first.map(|first| PathBuf::from(first.as_os_str()));
        let name = || match &self.metainfo {
            Some(metainfo) => metainfo.info.name.clone().into(),
            None => self.name().into(),
        };
        self.record.dir.join(first.unwrap_or_else(name))
    }

    /// Returns whether it is a directory; `None` while its metadata is not there.
    pub fn is_directory(&self) -> Option<bool> {
        let metainfo = self.metainfo.as_ref()?;
        Some(metainfo.info.files.iter().any(|file| file.path.len() > 1))
    }

    /// Returns the bytes of its files, without padding; 0 while its metadata is not there.
    pub fn size(&self) -> u64 {
        self.metainfo.as_ref().map_or(0, |metainfo| metainfo.info.payload_len())
    }

    /// Returns the bytes of the pieces that are wanted.
    pub fn wanted(&self) -> u64 {
        self.live.view.as_ref().map_or_else(|| self.size(), |view| view.bytes_wanted)
    }

    /// Returns the verified bytes of what is wanted.
    pub fn done(&self) -> u64 {
        let view = self.live.view.as_ref();
        view.map_or(0, |view| view.bytes_wanted.saturating_sub(view.bytes_missing))
    }

    /// Returns whether all that is wanted is there.
    pub fn is_done(&self) -> bool {
        self.live.view.as_ref().is_some_and(|view| view.is_done())
    }

    /// Returns its progress from 0 to 1.
    pub fn progress(&self) -> f64 {
        match (self.done(), self.wanted()) {
            (_, 0) => f64::from(u8::from(self.is_done())),
            (done, wanted) if done >= wanted => 1.0,
            (done, wanted) => done as f64 / wanted as f64,
        }
    }

    /// Returns the sums over all runs, the present one included.
    pub fn totals(&self) -> Totals {
        let mut totals = self.record.totals;
        if let Some(view) = &self.live.view {
            totals.up = totals.up.saturating_add(view.bytes_up);
            totals.down = totals.down.saturating_add(view.bytes_down);
            totals.wasted = totals.wasted.saturating_add(view.bytes_wasted);
            totals.bad = totals.bad.saturating_add(view.bytes_bad);
        }
        totals
    }

    /// Returns the seconds without payload, of what it does now.
    pub fn quiet_for(&self, now: u64) -> u64 {
        now.saturating_sub(self.record.dates.active.unwrap_or(0).max(self.live.phase_since))
    }

    /// Returns the seconds of downloading and of seeding, over all runs.
    pub fn seconds(&self, now: u64) -> (u64, u64) {
        let Totals { seconds_down, seconds_seeding, .. } = self.record.totals;
        let present = now.saturating_sub(self.live.phase_since);
        match self.live.phase {
            Phase::Downloading => (seconds_down.saturating_add(present), seconds_seeding),
            Phase::Seeding => (seconds_down, seconds_seeding.saturating_add(present)),
            _ => (seconds_down, seconds_seeding),
        }
    }

    /// Sets what it does from now on, and counts the time of what it did.
    pub fn set_phase(&mut self, phase: Phase, now: u64) {
        if std::mem::discriminant(&phase) != std::mem::discriminant(&self.live.phase) {
            let (down, seeding) = self.seconds(now);
            self.record.totals.seconds_down = down;
            self.record.totals.seconds_seeding = seeding;
            self.live.phase_since = now;
        }
        self.live.phase = phase;
    }

    /// Returns what is kept of it, with the sums of the present run.
    pub fn kept(&self, now: u64) -> Record {
        let mut record = self.record.clone();
        record.totals = self.totals();
        (record.totals.seconds_down, record.totals.seconds_seeding) = self.seconds(now);
        record
    }

    /// Returns bytes sent for each byte received, or of the wanted size where the data came
    /// otherwise; `None` where both are 0.
    pub fn ratio(&self) -> Option<f64> {
        let totals = self.totals();
        let base = if totals.down > 0 { totals.down } else { self.done() };
        (base > 0).then(|| totals.up as f64 / base as f64)
    }

    /// Returns the seconds until it is complete at the present rate; `None` if that is unknown or
    /// it is complete.
    pub fn eta(&self) -> Option<u64> {
        let view = self.live.view.as_ref()?;
        (self.live.phase == Phase::Downloading && view.down_rate > 0)
            .then(|| view.bytes_missing.div_ceil(view.down_rate))
    }

    /// Returns its tracker tiers: the user's, or those of its file or link.
    pub fn trackers(&self) -> Vec<Vec<String>> {
        if let Some(trackers) = &self.record.settings.trackers {
            return trackers.clone();
        }
        if let Some(metainfo) = &self.metainfo {
            return metainfo.trackers.clone();
        }
        let magnet = self.record.magnet.as_deref();
        let magnet = magnet.and_then(|link| bt_metainfo::Magnet::parse(link).ok());
        let trackers = magnet.map(|magnet| magnet.trackers).unwrap_or_default();
        trackers.into_iter().map(|tracker| vec![tracker]).collect()
    }
}

//! What a transfer is for: the metadata alone, a download, or seeding up to a ratio or a time.
//!
//! Decides: when a torrent is over.
//! Must not know: sessions, output.
//! Invariant: a torrent that is over stays over, as its ratio and its time only grow.

use std::path::PathBuf;
use std::time::Duration;

/// Where the metadata of magnet links goes.
#[derive(Clone, Debug)]
pub(crate) struct MetadataOnly {
    /// `None`: to a file with the torrent's name.
    pub(crate) file: Option<PathBuf>,
}

/// The plan's rules for every torrent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) after: &'a After,
    /// Give up after this time without progress.
    pub(crate) timeout: Option<Duration>,
    /// `bt seed`.
    pub(crate) is_seed: bool,
    pub(crate) metadata_only: Option<&'a MetadataOnly>,
}

/// What happens when a download is complete.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct After {
    pub(crate) seed: bool,
    pub(crate) ratio: Option<f64>,
    pub(crate) time: Option<Duration>,
}

impl After {
    /// Returns whether a torrent is over, by the time since its completion and the bytes that it
    /// uploaded.
    pub(crate) fn is_over(&self, since: Duration, up: u64, total: u64) -> bool {
        let ratio = |ratio: f64| up as f64 >= ratio * total as f64;
        match (self.seed, self.ratio, self.time) {
            (true, ..) => false,
            (_, None, None) => true,
            (_, by_ratio, by_time) => {
                by_ratio.is_some_and(ratio) || by_time.is_some_and(|time| since >= time)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_seeding_is_over() {
        let (secs, total) = (Duration::from_secs(10), 100);
        let table = [
            (After::default(), 0, true),
            (After { seed: true, ..After::default() }, 1000, false),
            (After { ratio: Some(1.5), ..After::default() }, 149, false),
            (After { ratio: Some(1.5), ..After::default() }, 150, true),
            (After { time: Some(Duration::from_secs(11)), ..After::default() }, 0, false),
            (After { time: Some(secs), ..After::default() }, 0, true),
            (After { ratio: Some(9.0), time: Some(secs), seed: false }, 0, true),
        ];
        for (after, up, over) in table {
            assert_eq!(after.is_over(secs, up, total), over, "{after:?} after {up} bytes");
        }
    }
}

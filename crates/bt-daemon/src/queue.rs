//! Which torrents run, and which wait for their turn.
//!
//! Decides: who runs.
//! Must not know: sessions, stores.
//! Invariant: a torrent never waits behind one that comes after it in the queue and does the same,
//! unless that one is forced.

use bt_api::QueueSettings;

/// A started torrent in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Entry<K> {
    /// Who it is.
    pub(crate) key: K,
    /// It has all that it wants.
    pub(crate) seeds: bool,
    /// It runs whatever the queue says.
    pub(crate) forced: bool,
    /// It runs, and moved no payload for so long that it does not count.
    pub(crate) stalled: bool,
}

/// Returns those that run, of the started torrents in the order of the queue.
pub(crate) fn running<K: Copy>(entries: &[Entry<K>], limits: &QueueSettings) -> Vec<K> {
    let (mut downloads, mut seeds, mut total) = (0, 0, 0);
    let mut running = Vec::new();
    // Downloads go before seeds where both share the limit of the total.
    let order = entries.iter().filter(|e| !e.seeds).chain(entries.iter().filter(|e| e.seeds));
    for entry in order {
        let (count, limit) = match entry.seeds {
            true => (&mut seeds, limits.seeds),
            false => (&mut downloads, limits.downloads),
        };
        let is_room = |count: u32, limit: Option<u32>| limit.is_none_or(|limit| count < limit);
        let is_turn = is_room(*count, limit) && is_room(total, limits.total);
        let may = entry.forced || is_turn;
        if !may {
            continue;
        }
        running.push(entry.key);
        if !entry.forced && !entry.stalled {
            *count += 1;
            total += 1;
        }
    }
    running
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads entries as `d` (downloads), `s` (seeds), upper case for forced, `~` for stalled.
    fn entries(text: &str) -> Vec<Entry<usize>> {
        let words = text.split_whitespace().enumerate();
        words
            .map(|(key, word)| Entry {
                key,
                seeds: word.contains(['s', 'S']),
                forced: word.contains(['D', 'S']),
                stalled: word.contains('~'),
            })
            .collect()
    }

    #[test]
    fn the_first_run_and_the_others_wait() {
        let limits = |downloads, seeds, total| QueueSettings {
            downloads,
            seeds,
            total,
            ..QueueSettings::default()
        };
        for (text, limits, expected) in [
            ("d d s s", limits(None, None, None), vec![0, 1, 2, 3]),
            ("d d d s s", limits(Some(2), Some(1), None), vec![0, 1, 3]),
            ("s d s d", limits(None, None, Some(3)), vec![1, 3, 0]),
            ("d~ d d d", limits(Some(2), None, None), vec![0, 1, 2]),
            ("D d d", limits(Some(1), None, None), vec![0, 1]),
            ("d d S", limits(Some(1), Some(0), Some(1)), vec![0, 2]),
            ("d s", limits(Some(0), Some(0), None), vec![]),
        ] {
            assert_eq!(running(&entries(text), &limits), expected, "{text}");
        }
    }
}

//! Progress for people: bars on a terminal, plain lines elsewhere.
//!
//! Decides: what a line says, and how often. Must not know: where the numbers come from.
//! Invariant: writes to standard error only.

use crate::args::ProgressMode;
use crate::output::{self, Output};
use crate::units;
use bt_piece_store::Progress;
use bt_session::{Cell, TorrentStatus};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A plain line is printed this often, or after so many per cent.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
const PLAIN_PERCENT: u64 = 10;

const HASH_TEMPLATE: &str = "{prefix} {wide_bar} {percent:>3}% {binary_bytes_per_sec} {eta}";
const TRANSFER_TEMPLATE: &str = "{prefix:16!} {msg}";
/// Columns beside the map and the text: the name, per cent and spaces.
const FIXED_COLUMNS: usize = 16 + 1 + 1 + 4 + 1;
/// Columns of a map, on a terminal too narrow for more, and at most.
const MAP_COLUMNS: (usize, usize) = (10, 128);

/// The progress of several transfers at once.
#[derive(Debug)]
pub(crate) struct Board {
    mode: ProgressMode,
    bars: MultiProgress,
}

/// One line of a [`Board`].
#[derive(Debug)]
pub(crate) struct Line {
    mode: ProgressMode,
    name: String,
    bar: ProgressBar,
    said_at: Instant,
    said_percent: u64,
}

impl Board {
    pub(crate) fn new(output: &Output) -> Board {
        Board { mode: output.mode, bars: MultiProgress::new() }
    }

    pub(crate) fn line(&self, name: &str, total: u64) -> Line {
        let bar = match self.mode {
            ProgressMode::Bar => self.bars.add(ProgressBar::new(total)),
            _ => ProgressBar::hidden(),
        };
        bar.set_style(style(TRANSFER_TEMPLATE));
        bar.set_prefix(output::printable(name).into_owned());
        Line { mode: self.mode, name: name.to_owned(), bar, said_at: Instant::now(), said_percent: 0 }
    }

    /// Says something without disturbing the bars.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        match self.mode {
            ProgressMode::None => {}
            ProgressMode::Bar => {
                let _ = self.bars.println(output::printable(&text.to_string()));
            }
            _ => output::say(text),
        }
    }

    /// Says that something failed, also where progress is silenced.
    pub(crate) fn error(&self, text: &str) {
        match self.mode {
            ProgressMode::Bar => self.say(format_args!("bt: {text}")),
            _ => output::say(format_args!("bt: {text}")),
        }
    }

    pub(crate) fn clear(&self) {
        let _ = self.bars.clear();
    }
}

impl Line {
    /// Shows where a transfer stands.
    pub(crate) fn show(&mut self, status: &TorrentStatus) {
        let mut text =
            format!("{} peers, down {}, up {}", status.peers, units::rate(status.down_rate), units::rate(status.up_rate));
        if !status.is_done() && status.down_rate > 0 {
            let left = status.bytes_missing / status.down_rate;
            text.push_str(&format!(", {} left", indicatif::HumanDuration(Duration::from_secs(left))));
        }
        self.draw(status.bytes_wanted - status.bytes_missing, status.bytes_wanted, &text, &status.map);
    }

    /// Shows how far something is that goes from the first byte to the last.
    pub(crate) fn update(&mut self, done: u64, total: u64, text: &str) {
        let part = |n| if n < units::percent(done, total) { Cell::All } else { Cell::Missing };
        let map: Vec<Cell> = (0..100).map(part).collect();
        self.draw(done, total, text, &map);
    }

    /// Shows what is waited for, and that nobody knows how long.
    pub(crate) fn wait(&mut self, text: &str) {
        self.bar.set_message(output::printable(text).into_owned());
        if self.mode == ProgressMode::Plain && self.said_at.elapsed() >= PLAIN_EVERY {
            output::say(format_args!("{}: {text}", self.name));
            self.said_at = Instant::now();
        }
    }

    /// The name is another from now on.
    pub(crate) fn rename(&mut self, name: &str) {
        self.bar.set_prefix(output::printable(name).into_owned());
        self.name = name.to_owned();
    }

    fn draw(&mut self, done: u64, total: u64, text: &str, map: &[Cell]) {
        let percent = units::percent(done, total);
        if self.mode == ProgressMode::Bar {
            let columns = usize::from(console::Term::stderr().size().1);
            let (least, most) = MAP_COLUMNS;
            let width = columns.saturating_sub(FIXED_COLUMNS + text.len()).clamp(least, most);
            self.bar.set_message(format!("{} {percent:>3}% {text}", draw_map(map, width)));
        }
        let due = self.said_at.elapsed() >= PLAIN_EVERY || percent >= self.said_percent + PLAIN_PERCENT;
        if self.mode == ProgressMode::Plain && due {
            output::say(format_args!("{}: {percent}% of {}, {text}", self.name, units::size(total)));
            self.said_at = Instant::now();
            self.said_percent = percent - percent % PLAIN_PERCENT;
        }
    }
}

/// Runs a job on a thread of its own and shows how far it is.
pub(crate) fn watch<T: Send>(output: &Output, what: &str, progress: &Progress, job: impl FnOnce() -> T + Send) -> T {
    let bar = if output.mode == ProgressMode::Bar { ProgressBar::new(0) } else { ProgressBar::hidden() };
    bar.set_style(style(HASH_TEMPLATE));
    bar.set_prefix(what.to_owned());
    let mut said = Instant::now();
    std::thread::scope(|scope| {
        // Nothing is ever sent: the job's end is that of the channel, whether it returns or panics.
        let (under_way, end) = mpsc::sync_channel::<()>(0);
        let job = scope.spawn(move || {
            let _under_way = under_way;
            job()
        });
        loop {
            bar.set_length(progress.total());
            bar.set_position(progress.done());
            if output.mode == ProgressMode::Plain && said.elapsed() >= PLAIN_EVERY {
                output::say(format_args!("{what}: {}%", units::percent(progress.done(), progress.total())));
                said = Instant::now();
            }
            if end.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
        }
        bar.finish_and_clear();
        match job.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The cells of a map on so many columns: several behind one column, or one on several.
fn draw_map(map: &[Cell], width: usize) -> String {
    let column = |n: usize| {
        let start = n * map.len() / width;
        let end = ((n + 1) * map.len() / width).max(start + 1);
        match map.get(start..end).unwrap_or_default().iter().copied().reduce(Cell::with) {
            None | Some(Cell::Skipped) => ' ',
            Some(Cell::Missing) => '·',
            Some(Cell::UnderWay) => '░',
            Some(Cell::Some) => '▒',
            Some(Cell::All) => '█',
        }
    };
    (0..width).map(column).collect()
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_fits_its_columns() {
        use Cell::{All, Missing, Skipped, UnderWay};
        let map = [All, All, Cell::Some, All, UnderWay, Missing, Missing, Skipped];
        let table = [
            (&map[..], 8, "██▒█░·· "),
            (&map, 4, "█▒░·"),
            (&map, 2, "▒░"),
            (&map, 16, "████▒▒██░░····  "),
            (&map[3..5], 5, "███░░"),
            (&[], 3, "   "),
        ];
        for (map, width, drawn) in table {
            assert_eq!(draw_map(map, width), drawn, "{width}");
        }
    }
}

//! Progress for people: bars on a terminal, plain lines elsewhere.
//!
//! Decides: what a line says, and how often. Must not know: where the numbers come from.
//! Invariant: writes to standard error only.

use crate::args::ProgressMode;
use crate::output::Output;
use crate::units;
use bt_piece_store::Progress;
use bt_session::TorrentStatus;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// A plain line is printed this often, or after so many per cent.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
const PLAIN_PERCENT: u64 = 10;

const HASH_TEMPLATE: &str = "{prefix} {wide_bar} {percent:>3}% {binary_bytes_per_sec} {eta}";
const TRANSFER_TEMPLATE: &str = "{prefix:16!} {bar:30} {percent:>3}% {msg}";

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
        bar.set_prefix(name.to_owned());
        Line { mode: self.mode, name: name.to_owned(), bar, said_at: Instant::now(), said_percent: 0 }
    }

    /// Says something without disturbing the bars.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        match self.mode {
            ProgressMode::None => {}
            ProgressMode::Bar => {
                let _ = self.bars.println(text.to_string());
            }
            _ => eprintln!("{text}"),
        }
    }

    pub(crate) fn clear(&self) {
        let _ = self.bars.clear();
    }
}

impl Line {
    /// Shows where a transfer stands.
    pub(crate) fn show(&mut self, status: &TorrentStatus, total: u64) {
        let seeding = status.pieces_done == status.pieces_total;
        let mut text =
            format!("{} peers, down {}, up {}", status.peers, units::rate(status.down_rate), units::rate(status.up_rate));
        if !seeding && status.down_rate > 0 {
            let left = total.saturating_sub(status.bytes_done) / status.down_rate;
            text.push_str(&format!(", {} left", indicatif::HumanDuration(Duration::from_secs(left))));
        }
        self.update(status.bytes_done, total, &text);
    }

    pub(crate) fn update(&mut self, done: u64, total: u64, text: &str) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.set_message(text.to_owned());
        let percent = units::percent(done, total);
        let due = self.said_at.elapsed() >= PLAIN_EVERY || percent >= self.said_percent + PLAIN_PERCENT;
        if self.mode == ProgressMode::Plain && due {
            eprintln!("{}: {percent}% of {}, {text}", self.name, units::size(total));
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
        let job = scope.spawn(job);
        while !job.is_finished() {
            bar.set_length(progress.total());
            bar.set_position(progress.done());
            if output.mode == ProgressMode::Plain && said.elapsed() >= PLAIN_EVERY {
                eprintln!("{what}: {}%", units::percent(progress.done(), progress.total()));
                said = Instant::now();
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        bar.finish_and_clear();
        match job.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

//! Progress for people: a live block on a terminal, plain lines elsewhere.
//!
//! Decides: how often it is printed.
//! Must not know: where the figures come from.
//! Invariant: writes to standard error only.

use crate::args::ProgressMode;
use crate::frame::{self, Style};
use crate::output::{self, Output};
use crate::row::{Phase, Row};
use crate::screen::Screen;
use crate::units;
use bt_piece_store::Progress;
use bt_session::MapCell;
use std::cell::RefCell;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// A plain line is printed after this time, or after this many per cent, so that a log stays short.
const PLAIN_EVERY: Duration = Duration::from_secs(10);
const PLAIN_PERCENT: u64 = 10;
/// Cells of the map of a job that goes from the first byte to the last.
const CELLS: u32 = 100;

/// The progress of several transfers at once.
#[derive(Debug)]
pub(crate) struct Board {
    mode: ProgressMode,
    style: Style,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    screen: Screen,
    rows: Vec<Row>,
    /// The last plain line of each row.
    said: Vec<Said>,
}

#[derive(Clone, Debug)]
struct Said {
    at: Instant,
    percent: u64,
    sentence: String,
}

impl Board {
    pub(crate) fn new(output: &Output, style: Style) -> Board {
        let state = State { screen: Screen::new(), rows: Vec::new(), said: Vec::new() };
        Board { mode: output.mode, style, state: RefCell::new(state) }
    }

    /// Shows the transfers, always in the same order.
    pub(crate) fn show(&self, mut rows: Vec<Row>) {
        for row in &mut rows {
            row.name = output::printable(&row.name).into_owned();
            row.link
                .iter_mut()
                .chain(&mut row.notes)
                .for_each(|note| *note = output::printable(note).into_owned());
        }
        let mut state = self.state.borrow_mut();
        match self.mode {
            ProgressMode::Bar => {
                state.rows = rows;
                state.draw(self.style);
            }
            ProgressMode::Plain => state.say_due(&rows, Instant::now()),
            ProgressMode::None | ProgressMode::Auto => {}
        }
    }

    /// Prints a text above the live block. The block comes back with the next figures, as the text
    /// may say what the figures do not show yet.
    pub(crate) fn say(&self, text: impl std::fmt::Display) {
        match self.mode {
            ProgressMode::None => {}
            ProgressMode::Bar => {
                let text = text.to_string();
                self.state.borrow_mut().screen.draw(Some(&output::printable(&text)), &[]);
            }
            _ => output::say(text),
        }
    }

    /// Prints an error, even where progress is silenced.
    pub(crate) fn error(&self, text: &str) {
        match self.mode {
            ProgressMode::Bar => self.say(format_args!("bt: {text}")),
            _ => output::say(format_args!("bt: {text}")),
        }
    }

    /// Lets `print` use standard output, which may be the same terminal.
    pub(crate) fn aside(&self, print: impl FnOnce()) {
        let rows = std::mem::take(&mut self.state.borrow_mut().rows);
        self.clear();
        print();
        if self.mode == ProgressMode::Bar {
            self.show(rows);
        }
    }

    /// Clears the live block until there is more to show.
    pub(crate) fn clear(&self) {
        if self.mode == ProgressMode::Bar {
            self.show(Vec::new());
        }
    }
}

impl State {
    fn draw(&mut self, style: Style) {
        let lines = frame::draw(&self.rows, style, self.screen.size());
        self.screen.draw(None, &lines);
    }

    fn say_due(&mut self, rows: &[Row], now: Instant) {
        self.said.resize(rows.len(), Said { at: now, percent: 0, sentence: String::new() });
        for (row, said) in rows.iter().zip(&mut self.said) {
            let percent = units::percent(row.done, row.total);
            let is_under_way =
                matches!(row.phase, Phase::Checking | Phase::Downloading) && row.total > 0;
            let is_far = is_under_way && percent >= said.percent + PLAIN_PERCENT;
            if !is_far && now - said.at < PLAIN_EVERY {
                continue;
            }
            // A seed without requests has no news.
            let sentence = Row { elapsed: Duration::ZERO, ..row.clone() }.sentence();
            if matches!(row.phase, Phase::Over | Phase::Failed)
                || (row.phase == Phase::Seeding && sentence == said.sentence)
            {
                continue;
            }
            let percent_text = if is_under_way { format!("{percent}%, ") } else { String::new() };
            let notes = row.notes.iter().map(|note| format!("; {note}")).collect::<String>();
            output::say(format_args!("{}: {percent_text}{}{notes}", row.name, row.sentence()));
            *said = Said { at: now, percent: percent - percent % PLAIN_PERCENT, sentence };
        }
    }
}

/// Makes the map of a job that goes from the first byte to the last.
pub(crate) fn straight_map(done: u64, total: u64) -> Vec<MapCell> {
    let percent = if total == 0 { 0 } else { units::percent(done, total) };
    let cell = |n| {
        if u64::from(n) < percent {
            MapCell { have: 1, ..MapCell::default() }
        } else {
            MapCell { missing: 1, ..MapCell::default() }
        }
    };
    (0..CELLS).map(cell).collect()
}

/// Runs a job on its own thread and shows its progress.
pub(crate) fn watch<T: Send>(
    output: &Output,
    what: &str,
    progress: &Progress,
    job: impl FnOnce() -> T + Send,
) -> T {
    let (board, began) = (Board::new(output, Style::Maps), Instant::now());
    std::thread::scope(|scope| {
        // Nothing is ever sent: the channel ends with the job, whether that returns or panics.
        let (under_way, end) = mpsc::sync_channel::<()>(0);
        let job = scope.spawn(move || {
            let _under_way = under_way;
            job()
        });
        while end.recv_timeout(Duration::from_millis(100)) != Err(RecvTimeoutError::Disconnected) {
            let (done, total, map) = (
                progress.done(),
                progress.total(),
                straight_map(progress.done(), progress.total()),
            );
            board.show(vec![Row {
                done,
                total,
                map,
                elapsed: began.elapsed(),
                ..Row::new(what, Phase::Checking)
            }]);
        }
        board.clear();
        match job.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_are_due_by_time_and_by_parts() {
        let mut state = State { screen: Screen::new(), rows: Vec::new(), said: Vec::new() };
        let begin = Instant::now();
        let row = |phase, done| Row { done, total: 100, ..Row::new("x", phase) };
        use Phase::{Downloading, Over, Seeding};
        // (second, row, whether it is printed)
        let table = [
            (0, row(Downloading, 5), false),
            (1, row(Downloading, 11), true),
            (2, row(Downloading, 19), false),
            (3, row(Downloading, 20), true),
            (12, row(Downloading, 20), false),
            (13, row(Downloading, 20), true),
            (23, row(Seeding, 100), true),
            (33, row(Seeding, 100), false),
            (43, Row { uploaded: 1, ..row(Seeding, 100) }, true),
            (53, row(Over, 100), false),
        ];
        for (second, row, expected) in table {
            let now = begin + Duration::from_secs(second);
            state.say_due(&[row], now);
            assert_eq!(state.said[0].at == now && second > 0, expected, "at {second} s");
        }
    }
}

//! The live screen as text: the lines of each transfer on a terminal of a given size.
//!
//! Decides: which facts are shown, and which are left out where columns or rows are few.
//! Must not know: terminals, sessions.
//! Invariant: no line is wider than the terminal less one column, and there are fewer lines than
//! rows.

use crate::units;
use bt_session::{MapCell, TorrentStatus};
use console::{measure_text_width, truncate_str};
use std::time::Duration;

/// Fewest columns of a name, and its largest part of the terminal's width: a third.
const NAME_MIN: usize = 12;
const NAME_PART: usize = 3;
/// Fewest and most columns of a piece map.
const MAP_COLUMNS: (usize, usize) = (8, 100);
/// Most lines of notes below a transfer.
const NOTES_MAX: usize = 5;
/// Columns before the second and further lines of a transfer.
const INDENT: &str = "  ";

/// What a transfer does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The metadata of a magnet link is being fetched.
    Finding,
    /// Data is hashed.
    Checking,
    Downloading,
    Seeding,
    /// The transfer has ended.
    Over,
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

    /// Makes the row of a torrent that is downloaded or seeded.
    pub(crate) fn of(name: &str, phase: Phase, status: &TorrentStatus, elapsed: Duration) -> Row {
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
    fn left(&self) -> Option<Duration> {
        let rate =
            Some(self.down_rate).filter(|rate| *rate > 0 && self.phase == Phase::Downloading)?;
        Some(Duration::from_secs(self.total.saturating_sub(self.done).div_ceil(rate)))
    }

    /// Lists the figures of a transfer in reading order. Where they do not fit, those with the
    /// highest numbers are left out.
    fn figures(&self) -> Vec<(u8, String)> {
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
                figures.push((5, units::count(self.seeds, "seed")));
                figures.push((6, elapsed()));
                figures.extend(self.left().map(|left| (3, format!("{} left", units::clock(left)))));
                figures
            }
            Phase::Seeding => {
                let ratio = self.uploaded as f64 / self.total.max(1) as f64;
                vec![
                    (1, "seeding".into()),
                    (3, format!("ratio {ratio:.2}")),
                    (4, format!("{} uploaded", units::size(self.uploaded))),
                    (2, rate("up", self.up_rate)),
                    (5, peers()),
                    (6, elapsed()),
                ]
            }
            Phase::Over => vec![(1, "done".into())],
        }
    }

    /// Returns the figures as a plain line.
    pub(crate) fn sentence(&self) -> String {
        let figures: Vec<String> = self.figures().into_iter().map(|(_, text)| text).collect();
        figures.join(", ")
    }

    fn percent(&self) -> Option<u64> {
        let is_known = self.total > 0 || matches!(self.phase, Phase::Downloading | Phase::Seeding);
        is_known.then(|| units::percent(self.done, self.total))
    }
}

/// A terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    pub(crate) colour: bool,
}

/// Draws transfers: each with its figures and notes if that fits, else a line each, else as many
/// lines as fit.
pub(crate) fn draw(rows: &[Row], size: Size) -> Vec<String> {
    let (columns, space) =
        (size.columns.saturating_sub(1).max(1), size.rows.saturating_sub(1).max(1));
    let widest = rows.iter().map(|row| measure_text_width(&row.name)).max().unwrap_or(0);
    let name_columns =
        widest.clamp(NAME_MIN.min(columns), (columns / NAME_PART).max(NAME_MIN.min(columns)));
    let head = |row: &Row| head(row, name_columns, columns, size.colour);
    let total = (rows.len() > 1).then(|| cut(&total(rows), columns));
    let full = |row: &Row| {
        let figures = cut(
            &format!("{INDENT}{}", fit(row.figures(), columns.saturating_sub(INDENT.len()))),
            columns,
        );
        let notes = row
            .link
            .iter()
            .chain(&row.notes)
            .take(NOTES_MAX)
            .map(|note| cut(&format!("{INDENT}{note}"), columns));
        [head(row), figures].into_iter().chain(notes).collect::<Vec<_>>()
    };
    let all: Vec<String> = rows.iter().flat_map(full).chain(total.clone()).collect();
    if all.len() <= space {
        return all;
    }
    let short = space.saturating_sub(usize::from(total.is_some()));
    let mut lines: Vec<String> = rows.iter().map(head).collect();
    if lines.len() > short {
        let shown = short.saturating_sub(1);
        let more = lines.len() - shown;
        lines.truncate(shown);
        lines.push(cut(&format!("and {more} more"), columns));
    }
    lines.extend(total);
    lines.truncate(space);
    lines
}

/// Draws the name, the map of pieces and the per cent.
fn head(row: &Row, name_columns: usize, columns: usize, colour: bool) -> String {
    let name = middle(&row.name, name_columns);
    let name =
        format!("{name}{}", " ".repeat(name_columns.saturating_sub(measure_text_width(&name))));
    let percent = row.percent().map_or_else(String::new, |percent| format!("{percent:>3}%"));
    let (least, most) = MAP_COLUMNS;
    let room = columns.saturating_sub(name_columns + 2 + percent.len());
    let map = if room < least || row.map.is_empty() {
        String::new()
    } else {
        draw_map(&row.map, room.min(most))
    };
    let paint = |code: &str, text: &str| {
        if colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    };
    let line =
        [paint("1", &name), paint("36", &map), percent].into_iter().filter(|part| !part.is_empty());
    cut(line.collect::<Vec<_>>().join(" ").trim_end(), columns)
}

/// Sums all transfers in one line.
fn total(rows: &[Row]) -> String {
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).fold(0, u64::saturating_add);
    let done = rows.iter().filter(|row| matches!(row.phase, Phase::Seeding | Phase::Over)).count();
    let (down, up) = (sum(|row| row.down_rate), sum(|row| row.up_rate));
    format!(
        "total: {} of {}, down {}, up {}, {done} of {} done",
        units::size(sum(|row| row.done)),
        units::size(sum(|row| row.total)),
        units::rate(down),
        units::rate(up),
        rows.len()
    )
}

/// Keeps as many figures as fit, the most important ones, in their order.
fn fit(mut figures: Vec<(u8, String)>, columns: usize) -> String {
    loop {
        let line = figures.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(", ");
        let last = figures.iter().map(|(rank, _)| *rank).max().filter(|_| figures.len() > 1);
        match last.filter(|_| measure_text_width(&line) > columns) {
            Some(last) => figures.retain(|(rank, _)| *rank != last),
            None => return cut(&line, columns),
        }
    }
}

fn cut(text: &str, columns: usize) -> String {
    truncate_str(text, columns, "…").into_owned()
}

/// Cuts the middle out of a text, as beginning and end say most.
fn middle(text: &str, columns: usize) -> String {
    if measure_text_width(text) <= columns {
        return text.to_owned();
    }
    let front_columns = columns.saturating_sub(1) / 2;
    let front = truncate_str(text, front_columns, "").into_owned();
    let back_columns = columns.saturating_sub(1 + measure_text_width(&front));
    let starts = text.char_indices().map(|(at, _)| at);
    let back = starts
        .filter_map(|at| text.get(at..))
        .find(|back| measure_text_width(back) <= back_columns)
        .unwrap_or_default();
    cut(&format!("{front}…{back}"), columns)
}

/// Draws a map on this many columns: several cells on one column, or one on several. The shade
/// shows which part of the wanted pieces we have.
fn draw_map(map: &[MapCell], columns: usize) -> String {
    let column = |n: usize| {
        let start = n * map.len() / columns;
        let end = ((n + 1) * map.len() / columns).max(start + 1);
        let cell = map
            .get(start..end)
            .unwrap_or_default()
            .iter()
            .copied()
            .reduce(MapCell::with)
            .unwrap_or_default();
        let share = u64::from(cell.have) * 3;
        let of = u64::from(cell.have) + u64::from(cell.missing);
        match cell {
            MapCell { have: 0, missing: 0, .. } => ' ',
            MapCell { missing: 0, .. } => '█',
            MapCell { have: 0, is_under_way: false, .. } => '·',
            _ if share < of => '░',
            _ if share < 2 * of => '▒',
            _ => '▓',
        }
    };
    (0..columns).map(column).collect()
}

#[cfg(test)]
mod tests;

//! Several transfers as a table: a row for each that goes on, and a total.
//!
//! Decides: the columns, and which rows give way where the terminal is low.
//! Must not know: terminals, sessions.
//! Invariant: no line is wider than it may be, there are no more lines than fit, and the total is
//! the last; rows keep their order.

use crate::fit::{cut, middle};
use crate::row::{Phase, Row};
use crate::units;
use console::measure_text_width;
use std::cmp::Reverse;

/// Fewest columns of a name.
const NAME_MIN: usize = 12;
/// Blanks between two columns.
const GAP: &str = "  ";
/// Columns from which on the state of a transfer is told at length.
const WIDE: usize = 70;
/// Fewest lines for which the head of the table is worth a line.
const LINES_WITH_HEAD: usize = 5;

/// A column after the name. Those with the highest numbers give way where columns are few.
struct Column {
    head: &'static str,
    width: usize,
    rank: u8,
    is_number: bool,
    cell: fn(&Row, bool) -> String,
}

fn columns(is_wide: bool) -> [Column; 5] {
    let number = |head, width, rank, cell| Column { head, width, rank, is_number: true, cell };
    [
        number("done", 4, 1, |row, _| percent(row)),
        number("down/s", 10, 3, |row, _| rate(row, row.down_rate)),
        number("up/s", 10, 4, |row, _| rate(row, row.up_rate)),
        number("peers", 5, 5, |row, _| if moves(row) { row.peers.to_string() } else { "".into() }),
        Column {
            head: "left",
            width: if is_wide { 12 } else { 8 },
            rank: 2,
            is_number: false,
            cell: state,
        },
    ]
}

/// Draws the transfers in at most this many lines and columns. `paint` colours the head.
pub(crate) fn draw(
    rows: &[Row],
    width: usize,
    space: usize,
    paint: impl Fn(&str) -> String,
) -> Vec<String> {
    let is_wide = width >= WIDE;
    let mut shown_columns: Vec<Column> = columns(is_wide).into();
    let taken = |columns: &[Column]| -> usize {
        columns.iter().map(|column| column.width + GAP.len()).sum()
    };
    while taken(&shown_columns) + NAME_MIN > width
        && let Some(last) = shown_columns.iter().map(|column| column.rank).max()
    {
        shown_columns.retain(|column| column.rank < last);
    }
    let (going, done): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| row.phase != Phase::Over);
    let widest = going.iter().map(|row| measure_text_width(&row.name)).max().unwrap_or(0);
    let room = width.saturating_sub(taken(&shown_columns));
    let name_width = widest.max(NAME_MIN).min(room);
    let line = |name: &str, cells: &dyn Fn(&Column) -> String| {
        let mut line = padded(&middle(name, name_width), name_width, false);
        for column in &shown_columns {
            let cell = cut(&cells(column), column.width);
            line = format!("{line}{GAP}{}", padded(&cell, column.width, column.is_number));
        }
        cut(line.trim_end(), width)
    };

    let sum = Row::sum(rows);
    let total = line(&sum.name, &|column: &Column| match sum.left() {
        None if !column.is_number && sum.phase == Phase::Downloading => String::new(),
        _ => (column.cell)(&sum, is_wide),
    });
    let done = (!done.is_empty()).then(|| fold(&done, rows.len(), width));
    let needed = going.len() + 1 + usize::from(done.is_some());
    let with_head = !going.is_empty() && (needed < space || space >= LINES_WITH_HEAD);
    let head = with_head.then(|| paint(&line("name", &|column: &Column| column.head.into())));
    let body = space.saturating_sub(1 + usize::from(done.is_some()) + usize::from(with_head));

    let shown = most_important(&going, body);
    let hidden = going.len() - shown.len();
    let rows = shown.iter().map(|row| line(&row.name, &|column| (column.cell)(row, is_wide)));
    let more = (hidden > 0 && body > 0).then(|| cut(&format!("and {hidden} more"), width));
    let lines: Vec<String> =
        head.into_iter().chain(rows).chain(more).chain(done).chain([total]).collect();
    // The total is the last line, whatever gives way.
    let too_many = lines.len().saturating_sub(space);
    lines.into_iter().skip(too_many).collect()
}

/// Chooses the rows to show in this many lines, in their order. One line says how many are left
/// out.
fn most_important<'a>(rows: &[&'a Row], lines: usize) -> Vec<&'a Row> {
    if rows.len() <= lines {
        return rows.to_vec();
    }
    let mut numbers: Vec<usize> = (0..rows.len()).collect();
    // The sort keeps the order of equals.
    numbers.sort_by_key(|number| Reverse(rows.get(*number).map(|row| importance(row))));
    numbers.truncate(lines.saturating_sub(1));
    numbers.sort_unstable();
    numbers.into_iter().filter_map(|number| rows.get(number).copied()).collect()
}

fn importance(row: &Row) -> u8 {
    match row.phase {
        Phase::Downloading if row.down_rate > 0 => 4,
        Phase::Downloading | Phase::Checking | Phase::Finding => 3,
        Phase::Seeding if row.up_rate > 0 => 2,
        Phase::Seeding => 1,
        Phase::Failed | Phase::Over => 0,
    }
}

/// Names the transfers that are done, in one line.
fn fold(done: &[&Row], of: usize, width: usize) -> String {
    let names: Vec<&str> = done.iter().map(|row| row.name.as_str()).collect();
    cut(&format!("{} of {of} done: {}", done.len(), names.join(", ")), width)
}

fn percent(row: &Row) -> String {
    row.percent().map_or_else(String::new, |percent| format!("{percent}%"))
}

/// Returns whether the transfer has rates and peers.
fn moves(row: &Row) -> bool {
    matches!(row.phase, Phase::Downloading | Phase::Seeding | Phase::Finding)
}

fn rate(row: &Row, rate: u64) -> String {
    if moves(row) && row.phase != Phase::Finding { units::size(rate) } else { String::new() }
}

/// Returns the time until a download is complete, or what a transfer does.
fn state(row: &Row, is_wide: bool) -> String {
    match (row.phase, row.left()) {
        (Phase::Downloading, Some(left)) => units::clock(left),
        (Phase::Downloading, None) if row.peers == 0 => "no peers".into(),
        (Phase::Downloading, None) => "waiting".into(),
        (Phase::Seeding, _) if is_wide => format!("ratio {:.2}", row.ratio()),
        (Phase::Seeding, _) => "seeding".into(),
        (Phase::Finding, _) => "finding".into(),
        (Phase::Checking, _) => "checking".into(),
        (Phase::Failed, _) => "failed".into(),
        (Phase::Over, _) => "done".into(),
    }
}

fn padded(text: &str, width: usize, to_the_right: bool) -> String {
    let blanks = " ".repeat(width.saturating_sub(measure_text_width(text)));
    if to_the_right { format!("{blanks}{text}") } else { format!("{text}{blanks}") }
}

#[cfg(test)]
mod tests;

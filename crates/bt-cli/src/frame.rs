//! The live screen as text: the lines of each transfer on a terminal of a given size.
//!
//! Decides: which facts are shown, and which are left out where columns or rows are few.
//! Must not know: terminals, sessions.
//! Invariant: no line is wider than the terminal less one column, and there are fewer lines than
//! rows.

use crate::fit::{cut, fit, middle, wrap};
use crate::row::{Phase, Row};
use crate::table;
use crate::units;
use bt_session::MapCell;
use console::measure_text_width;

/// Fewest columns of a name, and its largest part of the terminal's width: a third.
const NAME_MIN: usize = 12;
const NAME_PART: usize = 3;
/// Fewest and most columns of a piece map.
const MAP_COLUMNS: (usize, usize) = (8, 100);
/// Most notes below a transfer.
const NOTES_MAX: usize = 4;
/// Columns before the second and further lines of a transfer.
const INDENT: &str = "  ";

/// A terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    pub(crate) colour: bool,
}

/// How several transfers are drawn. One alone always has its map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Style {
    /// Each with its map of pieces.
    Maps,
    Table,
}

/// Draws transfers, as a table or with their maps.
pub(crate) fn draw(rows: &[Row], style: Style, size: Size) -> Vec<String> {
    let (columns, space) =
        (size.columns.saturating_sub(1).max(1), size.rows.saturating_sub(1).max(1));
    match style {
        Style::Table if rows.len() > 1 => {
            table::draw(rows, columns, space, |head| paint(size.colour, "2", head))
        }
        Style::Table | Style::Maps => draw_maps(rows, columns, space, size.colour),
    }
}

/// Colours a text with a code of the terminal.
fn paint(colour: bool, code: &str, text: &str) -> String {
    if colour && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
}

/// Draws transfers: each with its figures and notes if that fits, else a line each, else as many
/// lines as fit.
fn draw_maps(rows: &[Row], columns: usize, space: usize, colour: bool) -> Vec<String> {
    let widest = rows.iter().map(|row| measure_text_width(&row.name)).max().unwrap_or(0);
    let name_columns =
        widest.clamp(NAME_MIN.min(columns), (columns / NAME_PART).max(NAME_MIN.min(columns)));
    let head = |row: &Row| head(row, name_columns, columns, colour);
    let total = (rows.len() > 1).then(|| fit(total(rows), columns));
    let full = |row: &Row| {
        let figures = cut(
            &format!("{INDENT}{}", fit(row.figures(), columns.saturating_sub(INDENT.len()))),
            columns,
        );
        // A link that is cut is of no use: it was printed above, too.
        let link = row.link.iter().map(|link| format!("{INDENT}{link}"));
        let link = link.filter(|link| measure_text_width(link) <= columns);
        let notes = row.notes.iter().take(NOTES_MAX);
        let notes = notes.flat_map(|note| wrap(note, INDENT, columns));
        [head(row), figures].into_iter().chain(link).chain(notes).collect::<Vec<_>>()
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
    let line = [paint(colour, "1", &name), paint(colour, "36", &map), percent]
        .into_iter()
        .filter(|part| !part.is_empty());
    cut(line.collect::<Vec<_>>().join(" ").trim_end(), columns)
}

/// Shows the sum of all transfers in figures like those of one.
fn total(rows: &[Row]) -> Vec<(u8, String)> {
    let sum = Row::sum(rows);
    let done = rows.iter().filter(|row| matches!(row.phase, Phase::Seeding | Phase::Over)).count();
    vec![
        (1, format!("total: {} of {}", units::size(sum.done), units::size(sum.total))),
        (2, format!("down {}", units::rate(sum.down_rate))),
        (4, format!("up {}", units::rate(sum.up_rate))),
        (3, format!("{done} of {} done", rows.len())),
    ]
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

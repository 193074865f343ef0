//! A block of lines at the bottom of a terminal that is drawn again and again.
//!
//! Decides: how the block is replaced, also after a change of the terminal's size.
//! Must not know: what the lines say.
//! Invariant: lines printed above the block stay as they were; nothing of an old block is left.

use crate::frame::Size;
use console::{Term, measure_text_width};

/// The terminal behind standard error.
#[derive(Debug)]
pub(crate) struct Screen {
    term: Term,
    colour: bool,
    /// Columns of each line that stands now.
    drawn: Vec<usize>,
}

impl Screen {
    pub(crate) fn new() -> Screen {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Screen { term: Term::stderr(), colour: !is_set("NO_COLOR") && !is_dumb, drawn: Vec::new() }
    }

    pub(crate) fn size(&self) -> Size {
        let (rows, columns) = self.term.size();
        Size { columns: columns.into(), rows: rows.into(), colour: self.colour }
    }

    /// Replaces the block by these lines. `above` is printed before it, and stays.
    pub(crate) fn draw(&mut self, above: Option<&str>, lines: &[String]) {
        let mut text = back(&self.drawn, self.size().columns);
        let end = "\x1b[K\n";
        for line in above.into_iter().chain(lines.iter().map(String::as_str)) {
            text.push_str(line);
            text.push_str(end);
        }
        text.push_str("\x1b[J");
        // In one piece, so that the user never sees half of it. A terminal that went away is no
        // failure.
        let _ = self.term.write_str(&text).and_then(|()| self.term.flush());
        self.drawn = lines.iter().map(|line| measure_text_width(line)).collect();
    }
}

/// Returns the codes that move to where the block began. A terminal wraps lines wider than its
/// window after the window became narrower.
fn back(drawn: &[usize], columns: usize) -> String {
    let rows: usize = drawn.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
    if rows == 0 { "\r".into() } else { format!("\r\x1b[{rows}A") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_lines_are_counted() {
        let table = [
            (&[][..], 80, "\r"),
            (&[79, 0, 40], 80, "\r\x1b[3A"),
            (&[79, 0, 40], 60, "\r\x1b[4A"),
            (&[79], 20, "\r\x1b[4A"),
        ];
        for (drawn, columns, text) in table {
            assert_eq!(back(drawn, columns), text);
        }
    }
}

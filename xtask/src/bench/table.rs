//! A table, on a terminal and in Markdown.
//!
//! Decides: how figures are written. Must not know: what they mean.
//! Invariant: every row has as many cells as the head.

use std::fmt::Write as _;

/// Rows of text below a head.
#[derive(Debug)]
pub(super) struct Table {
    /// The title of the table.
    pub(super) title: String,
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(title: impl Into<String>, head: &[&'static str]) -> Table {
        Table { title: title.into(), head: head.to_vec(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Formats the table for a terminal.
    pub(super) fn plain(&self) -> String {
        let mut widths: Vec<usize> = self.head.iter().map(|cell| cell.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (n, (cell, &width)) in cells.zip(&widths).enumerate() {
                let _ = if n == 0 {
                    write!(line, "{cell:<width$}")
                } else {
                    write!(line, "  {cell:>width$}")
                };
            }
            line + "\n"
        };
        let mut text = format!("{}\n{}", self.title, line(&mut self.head.iter().copied()));
        for row in &self.rows {
            text += &line(&mut row.iter().map(String::as_str));
        }
        text
    }

    /// Formats the table for a page.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "### {}\n\n| {} |\n|{}\n",
            self.title,
            self.head.join(" | "),
            "---|".repeat(self.head.len())
        );
        for row in &self.rows {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text
    }
}

/// Formats a figure with `digits` digits behind the point; a missing one becomes a dash.
pub(super) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}

/// Formats bytes as MiB.
pub(super) fn mib(bytes: Option<f64>) -> String {
    number(bytes.map(|bytes| bytes / f64::from(1 << 20)), 0)
}

//! Texts within a number of columns.
//!
//! Decides: what is left out where columns are few.
//! Must not know: what the texts say.
//! Invariant: no line is wider than it may be, wide characters counted twice.

use console::{measure_text_width, truncate_str};

/// Keeps as many figures as fit, the most important ones, in their order.
pub(crate) fn fit(mut figures: Vec<(u8, String)>, columns: usize) -> String {
    loop {
        let line = figures.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(", ");
        let last = figures.iter().map(|(rank, _)| *rank).max().filter(|_| figures.len() > 1);
        match last.filter(|_| measure_text_width(&line) > columns) {
            Some(last) => figures.retain(|(rank, _)| *rank != last),
            None => return cut(&line, columns),
        }
    }
}

/// Breaks a text at its last blank that fits, once. The second line is cut.
pub(crate) fn wrap(text: &str, indent: &str, columns: usize) -> Vec<String> {
    let whole = format!("{indent}{text}");
    let blanks = text.rmatch_indices(' ').map(|(at, _)| text.split_at(at));
    let fits = |(front, _): &(&str, &str)| {
        measure_text_width(indent) + measure_text_width(front) <= columns
    };
    match blanks.into_iter().find(fits).filter(|_| measure_text_width(&whole) > columns) {
        Some((front, back)) => {
            vec![
                format!("{indent}{front}"),
                cut(&format!("{indent}{indent}{}", back.trim_start()), columns),
            ]
        }
        None => vec![cut(&whole, columns)],
    }
}

/// Cuts a text at its end.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    truncate_str(text, columns, "…").into_owned()
}

/// Cuts the middle out of a text, as beginning and end say most.
pub(crate) fn middle(text: &str, columns: usize) -> String {
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

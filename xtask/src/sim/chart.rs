//! The progress of a swarm as a picture.
//!
//! Decides: sizes and colours. Must not know: why a swarm goes as it does.
//! Invariant: text that any browser shows; the same report, the same picture.

use bt_sim::Report;
use std::fmt::Write as _;

const WIDTH: u64 = 900;
const HEIGHT: u64 = 420;
/// The margin at the left, at the top, and below for the axis, in pixels.
const MARGIN: u64 = 50;

/// Draws an SVG: pieces of each leecher over time, and the pieces that any leecher has.
pub(crate) fn draw(title: &str, report: &Report) -> String {
    let end = report
        .finishers
        .iter()
        .map(|finisher| finisher.finished.as_micros())
        .max()
        .unwrap_or(1)
        .max(1);
    let pieces = report.progress.iter().map(|sample| sample.spread).max().unwrap_or(1).max(1);
    let x = |micros: u64| MARGIN + micros.min(end) * (WIDTH - 2 * MARGIN) / end;
    let y =
        |count: u32| HEIGHT - MARGIN - u64::from(count) * (HEIGHT - 2 * MARGIN) / u64::from(pieces);
    let line = |value: &dyn Fn(usize) -> u32| {
        let points = report
            .progress
            .iter()
            .enumerate()
            .take_while(|(_, sample)| sample.at.as_micros() <= end);
        points
            .map(|(n, sample)| format!("{},{}", x(sample.at.as_micros()), y(value(n))))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n<text x=\"{MARGIN}\" y=\"28\">{title}: pieces of each leecher \
         (blue), and pieces that left the seed (red)</text>\n"
    );
    let leechers = report.progress.first().map_or(0, |sample| sample.pieces.len());
    for leecher in 0..leechers {
        let of = |n: usize| {
            report
                .progress
                .get(n)
                .and_then(|sample| sample.pieces.get(leecher))
                .copied()
                .unwrap_or(0)
        };
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"#36c\" stroke-opacity=\".35\"/>",
            line(&of)
        );
    }
    let spread = |n: usize| report.progress.get(n).map_or(0, |sample| sample.spread);
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#c33\" stroke-width=\"2\"/>",
        line(&spread)
    );
    let (left, right, bottom) = (MARGIN, WIDTH - MARGIN, HEIGHT - MARGIN);
    let _ = writeln!(
        svg,
        "<path d=\"M{left} {MARGIN}V{bottom}H{right}\" fill=\"none\" stroke=\"#000\"/>"
    );
    for fifth in 0..=5 {
        let micros = end * fifth / 5;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{} s</text>",
            x(micros),
            bottom + 18,
            micros / 1_000_000
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{pieces}</text>\n</svg>",
        left - 6,
        MARGIN + 5
    );
    svg
}

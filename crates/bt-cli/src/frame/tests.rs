//! The live screen at several sizes.

use super::*;
use std::time::Duration;

fn cell(have: u32, missing: u32, is_under_way: bool) -> MapCell {
    MapCell { have, missing, is_under_way }
}

fn film() -> Row {
    Row {
        done: 300 << 20,
        total: 1 << 30,
        uploaded: 10 << 20,
        down_rate: 10 << 20,
        up_rate: 1 << 20,
        peers: 12,
        seeds: 1,
        elapsed: Duration::from_secs(65),
        map: [vec![cell(1, 0, false); 30], vec![cell(0, 1, true); 2], vec![cell(0, 1, false); 68]]
            .concat(),
        ..Row::new("A film with a name that is rather long.2026.1080p.mkv", Phase::Downloading)
    }
}

fn at(columns: usize, rows: usize) -> Size {
    Size { columns, rows, colour: false }
}

#[test]
fn a_download_at_three_widths() {
    let table = [
        (
            60,
            [
                "A film wi…1080p.mkv ██████████▒·······················  29%",
                "  300.0 MiB of 1.0 GiB, down 10.0 MiB/s, 1:13 left",
            ],
        ),
        (
            80,
            [
                "A film with …026.1080p.mkv ██████████████▒░·······························  29%",
                "  300.0 MiB of 1.0 GiB, down 10.0 MiB/s, 12 peers, 1 seed, 1:05, 1:13 left",
            ],
        ),
        (
            130,
            [
                "A film with a name th…r long.2026.1080p.mkv ████████████████████████░░······················································  29%",
                "  300.0 MiB of 1.0 GiB, down 10.0 MiB/s, up 1.0 MiB/s, 12 peers, 1 seed, 1:05, 1:13 left",
            ],
        ),
    ];
    for (columns, expected) in table {
        assert_eq!(draw(&[film()], Style::Maps, at(columns, 24)), expected, "{columns}");
    }
}

#[test]
fn every_size_holds_what_is_drawn() {
    let seed = Row {
        phase: Phase::Seeding,
        notes: vec!["tracker tracker.example: asked 3 s ago".repeat(9); 9],
        ..Row { done: 1 << 30, ..film() }
    };
    let wide = Row { name: "映画の名前はとても長い".repeat(9), ..film() };
    let finding = Row { total: 0, map: Vec::new(), ..Row::new("x", Phase::Finding) };
    let checking = Row { phase: Phase::Checking, ..film() };
    let all = [film(), seed, wide, finding, checking];
    for (count, style) in
        (0..=all.len()).flat_map(|count| [(count, Style::Maps), (count, Style::Table)])
    {
        for columns in 1..140 {
            for rows in [1, 2, 5, 13, 50] {
                for colour in [false, true] {
                    let lines = draw(&all[..count], style, Size { columns, rows, colour });
                    assert!(lines.len() <= rows.saturating_sub(1).max(1), "{rows}: {lines:#?}");
                    for line in &lines {
                        assert!(
                            measure_text_width(line) <= columns.saturating_sub(1).max(1),
                            "{columns}: {line:?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn several_transfers_have_a_total_and_give_way_to_few_rows() {
    let rows = vec![film(); 5];
    let lines = draw(&rows, Style::Maps, at(80, 24));
    assert_eq!(lines.len(), 11);
    assert_eq!(lines[10], "total: 1.5 GiB of 5.0 GiB, down 50.0 MiB/s, up 5.0 MiB/s, 0 of 5 done");
    let lines = draw(&rows, Style::Maps, at(80, 5));
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[2], "and 3 more");
    assert!(lines[3].starts_with("total: "));
}

#[test]
fn a_seed_says_what_it_gave() {
    let row = Row { uploaded: 3 << 29, ..Row { phase: Phase::Seeding, done: 1 << 30, ..film() } };
    let lines =
        draw(&[Row { notes: vec!["tracker t: 1 peer".into()], ..row }], Style::Maps, at(80, 24));
    assert_eq!(
        lines[1..],
        [
            "  seeding, ratio 1.50, 1.5 GiB uploaded, up 1.0 MiB/s, 12 peers, 1:05",
            "  tracker t: 1 peer"
        ]
    );
}

#[test]
fn no_seeds_are_no_figure() {
    let row = Row { seeds: 0, peers: 1, ..film() };
    assert!(row.sentence().contains("1 peer, 1:05"), "{}", row.sentence());
    assert!(film().sentence().contains("12 peers, 1 seed, 1:05"), "{}", film().sentence());
}

#[test]
fn a_seed_at_three_widths() {
    let link = format!("magnet:?xt=urn:btih:{}&dn=film", "c".repeat(40));
    let notes = vec![
        "tracker tracker.example:6969: cannot connect: Connection refused, 12 s ago".into(),
        "DHT: 12 peers, now".into(),
    ];
    let row = Row {
        uploaded: 123 << 30,
        done: 1 << 30,
        phase: Phase::Seeding,
        link: Some(link.clone()),
        notes,
        map: Vec::new(),
        ..film()
    };
    let link = &*format!("  {link}");
    let table = [
        (
            60,
            vec![
                "  ratio 123.00, 123.0 GiB uploaded, up 1.0 MiB/s, 12 peers",
                "  tracker tracker.example:6969: cannot connect: Connection",
                "    refused, 12 s ago",
                "  DHT: 12 peers, now",
            ],
        ),
        (
            80,
            vec![
                "  seeding, ratio 123.00, 123.0 GiB uploaded, up 1.0 MiB/s, 12 peers, 1:05",
                link,
                "  tracker tracker.example:6969: cannot connect: Connection refused, 12 s ago",
                "  DHT: 12 peers, now",
            ],
        ),
    ];
    for (columns, expected) in table {
        assert_eq!(
            draw(std::slice::from_ref(&row), Style::Table, at(columns, 24))[1..],
            expected,
            "{columns}"
        );
    }
}

#[test]
fn a_map_shows_shares_by_shade() {
    let (all, none, on_its_way) = (cell(4, 0, false), cell(0, 4, false), cell(0, 4, true));
    let map = [
        all,
        cell(3, 1, false),
        cell(2, 2, false),
        cell(1, 3, true),
        on_its_way,
        none,
        none,
        cell(0, 0, false),
    ];
    let table = [(8, "█▓▒░░·· "), (4, "▓▒░·"), (2, "▒░"), (16, "██▓▓▒▒░░░░····  ")];
    for (columns, drawn) in table {
        assert_eq!(draw_map(&map, columns), drawn, "{columns}");
    }
}

#[test]
fn colour_adds_no_columns() {
    let plain = draw(&[film()], Style::Maps, at(80, 24));
    let painted = draw(&[film()], Style::Maps, Size { colour: true, ..at(80, 24) });
    assert_ne!(plain, painted);
    for (plain, painted) in plain.iter().zip(&painted) {
        assert_eq!(&console::strip_ansi_codes(painted), plain);
    }
}

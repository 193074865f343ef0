//! The table at several sizes.

use super::*;
use std::time::Duration;

/// Six transfers: each phase once.
fn some() -> Vec<Row> {
    let row = |name: &str, phase, done: u64| Row {
        done: done << 20,
        total: 100 << 20,
        elapsed: Duration::from_secs(65),
        ..Row::new(name, phase)
    };
    vec![
        Row {
            down_rate: 10 << 20,
            up_rate: 1 << 20,
            peers: 12,
            ..row("A film with a name that is rather long.2026.1080p.mkv", Phase::Downloading, 29)
        },
        row("photos", Phase::Downloading, 5),
        Row {
            uploaded: 150 << 20,
            up_rate: 5 << 20,
            peers: 3,
            ..row("songs", Phase::Seeding, 100)
        },
        Row {
            total: 0,
            peers: 2,
            ..row("c12fe1c06bba254a9dc9f519b335aa7c1367a88a", Phase::Finding, 0)
        },
        row("notes", Phase::Checking, 50),
        row("first", Phase::Over, 100),
        row("second", Phase::Over, 100),
        row("lost", Phase::Failed, 0),
    ]
}

fn plain(rows: &[Row], width: usize, space: usize) -> Vec<String> {
    draw(rows, width, space, str::to_owned)
}

#[test]
fn a_table_at_three_widths() {
    let narrow = "\
name          done      down/s        up/s  peers  left
A fil…0p.mkv   29%    10.0 MiB     1.0 MiB     12  0:08
photos          5%         0 B         0 B      0  no peers
songs         100%         0 B     5.0 MiB      3  seeding
c12fe…67a88a                                    2  finding
notes          50%                                 checking
lost            0%                                 failed
2 of 8 done: first, second
total          47%    10.0 MiB     6.0 MiB     17  0:37";
    let usual = "\
name                          done      down/s        up/s  peers  left
A film with a…2026.1080p.mkv   29%    10.0 MiB     1.0 MiB     12  0:08
photos                          5%         0 B         0 B      0  no peers
songs                         100%         0 B     5.0 MiB      3  ratio 1.50
c12fe1c06bba2…35aa7c1367a88a                                    2  finding
notes                          50%                                 checking
lost                            0%                                 failed
2 of 8 done: first, second
total                          47%    10.0 MiB     6.0 MiB     17  0:37";
    for (columns, expected) in [(60, narrow), (80, usual)] {
        assert_eq!(plain(&some(), columns - 1, 23).join("\n"), expected, "{columns}");
    }
    let wide = plain(&some(), 129, 23);
    let film = "A film with a name that is rather long.2026.1080p.mkv   29%    10.0 MiB";
    assert!(wide[1].starts_with(film), "{wide:#?}");
}

#[test]
fn what_moves_least_gives_way_to_few_rows() {
    // (lines, names of the rows that are shown)
    let table: [(usize, &[&str]); 7] = [
        (9, &["name", "A film", "photos", "songs", "c12fe1", "notes", "lost", "2 of 8", "total"]),
        (8, &["name", "A film", "photos", "c12fe1", "notes", "and 2 more", "2 of 8", "total"]),
        (6, &["name", "A film", "photos", "and 4 more", "2 of 8", "total"]),
        (4, &["A film", "and 5 more", "2 of 8", "total"]),
        (3, &["and 6 more", "2 of 8", "total"]),
        (2, &["2 of 8", "total"]),
        (1, &["total"]),
    ];
    for (space, shown) in table {
        let lines = plain(&some(), 79, space);
        let is_so = |(line, start): (&String, &&str)| line.starts_with(start);
        assert!(
            lines.len() == shown.len() && lines.iter().zip(shown).all(is_so),
            "{space}: {lines:#?}"
        );
    }
}

#[test]
fn a_seed_of_several_has_one_ratio() {
    let seeding =
        |uploaded| Row { uploaded, done: 100, total: 100, ..Row::new("x", Phase::Seeding) };
    let lines = plain(&[seeding(300), seeding(0)], 79, 23);
    let ends: Vec<&str> = lines.iter().filter_map(|line| line.split("  ").last()).collect();
    assert_eq!(ends, ["left", "ratio 3.00", "ratio 0.00", "ratio 1.50"]);
}

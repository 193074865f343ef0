//! The screens of the long commands on terminals of three widths, and while the width changes.
//!
//! Decides: which rows must stand there. Must not know: how they are drawn.
//! Invariant: nothing of the live block wraps, stands twice or is left behind. With
//! `BT_SCREENS=FOLDER` the screens are written there as text; `docs/screens` holds them.

use crate::Test;
use anyhow::{Result, ensure};
use bt_tests::{
    LOOPBACK, PATIENCE, Process, Seeded, Stage, Terminal, TerminalSize, listening, random_file,
};
use std::process::Command;
use std::time::Duration;

const WIDTHS: [u16; 3] = [60, 80, 130];
const ROWS: u16 = 24;
/// Time in which the block is drawn again at another width: it is drawn five times a second. Until
/// then the drawing for the width before would be looked at, which may be right too.
const REDRAW: Duration = Duration::from_millis(500);

#[test]
fn a_download() -> Test {
    let seeded = Seeded::file(24 << 20, &["--up", "2MiB/s"])?;
    let copy = seeded.stage.path("copy");
    let mut get = seeded.stage.bt_for_people("get");
    get.arg("get").arg(&seeded.torrent).arg("-d").arg(copy).args([
        "--listen",
        &LOOPBACK.to_string(),
        "--peer",
        &seeded.at,
    ]);
    watch("get", &mut get, &["data.bin  ", " of 24.0 MiB, down 2"])
}

#[test]
fn a_seed() -> Test {
    let stage = Stage::new()?;
    let source = stage.path("data.bin");
    random_file(&source, 1, 16 << 20)?;
    let torrent = stage.create(&source, &["-a", "http://127.0.0.1:9/announce"])?;
    let copy = stage.path("copy");
    let leecher = Process::start("get", &mut stage.get("get", &torrent, &copy, LOOPBACK))?;
    let mut seed = stage.bt_for_people("seed");
    seed.arg("seed").arg(&torrent).args(["--listen", &LOOPBACK.to_string()]);
    seed.args(["--peer", &listening(&leecher)?, "--up", "1MiB/s"]);
    let tracker = "  tracker 127.0.0.1:9: cannot connect: ";
    watch("seed", &mut seed, &["data.bin  ", "ratio 0.", " uploaded, up ", ", 1 peer", tracker])
}

#[test]
fn several_downloads() -> Test {
    let stage = Stage::new()?;
    let make = |(name, size): (&str, u64)| {
        random_file(&stage.path(name), size, size)?;
        stage.create(&stage.path(name), &["--piece-length", "256KiB"])
    };
    let sizes = [("film.bin", 16 << 20), ("songs.bin", 12 << 20), ("notes.bin", 1000)];
    let torrents = sizes.into_iter().map(make).collect::<Result<Vec<_>>>()?;
    let mut seed = stage.seed("seed", &torrents[0], &stage.path(""), LOOPBACK);
    let seed = Process::start("seed", seed.args(&torrents[1..]).args(["--up", "2MiB/s"]))?;
    let mut get = stage.bt_for_people("get");
    get.arg("get").args(&torrents).arg("-d").arg(stage.path("copy"));
    get.args(["--listen", &LOOPBACK.to_string(), "--peer", &listening(&seed)?]);
    let lines = ["name      ", "film.bin  ", "songs.bin ", "1 of 3 done: notes.bin", "total     "];
    watch("get-several", &mut get, &lines)
}

#[test]
fn a_demo() -> Test {
    let stage = Stage::new()?;
    let mut demo = stage.bt_for_people("demo");
    demo.args(["demo", "--size", "24MiB", "--up", "2MiB/s"]);
    watch("demo", &mut demo, &["leecher 1    ", "leecher 2    ", "leecher 3    ", "total: "])
}

#[test]
fn a_tracker() -> Test {
    let stage = Stage::new()?;
    let mut tracker = stage.bt_for_people("tracker");
    tracker.args(["tracker", "--udp", &LOOPBACK.to_string()]);
    watch("tracker", &mut tracker, &["ready: udp://127.0.0.1:"])
}

#[test]
fn while_no_metadata_comes_the_sources_asked_are_shown() -> Test {
    let stage = Stage::new()?;
    let mut get = stage.bt_for_people("get");
    let link = "magnet:?xt=urn:btih:c12fe1c06bba254a9dc9f519b335aa7c1367a88a&dn=lost&tr=http://127.0.0.1:9/announce";
    get.args(["get", link, "--listen", &LOOPBACK.to_string()]);
    watch("get-finding", &mut get, &["  finding metadata, 0 peers, ", "  tracker 127.0.0.1:9: "])
}

#[test]
fn a_pipe_gets_no_colour_and_no_movement() -> Test {
    let seeded = Seeded::file(1 << 20, &[])?;
    let mut get = seeded.stage.bt_for_people("get");
    get.arg("get").arg(&seeded.torrent).arg("-d").arg(seeded.stage.path("copy"));
    get.args(["-vv", "--listen", &LOOPBACK.to_string(), "--peer", &seeded.at]);
    let finished = Process::run("get", &mut get, PATIENCE)?.expect_code(0)?;
    ensure!(
        !finished.out.contains('\x1b') && !finished.err.contains('\x1b'),
        "{}{}",
        finished.out,
        finished.err
    );
    Ok(())
}

/// Runs a command at the widths one after another, while its terminal changes from each to the
/// next: each of the `lines` stands there once, and no row of the live block wraps.
fn watch(name: &str, command: &mut Command, lines: &[&str]) -> Test {
    let size = |columns| TerminalSize { columns, rows: ROWS };
    let terminal = Terminal::start(command, size(WIDTHS[1]))?;
    let stands = |rows: &[(String, bool)]| {
        lines.iter().all(|line| {
            rows.iter().filter(|(row, wraps)| row.contains(line) && !wraps).count() == 1
        })
    };
    // Narrower, wider, and as it was.
    for columns in [WIDTHS[1], WIDTHS[0], WIDTHS[2], WIDTHS[0], WIDTHS[1]] {
        terminal.resize(size(columns))?;
        std::thread::sleep(REDRAW);
        let rows = terminal.wait_for(&format!("{name} on {columns} columns"), PATIENCE, stands)?;
        write(name, columns, &rows)?;
    }
    Ok(())
}

fn write(name: &str, columns: u16, rows: &[(String, bool)]) -> Result<()> {
    let Some(folder) = std::env::var_os("BT_SCREENS") else { return Ok(()) };
    let text: String = rows.iter().map(|(row, _)| format!("{row}\n")).collect();
    Ok(std::fs::write(std::path::Path::new(&folder).join(format!("{name}-{columns}.txt")), text)?)
}

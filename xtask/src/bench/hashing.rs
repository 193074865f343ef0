//! Making and verifying a torrent, beside mktorrent.
//!
//! Decides: the commands. Must not know: how a program hashes.
//! Invariant: all three read the same file, which is in memory.

use super::Bench;
use super::table::{Table, number};
use anyhow::Result;
use bt_tests::foreign::Mktorrent;
use bt_tests::{PATIENCE, Process, Stage, random_file};
use std::process::Command;
use std::time::Instant;

/// The size of the file in GiB, and the power of two of its piece length in bytes.
const GIB: u64 = 1;
const PIECE_POWER: u32 = 20;

/// The names of the compared commands.
const NAMES: [&str; 3] = ["bt create", "bt verify", "mktorrent -t 2"];

/// Measures all three.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<()> {
    let Some(mktorrent) = Mktorrent::find() else {
        bench.skip("hashing", "mktorrent is not installed");
        return Ok(());
    };
    let stage = Stage::within(&bench.args.folder)?;
    let source = stage.path("content");
    random_file(&source, 1, GIB << 30)?;
    let piece = (1u64 << PIECE_POWER).to_string();
    let torrent = stage.create(&source, &["--piece-length", &piece])?;
    let theirs = stage.path("theirs.torrent");
    for _ in 0..bench.args.runs {
        let mut create = stage.bt("creator");
        create
            .args(["create", "--force", "--piece-length", &piece, "-o"])
            .arg(stage.path("ours.torrent"))
            .arg(&source);
        let mut verify = stage.bt("verifier");
        verify.arg("verify").arg(&torrent).arg(stage.path(""));
        // mktorrent does not overwrite a file.
        let _ = std::fs::remove_file(&theirs);
        let commands = [create, verify, mktorrent.create(&source, &theirs, PIECE_POWER)];
        for (name, command) in NAMES.into_iter().zip(commands) {
            measure(bench, name, command)?;
        }
    }
    let mut table =
        Table::new("hashing: one file of 1 GiB in pieces of 1 MiB", &["", "seconds", "CPU s/GiB"]);
    for name in NAMES {
        let median = |what: &str| bench.figures.median(&format!("hashing/{name}/{what}"));
        table.row([name.to_owned(), number(median("wall"), 3), number(median("cpu"), 2)]);
    }
    bench.show(table);
    Ok(())
}

fn measure(bench: &mut Bench<'_>, name: &str, mut command: Command) -> Result<()> {
    let began = Instant::now();
    let finished = Process::run(name, &mut command, PATIENCE)?.expect_code(0)?;
    let wall = began.elapsed().as_secs_f64();
    bench.figures.add(format!("hashing/{name}/wall"), wall);
    bench.figures.add(format!("hashing/{name}/cpu"), finished.cpu_seconds / GIB as f64);
    Ok(())
}

//! `bt verify`: check data against a torrent, and name the bad files.
//!
//! Decides: how a report reads.
//! Must not know: how data is checked.
//! Invariant: nothing on the disk is changed.

use crate::args::VerifyArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::json::{BadFile, Verify};
use crate::output::Output;
use crate::progress;
use crate::source;
use crate::units;
use bt_metainfo::Metainfo;
use bt_piece_store::{DiskStorage, FileState, HashError, Progress, VerifyReport, locate, verify};
use bt_session::Roots;
use std::path::Path;

pub(crate) async fn run(args: VerifyArgs, output: &Output) -> Outcome {
    let torrent = source::load(&args.torrent, &Roots::default()).await?;
    let report = check(&torrent, &args.dir, output)?;
    let pieces = torrent.info.geometry.piece_count();
    output.object(&Verify {
        complete: report.is_complete(),
        pieces_good: report.good.count(),
        pieces_total: pieces,
        pieces_bad: report.bad.iter().map(|piece| piece.number()).collect(),
        files_bad: report.files.iter().filter_map(describe).collect(),
    });
    for file in &report.files {
        match file.state {
            FileState::Good => {}
            FileState::Missing => output.line(format_args!("missing: {}", file.path.display())),
            FileState::WrongLength { found } => {
                output.line(format_args!("wrong length ({found} bytes): {}", file.path.display()));
            }
            FileState::Bad { pieces } => {
                output.line(format_args!(
                    "{}: {}",
                    units::count(pieces as usize, "bad piece"),
                    file.path.display()
                ));
            }
        }
    }
    if report.is_complete() {
        output.line(format_args!("all {pieces} pieces are right"));
        return Ok(());
    }
    let message = advice(&report, pieces);
    // In JSON mode the report itself is the last line on standard output.
    if output.json {
        output.note(format_args!("bt: {message}"));
        std::process::exit(Exit::Verify as i32);
    }
    Err(Failure::new(Exit::Verify, "bad_data", message))
}

/// Tells the user how much is right, and what helps.
fn advice(report: &VerifyReport, pieces: u32) -> String {
    if report.good.count() < pieces {
        return format!(
            "{} of {pieces} pieces are right; `bt get` fetches the others",
            report.good.count()
        );
    }
    if report.files.iter().any(|file| matches!(file.state, FileState::WrongLength { .. })) {
        return format!(
            "all {pieces} pieces are right, but a file is longer than in the torrent; move it away and run `bt get`"
        );
    }
    format!("all {pieces} pieces are right, but an empty file is missing; `bt get` makes it")
}

/// Hashes the data in a directory, with progress.
pub(crate) fn check(torrent: &Metainfo, dir: &Path, output: &Output) -> Outcome<VerifyReport> {
    let unsupported =
        |error: bt_metainfo::MetainfoError| Failure::new(Exit::Input, error.code(), error);
    let digests = torrent.info.require_digests().map_err(unsupported)?;
    let (root, layout) = locate(dir, &torrent.info).map_err(|error| Failure::disk(dir, &error))?;
    let storage = match DiskStorage::open(&root) {
        Ok(storage) => storage.over_links(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Failure::new(
                Exit::Input,
                "not_found",
                format!(
                    "{} does not exist; name the directory that holds the data",
                    root.display()
                ),
            ));
        }
        Err(error) => return Err(Failure::disk(&root, &error)),
    };
    let job = Progress::default();
    progress::watch(output, "checking", &job, || verify(&layout, &digests, &storage, &job)).map_err(
        |error| match error {
            HashError::Store(error) => Failure::new(Exit::Disk, error.fault().name(), error),
            HashError::Cancelled => Failure::interrupted(),
        },
    )
}

fn describe(file: &bt_piece_store::FileReport) -> Option<BadFile> {
    let (state, found_length, bad_pieces) = match file.state {
        FileState::Good => return None,
        FileState::Missing => ("missing", None, None),
        FileState::WrongLength { found } => ("wrong_length", Some(found), None),
        FileState::Bad { pieces } => ("bad", None, Some(pieces)),
    };
    Some(BadFile { path: file.path.to_string_lossy().into(), state, found_length, bad_pieces })
}

//! `bt create`: make a `.torrent` of a file or directory.
//!
//! Decides: where the file goes. Must not know: how a torrent is made.
//! Invariant: an existing file is replaced only with `--force`, and only by a complete one.

use crate::args::CreateArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::progress;
use crate::units;
use bt_piece_store::{CreateError, CreateOptions, Created, Progress, create_torrent};
use serde_json::json;
use std::path::{Path, PathBuf};

pub(crate) fn run(args: CreateArgs, output: &Output) -> Outcome {
    let piece_length = args.piece_length.map(u32::try_from).transpose();
    let options = CreateOptions {
        name: args.name,
        piece_length: piece_length.map_err(|_| Failure::usage("--piece-length is at most 512MiB"))?,
        trackers: tiers(&args.announce),
        web_seeds: args.web_seed,
        private: args.private,
        source: args.source,
        comment: args.comment,
        exclude: args.exclude,
        creation_date: (!args.no_date).then(|| jiff::Timestamp::now().as_second()),
        ..options()
    };
    // Said before the hashing, not after it.
    if let Some(path) = &args.output {
        refuse_existing(path, args.force)?;
    }
    let created = create(&args.path, &options, output)?;
    let default = PathBuf::from(format!("{}.torrent", created.metainfo.info.name));
    let path = args.output.unwrap_or(default);
    refuse_existing(&path, args.force)?;
    write(&path, &created.bytes, args.force)?;

    let hashes = &created.metainfo.info_hashes;
    let skipped: Vec<String> = created.skipped.iter().map(|skipped| skipped.path.display().to_string()).collect();
    output.object(json!({
        "path": path,
        "name": created.metainfo.info.name,
        "info_hash_v1": hashes.v1.map(|hash| hash.to_string()),
        "info_hash_v2": hashes.v2.map(|hash| hash.to_string()),
        "piece_length": created.metainfo.info.geometry.piece_length(),
        "piece_count": created.metainfo.info.geometry.piece_count(),
        "total_size": created.metainfo.info.geometry.total(),
        "files": created.metainfo.info.files.len(),
        "magnet": created.metainfo.magnet(),
        "skipped": skipped,
    }));
    output.line(path.display());
    if let Some(hash) = hashes.v1 {
        output.line(format_args!("info-hash {hash}"));
    }
    output.line(created.metainfo.magnet());
    Ok(())
}

/// What every torrent that we make says.
pub(crate) fn options() -> CreateOptions {
    CreateOptions { created_by: Some(concat!("bt/", env!("CARGO_PKG_VERSION")).into()), ..CreateOptions::default() }
}

/// Each `-a` is a tier; commas separate trackers of one tier (BEP 12).
pub(crate) fn tiers(announce: &[String]) -> Vec<Vec<String>> {
    announce.iter().map(|tier| tier.split(',').map(|url| url.trim().to_owned()).collect()).collect()
}

/// Makes a torrent, with progress.
pub(crate) fn create(path: &Path, options: &CreateOptions, output: &Output) -> Outcome<Created> {
    let job = Progress::default();
    let created = progress::watch(output, "hashing", &job, || create_torrent(path, options, &job));
    let created = created.map_err(|error| failure(path, &error))?;
    for skipped in &created.skipped {
        output.note(format_args!("left out: {} ({})", skipped.path.display(), skipped.what));
    }
    let geometry = created.metainfo.info.geometry;
    output.note(format_args!(
        "{} in {} pieces of {}",
        units::size(geometry.total()),
        geometry.piece_count(),
        units::size(geometry.piece_length().into())
    ));
    Ok(created)
}

fn failure(path: &Path, error: &CreateError) -> Failure {
    let (exit, code) = match error {
        CreateError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => (Exit::Input, "not_found"),
        CreateError::Io { source, .. } => (Exit::Disk, bt_piece_store::fault_of(source).name()),
        CreateError::Changed(_) => (Exit::Other, "changed"),
        CreateError::PieceLength(_) | CreateError::Pattern(_) => (Exit::Usage, "usage"),
        CreateError::Cancelled => (Exit::Interrupted, "interrupted"),
        _ => (Exit::Input, "invalid_input"),
    };
    Failure::new(exit, code, format!("cannot make a torrent of {}: {error}", path.display()))
}

fn refuse_existing(path: &Path, force: bool) -> Outcome {
    if !force && path.symlink_metadata().is_ok() {
        let message = format!("{} exists; choose another name with -o, or overwrite it with --force", path.display());
        return Err(Failure::new(Exit::Other, "exists", message));
    }
    Ok(())
}

/// Writes beside the goal and renames, so that nobody ever sees half a file.
pub(crate) fn write(path: &Path, bytes: &[u8], force: bool) -> Outcome {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::Builder::new().prefix(".bt-create-").tempfile_in(dir)?;
        std::io::Write::write_all(&mut file, bytes)?;
        // Temporary files are private; a torrent is made to be passed on.
        std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        if force { file.persist(path) } else { file.persist_noclobber(path) }.map_err(|error| error.error).map(drop)
    };
    write().map_err(|error: std::io::Error| Failure::disk(path, &error))
}

//! `bt create`: make a `.torrent` of a file or directory.
//!
//! Decides: where the file goes.
//! Must not know: how a torrent is made.
//! Invariant: an existing file is replaced only with `--force`, and only by a complete one.

use crate::args::CreateArgs;
use crate::exit::{self, Exit, Failure, Outcome};
use crate::json::Create;
use crate::output::Output;
use crate::progress;
use crate::units;
use bt_metainfo::Metainfo;
use bt_piece_store::{CreateError, CreateOptions, Created, Progress, create_torrent, torrent_name};
use std::path::{Path, PathBuf};
use url::Url;

pub(crate) fn run(args: CreateArgs, output: &Output) -> Outcome {
    if args.name.as_ref().is_some_and(String::is_empty) {
        return Err(Failure::usage(
            "--name is empty; give a name, or leave it out for the name of the file or folder",
        ));
    }
    let piece_length = args.piece_length.map(u32::try_from).transpose();
    let options = CreateOptions {
        name: args.name,
        piece_length: piece_length
            .map_err(|_| Failure::usage("--piece-length is at most 512MiB"))?,
        trackers: tiers(&args.announce)?,
        web_seeds: args.web_seed.iter().map(|url| web_seed(url)).collect::<Outcome<_>>()?,
        private: args.private,
        source: args.source,
        comment: args.comment,
        exclude: args.exclude,
        creation_date: (!args.no_date).then(|| jiff::Timestamp::now().as_second()),
        ..options()
    };
    // Whatever makes the output impossible is reported before the hashing: terabytes take hours.
    let name = name(&args.path, &options)?;
    let path = args.output.unwrap_or_else(|| file_name(&name));
    refuse_existing(&path, args.force)?;
    probe(&path)?;
    let created = create(&args.path, &options, output)?;
    write(&path, &created.bytes, args.force)?;

    let metainfo = &created.metainfo;
    let (hashes, info) = (&metainfo.info_hashes, &metainfo.info);
    let shown = |path: &Path| path.display().to_string();
    output.object(&Create {
        path: &path.to_string_lossy(),
        name: &info.name,
        info_hash_v1: hashes.v1.map(|hash| hash.to_string()),
        info_hash_v2: hashes.v2.map(|hash| hash.to_string()),
        piece_length: info.geometry.piece_length(),
        piece_count: info.geometry.piece_count(),
        total_size: info.geometry.total(),
        files: info.files.len(),
        magnet: metainfo.magnet(),
        skipped: created.skipped.iter().map(|skipped| shown(&skipped.path)).collect(),
        renamed: created.renamed.iter().map(|renamed| shown(&renamed.path)).collect(),
    });
    output.line(path.display());
    if let Some(hash) = hashes.v1 {
        output.line(format_args!("info-hash {hash}"));
    }
    output.line(metainfo.magnet());
    Ok(())
}

/// Makes the options that all our torrents share.
pub(crate) fn options() -> CreateOptions {
    CreateOptions {
        created_by: Some(concat!("bt/", env!("CARGO_PKG_VERSION")).into()),
        ..CreateOptions::default()
    }
}

/// Parses trackers: each `-a` is a tier; commas separate trackers of one tier (BEP 12). URLs that
/// no client could use are refused.
pub(crate) fn tiers(announce: &[String]) -> Outcome<Vec<Vec<String>>> {
    let tier = |tier: &String| tier.split(',').map(|url| tracker(url.trim())).collect();
    announce.iter().map(tier).collect()
}

fn tracker(text: &str) -> Outcome<String> {
    let refuse = |why: &str| {
        Failure::usage(format!("-a {text:?}: {why}, as in udp://tracker.example:6969/announce"))
    };
    let url = absolute(text).map_err(|why| refuse(&why))?;
    match url.scheme() {
        "http" | "https" | "ws" | "wss" => Ok(text.to_owned()),
        "udp" if url.port().is_some_and(|port| port != 0) => Ok(text.to_owned()),
        "udp" => Err(refuse("a UDP tracker's URL names a port")),
        _ => Err(refuse("a tracker's URL begins with http://, https:// or udp://")),
    }
}

fn web_seed(text: &str) -> Outcome<String> {
    let refuse = |why: &str| {
        Failure::usage(format!("--web-seed {text:?}: {why}, as in https://files.example/"))
    };
    match absolute(text.trim()).map_err(|why| refuse(&why))?.scheme() {
        "http" | "https" | "ftp" => Ok(text.trim().to_owned()),
        _ => Err(refuse("a web seed's URL begins with http:// or https://")),
    }
}

/// Parses a URL with a host.
fn absolute(text: &str) -> Result<Url, String> {
    if text.contains(bt_types::is_steering) || text.contains(char::is_whitespace) {
        return Err("a URL holds no blanks and no control characters".into());
    }
    let url = Url::parse(text).map_err(|error| format!("this is no URL ({error})"))?;
    if url.host_str().is_none_or(str::is_empty) {
        Err("the URL names no host".into())
    } else {
        Ok(url)
    }
}

/// Names the file of a torrent with this name: a name of 255 bytes is cut, so that the file's name
/// fits.
pub(crate) fn file_name(name: &str) -> PathBuf {
    const NAME_MAX: usize = 255;
    const ENDING: &str = ".torrent";
    let end = (0..=name.len().min(NAME_MAX - ENDING.len()))
        .rev()
        .find(|at| name.is_char_boundary(*at))
        .unwrap_or(0);
    format!("{}{ENDING}", name.get(..end).unwrap_or_default()).into()
}

/// Returns the name of the torrent that is made of a path.
pub(crate) fn name(path: &Path, options: &CreateOptions) -> Outcome<String> {
    torrent_name(path, options).map_err(|error| failure(path, &error))
}

/// Makes a torrent, with progress.
pub(crate) fn create(path: &Path, options: &CreateOptions, output: &Output) -> Outcome<Created> {
    let job = Progress::default();
    let created = progress::watch(output, "hashing", &job, || create_torrent(path, options, &job));
    let created = created.map_err(|error| failure(path, &error))?;
    for skipped in &created.skipped {
        output.note(format_args!("left out: {} ({})", skipped.path.display(), skipped.what));
    }
    for renamed in &created.renamed {
        let (path, stored_as) = (renamed.path.display(), renamed.stored_as.display());
        output.note(format_args!(
            "{path} is a name that not every system can store: it is listed as it is, and downloaded as {stored_as}"
        ));
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
        CreateError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            (Exit::Input, "not_found")
        }
        CreateError::Io { source, .. } => (Exit::Disk, bt_piece_store::fault_of(source).name()),
        CreateError::Changed(_) => (Exit::Other, "changed"),
        CreateError::PieceLength(_) | CreateError::Pattern(_) => (Exit::Usage, "usage"),
        CreateError::Cancelled => (Exit::Interrupted, "interrupted"),
        _ => (Exit::Input, "invalid_input"),
    };
    if code == "not_found" && !path.exists() {
        return Failure::new(
            exit,
            code,
            format!(
                "{} does not exist; name a file or a folder to make a torrent of",
                path.display()
            ),
        );
    }
    Failure::new(exit, code, format!("cannot make a torrent of {}: {error}", path.display()))
}

fn refuse_existing(path: &Path, force: bool) -> Outcome {
    if !force && path.symlink_metadata().is_ok() {
        let message = format!(
            "{} exists; choose another name with -o, or overwrite it with --force",
            path.display()
        );
        return Err(Failure::new(Exit::Other, "exists", message));
    }
    Ok(())
}

/// Refuses a path where no file could be written.
fn probe(path: &Path) -> Outcome {
    beside(path).map(drop).map_err(|error| unwritable(path, &error))
}

/// Writes beside the goal and renames, so that no reader sees half a file.
pub(crate) fn write(path: &Path, bytes: &[u8], force: bool) -> Outcome {
    let write = || {
        let mut file = beside(path)?;
        std::io::Write::write_all(&mut file, bytes)?;
        if force { file.persist(path) } else { file.persist_noclobber(path) }
            .map_err(|error| error.error)
            .map(drop)
    };
    write().map_err(|error: std::io::Error| unwritable(path, &error))
}

/// Writes a torrent into this file, or into one with its name. A file that holds this torrent
/// already stays.
pub(crate) fn keep(torrent: &Metainfo, file: Option<&Path>, output: &Output) -> Outcome<PathBuf> {
    let file = file.map_or_else(|| file_name(&torrent.info.name), Path::to_owned);
    if file.symlink_metadata().is_ok() {
        let old = std::fs::read(&file).ok().and_then(|bytes| Metainfo::from_bytes(&bytes).ok());
        if old.is_some_and(|old| old.info_hashes == torrent.info_hashes) {
            output.note(format_args!("{} is there already and is this torrent", file.display()));
            return Ok(file);
        }
        let message = format!(
            "{} exists and is not this torrent; choose another name with -o",
            file.display()
        );
        return Err(Failure::new(Exit::Other, "exists", message));
    }
    write(&file, &torrent.to_bytes(), false)?;
    Ok(file)
}

/// Makes a new file in the directory of the path, with the mode that the umask leaves: a torrent
/// may hold a passkey.
fn beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    tempfile::Builder::new().prefix(".bt-create-").permissions(mode).tempfile_in(directory(path))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound if !directory(path).exists() => {
            format!(
                "the directory {} does not exist; make it, or name another file with -o",
                directory(path).display()
            )
        }
        std::io::ErrorKind::AlreadyExists => "it exists; choose another name with -o".into(),
        _ => format!("{}; name another file with -o", exit::cause(error)),
    };
    Failure::new(
        Exit::Disk,
        bt_piece_store::fault_of(error).name(),
        format!("cannot write {}: {why}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_trackers_are_refused() {
        let table = [
            ("http://t/announce", true),
            ("https://u:pw@t:1/", true),
            ("udp://t:6969", true),
            ("udp://[::1]:6969/announce", true),
            ("wss://t/", true),
            ("", false),
            ("http://", false),
            ("http://?x", false),
            ("udp://t/announce", false),
            ("udp://t:0", false),
            ("t:6969", false),
            ("ftp://t/", false),
            ("http://a b/", false),
            ("http://t/\u{1b}[2J", false),
        ];
        for (url, good) in table {
            assert_eq!(tiers(&[url.into()]).is_ok(), good, "{url}");
        }
        assert_eq!(
            tiers(&["http://a/, http://b/".into(), "http://c/".into()]).unwrap(),
            [vec!["http://a/", "http://b/"], vec!["http://c/"]]
        );
        assert!(
            tiers(&["http://a/,".into()]).is_err()
                && web_seed("udp://t:1").is_err()
                && web_seed("https://w/").is_ok()
        );
    }

    #[test]
    fn a_long_name_gives_a_file_that_can_be_written() {
        for name in ["a".repeat(255), "ü".repeat(127), "x".into()] {
            let file = file_name(&name);
            assert!(
                file.as_os_str().len() <= 255
                    && file.extension().is_some_and(|extension| extension == "torrent")
            );
        }
    }
}

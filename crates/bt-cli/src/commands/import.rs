//! `bt import`: the torrents of another client go into a daemon.
//!
//! Decides: which files of the other client's directory belong together, and in which order they
//! are imported.
//! Must not know: what their fields mean.
//! Invariant: nothing in that directory is opened for writing. One torrent that fails ends no
//! other.

use crate::args::{ImportArgs, OtherClient};
use crate::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::json::{Added, Imported, ImportedTorrent};
use crate::output::Output;
use bt_api::import::{Found, qbittorrent, transmission};
use bt_api::v1::TorrentList;
use hyper::Method;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Most bytes of one file of the other client.
const FILE_MAX: u64 = 64 << 20;
/// Most files in its directory.
const FILES_MAX: usize = 1_000_000;

/// A torrent in the other client's directory.
struct Candidate {
    /// The file that is named to the user.
    from: PathBuf,
    /// The part of the names of its files that is its own.
    stem: String,
    found: Result<Found, String>,
}

pub(crate) async fn run(args: ImportArgs, output: &Output) -> Outcome {
    let candidates = match args.client {
        OtherClient::Qbittorrent => of_qbittorrent(&args.dir)?,
        OtherClient::Transmission => of_transmission(&args.dir)?,
    };
    let client = Client::new(&args.api.api)?;
    let list: TorrentList = client.get("torrents").await?;
    let mut known: HashSet<String> = list.torrents.into_iter().map(|row| row.hash).collect();
    let mut torrents = Vec::new();
    for candidate in candidates {
        let done = one(&client, &args, candidate, &mut known).await?;
        tell(&done, args.dry_run, output);
        torrents.push(done);
    }
    let count = |outcome: &str| torrents.iter().filter(|done| done.outcome == outcome).count();
    let (added, present, failed) = (count("added"), count("present"), count("failed"));
    let word = if args.dry_run { "would be added" } else { "added" };
    output.line(format_args!("{added} {word}, {present} there already, {failed} not imported"));
    output.object(&Imported { dry_run: args.dry_run, added, present, failed, torrents });
    if failed == 0 {
        return Ok(());
    }
    let exit = if added + present > 0 { Exit::Partial } else { Exit::Input };
    let why = "some torrents were not imported: they are named above";
    output.note(format_args!("bt: {why}"));
    Err(Failure { told: true, ..Failure::new(exit, "partial", why) })
}

/// Imports a torrent, unless the daemon has it.
async fn one(
    client: &Client,
    args: &ImportArgs,
    candidate: Candidate,
    known: &mut HashSet<String>,
) -> Outcome<ImportedTorrent> {
    let from = candidate.from.to_string_lossy().into_owned();
    let mut found = match candidate.found {
        Ok(found) => found,
        Err(why) => {
            let error = Some(why);
            let (info_hash, name, dir) = (None, None, None);
            return Ok(ImportedTorrent { from, info_hash, name, dir, outcome: "failed", error });
        }
    };
    if args.stopped {
        found.request.start = Some(false);
    }
    let hash = found.hash.to_string();
    let dir = found.request.dir.as_ref().map(|dir| dir.to_string_lossy().into_owned());
    let done = |outcome, error| ImportedTorrent {
        from,
        info_hash: Some(hash.clone()),
        name: Some(found.name.clone()),
        dir,
        outcome,
        error,
    };
    if !known.insert(hash.clone()) {
        return Ok(done("present", None));
    }
    if args.dry_run {
        return Ok(done("added", None));
    }
    let answer = match &found.file {
        Some(file) => client.send_file("torrents", &found.request, file).await,
        None => client.send_json(Method::POST, "torrents", &found.request).await,
    };
    match answer {
        Ok(answer) => {
            let answer: Added = serde_json::from_slice(&answer).map_err(anyhow::Error::from)?;
            Ok(done(if answer.duplicate { "present" } else { "added" }, None))
        }
        Err(failure) if is_of_daemon(&failure) => Err(failure),
        Err(failure) => Ok(done("failed", Some(failure.message))),
    }
}

/// Returns whether all further torrents would fail, too.
fn is_of_daemon(failure: &Failure) -> bool {
    failure.exit == Exit::Unreachable || failure.code == "unauthorized"
}

fn tell(done: &ImportedTorrent, dry_run: bool, output: &Output) {
    let name = done.name.as_deref().unwrap_or(&done.from);
    let dir = done.dir.as_deref().unwrap_or_default();
    match (done.outcome, &done.error) {
        ("present", _) => output.line(format_args!("{name}: is there already")),
        ("added", _) if dry_run => output.line(format_args!("{name}: would be added, in {dir}")),
        ("added", _) => output.line(format_args!("{name}: added, in {dir}")),
        (_, error) => {
            let why = error.as_deref().unwrap_or_default();
            output.note(format_args!("bt: {name} ({}): {why}", done.from));
        }
    }
}

/// Returns the torrents in a directory of qBittorrent, in the order of its queue.
fn of_qbittorrent(dir: &Path) -> Outcome<Vec<Candidate>> {
    let below = ["", "BT_backup", "qBittorrent/BT_backup", "qBittorrent/data/BT_backup"];
    let backup = below.iter().map(|below| dir.join(below)).find(|dir| has_notes(dir));
    let Some(dir) = backup else {
        let near = below.iter().flat_map(|below| [dir.join(below), dir.join(below).join("..")]);
        let why = match near.map(|dir| dir.join(DATABASE)).find(|path| path.exists()) {
            Some(path) => format!("{}: {DATABASE_WHY}", path.display()),
            None => format!(
                "there are no .fastresume files in {}: name qBittorrent's BT_backup, which is in \
                 ~/.local/share/qBittorrent",
                dir.display()
            ),
        };
        return Err(Failure::new(Exit::Input, "not_found", why));
    };
    let names = list(&dir)?;
    let mut all: Vec<Candidate> = stems(&names, ".fastresume")
        .map(|stem| {
            let from = dir.join(format!("{stem}.fastresume"));
            let torrent = format!("{stem}.torrent");
            let torrent = names.contains(&torrent).then(|| dir.join(torrent));
            let found = read(&from).and_then(|(notes, at)| {
                let torrent = torrent.map(|path| read(&path)).transpose()?.map(|(bytes, _)| bytes);
                qbittorrent::read(&notes, torrent, at).map_err(|error| error.to_string())
            });
            Candidate { from, stem: stem.to_owned(), found }
        })
        .collect();
    for stem in stems(&names, ".torrent") {
        if !names.contains(&format!("{stem}.fastresume")) {
            let why = "its .fastresume is missing: add it with `bt add`".to_owned();
            all.push(lost(dir.join(format!("{stem}.torrent")), why));
        }
    }
    let database = dir.join("..").join(DATABASE);
    if database.exists() {
        all.push(lost(database, DATABASE_WHY.to_owned()));
    }
    let queue = queue(&dir);
    all.sort_by_key(|one| (queue.get(&one.stem).copied().unwrap_or(usize::MAX), added(one)));
    Ok(all)
}

/// Returns the torrents in a directory of Transmission, the oldest first.
fn of_transmission(dir: &Path) -> Outcome<Vec<Candidate>> {
    let (torrents, resume) = (dir.join("torrents"), dir.join("resume"));
    if !torrents.is_dir() || !resume.is_dir() {
        let why = format!(
            "there are no directories torrents and resume in {}: name Transmission's \
             configuration, which is in ~/.config/transmission-daemon or ~/.config/transmission",
            dir.display()
        );
        return Err(Failure::new(Exit::Input, "not_found", why));
    }
    let (names, notes) = (list(&torrents)?, list(&resume)?);
    let by_hash = by_hash(&notes);
    let read_one = |stem: &str, from: &Path, is_magnet: bool| {
        let (bytes, _) = read(from)?;
        let kept = if is_magnet {
            transmission::Kept::Magnet(bytes)
        } else {
            transmission::Kept::Torrent(bytes)
        };
        let own = format!("{stem}.resume");
        let own = notes.get(&own).or_else(|| by_hash.get(hash_in(stem)?).copied());
        let own = own.ok_or("its .resume is missing: add it with `bt add`")?;
        let (notes, at) = read(&resume.join(own))?;
        transmission::read(kept, &notes, at).map_err(|error| error.to_string())
    };
    let mut all = Vec::new();
    for (end, is_magnet) in [(".torrent", false), (".magnet", true)] {
        for stem in stems(&names, end) {
            let from = torrents.join(format!("{stem}{end}"));
            let found = read_one(stem, &from, is_magnet);
            all.push(Candidate { from, stem: stem.to_owned(), found });
        }
    }
    all.sort_by_key(added);
    Ok(all)
}

/// The file in which qBittorrent keeps all torrents, if the user wants that.
const DATABASE: &str = "torrents.db";
const DATABASE_WHY: &str = "qBittorrent keeps its torrents in this database, which is not read: \
    set \"Resume data storage type\" to \"Fastresume files\" in its advanced options, start it \
    once more, and import again";

fn lost(from: PathBuf, why: String) -> Candidate {
    Candidate { from, stem: String::new(), found: Err(why) }
}

/// Returns when a torrent was added; those that were not read come last.
fn added(candidate: &Candidate) -> u64 {
    let import = candidate.found.as_ref().ok().and_then(|found| found.request.import.as_ref());
    import.map_or(u64::MAX, |import| import.added.unwrap_or(0))
}

fn stems<'a>(names: &'a BTreeSet<String>, end: &'a str) -> impl Iterator<Item = &'a str> {
    names.iter().filter_map(move |name| name.strip_suffix(end))
}

fn has_notes(dir: &Path) -> bool {
    list(dir).is_ok_and(|names| stems(&names, ".fastresume").next().is_some())
}

/// Returns the names of the files in a directory; those that are not UTF-8 are no client's.
fn list(dir: &Path) -> Outcome<BTreeSet<String>> {
    let why = |error: std::io::Error| {
        let why = format!("cannot read {}: {error}", dir.display());
        Failure::new(Exit::Input, "unreadable", why)
    };
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(why)? {
        names.extend(entry.map_err(why)?.file_name().into_string().ok());
        if names.len() > FILES_MAX {
            let why = format!("{} has more than {FILES_MAX} files", dir.display());
            return Err(Failure::new(Exit::Input, "unreadable", why));
        }
    }
    Ok(names)
}

/// Reads a file of the other client, and when it was written, in seconds since 1970.
fn read(path: &Path) -> Result<(Vec<u8>, i64), String> {
    let why = |error: std::io::Error| match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
            "it is a symbolic link, which is not followed".to_owned()
        }
        _ => format!("it cannot be read: {}", crate::exit::cause(&error)),
    };
    // A pipe in its place holds up nothing.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOFOLLOW;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(why)?;
    let found = file.metadata().map_err(why)?;
    if !found.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(why)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("it is longer than {FILE_MAX} bytes"));
    }
    Ok((bytes, found.mtime()))
}

/// Returns the places in qBittorrent's queue, an identifier on each line.
fn queue(dir: &Path) -> BTreeMap<String, usize> {
    let bytes = read(&dir.join("queue")).map(|(bytes, _)| bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().enumerate().map(|(place, line)| (line.trim().to_owned(), place)).collect()
}

/// Returns Transmission's notes by the first 16 digits of the info-hash in their names, which are
/// `HASH.resume`, and `NAME.HASH16.resume` before version 4.
fn by_hash(names: &BTreeSet<String>) -> BTreeMap<&str, &String> {
    names.iter().filter_map(|name| Some((hash_in(name.strip_suffix(".resume")?)?, name))).collect()
}

/// Returns the first 16 digits of the info-hash in a name of Transmission's.
fn hash_in(stem: &str) -> Option<&str> {
    let digits = stem.rsplit('.').next()?;
    let is_hash = matches!(digits.len(), 16 | 40) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    digits.get(..16).filter(|_| is_hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_both_ages_are_found_by_their_hash() {
        let hash = "0123456789abcdef0123456789abcdef01234567";
        let names = [format!("{hash}.resume"), "a.fedcba9876543210.resume".into(), "x".into()];
        let names = BTreeSet::from(names);
        let found = by_hash(&names);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [&hash[..16], "fedcba9876543210"]);
        assert_eq!(hash_in("b.0123456789abcdef"), Some(&hash[..16]));
        assert_eq!(hash_in("0123456789abcde"), None);
    }

    #[test]
    fn a_database_is_refused_by_name_with_the_next_step() {
        let dir = tempfile::tempdir().expect("a directory");
        let backup = dir.path().join("BT_backup");
        fs::create_dir(&backup).expect("a directory");
        let refused = |dir: &Path| of_qbittorrent(dir).err().expect("nothing to import").message;
        assert!(refused(&backup).contains("no .fastresume files"));
        fs::write(dir.path().join(DATABASE), b"SQLite").expect("a file");
        for dir in [&*backup, dir.path()] {
            let why = refused(dir);
            assert!(why.contains(DATABASE) && why.contains("Fastresume files"), "{why}");
        }
        // Beside files it is named, and the files are imported.
        fs::write(backup.join("x.fastresume"), b"de").expect("a file");
        let all = of_qbittorrent(&backup).expect("a directory");
        assert_eq!(all.len(), 2);
        assert!(all.iter().any(|one| one.from.ends_with(DATABASE) && one.found.is_err()));
        assert_eq!(of_transmission(&backup).err().map(|why| why.exit), Some(Exit::Input));
    }

    #[test]
    fn what_is_no_file_is_named_and_not_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), b"x").expect("a file");
        std::os::unix::fs::symlink(path("file"), path("link")).expect("a link");
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), 0o600.into()).expect("a pipe");
        assert_eq!(read(&path("file")).map(|(bytes, _)| bytes), Ok(b"x".to_vec()));
        for (name, why) in [("link", "symbolic"), ("pipe", "no file"), (".", "no file")] {
            let error = read(&path(name)).expect_err(name);
            assert!(error.contains(why), "{name}: {error}");
        }
    }
}

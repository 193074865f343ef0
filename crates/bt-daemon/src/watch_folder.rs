//! Directories whose torrent files and links are added.
//!
//! Decides: when a file is whole, and what becomes of it.
//! Must not know: HTTP; how a torrent is added.
//! Invariant: a file that was added is renamed or deleted, so that no start adds it again. One that
//! cannot be added stays, under a name that says so.

use crate::config::WatchFolder;
use crate::keeper::{FILE_MAX, Keeper};
use bt_api::{Add, AddSource, Command, Fault, FaultKind, TorrentPatch};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::Instant;

/// How often it is looked whether a directory changed. Its time is asked, which works for every
/// file system; what the kernel tells of changes does not come from network mounts.
const LOOK: Duration = Duration::from_secs(1);
/// A directory is listed after this time even if it seems not to have changed.
const LIST: Duration = Duration::from_secs(30);
/// A file that cannot be read as a torrent may still be written: it is tried again for this long
/// since its last change.
const WHOLE_AFTER: Duration = Duration::from_secs(10);
/// Most files of a directory that are added at one look.
const FILES_MAX: usize = 1000;
/// Most files of one name that were added.
const NAMES_MAX: u32 = 1000;
/// Most bytes of a file with a link.
const LINK_MAX: u64 = 64 << 10;

/// Adds what lies in the directories, until the sender is dropped.
pub(crate) async fn watch(keeper: Arc<Keeper>, mut folders: watch::Receiver<Vec<WatchFolder>>) {
    loop {
        let now = folders.borrow_and_update().clone();
        tokio::select! {
            () = keeper.asked_to_stop() => return,
            changed = folders.changed() => match changed {
                Ok(()) => {}
                Err(_) => return,
            },
            () = follow(&keeper, now) => {}
        }
    }
}

async fn follow(keeper: &Arc<Keeper>, folders: Vec<WatchFolder>) {
    if folders.is_empty() {
        return std::future::pending().await;
    }
    let mut followed: Vec<(WatchFolder, Seen)> =
        folders.into_iter().map(|folder| (folder, Seen::default())).collect();
    loop {
        for (folder, seen) in &mut followed {
            let changed = tokio::fs::metadata(&folder.dir).await.and_then(|data| data.modified());
            let changed = changed.ok();
            let is_due = seen.listed.is_none_or(|listed| listed.elapsed() >= LIST);
            if is_due || seen.waits || changed != seen.changed {
                seen.waits = look(keeper, folder, &mut seen.added).await;
                (seen.changed, seen.listed) = (changed, Some(Instant::now()));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What is known of a directory since it was last listed.
#[derive(Debug, Default)]
struct Seen {
    /// The time of its last change then.
    changed: Option<SystemTime>,
    listed: Option<Instant>,
    /// A file in it may still be written.
    waits: bool,
    /// What was added and could be neither renamed nor deleted, as it was then.
    added: HashMap<PathBuf, SystemTime>,
}

/// What a file in a directory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Torrent,
    Link,
}

fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    let is_hidden = name.starts_with('.');
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "torrent" if !is_hidden => Some(Kind::Torrent),
        "magnet" if !is_hidden => Some(Kind::Link),
        _ => None,
    }
}

/// Adds what lies in a directory; returns whether something in it is to be tried again.
async fn look(
    keeper: &Arc<Keeper>,
    folder: &WatchFolder,
    stays: &mut HashMap<PathBuf, SystemTime>,
) -> bool {
    let dir = folder.dir.clone();
    let found = tokio::task::spawn_blocking(move || list(&dir)).await.unwrap_or_default();
    let mut waits = found.len() >= FILES_MAX;
    stays.retain(|path, _| found.contains_key(path));
    for (path, (kind, modified)) in found {
        if stays.get(&path) == Some(&modified) {
            continue;
        }
        let age = SystemTime::now().duration_since(modified).unwrap_or(Duration::ZERO);
        let added = add(keeper, folder, &path, kind).await;
        let done = match added {
            Ok(()) if folder.delete => tokio::fs::remove_file(&path).await,
            Ok(()) => rename(&path, "added").await,
            Err(_) if age < WHOLE_AFTER => {
                waits = true;
                continue;
            }
            Err(fault) if matches!(fault.kind, FaultKind::Disk | FaultKind::Internal) => {
                tracing::error!(file = %path.display(), %fault, "a watched file is tried again");
                waits = true;
                continue;
            }
            Err(fault) => {
                tracing::error!(file = %path.display(), %fault, "a watched file is not added");
                rename(&path, "invalid").await
            }
        };
        if let Err(error) = done {
            tracing::error!(file = %path.display(), %error, "a watched file stays");
            stays.insert(path, modified);
        }
    }
    waits
}

/// Returns the files to add, with their kind and the time of their last change.
fn list(dir: &Path) -> HashMap<PathBuf, (Kind, SystemTime)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let file = |entry: std::fs::DirEntry| {
        let (path, data) = (entry.path(), entry.metadata().ok()?);
        (data.is_file() && data.len() > 0).then_some(())?;
        let kind = kind(&path)?;
        Some((path, (kind, data.modified().ok()?)))
    };
    entries.filter_map(file).take(FILES_MAX).collect()
}

/// Adds a file. A torrent that is there already is no failure.
async fn add(
    keeper: &Arc<Keeper>,
    folder: &WatchFolder,
    path: &Path,
    kind: Kind,
) -> Result<(), Fault> {
    let source = match kind {
        Kind::Torrent => AddSource::Bytes(read(path, FILE_MAX as u64).await?),
        Kind::Link => {
            let bytes = read(path, LINK_MAX).await?;
            let text = String::from_utf8_lossy(&bytes);
            let line = text.lines().map(str::trim).find(|line| !line.is_empty());
            let none = || Fault::new(FaultKind::Invalid, "it has no link");
            AddSource::Link(line.ok_or_else(none)?.to_owned())
        }
    };
    let patch = TorrentPatch {
        category: Some(folder.category.clone()).filter(|category| !category.is_empty()),
        tags: Some(folder.labels.clone()),
        ..TorrentPatch::default()
    };
    let start = folder.stopped.then_some(false);
    let add = Add { dir: folder.to.clone(), start, patch, ..Add::new(source) };
    keeper.run(Command::Add(Box::new(add))).await.map(drop)
}

/// Reads a file. One that cannot be read now is no less a torrent.
async fn read(path: &Path, most: u64) -> Result<Vec<u8>, Fault> {
    let disk = |error: io::Error| Fault::new(FaultKind::Disk, error.to_string());
    if tokio::fs::metadata(path).await.map_err(disk)?.len() > most {
        return Err(Fault::new(FaultKind::Invalid, "it is too long"));
    }
    tokio::fs::read(path).await.map_err(disk)
}

/// Gives a file another ending, never the name of another file.
async fn rename(path: &Path, ending: &str) -> io::Result<()> {
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        if number > 0 {
            name.push(format!(".{number}"));
        }
        PathBuf::from(name)
    };
    let free = (0..NAMES_MAX).map(name).find(|name| name.symlink_metadata().is_err());
    match free {
        Some(free) => tokio::fs::rename(path, free).await,
        None => Err(io::ErrorKind::AlreadyExists.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::tests::{FILE, keeper, until_some};

    #[tokio::test]
    async fn what_lies_there_is_added_once_and_what_is_no_torrent_says_so() {
        let dir = tempfile::tempdir().expect("a directory");
        let keeper = keeper(dir.path()).await;
        let new = dir.path().join("new");
        std::fs::create_dir(&new).expect("a directory");
        let write = |name: &str, bytes: &[u8]| std::fs::write(new.join(name), bytes).expect(name);
        write("a.TORRENT", FILE);
        write("b.magnet", b"\nmagnet:?xt=urn:btih:00000000000000000000000000000000000000bb\n");
        write("c.txt", FILE);
        write(".d.torrent", FILE);
        write("half.torrent", b"d4:info");
        let folder = WatchFolder {
            dir: new.clone(),
            to: None,
            category: "film".into(),
            labels: ["new".to_owned()].into(),
            stopped: true,
            delete: false,
        };
        let (sender, receiver) = watch::channel(vec![folder]);
        let task = tokio::spawn(watch(Arc::clone(&keeper), receiver));
        let is_there = |name: &str| new.join(name).exists().then_some(());
        until_some(|| is_there("a.TORRENT.added")).await;
        until_some(|| is_there("b.magnet.added")).await;
        assert!(is_there("c.txt").is_some() && is_there(".d.torrent").is_some());
        assert!(is_there("half.torrent").is_some(), "it may still be written");
        {
            let state = keeper.state();
            assert_eq!(state.len(), 2);
            for torrent in state.torrents() {
                assert_eq!(torrent.record.labels.category, "film");
                assert!(torrent.record.labels.tags.contains("new"));
                assert!(!torrent.record.settings.running);
            }
        }
        // It was written, and nothing came of it.
        let old = SystemTime::now() - WHOLE_AFTER * 2;
        let half = std::fs::File::options().append(true).open(new.join("half.torrent"));
        half.and_then(|file| file.set_modified(old)).expect("a time");
        write("e.torrent", FILE);
        until_some(|| is_there("half.torrent.invalid")).await;
        until_some(|| is_there("e.torrent.added")).await;
        assert_eq!(keeper.state().len(), 2, "it was there already");
        drop(sender);
        task.await.expect("an end");
    }
}

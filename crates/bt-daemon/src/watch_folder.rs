//! Directories whose torrent files and links are added.
//!
//! Decides: when a file is whole, and what becomes of it.
//! Must not know: HTTP; how a torrent is added.
//! Invariant: a file that was added is renamed or deleted, so that no start adds it again. One that
//! cannot be added stays, under a name that says so.

use crate::config::WatchFolder;
use crate::keeper::Keeper;
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
                let waits = look(keeper, folder).await;
                *seen = Seen { changed, listed: Some(Instant::now()), waits };
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
async fn look(keeper: &Arc<Keeper>, folder: &WatchFolder) -> bool {
    let dir = folder.dir.clone();
    let found = tokio::task::spawn_blocking(move || list(&dir)).await.unwrap_or_default();
    let mut waits = found.len() >= FILES_MAX;
    for (path, (kind, age)) in found {
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
            tracing::error!(file = %path.display(), %error, "a watched file cannot be renamed");
        }
    }
    waits
}

/// Returns the files to add, with their kind and the time since they changed.
fn list(dir: &Path) -> HashMap<PathBuf, (Kind, Duration)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let file = |entry: std::fs::DirEntry| {
        let (path, data) = (entry.path(), entry.metadata().ok()?);
        let age = SystemTime::now().duration_since(data.modified().ok()?).unwrap_or(Duration::ZERO);
        (data.is_file() && data.len() > 0).then_some(())?;
        let kind = kind(&path)?;
        Some((path, (kind, age)))
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
        Kind::Torrent => AddSource::Path(path.to_owned()),
        Kind::Link => {
            let link = link(path).await;
            AddSource::Link(link.map_err(|why| Fault::new(FaultKind::Invalid, why))?)
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

async fn link(path: &Path) -> Result<String, String> {
    let length = tokio::fs::metadata(path).await.map_err(|error| error.to_string())?.len();
    if length > LINK_MAX {
        return Err("it is too long for a link".into());
    }
    let text = tokio::fs::read_to_string(path).await.map_err(|error| error.to_string())?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map(str::to_owned).ok_or_else(|| "it has no link".into())
}

async fn rename(path: &Path, ending: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    tokio::fs::rename(path, name).await
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

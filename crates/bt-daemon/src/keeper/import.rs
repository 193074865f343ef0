//! Takes over what another client knew of a torrent.
//!
//! Decides: in which of its directories the data lies, and under which names.
//! Must not know: the other client, its formats.
//! Invariant: nothing is changed on the disk here before a torrent is complete. What was claimed of
//! the data is kept until the session has looked at it.

use super::{Keeper, Record};
use crate::clock::now;
use bt_api::import::{DataClaim, Import, NAMES_MAX, Written};
use bt_api::{Dates, Fault, FaultKind, Totals};
use bt_metainfo::{FileEntry, Info, Metainfo};
use bt_model::Priority;
use bt_session::{NotedTime, PieceClaim};
use bt_types::InfoHash;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Where imported data lies.
#[derive(Debug)]
pub(super) struct Place {
    is_at_incomplete: bool,
    names: BTreeMap<usize, PathBuf>,
}

/// Looks where the data lies that another client had for this directory.
pub(super) async fn look(
    import: &Import,
    dir: &Path,
    metainfo: &Arc<Metainfo>,
) -> Result<Place, Fault> {
    let invalid = |why: &str| Fault::new(FaultKind::Invalid, why);
    let is_plain = |path: &PathBuf| {
        path.components().all(|part| matches!(part, Component::Normal(_)))
            && path.components().next().is_some()
    };
    if let Some(path) = import.names.values().find(|path| !is_plain(path)) {
        let why = format!("{} does not lie below the torrent's directory", path.display());
        return Err(invalid(&why));
    }
    if import.names.len() > NAMES_MAX {
        return Err(invalid("too many of its files have other names than it says"));
    }
    let is_of_it = |claim: &DataClaim| {
        claim.have(&metainfo.info.geometry).is_some()
            && claim.written.len() <= metainfo.info.files.len()
    };
    if import.claim.as_ref().is_some_and(|claim| !is_of_it(claim)) {
        return Err(invalid("its pieces are claimed for another torrent"));
    }
    let (import, dir, metainfo) = (import.clone(), dir.to_owned(), Arc::clone(metainfo));
    let looked = tokio::task::spawn_blocking(move || look_now(&import, &dir, &metainfo.info));
    looked.await.map_err(|error| Fault::new(FaultKind::Internal, error.to_string()))
}

fn look_now(import: &Import, dir: &Path, info: &Info) -> Place {
    let stored = || info.files.iter().enumerate().filter(|(_, file)| file.is_stored());
    let top = import.names.values().find(|_| info.files.len() > 1);
    let top = top.and_then(|path| path.iter().next()).map(OsString::from);
    let path = |number: usize, file: &FileEntry| match (import.names.get(&number), &top) {
        (Some(path), _) => path.clone(),
        (None, Some(top)) => Path::new(top).join(file.path.iter().skip(1).collect::<PathBuf>()),
        (None, None) => file.path.iter().collect(),
    };
    let partial = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push(import.suffix.as_deref().unwrap_or_default());
        PathBuf::from(name)
    };
    let is_there = |path: PathBuf| path.symlink_metadata().is_ok();
    let is_at_incomplete = import.incomplete_dir.as_ref().is_some_and(|dir| {
        stored().any(|(number, file)| {
            let path = dir.join(path(number, file));
            is_there(partial(&path)) || is_there(path)
        })
    });
    let dir = import.incomplete_dir.as_deref().filter(|_| is_at_incomplete).unwrap_or(dir);
    let mut names = import.names.clone();
    if import.suffix.is_some() {
        for (number, file) in stored() {
            let path = path(number, file);
            let is_partial = !is_there(dir.join(&path)) && is_there(dir.join(partial(&path)));
            if is_partial && names.len() < NAMES_MAX {
                names.insert(number, partial(&path));
            }
        }
    }
    Place { is_at_incomplete, names }
}

/// Takes over into a new record what was known.
pub(super) fn take(record: &mut Record, import: &Import, place: Option<Place>) {
    let added = import.added.unwrap_or_else(now);
    // Data that was whole when it was added has no date of its own, and is not complete only now.
    let is_whole = import.claim.as_ref().is_some_and(|claim| matches!(claim.pieces[..], [0, _]));
    record.dates = Dates {
        added,
        completed: import.completed.or(is_whole.then_some(added)),
        active: import.active,
        ..record.dates
    };
    record.totals = Totals {
        up: import.bytes_up,
        down: import.bytes_down,
        seconds_down: import.seconds_down,
        seconds_seeding: import.seconds_seeding,
        ..Totals::default()
    };
    let Some(place) = place else { return };
    record.names = place.names;
    record.claim = import.claim.clone();
    record.suffix = import.suffix.clone();
    if let Some(dir) = import.incomplete_dir.clone().filter(|_| place.is_at_incomplete) {
        record.final_dir = Some(std::mem::replace(&mut record.dir, dir));
    }
}

/// Returns what a session is told of the claim.
pub(super) fn claim(record: &Record, metainfo: Option<&Metainfo>) -> Option<Arc<PieceClaim>> {
    let (claim, metainfo) = (record.claim.as_ref()?, metainfo?);
    let noted = |written: &Option<Written>| {
        written.map(|written| match written {
            Written::At(second) => NotedTime::At(second),
            Written::By(second) => NotedTime::By(second),
        })
    };
    let have = claim.have(&metainfo.info.geometry)?;
    Some(Arc::new(PieceClaim { have, files: claim.written.iter().map(noted).collect() }))
}

/// Returns the wanted files whose names end as those of incomplete ones, with their full names.
pub(super) fn partial_names(record: &Record) -> Vec<(usize, String)> {
    let Some(suffix) = &record.suffix else { return Vec::new() };
    let full = |(number, path): (&usize, &PathBuf)| {
        let full = path.to_str()?.strip_suffix(suffix.as_str())?.to_owned();
        (record.settings.file(*number) != Priority::Skip).then_some((*number, full))
    };
    record.names.iter().filter_map(full).collect()
}

impl Keeper {
    /// Forgets a claim: the session has looked at the data.
    pub(super) async fn drop_claim(&self, hash: InfoHash) -> Result<(), Fault> {
        self.note(hash, |record| record.claim = None).await
    }

    /// Gives the files of a complete torrent their full names.
    pub(super) async fn complete_names(&self, hash: InfoHash) -> Result<(), Fault> {
        let names = partial_names(&self.torrent(hash)?.record);
        if names.is_empty() {
            return Ok(());
        }
        let mut last = Ok(());
        for (number, path) in names {
            // What cannot be renamed now keeps its name.
            last = self.rename_file(hash, number, &path).await.and(last);
        }
        // Not before: who is killed in between goes on at the next start.
        self.note(hash, |record| record.suffix = None).await?;
        last
    }
}

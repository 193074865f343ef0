//! `bt list --state` and `bt forget`: what is remembered of downloads.
//!
//! Decides: which download a name means.
//! Must not know: how it is remembered.
//! Invariant: nothing is forgotten unless every name means one torrent; the data of a download is
//! never touched.

use crate::args::{ForgetArgs, ListArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::json::{self, StateForgotten, StateList};
use crate::output::Output;
use crate::transfer::state_dir;
use crate::units;
use bt_session::{Remembered, SavedTorrent};
use std::path::Path;

/// Digits of an info-hash that are shown, and the fewest that name a download.
const DIGITS: usize = 8;

pub(crate) fn list(args: &ListArgs, output: &Output) -> Outcome {
    let dir = state_dir(args.state.as_ref().and_then(Option::as_deref))?;
    let saved = load(&dir)?;
    let torrents = saved.iter().map(|saved| describe(&saved.torrent)).collect();
    output.object(&StateList { state: dir.to_string_lossy().into(), torrents });
    if saved.is_empty() {
        output.note(format_args!("nothing is remembered in {}", dir.display()));
    }
    for SavedTorrent { torrent, .. } in &saved {
        let hash = torrent.info_hash.to_string();
        let percent = units::percent(torrent.bytes_have, torrent.bytes_total);
        output.line(format_args!(
            "{}  {percent:>3}% of {:>10}  {}  {}",
            hash.get(..DIGITS).unwrap_or(&hash),
            units::size(torrent.bytes_total),
            torrent.name,
            torrent.dir.display()
        ));
    }
    Ok(())
}

pub(crate) fn forget(args: &ForgetArgs, output: &Output) -> Outcome {
    let dir = state_dir(args.state.as_deref())?;
    let saved = load(&dir)?;
    let mut chosen: Vec<&SavedTorrent> = Vec::new();
    for name in &args.torrent {
        let meant = meant(&saved, name)?;
        chosen
            .extend(meant.into_iter().filter(|saved| !chosen.contains(saved)).collect::<Vec<_>>());
    }
    for saved in &chosen {
        let Remembered { name, dir: at, .. } = &saved.torrent;
        match bt_session::forget(&dir, saved) {
            Ok(true) => {
                output.line(format_args!("forgotten: {name} in {}; its data stays", at.display()))
            }
            Ok(false) => {
                let message =
                    format!("another bt works on {name} in {}; stop it first", at.display());
                return Err(Failure::new(Exit::Other, "locked", message));
            }
            Err(error) => return Err(Failure::disk(&dir, &error)),
        }
    }
    let forgotten = chosen.iter().map(|saved| describe(&saved.torrent)).collect();
    output.object(&StateForgotten { forgotten });
    Ok(())
}

/// Finds the torrent that a name means, in all directories in which it is remembered.
fn meant<'a>(saved: &'a [SavedTorrent], name: &str) -> Outcome<Vec<&'a SavedTorrent>> {
    let is_meant = |saved: &&SavedTorrent| {
        let by_hash = name.len() >= DIGITS
            && saved.torrent.info_hash.to_string().starts_with(&name.to_ascii_lowercase());
        saved.torrent.name == name || by_hash
    };
    let found: Vec<&SavedTorrent> = saved.iter().filter(is_meant).collect();
    let Some(first) = found.first() else {
        let message = format!("nothing is remembered of {name}; `bt list --state` lists what is");
        return Err(Failure::new(Exit::Input, "not_found", message));
    };
    if found.iter().any(|other| other.torrent.info_hash != first.torrent.info_hash) {
        let message = format!(
            "{name} means several torrents; name one by its info-hash, as `bt list --state` prints it"
        );
        return Err(Failure::new(Exit::Usage, "ambiguous", message));
    }
    Ok(found)
}

fn load(dir: &Path) -> Outcome<Vec<SavedTorrent>> {
    bt_session::saved_torrents(dir).map_err(|error| {
        let message =
            format!("cannot read what is remembered: {error}; --state DIR names another place");
        Failure::new(Exit::Disk, error.fault().name(), message)
    })
}

fn describe(torrent: &Remembered) -> json::Remembered {
    json::Remembered {
        info_hash: torrent.info_hash.to_string(),
        name: torrent.name.clone(),
        dir: torrent.dir.to_string_lossy().into(),
        bytes_have: torrent.bytes_have,
        bytes_total: torrent.bytes_total,
    }
}

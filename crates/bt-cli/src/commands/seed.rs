//! `bt seed`: check data and seed it until stopped; a torrent is made of a path that is none.
//!
//! Decides: whether a path is a torrent.
//! Must not know: how seeding works.
//! Invariant: an existing `.torrent` file is never overwritten.

use crate::addresses;
use crate::args::SeedArgs;
use crate::commands::create;
use crate::exit::{Exit, Failure, Outcome};
use crate::goal::After;
use crate::output::Output;
use crate::source::{self, Source};
use crate::transfer::{self, Plan};
use bt_metainfo::Metainfo;
use bt_piece_store::CreateOptions;
use bt_session::AddOptions;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) async fn run(args: SeedArgs, output: &Output) -> Outcome {
    let (roots, mut torrents) = (args.net.trust.roots()?, Vec::new());
    let peers = addresses::look_up(&args.net.peer).await?;
    for path in &args.path {
        let (torrent, dir, made) = if is_torrent(path) {
            let found = Source::Torrent(Arc::new(source::load(path.as_os_str(), &roots).await?));
            source::require_transfer(path.as_os_str(), &found)?;
            found
                .warnings()
                .iter()
                .for_each(|warning| output.note(format_args!("{}: {warning}", path.display())));
            (found, PathBuf::from("."), false)
        } else if path.exists() {
            (Source::Torrent(Arc::new(make(path, &args, output)?)), path.clone(), true)
        } else {
            let message = format!(
                "{} does not exist; `bt seed` takes files, folders and torrents",
                path.display()
            );
            return Err(Failure::new(Exit::Input, "not_found", message));
        };
        let options = AddOptions {
            peers: peers.clone(),
            // Data that was hashed a moment ago need not be hashed again.
            trust_data: args.no_check || made,
            no_resume: args.net.no_resume,
            ..AddOptions::new(args.dir.clone().unwrap_or(dir))
        };
        torrents.push((torrent, options));
    }
    let (after, net) = (After::default(), args.net);
    transfer::run(
        Plan { torrents, net, roots, timeout: None, after, metadata_only: None, is_seed: true },
        output,
    )
    .await
}

/// Returns whether the path is a torrent: a file with its extension, or one that begins like it and
/// can be parsed; a URL; standard input.
fn is_torrent(path: &Path) -> bool {
    let is_url = || path.to_str().is_some_and(|text| text == "-" || text.contains("://"));
    if path.is_dir() {
        return false;
    }
    if path.extension().is_some_and(|extension| extension == "torrent")
        || (!path.exists() && is_url())
    {
        return true;
    }
    let small = path.metadata().is_ok_and(|found| found.is_file() && found.len() < 64 << 20);
    small
        && std::fs::read(path)
            .is_ok_and(|bytes| bytes.first() == Some(&b'd') && Metainfo::from_bytes(&bytes).is_ok())
}

/// Makes a torrent of the path, and saves it in the current directory for the user to pass on.
///
/// If `bt create` made its file before, here or beside the data, that torrent is seeded. Its
/// trackers, date and comment are the user's.
fn make(path: &Path, args: &SeedArgs, output: &Output) -> Outcome<Metainfo> {
    let trackers = create::tiers(&args.announce)?;
    let name = create::name(path, &create::options())?;
    let here = create::file_name(&name);
    let beside = path.parent().map(|dir| dir.join(&here));
    let file = beside.filter(|beside| beside.exists() && !here.exists()).unwrap_or(here);
    let is_other = || {
        let message = format!(
            "{0} exists and is not a torrent of this data; move it away, or seed what it describes with `bt seed {0}`",
            file.display()
        );
        Failure::new(Exit::Other, "exists", message)
    };
    let old = match std::fs::read(&file) {
        Ok(bytes) => Some(
            Metainfo::from_bytes(&bytes)
                .ok()
                .filter(|old| old.info.name == name)
                .ok_or_else(is_other)?,
        ),
        Err(_) => None,
    };
    let like_old = old.as_ref().map_or_else(create::options, |old| CreateOptions {
        piece_length: Some(old.info.geometry.piece_length()),
        private: old.private,
        source: old.source.clone(),
        ..create::options()
    });
    let created =
        create::create(path, &CreateOptions { trackers: trackers.clone(), ..like_old }, output)?;
    let torrent = match old {
        None => {
            create::write(&file, &created.bytes, false)?;
            output.note(format_args!("{}: pass this file or the link on", file.display()));
            created.metainfo
        }
        Some(mut old) if old.info_hashes == created.metainfo.info_hashes => {
            output.note(format_args!("{} describes this data and is used", file.display()));
            let is_known = |tier: &Vec<String>| {
                tier.iter().all(|url| old.trackers.iter().flatten().any(|known| known == url))
            };
            let new: Vec<_> = trackers.into_iter().filter(|tier| !is_known(tier)).collect();
            old.trackers.extend(new);
            old
        }
        Some(_) => return Err(is_other()),
    };
    let discovery = &args.net.discovery;
    if torrent.trackers.is_empty() && discovery.no_dht && discovery.no_lsd {
        output
            .note("it names no tracker (-a URL): peers must be told where this seeder is (--peer)");
    }
    Ok(torrent)
}

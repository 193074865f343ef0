//! `bt seed`: check data and seed it until stopped; make a torrent of it first when it is none.
//!
//! Decides: whether a path is a torrent. Must not know: how seeding works.
//! Invariant: an existing `.torrent` file is never overwritten.

use crate::args::SeedArgs;
use crate::commands::create;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::source::{self, Source};
use crate::transfer::{self, After, Plan};
use bt_metainfo::Metainfo;
use bt_piece_store::CreateOptions;
use bt_session::AddOptions;
use std::path::{Path, PathBuf};

pub(crate) async fn run(args: SeedArgs, output: &Output) -> Outcome {
    let (roots, mut torrents) = (args.net.trust.roots()?, Vec::new());
    for path in &args.path {
        let (torrent, dir, made) = if is_torrent(path) {
            let torrent = source::load_for_transfer(&path.to_string_lossy(), &roots).await?;
            (torrent, PathBuf::from("."), false)
        } else {
            (make(path, &args, output)?, path.clone(), true)
        };
        let options = AddOptions {
            peers: args.net.peer.clone(),
            // What was hashed a moment ago need not be hashed again.
            trust_data: args.no_check || made,
            no_resume: args.net.no_resume,
            ..AddOptions::new(args.dir.clone().unwrap_or(dir))
        };
        torrents.push((Source::Torrent(Box::new(torrent)), options));
    }
    let (after, net) = (After::default(), args.net);
    transfer::run(Plan { torrents, net, roots, timeout: None, after, metadata_only: None, is_seed: true }, output).await
}

/// A file that is named like one, or that begins like one and can be parsed.
fn is_torrent(path: &Path) -> bool {
    if path.extension().is_some_and(|extension| extension == "torrent") || !path.exists() {
        return true;
    }
    let small = path.metadata().is_ok_and(|found| found.is_file() && found.len() < 64 << 20);
    small && std::fs::read(path).is_ok_and(|bytes| bytes.first() == Some(&b'd') && Metainfo::from_bytes(&bytes).is_ok())
}

/// Makes a torrent of the path, and keeps it in the current directory to be passed on.
fn make(path: &Path, args: &SeedArgs, output: &Output) -> Outcome<Metainfo> {
    let options = CreateOptions { trackers: create::tiers(&args.announce), ..create::options() };
    let created = create::create(path, &options, output)?;
    let file = PathBuf::from(format!("{}.torrent", created.metainfo.info.name));
    match std::fs::read(&file) {
        Ok(bytes) if bytes == created.bytes => {}
        Ok(_) => {
            let message = format!("{} exists and is another torrent; move it away, or seed it by its name", file.display());
            return Err(Failure::new(Exit::Other, "exists", message));
        }
        Err(_) => create::write(&file, &created.bytes, false)?,
    }
    output.note(format_args!("{}: pass this file on", file.display()));
    let discovery = &args.net.discovery;
    if args.announce.is_empty() && discovery.no_dht && discovery.no_lsd {
        output.note("it names no tracker (-a URL): peers must be told where this seeder is (--peer)");
    }
    Ok(created.metainfo)
}

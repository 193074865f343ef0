//! `bt get`: download torrents, then exit.
//!
//! Decides: what the options mean together. Must not know: how a download works.
//! Invariant: every source is understood before anything is downloaded; no file that exists is overwritten.

use crate::args::GetArgs;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Output;
use crate::select;
use crate::source::{self, Source};
use crate::transfer::{self, After, MetadataOnly, Plan};
use bt_metainfo::Metainfo;
use bt_session::{AddOptions, Select};
use std::sync::Arc;

pub(crate) async fn run(args: GetArgs, output: &Output) -> Outcome {
    let (roots, mut sources) = (args.net.trust.roots()?, Vec::new());
    let metadata_only = args.metadata_only.then(|| MetadataOnly { file: args.output.clone() });
    if let Some(file) = args.output.as_ref().filter(|file| file.symlink_metadata().is_ok()) {
        return Err(Failure::new(Exit::Other, "exists", format!("{} exists; choose another name with -o", file.display())));
    }
    for source in &args.source {
        for found in source::open_all(source, &roots).await? {
            source::require_transfer(source, &found)?;
            found.warnings().iter().for_each(|warning| output.note(format_args!("{}: {warning}", source::shown(source))));
            sources.push(found);
        }
    }
    if args.output.is_some() && sources.len() > 1 {
        return Err(Failure::usage("-o names one file; give one source, or leave -o out"));
    }
    let torrents: Vec<&Metainfo> = sources
        .iter()
        .filter_map(|source| match source {
            Source::Torrent(torrent) => Some(&**torrent),
            Source::Magnet(_) => None,
        })
        .collect();
    let mut selected = select::select(&torrents, &args.select)?.into_iter();
    let mut planned = Vec::new();
    for source in sources {
        let select = match &source {
            Source::Torrent(_) => selected.next().flatten().map_or(Select::All, Select::Files),
            Source::Magnet(_) => later(&args.select),
        };
        let (peers, no_resume, metadata_only) = (args.net.peer.clone(), args.net.no_resume, args.metadata_only);
        planned.push((source, AddOptions { peers, no_resume, select, metadata_only, ..AddOptions::new(&args.dir) }));
    }
    let after = After { seed: args.seed, ratio: args.seed_ratio, time: args.seed_time };
    let plan = Plan { torrents: planned, net: args.net, roots, timeout: args.timeout, after, metadata_only, is_seed: false };
    transfer::run(plan, output).await
}

/// The files of a magnet link are chosen when they are known.
fn later(patterns: &[String]) -> Select {
    if patterns.is_empty() {
        return Select::All;
    }
    let patterns = patterns.to_vec();
    Select::By(Arc::new(move |torrent| {
        let selected = select::select(&[torrent], &patterns).map_err(|failure| failure.message)?;
        Ok(selected.into_iter().next().flatten())
    }))
}

//! `bt get`: download torrents, then exit.
//!
//! Decides: what the options mean together.
//! Must not know: how a download works.
//! Invariant: every source is understood before anything is downloaded; no existing file is
//! overwritten.

use crate::addresses;
use crate::args::GetArgs;
use crate::commands::create;
use crate::exit::{Exit, Failure, Outcome};
use crate::goal::{After, MetadataOnly};
use crate::json::{Event, Summary};
use crate::output::Output;
use crate::select;
use crate::source::{self, Source};
use crate::transfer::{self, Plan};
use bt_metainfo::Metainfo;
use bt_session::{AddOptions, Select};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

pub(crate) async fn run(args: GetArgs, output: &Output) -> Outcome {
    let (roots, mut sources) = (args.net.trust.roots()?, Vec::new());
    let metadata_only = args.metadata_only.then(|| MetadataOnly { file: args.output.clone() });
    for source in &args.source {
        for found in source::open_all(source, &roots).await? {
            source::require_transfer(source, &found)?;
            found.warnings().iter().for_each(|warning| {
                output.note(format_args!("{}: {warning}", source::shown(source)))
            });
            sources.push(found);
        }
        advise_quotes(source, output);
    }
    if args.output.is_some() && sources.len() > 1 {
        return Err(Failure::usage("-o names one file; give one source, or leave -o out"));
    }
    if let Some(only) = &metadata_only {
        let (torrents, links) =
            sources.into_iter().partition(|source| matches!(source, Source::Torrent(_)));
        sources = links;
        for torrent in torrents {
            write_torrent(&torrent, only, output)?;
        }
        if sources.is_empty() {
            return Ok(());
        }
    } else {
        make_directory(&args.dir, &sources)?;
    }
    let torrents: Vec<&Metainfo> = sources
        .iter()
        .filter_map(|source| match source {
            Source::Torrent(torrent) => Some(&**torrent),
            Source::Magnet(_) => None,
        })
        .collect();
    let mut selected = select::select(&torrents, &args.select)?.into_iter();
    let peers = addresses::look_up(&args.net.peer).await?;
    let mut planned = Vec::new();
    for source in sources {
        let select = match &source {
            Source::Torrent(_) => selected.next().flatten().map_or(Select::All, Select::Files),
            Source::Magnet(_) => later(&args.select),
        };
        let (peers, no_resume, metadata_only) =
            (peers.clone(), args.net.no_resume, args.metadata_only);
        planned.push((
            source,
            AddOptions { peers, no_resume, select, metadata_only, ..AddOptions::new(&args.dir) },
        ));
    }
    let after = After { seed: args.seed, ratio: args.seed_ratio, time: args.seed_time };
    let plan = Plan {
        torrents: planned,
        net: args.net,
        roots,
        timeout: args.timeout,
        after,
        metadata_only,
        is_seed: false,
    };
    transfer::run(plan, output).await
}

/// Advises quotes for a link with one parameter: a shell cuts an unquoted link at its first `&`.
fn advise_quotes(source: &OsStr, output: &Output) {
    let is_short = |text: &str| text.starts_with("magnet:?xt=") && !text.contains('&');
    if source.to_str().is_some_and(is_short) {
        output.note(
            "this link has one parameter alone: if it was longer, put it in quotes ('magnet:?…'), as the shell cuts it at `&`",
        );
    }
}

/// Writes the torrent of a URL or file, which has its metadata already.
fn write_torrent(source: &Source, only: &MetadataOnly, output: &Output) -> Outcome {
    let Source::Torrent(torrent) = source else { return Ok(()) };
    let file = create::keep(torrent, only.file.as_deref(), output)?;
    let (hash, path) = (source.hash(), file.to_string_lossy());
    let summary = Summary::metadata_only(hash.as_deref(), &torrent.info.name, &path);
    output.event(&Event::Summary(summary));
    output.line(file.display());
    Ok(())
}

/// Makes the download directory. A file is accepted only if it is the content of the one torrent.
fn make_directory(dir: &Path, sources: &[Source]) -> Outcome {
    let is_content = || match sources {
        [Source::Torrent(torrent)] => {
            dir.file_name().is_some_and(|name| name == torrent.info.name.as_str())
        }
        _ => false,
    };
    if dir.is_file() && !is_content() {
        let message =
            format!("{} is a file, not a directory; name a directory with -d", dir.display());
        return Err(Failure::new(Exit::Disk, "not_a_directory", message));
    }
    if dir.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(dir).map_err(|error| {
        let message = format!(
            "cannot create the directory {}: {error}; name another one with -d",
            dir.display()
        );
        Failure::new(Exit::Disk, bt_piece_store::fault_of(&error).name(), message)
    })
}

/// Chooses the files of a magnet link when they are known.
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

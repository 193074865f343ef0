//! `bt show` and `bt magnet`: describe a torrent, or what a magnet link says of it.
//!
//! Decides: the layout of the description.
//! Must not know: how a torrent is parsed.
//! Invariant: the JSON fields are the contract's.

use crate::args::{MagnetArgs, ShowArgs};
use crate::exit::Outcome;
use crate::json::{self, ListedFile, Show, ShowLink};
use crate::output::Output;
use crate::source::{self, Source};
use crate::units;
use bt_metainfo::{Attr, Magnet, Metainfo};
use bt_session::Roots;

pub(crate) async fn run(args: ShowArgs, output: &Output) -> Outcome {
    match source::open(&args.source, &Roots::default()).await? {
        Source::Torrent(torrent) => {
            output.object(&describe(&torrent));
            if !output.json {
                print(&torrent, args.files, output);
            }
        }
        Source::Magnet(magnet) => {
            output.object(&describe_magnet(&magnet));
            if !output.json {
                print_magnet(&magnet, output);
            }
        }
    }
    Ok(())
}

pub(crate) async fn magnet(args: MagnetArgs, output: &Output) -> Outcome {
    let link = match source::open(&args.source, &Roots::default()).await? {
        Source::Torrent(torrent) => torrent.magnet(),
        Source::Magnet(magnet) => magnet.to_string(),
    };
    output.object(&json::Magnet { magnet: &link });
    output.line(link);
    Ok(())
}

fn describe(torrent: &Metainfo) -> Show<'_> {
    let info = &torrent.info;
    let files = info.files.iter().filter(|file| !file.attr.padding).map(|file| ListedFile {
        path: &file.path,
        length: file.length,
        attr: attr(file.attr),
    });
    Show {
        name: Some(&info.name),
        format: Some(torrent.format.name()),
        info_hash_v1: torrent.info_hashes.v1.map(|hash| hash.to_string()),
        info_hash_v2: torrent.info_hashes.v2.map(|hash| hash.to_string()),
        piece_length: Some(info.geometry.piece_length()),
        piece_count: Some(info.geometry.piece_count()),
        total_size: Some(info.payload_len()),
        private: Some(torrent.private),
        trackers: torrent
            .trackers
            .iter()
            .map(|tier| tier.iter().map(String::as_str).collect())
            .collect(),
        web_seeds: &torrent.web_seeds,
        files: Some(files.collect()),
        creation_date: date(torrent),
        created_by: torrent.created_by.as_deref(),
        comment: torrent.comment.as_deref(),
        source: torrent.source.as_deref(),
        magnet: torrent.magnet(),
        warnings: &torrent.warnings,
        link: None,
    }
}

/// Describes a torrent by its link: null where a link does not know a field.
fn describe_magnet(magnet: &Magnet) -> Show<'_> {
    Show {
        name: magnet.name.as_deref(),
        format: None,
        info_hash_v1: magnet.info_hashes.v1.map(|hash| hash.to_string()),
        info_hash_v2: magnet.info_hashes.v2.map(|hash| hash.to_string()),
        piece_length: None,
        piece_count: None,
        total_size: None,
        private: None,
        trackers: magnet.trackers.iter().map(|url| vec![url.as_str()]).collect(),
        web_seeds: &magnet.web_seeds,
        files: None,
        creation_date: None,
        created_by: None,
        comment: None,
        source: None,
        magnet: magnet.to_string(),
        warnings: &magnet.warnings,
        link: Some(ShowLink {
            peers: magnet.peers.iter().map(endpoint).collect(),
            select_only: magnet.files.iter().map(|range| [*range.start(), *range.end()]).collect(),
        }),
    }
}

fn endpoint((host, port): &(String, u16)) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn print_magnet(magnet: &Magnet, output: &Output) {
    let row =
        |name: &str, value: &dyn std::fmt::Display| output.line(format_args!("{name:<13}{value}"));
    let rows = |name: &str, values: &mut dyn Iterator<Item = String>| {
        values.enumerate().for_each(|(n, value)| row(if n == 0 { name } else { "" }, &value));
    };
    rows("name", &mut magnet.name.iter().cloned());
    rows("info-hash v1", &mut magnet.info_hashes.v1.iter().map(ToString::to_string));
    rows("info-hash v2", &mut magnet.info_hashes.v2.iter().map(ToString::to_string));
    rows("trackers", &mut magnet.trackers.iter().cloned());
    rows("web seeds", &mut magnet.web_seeds.iter().cloned());
    rows("peers", &mut magnet.peers.iter().map(endpoint));
    rows(
        "files",
        &mut magnet
            .files
            .iter()
            .map(|range| format!("number {} to {}", range.start(), range.end())),
    );
    row("magnet", magnet);
    for warning in &magnet.warnings {
        row("warning", warning);
    }
    row("", &"`bt get --metadata-only` fetches the .torrent file that it stands for");
}

/// Returns the letters of BEP 47.
fn attr(attr: Attr) -> String {
    let letters = [(attr.executable, 'x'), (attr.hidden, 'h'), (attr.symlink, 'l')];
    letters.into_iter().filter(|(set, _)| *set).map(|(_, letter)| letter).collect()
}

fn date(torrent: &Metainfo) -> Option<String> {
    let seconds = torrent.creation_date?;
    jiff::Timestamp::from_second(seconds).ok().map(|date| date.to_string())
}

fn print(torrent: &Metainfo, list_files: bool, output: &Output) {
    let geometry = torrent.info.geometry;
    let row =
        |name: &str, value: &dyn std::fmt::Display| output.line(format_args!("{name:<13}{value}"));
    let optional = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            row(name, value);
        }
    };
    row("name", &torrent.info.name);
    row("format", &torrent.format.name());
    optional("info-hash v1", &torrent.info_hashes.v1.map(|hash| hash.to_string()));
    optional("info-hash v2", &torrent.info_hashes.v2.map(|hash| hash.to_string()));
    row("size", &units::size(torrent.info.payload_len()));
    row(
        "pieces",
        &format_args!(
            "{} of {}",
            geometry.piece_count(),
            units::size(geometry.piece_length().into())
        ),
    );
    let stored = torrent.info.files.iter().filter(|file| !file.attr.padding);
    row("files", &stored.clone().count());
    if torrent.private {
        row("private", &"yes: peers come from its trackers only");
    }
    for (n, tier) in torrent.trackers.iter().enumerate() {
        row(if n == 0 { "trackers" } else { "" }, &tier.join(", "));
    }
    for (n, url) in torrent.web_seeds.iter().enumerate() {
        row(if n == 0 { "web seeds" } else { "" }, url);
    }
    optional("created", &date(torrent));
    optional("created by", &torrent.created_by);
    optional("comment", &torrent.comment);
    optional("source", &torrent.source);
    row("magnet", &torrent.magnet());
    for warning in &torrent.warnings {
        row("warning", warning);
    }
    if list_files {
        for file in stored {
            output.line(format_args!("{:>12}  {}", file.length, file.path.join("/")));
        }
    }
}

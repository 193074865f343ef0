//! The actions that only read.
//!
//! Decides: what each of them answers with.
//! Must not know: HTTP, sessions.
//! Invariant: none of them has a command.

use super::answer::{Planned, Reply, WebPlan, on_one, one, refuse, reply, text, value};
use super::form::Form;
use super::sync::categories;
use super::{API_VERSION, APP_VERSION, creator, details, list, preferences, rss};
use crate::details::Needs;
use crate::state::DaemonState;
use crate::torrent::Torrent;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Returns the plan of an action that only reads.
pub(super) fn read(scope: &str, action: &str, form: &Form, state: &DaemonState) -> Option<Planned> {
    match scope {
        "app" => app(action, state),
        "log" => log(action),
        "sync" => sync(action, form, state),
        "transfer" => transfer(action, state),
        "torrents" => torrents(action, form, state),
        "rss" => rss::read(action, form, state),
        "torrentcreator" => creator::read(action, form, state),
        "search" => search(action),
        _ => None,
    }
}

fn app(action: &str, state: &DaemonState) -> Option<Planned> {
    match action {
        "version" => text(APP_VERSION),
        "webapiVersion" => text(API_VERSION),
        "buildInfo" => value(json!({
            "qt": "6.8.0", "libtorrent": concat!("bt ", env!("CARGO_PKG_VERSION")),
            "boost": "1.86.0", "openssl": "3.0.0", "zlib": "1.3.1", "bitness": 64,
            "platform": "linux",
        })),
        "preferences" => value(preferences::get(state)),
        "defaultSavePath" => text(super::rows::path(&state.settings.dir)),
        "networkInterfaceList" => value(json!([{ "name": "Any interface", "value": "" }])),
        "networkInterfaceAddressList" | "cookies" => value(json!([])),
        _ => None,
    }
}

fn log(action: &str) -> Option<Planned> {
    match action {
        "main" | "peers" => value(json!([])),
        _ => None,
    }
}

fn sync(action: &str, form: &Form, state: &DaemonState) -> Option<Planned> {
    let rid = form.integer("rid").and_then(|rid| u64::try_from(rid).ok()).unwrap_or(0);
    match action {
        "maindata" => reply(Reply::Main(rid)),
        "torrentPeers" => {
            one(form, state, |hash| Reply::Peers(hash, rid), |needs| needs.peers = true)
        }
        _ => None,
    }
}

fn transfer(action: &str, state: &DaemonState) -> Option<Planned> {
    let limits = state.settings.session.limits;
    match action {
        "info" => value(preferences::transfer(state)),
        "downloadLimit" => text(limits.down.unwrap_or(0).to_string()),
        "uploadLimit" => text(limits.up.unwrap_or(0).to_string()),
        "speedLimitsMode" => text(if state.settings.slow { "1" } else { "0" }),
        _ => None,
    }
}

fn search(action: &str) -> Option<Planned> {
    match action {
        "plugins" | "status" | "categories" => value(json!([])),
        "results" => refuse(404, "There is no such search"),
        _ => None,
    }
}

/// Reads of torrents.
fn torrents(action: &str, form: &Form, state: &DaemonState) -> Option<Planned> {
    match action {
        "info" => info(form, state),
        "properties" => one(form, state, Reply::Properties, |_| {}),
        "trackers" => one(form, state, Reply::Trackers, |needs| needs.trackers = true),
        "webseeds" => on_one(form, state, |torrent| {
            let seeds = torrent.metainfo.as_ref().map(|metainfo| metainfo.web_seeds.clone());
            let rows = seeds.unwrap_or_default().into_iter().map(|url| json!({ "url": url }));
            value(rows.collect::<Value>())
        }),
        "files" => {
            let places = form.list("indexes", '|');
            let places: Vec<usize> = places.iter().filter_map(|place| place.parse().ok()).collect();
            let places = (!places.is_empty()).then_some(places);
            one(form, state, |hash| Reply::Files(hash, places), |needs| needs.files = true)
        }
        "pieceStates" => one(form, state, Reply::PieceStates, |needs| needs.pieces = true),
        "pieceHashes" => on_one(form, state, |torrent| value(details::piece_hashes(torrent))),
        "export" => on_one(form, state, |torrent| match &torrent.metainfo {
            Some(_) => reply(Reply::Export(torrent.hash)),
            None => refuse(409, "Its metadata is not there yet"),
        }),
        "count" => text(state.len().to_string()),
        "categories" => value(categories(state)),
        "tags" => value(json!(state.tags)),
        "downloadLimit" => limits_of(form, state, |torrent| torrent.record.settings.limits.down),
        "uploadLimit" => limits_of(form, state, |torrent| torrent.record.settings.limits.up),
        _ => None,
    }
}

fn info(form: &Form, state: &DaemonState) -> Option<Planned> {
    let Some(chosen) = list::chosen(form, state) else {
        return refuse(400, "There is no such field to sort by");
    };
    let trackers = form.flag("includeTrackers") == Some(true);
    let files = form.flag("includeFiles") == Some(true);
    let torrents = if trackers || files {
        chosen.iter().map(|torrent| torrent.hash).collect()
    } else {
        Vec::new()
    };
    let needs = Needs { torrents, trackers, files, ..Needs::default() };
    Some(Ok(WebPlan { needs, reply: Reply::Info(form.clone()), ..WebPlan::default() }))
}

fn limits_of(
    form: &Form,
    state: &DaemonState,
    limit: impl Fn(&Torrent) -> Option<u64>,
) -> Option<Planned> {
    let torrents = form.torrents(state);
    let torrents = torrents.iter().filter_map(|hash| state.torrent(*hash));
    let row = |torrent: &Arc<Torrent>| {
        (torrent.hash.to_string(), Value::from(limit(torrent).unwrap_or(0)))
    };
    value(torrents.map(row).collect::<Map<_, _>>())
}

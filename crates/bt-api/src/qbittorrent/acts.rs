//! The actions that change something. Additions have a file of their own.
//!
//! Decides: what each of them changes.
//! Must not know: HTTP, sessions.
//! Invariant: a parameter that is missing is its default.

use super::answer::{Planned, Reply, WebPlan, commands, on_one, refuse};
use super::form::{Form, seed_limits, tags};
use super::{add, creator, details, preferences, rss};
use crate::command::{Command, QueueMove, TorrentPatch};
use crate::details::Details;
use crate::paths::renamed;
use crate::settings::Category;
use crate::state::DaemonState;
use crate::torrent::Torrent;
use bt_model::{PieceOrder, Priority};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Returns the plan of an action that changes something.
pub(super) fn act(scope: &str, action: &str, form: &Form, state: &DaemonState) -> Option<Planned> {
    match scope {
        "app" => set_app(action, form, state),
        "transfer" => set_transfer(action, form, state),
        "torrents" if action == "add" => add::add(form, state),
        "torrents" => on_all(action, form, state).or_else(|| act_on_one(action, form, state)),
        "rss" => rss::act(action, form),
        "torrentcreator" => creator::act(action, form),
        "search" => set_search(action),
        _ => None,
    }
}

fn set_search(action: &str) -> Option<Planned> {
    match action {
        "start" => refuse(409, "There are no search plug-ins"),
        "stop" | "delete" => refuse(404, "There is no such search"),
        "installPlugin" | "uninstallPlugin" | "enablePlugin" | "updatePlugins" => commands(vec![]),
        _ => None,
    }
}

fn set_app(action: &str, form: &Form, state: &DaemonState) -> Option<Planned> {
    match action {
        "setPreferences" => {
            let wanted = serde_json::from_str(form.text("json").unwrap_or_default());
            let Ok(Value::Object(wanted)) = wanted else {
                return refuse(400, "json must be an object");
            };
            commands(vec![Command::Settings(preferences::set(&wanted, state))])
        }
        "shutdown" => commands(vec![Command::Stop]),
        "setCookies" | "sendTestEmail" => commands(vec![]),
        _ => None,
    }
}

fn set_transfer(action: &str, form: &Form, state: &DaemonState) -> Option<Planned> {
    let patch = |patch: Value| commands(vec![Command::Settings(patch)]);
    let limit =
        form.integer("limit").and_then(|limit| u64::try_from(limit).ok()).filter(|l| *l > 0);
    match action {
        "setDownloadLimit" => patch(json!({ "session": { "limits": { "down": limit } } })),
        "setUploadLimit" => patch(json!({ "session": { "limits": { "up": limit } } })),
        "toggleSpeedLimitsMode" => patch(json!({ "slow": !state.settings.slow })),
        "setSpeedLimitsMode" => match form.flag("mode") {
            Some(slow) => patch(json!({ "slow": slow })),
            None => refuse(400, "mode must be 0 or 1"),
        },
        "banPeers" => {
            let named = form.list("peers", '|');
            let named = named.iter().filter_map(|peer| peer.parse::<SocketAddr>().ok());
            commands(vec![Command::Ban(named.map(|peer| peer.ip().to_canonical()).collect())])
        }
        _ => None,
    }
}

/// Changes to the torrents of `hashes`, to categories and to tags.
fn on_all(action: &str, form: &Form, state: &DaemonState) -> Option<Planned> {
    let torrents = || form.torrents(state);
    let change = |patch: TorrentPatch| commands(vec![Command::Change(torrents(), Box::new(patch))]);
    let queue = |to: QueueMove| {
        let queue = state.settings.queue;
        match queue.downloads.or(queue.seeds).or(queue.total) {
            Some(_) => commands(vec![Command::Queue(torrents(), to)]),
            None => refuse(409, "Torrent queueing must be enabled"),
        }
    };
    let run =
        |running: bool| change(TorrentPatch { running: Some(running), ..TorrentPatch::default() });
    match action {
        "start" | "resume" => run(true),
        "stop" | "pause" => change(TorrentPatch {
            running: Some(false),
            forced: Some(false),
            ..TorrentPatch::default()
        }),
        "recheck" => commands(vec![Command::Check(torrents())]),
        "reannounce" => commands(vec![Command::Reannounce(torrents())]),
        "delete" => {
            let with_data = form.flag("deleteFiles").unwrap_or(false);
            commands(vec![Command::Remove(torrents(), with_data)])
        }
        "increasePrio" => queue(QueueMove::Up),
        "decreasePrio" => queue(QueueMove::Down),
        "topPrio" => queue(QueueMove::Top),
        "bottomPrio" => queue(QueueMove::Bottom),
        "setForceStart" => {
            let forced = form.flag("value").unwrap_or(false);
            let running = forced.then_some(true);
            change(TorrentPatch { running, forced: Some(forced), ..TorrentPatch::default() })
        }
        "setSuperSeeding" => commands(vec![]),
        "toggleSequentialDownload" => toggle(form, state, |torrent| {
            let order = match torrent.record.settings.order {
                PieceOrder::Sequential => PieceOrder::RarestFirst,
                PieceOrder::RarestFirst => PieceOrder::Sequential,
            };
            TorrentPatch { order: Some(order), ..TorrentPatch::default() }
        }),
        "toggleFirstLastPiecePrio" => toggle(form, state, |torrent| TorrentPatch {
            first_last: Some(!torrent.record.first_last),
            ..TorrentPatch::default()
        }),
        "setAutoManagement" => {
            let auto_dir = form.flag("enable").or(Some(false));
            change(TorrentPatch { auto_dir, ..TorrentPatch::default() })
        }
        "setDownloadLimit" => {
            change(TorrentPatch { down_limit: Some(rate(form)), ..TorrentPatch::default() })
        }
        "setUploadLimit" => {
            change(TorrentPatch { up_limit: Some(rate(form)), ..TorrentPatch::default() })
        }
        "setShareLimits" => {
            change(TorrentPatch { seed_limits: seed_limits(form), ..TorrentPatch::default() })
        }
        "setLocation" => match form.word("location") {
            Some(location) if location.starts_with('/') => {
                let dir = PathBuf::from(location);
                commands(vec![Command::Move { torrents: torrents(), dir, move_data: true }])
            }
            Some(_) => refuse(409, "The path must be absolute"),
            None => refuse(400, "Save path cannot be empty"),
        },
        "setSavePath" | "setDownloadPath" => match form.word("path") {
            Some(path) if path.starts_with('/') => {
                let ids = Form {
                    fields: vec![("hashes".into(), form.text("id").unwrap_or_default().into())],
                    files: Vec::new(),
                };
                let (mut torrents, dir) = (ids.torrents(state), PathBuf::from(path));
                if action == "setDownloadPath" {
                    // What is complete does not go back to where incomplete data lies.
                    torrents.retain(|hash| state.torrent(*hash).is_some_and(|t| !t.is_done()));
                }
                commands(vec![Command::Move { torrents, dir, move_data: true }])
            }
            _ => refuse(400, "Save path cannot be empty"),
        },
        "addTags" => {
            let add_tags = tags(form);
            let patch = TorrentPatch { add_tags, ..TorrentPatch::default() };
            change(patch)
        }
        "removeTags" => toggle(form, state, |torrent| {
            let named = tags(form);
            let all = || torrent.record.labels.tags.clone();
            let remove_tags = if named.is_empty() { all() } else { named };
            TorrentPatch { remove_tags, ..TorrentPatch::default() }
        }),
        "setTags" => change(TorrentPatch { tags: Some(tags(form)), ..TorrentPatch::default() }),
        "setCategory" => {
            let category = form.text("category").unwrap_or_default().to_owned();
            if !category.is_empty() && !state.categories.contains_key(&category) {
                return refuse(409, "Incorrect category name");
            }
            change(TorrentPatch { category: Some(category), ..TorrentPatch::default() })
        }
        "setComment" => {
            let comment = Some(Some(form.text("comment").unwrap_or_default().to_owned()));
            change(TorrentPatch { comment, ..TorrentPatch::default() })
        }
        "addPeers" => add_peers(form, state),
        "createCategory" => category(form, state, true),
        "editCategory" => category(form, state, false),
        "removeCategories" => {
            let names = form.list("categories", '\n');
            commands(names.into_iter().map(|name| Command::Category(name, None)).collect())
        }
        "createTags" => commands(vec![Command::AddTags(tags(form))]),
        "deleteTags" => commands(vec![Command::RemoveTags(tags(form))]),
        _ => None,
    }
}

/// Changes each torrent by what it is now.
fn toggle(
    form: &Form,
    state: &DaemonState,
    patch: impl Fn(&Torrent) -> TorrentPatch,
) -> Option<Planned> {
    let torrents = form.torrents(state);
    let torrents = torrents.iter().filter_map(|hash| state.torrent(*hash));
    let mut all = Vec::new();
    for torrent in torrents {
        // What is the same for many is one command, which is stored once.
        match (all.last_mut(), patch(torrent)) {
            (Some(Command::Change(hashes, last)), patch) if **last == patch => {
                hashes.push(torrent.hash);
            }
            (_, patch) => all.push(Command::Change(vec![torrent.hash], Box::new(patch))),
        }
    }
    commands(all)
}

fn rate(form: &Form) -> Option<u64> {
    form.integer("limit").and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0)
}

fn add_peers(form: &Form, state: &DaemonState) -> Option<Planned> {
    let texts = form.list("peers", '|');
    let peers: Vec<SocketAddr> = texts.iter().filter_map(|peer| peer.parse().ok()).collect();
    if peers.is_empty() {
        return refuse(400, "No valid peers were specified");
    }
    let (torrents, failed) = (form.torrents(state), texts.len() - peers.len());
    let reply = Reply::AddedPeers(torrents.clone(), peers.len(), failed);
    let commands = vec![Command::AddPeers(torrents, peers)];
    Some(Ok(WebPlan { commands, reply, ..WebPlan::default() }))
}

fn category(form: &Form, state: &DaemonState, is_new: bool) -> Option<Planned> {
    let Some(name) = form.word("category") else {
        return refuse(400, "Category cannot be empty");
    };
    let is_valid = !name.contains('\\')
        && !name.contains("//")
        && !name.starts_with('/')
        && !name.ends_with('/');
    if !is_valid {
        return refuse(409, "Incorrect category name");
    }
    if is_new == state.categories.contains_key(name) {
        return refuse(409, "Unable to create or edit category");
    }
    let path = |field: &str| form.word(field).map(PathBuf::from);
    let dir = path("savePath");
    let incomplete_dir =
        path("downloadPath").filter(|_| form.flag("downloadPathEnabled") != Some(false));
    if [&dir, &incomplete_dir].into_iter().flatten().any(|path| !path.is_absolute()) {
        return refuse(400, "Paths must be absolute");
    }
    let seed_limits = state.categories.get(name).map(|now| now.seed_limits).unwrap_or_default();
    commands(vec![Command::Category(
        name.to_owned(),
        Some(Category { dir, incomplete_dir, seed_limits }),
    )])
}

/// Changes to the torrent of `hash`.
fn act_on_one(action: &str, form: &Form, state: &DaemonState) -> Option<Planned> {
    let known = [
        "rename",
        "renameFile",
        "renameFolder",
        "filePrio",
        "addTrackers",
        "editTracker",
        "editTrackers",
        "removeTrackers",
        "addWebSeeds",
        "editWebSeed",
        "removeWebSeeds",
    ];
    if !known.contains(&action) {
        return None;
    }
    on_one(form, state, |torrent| {
        let change = |patch: TorrentPatch| {
            commands(vec![Command::Change(vec![torrent.hash], Box::new(patch))])
        };
        match action {
            "rename" => match form.word("name") {
                Some(name) => {
                    let name = Some(Some(name.to_owned()));
                    change(TorrentPatch { name, ..TorrentPatch::default() })
                }
                None => refuse(409, "The name cannot be empty"),
            },
            "renameFile" | "renameFolder" => rename(form, torrent, action == "renameFile"),
            "filePrio" => file_priority(form, torrent),
            "addTrackers" => {
                let new = form.text("urls").unwrap_or_default();
                let mut tiers = torrent.trackers();
                let is_there =
                    |tiers: &[Vec<String>], url: &str| tiers.concat().iter().any(|u| u == url);
                for url in new.lines().map(str::trim).filter(|url| is_tracker(url)) {
                    if !is_there(&tiers, url) {
                        tiers.push(vec![url.to_owned()]);
                    }
                }
                change(TorrentPatch { trackers: Some(Some(tiers)), ..TorrentPatch::default() })
            }
            "editTracker" | "editTrackers" => edit_tracker(form, torrent),
            "removeTrackers" => {
                let gone = form.list("urls", '|');
                let mut tiers = torrent.trackers();
                if !gone.iter().any(|url| tiers.concat().contains(url)) {
                    return refuse(409, "No trackers were removed");
                }
                tiers.iter_mut().for_each(|tier| tier.retain(|url| !gone.contains(url)));
                tiers.retain(|tier| !tier.is_empty());
                change(TorrentPatch { trackers: Some(Some(tiers)), ..TorrentPatch::default() })
            }
            _ => refuse(409, "Web seeds cannot be changed yet"),
        }
    })
}

fn is_tracker(url: &str) -> bool {
    ["http://", "https://", "udp://"].iter().any(|scheme| url.starts_with(scheme))
        && !url.contains(|c: char| c.is_control() || c.is_whitespace())
}

fn edit_tracker(form: &Form, torrent: &Torrent) -> Option<Planned> {
    let old = form.word("origUrl").or(form.word("url"));
    let (Some(old), Some(new)) = (old, form.word("newUrl")) else {
        return refuse(400, "origUrl and newUrl are needed");
    };
    if !is_tracker(new) {
        return refuse(400, "New tracker URL is invalid");
    }
    let mut tiers = torrent.trackers();
    let all = tiers.concat();
    if !all.iter().any(|url| url == old) {
        return refuse(409, "Tracker not found");
    }
    if new != old && all.iter().any(|url| url == new) {
        return refuse(409, "New tracker URL already exists");
    }
    for url in tiers.iter_mut().flatten().filter(|url| *url == old) {
        *url = new.to_owned();
    }
    let patch = TorrentPatch { trackers: Some(Some(tiers)), ..TorrentPatch::default() };
    commands(vec![Command::Change(vec![torrent.hash], Box::new(patch))])
}

fn rename(form: &Form, torrent: &Torrent, is_file: bool) -> Option<Planned> {
    let (Some(old), Some(new)) = (form.word("oldPath"), form.word("newPath")) else {
        return refuse(400, "oldPath and newPath are needed");
    };
    let is_below =
        |path: &str| path.split('/').all(|part| !part.is_empty() && ![".", ".."].contains(&part));
    if !is_below(new) {
        return refuse(409, "The path does not lie below the torrent's directory");
    }
    let Some(files) = renamed(torrent, old, new, is_file) else {
        return refuse(409, "There is no such path, or the new one is taken");
    };
    let is_top = !is_file && !old.contains('/') && !new.contains('/');
    if is_top && torrent.is_directory() == Some(true) {
        return commands(vec![Command::RenameTop(torrent.hash, new.to_owned())]);
    }
    let rename = |(file, path)| Command::RenameFile { torrent: torrent.hash, file, path };
    commands(files.into_iter().map(rename).collect())
}

fn file_priority(form: &Form, torrent: &Torrent) -> Option<Planned> {
    let priority = form.integer("priority").and_then(details::of_number);
    let Some(priority) = priority else { return refuse(400, "Priority is not valid") };
    let files = Details::files_of(None, torrent);
    if files.is_empty() {
        return refuse(409, "Torrent's metadata has not yet downloaded");
    }
    let mut changes: Vec<(usize, Priority)> = Vec::new();
    for place in form.list("id", '|') {
        let Ok(place) = place.parse::<usize>() else {
            return refuse(400, "File IDs must be integers");
        };
        let Some(file) = files.get(place) else { return refuse(409, "File ID is not valid") };
        changes.push((file.number, priority));
    }
    let patch = TorrentPatch { files: changes, ..TorrentPatch::default() };
    commands(vec![Command::Change(vec![torrent.hash], Box::new(patch))])
}

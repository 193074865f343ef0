//! From a call to commands, and from their replies to an answer.
//!
//! Decides: what each method does.
//! Must not know: the older protocol's names, HTTP.
//! Invariant: a method that only reads has no commands.

use super::call::{Call, RpcError, RpcProtocol, write};
use super::fields::{Source, field, need};
use super::{groups, names, session, torrent_set};
use crate::command::{Add, AddSource, Command, CommandReply, QueueMove, TorrentPatch};
use crate::details::{Details, Needs};
use crate::fault::{Fault, FaultKind};
use crate::paths::renamed;
use crate::state::DaemonState;
use crate::torrent::Torrent;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bt_types::InfoHash;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

/// "Recently" is within this many seconds.
const RECENTLY: u64 = 60;

/// What a call needs before it can be answered.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// Carried out in this order. The first fault ends it.
    pub commands: Vec<Command>,
    /// What the answer needs of single torrents, after the commands.
    pub needs: Needs,
    /// What the answer needs besides.
    pub ask: Option<SystemQuery>,
    reply: Reply,
}

/// What an answer needs of the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SystemQuery {
    /// Free and total bytes of the file system of this path.
    FreeSpace(PathBuf),
}

/// What the machine said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SystemReply {
    /// Free and total bytes; `None` if the path cannot be looked at.
    Space(Option<(u64, u64)>),
}

/// How the answer is made.
#[derive(Clone, PartialEq, Debug, Default)]
enum Reply {
    #[default]
    Empty,
    Torrents(TorrentGet),
    Added,
    Renamed {
        torrent: InfoHash,
        path: String,
        name: String,
    },
    Session(Option<Vec<String>>),
    Stats,
    Space(PathBuf),
    Port {
        is_open: bool,
        protocol: String,
    },
    /// The ranges of the blocklist.
    Blocklist,
    /// The groups of these names; `None` for all.
    Groups(Option<Vec<String>>),
}

#[derive(Clone, PartialEq, Debug)]
struct TorrentGet {
    torrents: Vec<InfoHash>,
    /// The names as they were asked for.
    fields: Vec<String>,
    table: bool,
    /// Numbers of torrents that went, where those were asked for.
    removed: Option<Vec<u64>>,
}

/// Returns what a call needs.
pub fn plan(call: &Call, state: &DaemonState) -> Result<Plan, RpcError> {
    let params = &call.params;
    let all =
        |command: fn(Vec<InfoHash>) -> Command| Ok(commands(vec![command(chosen(params, state)?)]));
    match &call.method[..] {
        "torrent_get" => torrent_get(params, state),
        "torrent_set" => torrent_set(params, state),
        "torrent_add" => torrent_add(params, state),
        "torrent_start" => run(params, state, true, None),
        "torrent_start_now" => run(params, state, true, Some(true)),
        "torrent_stop" => run(params, state, false, Some(false)),
        "torrent_verify" => all(Command::Check),
        "torrent_reannounce" => all(Command::Reannounce),
        "torrent_remove" => {
            let with_data = params.get("delete_local_data").and_then(Value::as_bool) == Some(true);
            let torrents = chosen(params, state)?;
            Ok(commands(vec![Command::Remove(torrents, with_data)]))
        }
        "torrent_set_location" => set_location(params, state),
        "torrent_rename_path" => rename_path(params, state),
        "queue_move_top" => queue(params, state, QueueMove::Top),
        "queue_move_up" => queue(params, state, QueueMove::Up),
        "queue_move_down" => queue(params, state, QueueMove::Down),
        "queue_move_bottom" => queue(params, state, QueueMove::Bottom),
        "session_get" => {
            let fields = params.get("fields").and_then(Value::as_array);
            let names = |fields: &Vec<Value>| {
                fields.iter().filter_map(Value::as_str).map(names::snake).collect()
            };
            Ok(reply(Reply::Session(fields.map(names))))
        }
        "session_set" => Ok(commands(vec![Command::Settings(session::set(params, state)?)])),
        "session_stats" => Ok(reply(Reply::Stats)),
        "session_close" => Ok(commands(vec![Command::Stop])),
        "free_space" => free_space(params),
        "port_test" => Ok(port_test(params, state)),
        "group_get" => Ok(reply(Reply::Groups(groups::chosen(params)))),
        "group_set" => Ok(commands(vec![Command::Settings(groups::set(params, state)?)])),
        "blocklist_update" => Ok(Plan {
            commands: vec![Command::UpdateBlocklist],
            reply: Reply::Blocklist,
            ..Plan::default()
        }),
        _ => Err(RpcError::new(-32601, "method name not recognized")),
    }
}

fn commands(commands: Vec<Command>) -> Plan {
    Plan { commands, ..Plan::default() }
}

fn reply(reply: Reply) -> Plan {
    Plan { reply, ..Plan::default() }
}

/// Returns the torrents that `ids` names: all without it. Unknown ones are left out.
fn chosen(params: &Map<String, Value>, state: &DaemonState) -> Result<Vec<InfoHash>, RpcError> {
    let one = |id: &Value| -> Option<InfoHash> {
        if let Some(number) = id.as_u64() {
            return state.by_number(number).map(|torrent| torrent.hash);
        }
        let text = id.as_str()?;
        let hash = InfoHash::from_hex(text).and_then(|hash| state.torrent(hash));
        let by_number = || text.parse().ok().and_then(|number| state.by_number(number));
        hash.or_else(by_number).map(|torrent| torrent.hash)
    };
    Ok(match params.get("ids") {
        None | Some(Value::Null) => state.torrents().map(|torrent| torrent.hash).collect(),
        Some(Value::Array(ids)) => ids.iter().filter_map(one).collect(),
        Some(Value::String(text)) if is_recently_active(text) => {
            recently(state).map(|torrent| torrent.hash).collect()
        }
        // A program sends what its user typed: "1,ab…".
        Some(Value::String(text)) if text.contains(',') => {
            text.split(',').filter_map(|id| one(&Value::from(id.trim()))).collect()
        }
        Some(id @ (Value::String(_) | Value::Number(_))) => one(id).into_iter().collect(),
        Some(_) => return Err(RpcError::params("ids is a number, a hash, or a list of them")),
    })
}

fn is_recently_active(text: &str) -> bool {
    names::snake(text) == "recently_active"
}

fn recently(state: &DaemonState) -> impl Iterator<Item = &Arc<Torrent>> {
    let since = state.now.saturating_sub(RECENTLY);
    state.torrents().filter(move |torrent| {
        let dates = torrent.record.dates;
        let last = [dates.active, dates.edited, dates.started, dates.completed, Some(dates.added)];
        last.into_iter().flatten().chain([torrent.live.phase_since]).any(|date| date >= since)
    })
}

fn torrent_get(params: &Map<String, Value>, state: &DaemonState) -> Result<Plan, RpcError> {
    let names = params.get("fields").and_then(Value::as_array);
    let fields: Vec<String> = names
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|name| field(&names::snake(name)).is_some())
        .map(str::to_owned)
        .collect();
    if fields.is_empty() {
        return Err(RpcError::params("no fields specified"));
    }
    let torrents = chosen(params, state)?;
    let mut needs = Needs { torrents: torrents.clone(), ..Needs::default() };
    fields.iter().for_each(|name| need(&names::snake(name), &mut needs));
    if !(needs.files || needs.peers || needs.trackers || needs.pieces) {
        needs.torrents.clear();
    }
    let is_recent = params.get("ids").and_then(Value::as_str).is_some_and(is_recently_active);
    let since = state.now.saturating_sub(RECENTLY);
    let removed = is_recent.then(|| {
        state.removed().filter(|removed| removed.at >= since).map(|gone| gone.number).collect()
    });
    let table = params.get("format").and_then(Value::as_str) == Some("table");
    let reply = Reply::Torrents(TorrentGet { torrents, fields, table, removed });
    Ok(Plan { needs, reply, ..Plan::default() })
}

fn torrent_set(params: &Map<String, Value>, state: &DaemonState) -> Result<Plan, RpcError> {
    let torrents = chosen(params, state)?;
    let mut all = Vec::new();
    for hash in &torrents {
        let Some(torrent) = state.torrent(*hash) else { continue };
        let patch = torrent_set::patch(params, Some(torrent))?;
        if patch == TorrentPatch::default() {
            continue;
        }
        // What is the same for many is one command, which is stored once.
        match all.last_mut() {
            Some(Command::Change(hashes, last)) if **last == patch => hashes.push(*hash),
            _ => all.push(Command::Change(vec![*hash], Box::new(patch))),
        }
    }
    if let Some(place) = params.get("queue_position").and_then(Value::as_u64) {
        let place = QueueMove::To(u32::try_from(place).unwrap_or(u32::MAX));
        all.push(Command::Queue(torrents.clone(), place));
    }
    if let Some(location) = params.get("location").and_then(Value::as_str) {
        let dir = absolute(location)?;
        all.push(Command::Move { torrents, dir, move_data: false });
    }
    Ok(commands(all))
}

fn torrent_add(params: &Map<String, Value>, state: &DaemonState) -> Result<Plan, RpcError> {
    let text =
        |name: &str| params.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let source = match (text("metainfo"), text("filename")) {
        (Some(base64), _) => {
            let bare: String = base64.split_ascii_whitespace().collect();
            let bytes = STANDARD.decode(bare);
            let bytes = bytes.map_err(|_| RpcError::new(4, "unrecognized info"))?;
            AddSource::Bytes(bytes)
        }
        (None, Some(name)) if name.starts_with('/') => AddSource::Path(name.into()),
        (None, Some(link)) => AddSource::Link(link.to_owned()),
        (None, None) => return Err(RpcError::params("no filename or metainfo specified")),
    };
    let dir = match text("download_dir") {
        Some(dir) => absolute(dir)?,
        None => state.settings.dir.clone(),
    };
    let paused = params.get("paused").and_then(Value::as_bool);
    let add = Add {
        dir: Some(dir),
        start: paused.map(|paused| !paused),
        patch: torrent_set::patch(params, None)?,
        ..Add::new(source)
    };
    Ok(Plan { commands: vec![Command::Add(Box::new(add))], reply: Reply::Added, ..Plan::default() })
}

fn run(
    params: &Map<String, Value>,
    state: &DaemonState,
    running: bool,
    forced: Option<bool>,
) -> Result<Plan, RpcError> {
    let patch = TorrentPatch { running: Some(running), forced, ..TorrentPatch::default() };
    Ok(commands(vec![Command::Change(chosen(params, state)?, Box::new(patch))]))
}

fn queue(
    params: &Map<String, Value>,
    state: &DaemonState,
    to: QueueMove,
) -> Result<Plan, RpcError> {
    Ok(commands(vec![Command::Queue(chosen(params, state)?, to)]))
}

fn absolute(text: &str) -> Result<PathBuf, RpcError> {
    let path = PathBuf::from(text);
    if !path.is_absolute() {
        return Err(RpcError::new(3, "path is not absolute"));
    }
    Ok(path)
}

fn set_location(params: &Map<String, Value>, state: &DaemonState) -> Result<Plan, RpcError> {
    let Some(location) = params.get("location").and_then(Value::as_str) else {
        return Err(RpcError::params("no location specified"));
    };
    let dir = absolute(location)?;
    let move_data = params.get("move").and_then(Value::as_bool) == Some(true);
    Ok(commands(vec![Command::Move { torrents: chosen(params, state)?, dir, move_data }]))
}

/// Renames a file or a directory of one torrent; its first component is the torrent's name.
fn rename_path(params: &Map<String, Value>, state: &DaemonState) -> Result<Plan, RpcError> {
    let text = |name: &str| params.get(name).and_then(Value::as_str).unwrap_or_default();
    let (path, name) = (text("path").trim_end_matches('/'), text("name"));
    let [hash] = chosen(params, state)?[..] else {
        return Err(RpcError::params("torrent-rename-path requires 1 torrent"));
    };
    if name.is_empty() || name.contains('/') || [".", ".."].contains(&name) {
        return Err(RpcError::params("the name must be one that a file can have"));
    }
    let Some(torrent) = state.torrent(hash) else {
        return Err(RpcError::params("torrent-rename-path requires 1 torrent"));
    };
    let new = match path.rsplit_once('/') {
        Some((parent, _)) => format!("{parent}/{name}"),
        None => name.to_owned(),
    };
    let Some(files) = renamed(torrent, path, &new, false) else {
        return Err(RpcError::params("the torrent has no such path, or the new one is taken"));
    };
    let is_top = !path.contains('/');
    let mut all: Vec<Command> = match is_top && torrent.is_directory() == Some(true) {
        true => vec![Command::RenameTop(hash, name.to_owned())],
        false => files
            .into_iter()
            .map(|(file, path)| Command::RenameFile { torrent: hash, file, path })
            .collect(),
    };
    if is_top {
        let patch = TorrentPatch { name: Some(Some(name.to_owned())), ..TorrentPatch::default() };
        all.push(Command::Change(vec![hash], Box::new(patch)));
    }
    let reply = Reply::Renamed { torrent: hash, path: path.to_owned(), name: name.to_owned() };
    Ok(Plan { commands: all, reply, ..Plan::default() })
}

fn free_space(params: &Map<String, Value>) -> Result<Plan, RpcError> {
    let Some(path) = params.get("path").and_then(Value::as_str) else {
        return Err(RpcError::params("directory path is not absolute"));
    };
    let path = absolute(path)?;
    let ask = Some(SystemQuery::FreeSpace(path.clone()));
    Ok(Plan { ask, reply: Reply::Space(path), ..Plan::default() })
}

/// No foreign service is asked: the port is open if a peer came in over it.
fn port_test(params: &Map<String, Value>, state: &DaemonState) -> Plan {
    let protocol = params.get("ip_protocol").and_then(Value::as_str).unwrap_or("ipv4");
    let is_open = !state.session.listen.is_empty() && state.session.connections > 0;
    reply(Reply::Port { is_open, protocol: protocol.to_owned() })
}

/// Writes the answer to a call; `None` where there is none.
pub fn answer(
    call: &Call,
    plan: Result<&Plan, &RpcError>,
    state: &DaemonState,
    details: &HashMap<InfoHash, Details>,
    done: Result<&[CommandReply], &Fault>,
    asked: Option<SystemReply>,
) -> Option<Value> {
    let is_old = matches!(call.protocol, RpcProtocol::Old(_));
    let result = match (plan, done) {
        (Err(error), _) => Err(error.clone()),
        (Ok(_), Err(fault)) => Err(of_fault(fault)),
        (Ok(plan), Ok(replies)) => make(&plan.reply, state, details, replies, asked, is_old),
    };
    write(&call.protocol, result)
}

fn of_fault(fault: &Fault) -> RpcError {
    let code = match fault.kind {
        FaultKind::Invalid | FaultKind::NotFound | FaultKind::Conflict => -32602,
        FaultKind::NotATorrent => 9,
        FaultKind::Network => 8,
        FaultKind::Disk => 5,
        FaultKind::Internal => -32603,
    };
    RpcError::new(code, fault.message.clone())
}

fn make(
    reply: &Reply,
    state: &DaemonState,
    details: &HashMap<InfoHash, Details>,
    replies: &[CommandReply],
    asked: Option<SystemReply>,
    is_old: bool,
) -> Result<Value, RpcError> {
    let spell = |value: Value| if is_old { names::spell_torrent(value) } else { value };
    let spell_session = |value: Value| if is_old { names::spell_session(value) } else { value };
    Ok(match reply {
        Reply::Empty => json!({}),
        Reply::Torrents(get) => torrents(get, state, details, is_old),
        Reply::Added => spell(added(state, replies)?),
        Reply::Renamed { torrent, path, name } => {
            let id = state.torrent(*torrent).map_or(0, |torrent| torrent.number);
            json!({ "id": id, "name": name, "path": path })
        }
        Reply::Session(fields) => spell_session(session::get(state, fields.as_deref())),
        Reply::Stats => spell(session::stats(state)),
        Reply::Space(path) => {
            let space = match asked {
                Some(SystemReply::Space(space)) => space,
                None => None,
            };
            let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            let (free, total) = space.map_or((-1, -1), |(f, t)| (signed(f), signed(t)));
            // `total_size` is spelled so in both protocols.
            let size = if is_old { "size-bytes" } else { "size_bytes" };
            let result = json!({ "path": path.to_string_lossy(), size: free, "total_size": total });
            if space.is_none() {
                let message = format!("{}: No such file or directory", path.display());
                return Err(RpcError { code: 5, message, result });
            }
            result
        }
        Reply::Port { is_open, protocol } => {
            spell(json!({ "port_is_open": is_open, "ip_protocol": protocol }))
        }
        Reply::Blocklist => spell_session(json!({ "blocklist_size": state.blocklist_ranges })),
        Reply::Groups(names) => json!({ "group": groups::rows(names.as_deref(), state, is_old) }),
    })
}

fn torrents(
    get: &TorrentGet,
    state: &DaemonState,
    details: &HashMap<InfoHash, Details>,
    is_old: bool,
) -> Value {
    let spell = |value: Value| if is_old { names::spell_torrent(value) } else { value };
    let makers: Vec<_> =
        get.fields.iter().filter_map(|name| Some((name, field(&names::snake(name))?))).collect();
    let rows = get.torrents.iter().filter_map(|hash| state.torrent(*hash)).map(|torrent| {
        let source = Source { state, torrent, details: details.get(&torrent.hash) };
        let values = makers.iter().map(|(name, make)| (*name, spell(make(&source))));
        if get.table {
            values.map(|(_, value)| value).collect::<Value>()
        } else {
            let row: Map<_, _> = values.map(|(name, value)| (name.clone(), value)).collect();
            row.into()
        }
    });
    let head = get.table.then(|| get.fields.iter().cloned().collect::<Value>());
    let rows: Vec<Value> = head.into_iter().chain(rows).collect();
    let mut result = json!({ "torrents": rows });
    if let (Some(removed), Value::Object(object)) = (&get.removed, &mut result) {
        object.insert("removed".into(), removed.clone().into());
    }
    result
}

fn added(state: &DaemonState, replies: &[CommandReply]) -> Result<Value, RpcError> {
    let reply = replies.last();
    let torrent = reply.and_then(|reply| state.torrent(reply.torrent?));
    let (Some(reply), Some(torrent)) = (reply, torrent) else {
        return Err(RpcError::new(-32603, "the torrent is gone"));
    };
    let row = json!({
        "hash_string": torrent.hash.to_string(),
        "id": torrent.number,
        "name": torrent.name(),
    });
    let key = if reply.duplicate { "torrent_duplicate" } else { "torrent_added" };
    Ok(json!({ key: row }))
}

#[cfg(test)]
mod tests;

//! What an action needs, and the answer to it.
//!
//! Decides: the status of what is refused, and how answers are made of the state.
//! Must not know: HTTP, which action has which plan.
//! Invariant: an answer is a function of its plan, the state, and what was done.

use super::form::Form;
use super::sync::SyncTable;
use super::{details, list};
use crate::command::{Command, CommandReply};
use crate::details::{Details, Needs};
use crate::fault::{Fault, FaultKind};
use crate::state::DaemonState;
use crate::torrent::Torrent;
use bt_types::InfoHash;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// What an action needs before it can be answered.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct WebPlan {
    /// Carried out in this order. The first fault ends it; of additions each is tried.
    pub commands: Vec<Command>,
    /// What the answer needs of single torrents, after the commands.
    pub needs: Needs,
    pub(super) reply: Reply,
}

/// An answer of the Web API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub kind: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

const TEXT: &str = "text/plain; charset=UTF-8";
const JSON: &str = "application/json";
const TORRENT: &str = "application/x-bittorrent";

impl WebAnswer {
    /// Makes an answer of text.
    pub fn text(status: u16, text: impl Into<String>) -> WebAnswer {
        WebAnswer { status, kind: TEXT, body: text.into().into_bytes() }
    }

    fn json(value: &Value) -> WebAnswer {
        WebAnswer { status: 200, kind: JSON, body: value.to_string().into_bytes() }
    }
}

/// How the answer is made.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) enum Reply {
    #[default]
    Empty,
    Text(String),
    Json(Value),
    Info(Form),
    Properties(InfoHash),
    Trackers(InfoHash),
    Files(InfoHash, Option<Vec<usize>>),
    PieceStates(InfoHash),
    Export(InfoHash),
    Main(u64),
    Peers(InfoHash, u64),
    /// The bytes of a torrent file.
    Torrent(Vec<u8>),
    Added,
    /// The id of a torrent that is being made.
    Created,
    AddedPeers(Vec<InfoHash>, usize, usize),
}

/// The plan of an action, or its answer if it is refused.
pub(super) type Planned = Result<WebPlan, WebAnswer>;

pub(super) fn reply(reply: Reply) -> Option<Planned> {
    Some(Ok(WebPlan { reply, ..WebPlan::default() }))
}

pub(super) fn value(value: impl Into<Value>) -> Option<Planned> {
    reply(Reply::Json(value.into()))
}

pub(super) fn text(text: impl Into<String>) -> Option<Planned> {
    reply(Reply::Text(text.into()))
}

pub(super) fn commands(commands: Vec<Command>) -> Option<Planned> {
    Some(Ok(WebPlan { commands, ..WebPlan::default() }))
}

pub(super) fn refuse(status: u16, why: impl Into<String>) -> Option<Planned> {
    Some(Err(WebAnswer::text(status, why)))
}

/// Plans for the torrent that `hash` names.
pub(super) fn on_one(
    form: &Form,
    state: &DaemonState,
    plan: impl FnOnce(&Arc<Torrent>) -> Option<Planned>,
) -> Option<Planned> {
    let hash = form.word("hash").and_then(InfoHash::from_hex);
    match hash.and_then(|hash| state.torrent(hash)) {
        Some(torrent) => plan(torrent),
        None => refuse(404, "Torrent hash was not found"),
    }
}

pub(super) fn one(
    form: &Form,
    state: &DaemonState,
    make: impl FnOnce(InfoHash) -> Reply,
    need: impl FnOnce(&mut Needs),
) -> Option<Planned> {
    on_one(form, state, |torrent| {
        let mut needs = Needs { torrents: vec![torrent.hash], ..Needs::default() };
        need(&mut needs);
        Some(Ok(WebPlan { needs, reply: make(torrent.hash), ..WebPlan::default() }))
    })
}

/// Writes the answer to an action. `done` has the result of each command that was tried.
pub fn answer(
    plan: &WebPlan,
    state: &DaemonState,
    details: &HashMap<InfoHash, Details>,
    done: &[Result<CommandReply, Fault>],
    sync: &mut SyncTable,
    caller: &str,
) -> WebAnswer {
    if plan.reply == Reply::Added {
        return added(done);
    }
    if let Some(fault) = done.iter().find_map(|done| done.as_ref().err()) {
        return WebAnswer::text(status(fault.kind), fault.message.clone());
    }
    let on = |hash: InfoHash, make: &dyn Fn(&Torrent, Option<&Details>) -> Value| match state
        .torrent(hash)
    {
        Some(torrent) => WebAnswer::json(&make(torrent, details.get(&hash))),
        None => WebAnswer::text(404, "Torrent hash was not found"),
    };
    match &plan.reply {
        Reply::Empty | Reply::Added => WebAnswer::text(200, ""),
        Reply::Text(text) => WebAnswer::text(200, text.clone()),
        Reply::Json(value) => WebAnswer::json(value),
        Reply::Info(form) => {
            let chosen = list::chosen(form, state).unwrap_or_default();
            let body = list::rows(&chosen, form, state, details);
            WebAnswer { status: 200, kind: JSON, body }
        }
        Reply::Properties(hash) => on(*hash, &|torrent, _| details::properties(torrent, state)),
        Reply::Trackers(hash) => on(*hash, &details::trackers),
        Reply::Files(hash, places) => on(*hash, &|torrent, known| {
            let all = details::files(&Details::files_of(known, torrent), torrent);
            match (all, places) {
                (Value::Array(all), Some(places)) => {
                    places.iter().filter_map(|place| all.get(*place).cloned()).collect()
                }
                (all, _) => all,
            }
        }),
        Reply::PieceStates(hash) => on(*hash, &|_, known| details::piece_states(known)),
        Reply::Torrent(bytes) => WebAnswer { status: 200, kind: TORRENT, body: bytes.clone() },
        Reply::Created => {
            let reply = done.iter().find_map(|done| done.as_ref().ok()?.creation.clone());
            WebAnswer::json(&json!({ "taskID": reply.unwrap_or_default() }))
        }
        Reply::Export(hash) => export(state, *hash),
        Reply::Main(rid) => WebAnswer::json(&sync.maindata(caller, *rid, state)),
        Reply::Peers(hash, rid) => match state.torrent(*hash) {
            Some(torrent) => WebAnswer::json(&sync.peers(caller, *rid, torrent, details.get(hash))),
            None => WebAnswer::text(404, "Torrent hash was not found"),
        },
        Reply::AddedPeers(torrents, added, failed) => {
            let row = json!({ "added": added, "failed": failed });
            let rows = torrents.iter().map(|hash| (hash.to_string(), row.clone()));
            WebAnswer::json(&rows.collect::<Map<_, _>>().into())
        }
    }
}

fn export(state: &DaemonState, hash: InfoHash) -> WebAnswer {
    let metainfo = state.torrent(hash).and_then(|torrent| torrent.metainfo.clone());
    match metainfo {
        Some(metainfo) => WebAnswer { status: 200, kind: TORRENT, body: metainfo.to_bytes() },
        None => WebAnswer::text(404, "Torrent hash was not found"),
    }
}

/// `Ok.` if anything new was added, 415 for what is no torrent, else `Fails.`.
fn added(done: &[Result<CommandReply, Fault>]) -> WebAnswer {
    if done.iter().any(|done| done.as_ref().is_ok_and(|reply| !reply.duplicate)) {
        return WebAnswer::text(200, "Ok.");
    }
    let wrong = done.iter().filter_map(|done| done.as_ref().err());
    match wrong.into_iter().find(|fault| fault.kind == FaultKind::NotATorrent) {
        Some(fault) => WebAnswer::text(415, fault.message.clone()),
        None => WebAnswer::text(200, "Fails."),
    }
}

fn status(kind: FaultKind) -> u16 {
    match kind {
        FaultKind::Invalid => 400,
        FaultKind::NotFound => 404,
        FaultKind::NotATorrent => 415,
        FaultKind::Conflict | FaultKind::Disk | FaultKind::Network => 409,
        FaultKind::Internal => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_addition_is_answered_by_what_became_of_it() {
        let reply = |duplicate| {
            let torrent = Some(InfoHash([1; 20]));
            Ok(CommandReply { torrent, duplicate, ..CommandReply::default() })
        };
        let fault = |kind| Err(Fault::new(kind, "no"));
        for (done, status, body) in [
            (vec![reply(false)], 200, "Ok."),
            (vec![reply(true)], 200, "Fails."),
            (vec![reply(true), reply(false)], 200, "Ok."),
            (vec![], 200, "Fails."),
            (vec![fault(FaultKind::NotATorrent)], 415, "no"),
            (vec![fault(FaultKind::Network)], 200, "Fails."),
        ] {
            assert_eq!(added(&done), WebAnswer::text(status, body), "{done:?}");
        }
    }
}

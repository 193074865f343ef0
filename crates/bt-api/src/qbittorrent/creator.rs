//! `torrentcreator`: torrents that the daemon makes.
//!
//! Decides: how a task is shown.
//! Must not know: HTTP; how data is hashed.
//! Invariant: a path that is not absolute is refused.

use super::answer::{Planned, Reply, WebPlan, commands, refuse, reply, value};
use super::form::Form;
use crate::command::Command;
use crate::creation::{Creation, CreationStanding, CreationWish};
use crate::state::DaemonState;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Returns the plan of an action that only reads.
pub(super) fn read(action: &str, form: &Form, state: &DaemonState) -> Option<Planned> {
    match action {
        "status" => {
            let id = form.word("taskID");
            let chosen = state.creations.iter().filter(|task| id.is_none_or(|id| id == task.id));
            let rows: Vec<Value> = chosen.map(row).collect();
            match id.is_some() && rows.is_empty() {
                true => refuse(404, "There is no such task"),
                false => value(rows),
            }
        }
        "torrentFile" => {
            let id = form.word("taskID").unwrap_or_default();
            match state.creations.iter().find(|task| task.id == id).map(|task| &task.standing) {
                Some(CreationStanding::Done(bytes, _)) => reply(Reply::Torrent(bytes.to_vec())),
                Some(CreationStanding::Failed(why)) => refuse(409, why.clone()),
                Some(_) => refuse(409, "The torrent is not made yet"),
                None => refuse(404, "There is no such task"),
            }
        }
        _ => None,
    }
}

/// Returns the plan of an action that changes something.
pub(super) fn act(action: &str, form: &Form) -> Option<Planned> {
    match action {
        "addTask" => add(form),
        "deleteTask" => {
            let id = form.word("taskID").unwrap_or_default().to_owned();
            commands(vec![Command::ForgetCreation(id)])
        }
        _ => None,
    }
}

fn add(form: &Form) -> Option<Planned> {
    let path = |name: &str| form.word(name).map(PathBuf::from);
    let (Some(source), file) = (path("sourcePath"), path("torrentFilePath")) else {
        return refuse(400, "sourcePath is missing");
    };
    if [Some(&source), file.as_ref()].into_iter().flatten().any(|path| !path.is_absolute()) {
        return refuse(400, "Paths must be absolute");
    }
    // A blank line, or `|` twice, parts tiers.
    let urls = form.text("trackers").unwrap_or_default().replace('|', "\n");
    let tier = |text: &str| {
        text.lines().map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect()
    };
    let trackers: Vec<Vec<String>> = urls.split("\n\n").map(tier).collect();
    let wish = CreationWish {
        source,
        file,
        piece_length: form
            .integer("pieceSize")
            .and_then(|size| u32::try_from(size).ok())
            .filter(|size| *size > 0),
        trackers: trackers.into_iter().filter(|tier| !tier.is_empty()).collect(),
        web_seeds: form.list("urlSeeds", '|'),
        private: form.flag("private").unwrap_or(false),
        source_field: form.word("source").map(str::to_owned),
        comment: form.word("comment").map(str::to_owned),
        seed: form.flag("startSeeding").unwrap_or(false),
    };
    let commands = vec![Command::Create(Box::new(wish))];
    Some(Ok(WebPlan { commands, reply: Reply::Created, ..WebPlan::default() }))
}

fn row(task: &Creation) -> Value {
    let [asked, begun, ended] = task.times;
    let time = |seconds: u64| match i64::try_from(seconds).map(jiff::Timestamp::from_second) {
        Ok(Ok(time)) if seconds > 0 => time.strftime("%a %b %e %H:%M:%S %Y").to_string(),
        _ => String::new(),
    };
    let wish = &task.wish;
    let (status, progress, piece_length, why) = match &task.standing {
        CreationStanding::Queued => ("Queued", None, None, None),
        CreationStanding::Running(progress) => {
            ("Running", Some((progress * 100.0) as i64), None, None)
        }
        CreationStanding::Done(_, length) => ("Finished", Some(100), Some(*length), None),
        CreationStanding::Failed(why) => ("Failed", None, None, Some(why.clone())),
    };
    let file = wish.file.as_ref().map(|path| path.to_string_lossy());
    let row = json!({
        "taskID": task.id,
        "sourcePath": wish.source.to_string_lossy(),
        "torrentFilePath": file.unwrap_or_default(),
        "pieceSize": piece_length.or(wish.piece_length).unwrap_or(0),
        "private": wish.private,
        "timeAdded": time(asked),
        "timeStarted": time(begun),
        "timeFinished": time(ended),
        "trackers": wish.trackers.concat(),
        "urlSeeds": wish.web_seeds,
        "comment": wish.comment.clone().unwrap_or_default(),
        "source": wish.source_field.clone().unwrap_or_default(),
        "format": "v1",
        "status": status,
        "progress": progress,
        "errorMessage": why,
    });
    // What is not known is not there.
    match row {
        Value::Object(row) => row.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        row => row,
    }
}

//! `torrents/add`.
//!
//! Decides: what the fields of all generations mean.
//! Must not know: HTTP, sessions.
//! Invariant: each link and each file is one addition with the same options.

use super::answer::{Planned, Reply, WebPlan, refuse};
use super::form::{Form, seed_limits, tags};
use crate::command::{Add, AddSource, Command, TorrentPatch};
use crate::state::DaemonState;
use crate::torrent::StopOn;
use bt_model::PieceOrder;
use std::path::PathBuf;

pub(super) fn add(form: &Form, state: &DaemonState) -> Option<Planned> {
    let links = form.list("urls", '\n').into_iter().map(AddSource::Link);
    let files = form.files.iter().cloned().map(AddSource::Bytes);
    let mut tags_and = TorrentPatch {
        down_limit: form
            .integer("dlLimit")
            .map(|limit| u64::try_from(limit).ok().filter(|l| *l > 0)),
        up_limit: form.integer("upLimit").map(|limit| u64::try_from(limit).ok().filter(|l| *l > 0)),
        category: form.word("category").map(str::to_owned),
        add_tags: tags(form),
        seed_limits: seed_limits(form),
        name: form.word("rename").map(|name| Some(name.to_owned())),
        forced: form.flag("forced"),
        first_last: form.flag("firstLastPiecePrio"),
        auto_dir: form.flag("autoTMM").or(form.flag("useAutoTMM")),
        ..TorrentPatch::default()
    };
    if form.flag("sequentialDownload") == Some(true) {
        tags_and.order = Some(PieceOrder::Sequential);
    }
    let dir = form.word("savepath").map(PathBuf::from);
    if dir.as_ref().is_some_and(|dir| !dir.is_absolute()) {
        return refuse(400, "savepath must be absolute");
    }
    let dir = dir.filter(|_| tags_and.auto_dir != Some(true));
    let dir = dir.or_else(|| {
        // Without automatic management a category names a directory only if it has one of its own.
        let own = tags_and.category.as_ref().and_then(|name| state.categories.get(name));
        let is_auto = tags_and.auto_dir == Some(true);
        (!is_auto).then(|| {
            own.and_then(|own| own.dir.clone()).unwrap_or_else(|| state.settings.dir.clone())
        })
    });
    let stopped = form.flag("stopped").or(form.flag("paused"));
    let trust_data = form.flag("skip_checking").or(form.flag("seedMode")).unwrap_or(false);
    let one = |source: AddSource| {
        Command::Add(Box::new(Add {
            dir: dir.clone(),
            start: stopped.map(|stopped| !stopped),
            trust_data,
            patch: tags_and.clone(),
            to_top: form.flag("addToTopOfQueue") == Some(true),
            stop_on: match form.word("stopCondition") {
                Some("MetadataReceived") => Some(StopOn::Metadata),
                Some("FilesChecked") => Some(StopOn::Checked),
                _ => None,
            },
            ..Add::new(source)
        }))
    };
    let commands = links.chain(files).map(one).collect();
    Some(Ok(WebPlan { commands, reply: Reply::Added, ..WebPlan::default() }))
}

//! Transcripts of the Web API: what callers send, and what they get.

use super::*;
use crate::command::{Add, Command, SeedLimitsPatch, TorrentPatch};
use crate::qbittorrent::{SyncTable, answer};
use crate::seed_limits::Limit;
use crate::settings::Category;
use crate::torrent::Record;
use bt_types::InfoHash;
use serde_json::{Value, json};
use std::collections::HashMap;

fn state() -> DaemonState {
    let mut state = DaemonState::default();
    state.settings.dir = "/data".into();
    for n in 1..=2 {
        let mut record =
            Record { name: Some(format!("t{n}")), dir: "/data".into(), ..Record::default() };
        record.settings.trackers = Some(vec![vec!["http://a.example/announce".into()]]);
        state.add(InfoHash([n; 20]), record, None);
    }
    state.categories.insert("tv".into(), Category::default());
    state
}

fn hex(n: u8) -> String {
    InfoHash([n; 20]).to_string()
}

fn form(fields: &[(&str, &str)]) -> Form {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Form { fields: fields.collect(), files: Vec::new() }
}

fn post(path: &str, fields: &[(&str, &str)]) -> Result<WebPlan, WebAnswer> {
    let (scope, action) = path.split_once('/').expect("a path");
    plan(scope, action, true, &form(fields), &state())
}

fn get(path: &str, fields: &[(&str, &str)]) -> WebAnswer {
    let (scope, action) = path.split_once('/').expect("a path");
    let state = state();
    match plan(scope, action, false, &form(fields), &state) {
        Ok(plan) => answer(&plan, &state, &HashMap::new(), &[], &mut SyncTable::default(), "me"),
        Err(answer) => answer,
    }
}

#[test]
fn reads_work_by_get_and_acts_by_post_alone() {
    assert_eq!(get("app/version", &[]), WebAnswer::text(200, "v5.1.4"));
    assert_eq!(get("app/webapiVersion", &[]).body, b"2.11.4");
    assert_eq!(get("torrents/stop", &[("hashes", "all")]).status, 405);
    assert_eq!(get("torrents/nonsense", &[]).status, 404);
    assert_eq!(get("nonsense/x", &[]).status, 404);
    assert_eq!(get("torrents/properties", &[("hash", "00")]).status, 404);
    let info: Value = serde_json::from_slice(&get("torrents/info", &[]).body).expect("JSON");
    assert_eq!((info.as_array().map(Vec::len), &info[0]["name"]), (Some(2), &"t1".into()));
    let trackers = get("torrents/trackers", &[("hash", &hex(1))]);
    let trackers: Value = serde_json::from_slice(&trackers.body).expect("JSON");
    assert_eq!(trackers[0]["url"], "** [DHT] **");
    assert_eq!(
        (&trackers[3]["url"], &trackers[3]["status"]),
        (&"http://a.example/announce".into(), &1.into())
    );
}

#[test]
fn actions_become_commands() {
    let all = || vec![InfoHash([1; 20]), InfoHash([2; 20])];
    let change =
        |torrents: Vec<InfoHash>, patch: TorrentPatch| Command::Change(torrents, Box::new(patch));
    let patch = TorrentPatch::default;
    for (path, fields, expected) in [
        (
            "torrents/start",
            &[("hashes", "all")][..],
            change(all(), TorrentPatch { running: Some(true), ..patch() }),
        ),
        (
            "torrents/resume",
            &[("hashes", "all")],
            change(all(), TorrentPatch { running: Some(true), ..patch() }),
        ),
        ("torrents/delete", &[("hashes", "all")], Command::Remove(all(), false)),
        (
            "torrents/delete",
            &[("hashes", "all"), ("deleteFiles", "true")],
            Command::Remove(all(), true),
        ),
        (
            "torrents/setShareLimits",
            &[("hashes", "all"), ("ratioLimit", "2"), ("seedingTimeLimit", "-1")],
            change(
                all(),
                TorrentPatch {
                    seed_limits: SeedLimitsPatch {
                        ratio: Some(Limit::At(2.0)),
                        minutes: Some(Limit::Unlimited),
                        ..SeedLimitsPatch::default()
                    },
                    ..patch()
                },
            ),
        ),
        (
            "torrents/setCategory",
            &[("hashes", "all"), ("category", "tv")],
            change(all(), TorrentPatch { category: Some("tv".into()), ..patch() }),
        ),
        (
            "torrents/setLocation",
            &[("hashes", "all"), ("location", "/x")],
            Command::Move { torrents: all(), dir: "/x".into(), move_data: true },
        ),
        (
            "torrents/createTags",
            &[("tags", "a, b")],
            Command::AddTags(["a", "b"].map(String::from).into()),
        ),
        (
            "torrents/setDownloadLimit",
            &[("hashes", "all"), ("limit", "0")],
            change(all(), TorrentPatch { down_limit: Some(None), ..patch() }),
        ),
        ("transfer/setSpeedLimitsMode", &[("mode", "1")], Command::Settings(json!({"slow": true}))),
        (
            "app/setPreferences",
            &[("json", r#"{"dl_limit":1}"#)],
            Command::Settings(json!({"session": {"limits": {"down": 1}}})),
        ),
    ] {
        assert_eq!(post(path, fields).expect("a plan").commands, [expected], "{path}");
    }
}

#[test]
fn one_torrent_is_changed_by_its_hash() {
    let hash = hex(1);
    let trackers = |path: &str, fields: &[(&str, &str)]| {
        let plan = post(path, fields)?;
        let [Command::Change(_, patch)] = &plan.commands[..] else { panic!("a change") };
        Ok::<_, WebAnswer>(patch.trackers.clone().flatten().expect("trackers").concat())
    };
    let old = "http://a.example/announce";
    let new = "udp://b.example:1";
    for (fields, name) in [
        (&[("hash", &hash[..]), ("origUrl", old), ("newUrl", new)], "torrents/editTracker"),
        (&[("hash", &hash[..]), ("url", old), ("newUrl", new)], "torrents/editTrackers"),
    ] {
        assert_eq!(trackers(name, fields).expect("edited"), [new]);
    }
    let added =
        trackers("torrents/addTrackers", &[("hash", &hash), ("urls", "udp://b.example:1\nx")]);
    assert_eq!(added.expect("added"), [old, new]);
    let removed = trackers("torrents/removeTrackers", &[("hash", &hash), ("urls", old)]);
    assert!(removed.expect("removed").is_empty());
    for (path, fields, status) in [
        ("torrents/editTracker", &[("origUrl", "http://x/"), ("newUrl", new)][..], 409),
        ("torrents/removeTrackers", &[("urls", "http://x/")], 409),
        ("torrents/rename", &[("name", "")], 409),
        ("torrents/renameFile", &[("oldPath", "a"), ("newPath", "../../x")], 409),
        ("torrents/renameFile", &[("oldPath", "a"), ("newPath", "b")], 409),
        ("torrents/filePrio", &[("id", "0"), ("priority", "9")], 400),
        ("torrents/filePrio", &[("id", "0"), ("priority", "1")], 409),
    ] {
        let fields = [&[("hash", &hash[..])], fields].concat();
        assert_eq!(post(path, &fields).expect_err("refused").status, status, "{path}");
    }
}

#[test]
fn additions_take_fields_of_every_generation() {
    let add = |fields: &[(&str, &str)]| {
        let plan = post("torrents/add", fields).expect("a plan");
        let one = |command: &Command| match command {
            Command::Add(add) => (**add).clone(),
            other => panic!("{other:?}"),
        };
        plan.commands.iter().map(one).collect::<Vec<Add>>()
    };
    let two = add(&[("urls", "magnet:?a\nmagnet:?b\n"), ("paused", "true"), ("category", "tv")]);
    assert_eq!(two.len(), 2);
    assert_eq!((two[0].start, &two[0].dir), (Some(false), &Some("/data".into())));
    assert_eq!(add(&[("urls", "magnet:?a"), ("stopped", "false")])[0].start, Some(true));
    assert_eq!(add(&[("urls", "magnet:?a"), ("autoTMM", "true"), ("category", "tv")])[0].dir, None);
    assert!(add(&[("urls", "magnet:?a"), ("skip_checking", "true")])[0].trust_data);
    assert_eq!(add(&[("urls", "magnet:?a"), ("savepath", "/x")])[0].dir, Some("/x".into()));
}

//! Transcripts of the RPC: what callers send, and what they get.

use super::*;
use crate::torrent::Record;
use crate::transmission::{Request, parse};

fn state() -> DaemonState {
    let mut state = DaemonState::default();
    state.settings.dir = "/data".into();
    for n in 1..=3 {
        let record =
            Record { name: Some(format!("torrent {n}")), dir: "/data".into(), ..Record::default() };
        state.add(InfoHash([n; 20]), record, None);
    }
    state.now = 1000;
    state
}

fn ask(state: &DaemonState, text: &str) -> (Vec<Command>, Option<Value>) {
    let Request::One(call) = parse(text.as_bytes()) else { panic!("{text}") };
    let plan = plan(&call, state);
    let torrent = Some(InfoHash([2; 20]));
    let replies = [CommandReply { torrent, duplicate: true, ..CommandReply::default() }];
    let space = Some(SystemReply::Space(Some((7, 9))));
    let answer = answer(&call, plan.as_ref(), state, &HashMap::new(), Ok(&replies), space);
    (plan.map(|plan| plan.commands).unwrap_or_default(), answer)
}

#[test]
fn torrents_are_named_in_every_way_that_callers_know() {
    let state = state();
    let names = |ids: &str| {
        let call = format!(r#"{{"method":"torrent-get","arguments":{{"fields":["id"]{ids}}}}}"#);
        let answer = ask(&state, &call).1.expect("an answer");
        let rows = answer["arguments"]["torrents"].as_array().expect("torrents").clone();
        rows.iter().map(|row| row["id"].as_u64().expect("a number")).collect::<Vec<_>>()
    };
    assert_eq!(names(""), [1, 2, 3]);
    assert_eq!(names(r#","ids":2"#), [2]);
    assert_eq!(names(r#","ids":[3,1,99]"#), [3, 1]);
    assert_eq!(names(r#","ids":"0202020202020202020202020202020202020202""#), [2]);
    assert_eq!(names(r#","ids":"1,0303030303030303030303030303030303030303""#), [1, 3]);
    assert_eq!(names(r#","ids":[]"#), Vec::<u64>::new());
    assert_eq!(names(r#","ids":["1"]"#), [1]);
}

#[test]
fn a_table_has_the_names_first_as_they_were_asked_for() {
    let state = state();
    let call = r#"{"method":"torrent-get","arguments":{"fields":["id","downloadDir","nonsense"],"format":"table","ids":[1]}}"#;
    let answer = ask(&state, call).1.expect("an answer");
    let rows = json!([["id", "downloadDir"], [1, "/data"]]);
    assert_eq!(answer["arguments"]["torrents"], rows);
    let new = r#"{"jsonrpc":"2.0","method":"torrent_get","params":{"fields":["download_dir"],"ids":1},"id":1}"#;
    let answer = ask(&state, new).1.expect("an answer");
    assert_eq!(answer["result"]["torrents"], json!([{"download_dir": "/data"}]));
}

#[test]
fn who_asks_for_the_recently_active_hears_who_went() {
    let mut state = state();
    state.now = 5000;
    state.remove(InfoHash([3; 20]));
    state.change(InfoHash([1; 20]), |torrent| torrent.record.dates.active = Some(4990));
    let call = r#"{"method":"torrent-get","arguments":{"fields":["id"],"ids":"recently-active"}}"#;
    let answer = ask(&state, call).1.expect("an answer");
    assert_eq!(answer["arguments"], json!({"torrents": [{"id": 1}], "removed": [3]}));
}

#[test]
fn methods_become_commands() {
    let state = state();
    let one = || vec![InfoHash([1; 20])];
    let change = |patch: TorrentPatch| Command::Change(one(), Box::new(patch));
    let run = |running, forced| {
        change(TorrentPatch { running: Some(running), forced, ..TorrentPatch::default() })
    };
    for (call, expected) in [
        (r#"{"method":"torrent-start","arguments":{"ids":1}}"#, run(true, None)),
        (r#"{"method":"torrent-start-now","arguments":{"ids":1}}"#, run(true, Some(true))),
        (r#"{"method":"torrent-stop","arguments":{"ids":[1]}}"#, run(false, Some(false))),
        (r#"{"method":"torrent-verify","arguments":{"ids":1}}"#, Command::Check(one())),
        (
            r#"{"method":"torrent-remove","arguments":{"ids":1,"delete-local-data":true}}"#,
            Command::Remove(one(), true),
        ),
        (
            r#"{"method":"torrent-set-location","arguments":{"ids":1,"location":"/x","move":true}}"#,
            Command::Move { torrents: one(), dir: "/x".into(), move_data: true },
        ),
        (
            r#"{"method":"queue-move-top","arguments":{"ids":1}}"#,
            Command::Queue(one(), QueueMove::Top),
        ),
        (
            r#"{"method":"torrent-set","arguments":{"ids":1,"queuePosition":2}}"#,
            Command::Queue(one(), QueueMove::To(2)),
        ),
    ] {
        let (commands, answer) = ask(&state, call);
        assert_eq!(commands, [expected], "{call}");
        assert_eq!(answer, Some(json!({"result": "success", "arguments": {}})));
    }
}

#[test]
fn groups_are_made_changed_and_shown_in_both_protocols() {
    let mut state = state();
    let call = r#"{"method":"group-set","arguments":{"name":"g","speed-limit-down":50,"speed-limit-down-enabled":true}}"#;
    let (commands, _) = ask(&state, call);
    let [Command::Settings(patch)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(*patch, json!({"groups": {"g": {"limits": {"down": 50_000}}}}));
    state.settings = state.settings.with(patch).expect("settings");
    let call = r#"{"method":"group-set","arguments":{"name":"g","speed-limit-up":7}}"#;
    let (commands, _) = ask(&state, call);
    assert_eq!(commands, [Command::Settings(json!({"groups": {"g": {"limits": {}}}}))]);
    let call = r#"{"method":"group-get","arguments":{"name":["g","h"]}}"#;
    let answer = ask(&state, call).1.expect("an answer");
    let row = json!({
        "name": "g", "honorsSessionLimits": true, "speed-limit-down": 50,
        "speed-limit-down-enabled": true, "speed-limit-up": 100, "speed-limit-up-enabled": false,
    });
    assert_eq!(answer["arguments"]["group"], json!([row]));
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"group_get"}"#;
    let answer = ask(&state, call).1.expect("an answer");
    assert_eq!(answer["result"]["group"][0]["speed_limit_down"], json!(50));
}

#[test]
fn an_addition_answers_with_the_torrent_that_was_there() {
    let state = state();
    let call = r#"{"method":"torrent-add","arguments":{"metainfo":"ZDQ6\naW5mb2U=","download-dir":"/x/tv","labels":["tv"],"paused":true}}"#;
    let (commands, answer) = ask(&state, call);
    let [Command::Add(add)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(add.source, AddSource::Bytes(b"d4:infoe".to_vec()));
    assert_eq!((add.start, add.patch.category.as_deref()), (Some(false), Some("tv")));
    let duplicate = json!({"id": 2, "name": "torrent 2", "hashString": "02".repeat(20)});
    assert_eq!(answer.expect("an answer")["arguments"], json!({ "torrent-duplicate": duplicate }));
}

#[test]
fn what_cannot_be_done_is_said() {
    let state = state();
    for (call, said) in [
        (r#"{"method":"torrent-get","arguments":{"fields":[]}}"#, "no fields specified"),
        (r#"{"method":"nonsense"}"#, "method name not recognized"),
        (r#"{"method":"torrent-add","arguments":{}}"#, "no filename or metainfo specified"),
        (
            r#"{"method":"torrent-add","arguments":{"filename":"magnet:?","download-dir":"x"}}"#,
            "path is not absolute",
        ),
        (r#"{"method":"torrent-add","arguments":{"metainfo":"§"}}"#, "unrecognized info"),
        (
            r#"{"method":"torrent-rename-path","arguments":{"ids":[1,2],"path":"a","name":"b"}}"#,
            "torrent-rename-path requires 1 torrent",
        ),
        (
            r#"{"method":"torrent-rename-path","arguments":{"ids":1,"path":"a","name":"../b"}}"#,
            "the name must be one that a file can have",
        ),
        (r#"{"method":"free-space","arguments":{"path":"data"}}"#, "path is not absolute"),
    ] {
        let (commands, answer) = ask(&state, call);
        assert_eq!(answer.expect("an answer")["result"], said, "{call}");
        assert!(commands.is_empty());
    }
}

#[test]
fn free_space_is_told_in_both_spellings() {
    let state = state();
    let old = ask(&state, r#"{"method":"free-space","arguments":{"path":"/data"}}"#).1;
    let old = old.expect("an answer");
    assert_eq!(old["arguments"], json!({"path": "/data", "size-bytes": 7, "total_size": 9}));
    let new = r#"{"jsonrpc":"2.0","method":"free_space","params":{"path":"/data"},"id":1}"#;
    let new = ask(&state, new).1.expect("an answer");
    assert_eq!(new["result"], json!({"path": "/data", "size_bytes": 7, "total_size": 9}));
}

#[test]
fn one_change_of_many_torrents_is_one_command() {
    let state = state();
    let call = r#"{"method":"torrent-set","arguments":{"downloadLimited":true,"downloadLimit":5}}"#;
    let (commands, _) = ask(&state, call);
    let [Command::Change(torrents, _)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(torrents.len(), 3);
}

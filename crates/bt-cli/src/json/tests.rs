//! Each line of JSON as it is printed: a change here is a change of the contract.

use super::events::PanicCounts;
use super::*;
use bt_session::Panics;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const HASH: &str = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";
const TIME: &str = "2026-01-02T03:04:05Z";

fn addrs() -> [SocketAddr; 2] {
    [(Ipv4Addr::LOCALHOST, 6881).into(), (Ipv6Addr::LOCALHOST, 6882).into()]
}

fn panics() -> PanicCounts {
    Panics { connections: 1, engines: 2, others: 3 }.into()
}

#[test]
fn each_event_is_one_line() {
    let listen = &addrs();
    let sources = vec![SourceBytes {
        addr: listen[1],
        client: None,
        bytes_down: 9,
        bytes_down_from_leecher: 4,
        bytes_up: 2,
    }];
    let table = [
        (
            "get",
            Event::Checking { name: "a \"name\"", info_hash: HASH, bytes_total: u64::MAX },
            r#""event":"checking","time":"T","name":"a \"name\"","info_hash":"H","bytes_total":18446744073709551615"#,
        ),
        (
            "get",
            Event::Metadata {
                info_hash: HASH,
                name: "n",
                bytes: 90,
                total_size: 5,
                piece_length: 16384,
                piece_count: 1,
                files: 1,
                private: false,
            },
            r#""event":"metadata","time":"T","info_hash":"H","name":"n","bytes":90,"total_size":5,"piece_length":16384,"piece_count":1,"files":1,"private":false"#,
        ),
        (
            "get",
            Event::Ready(Ready::Get { listen }),
            r#""event":"ready","time":"T","listen":["127.0.0.1:6881","[::1]:6882"]"#,
        ),
        (
            "seed",
            Event::Ready(Ready::Seed { listen: &[], magnets: &["magnet:?xt=x"] }),
            r#""event":"ready","time":"T","listen":[],"magnets":["magnet:?xt=x"]"#,
        ),
        (
            "tracker",
            Event::Ready(Ready::Tracker { listen: &["udp://127.0.0.1:6969/announce".into()] }),
            r#""event":"ready","time":"T","listen":["udp://127.0.0.1:6969/announce"]"#,
        ),
        (
            "daemon",
            Event::Ready(Ready::Daemon { api: "http://127.0.0.1:9091/", listen: &[] }),
            r#""event":"ready","time":"T","api":"http://127.0.0.1:9091/","listen":[]"#,
        ),
        (
            "dht",
            Event::Ready(Ready::Node { verb: "node", listen: &[] }),
            r#""event":"ready","time":"T","verb":"node","listen":[]"#,
        ),
        (
            "demo",
            Event::Ready(Ready::Demo { tracker: listen[0], leechers: 3 }),
            r#""event":"ready","time":"T","tracker":"127.0.0.1:6881","leechers":3"#,
        ),
        (
            "get",
            Event::Progress(Progress::Metadata {
                info_hash: HASH,
                phase: "metadata",
                bytes_done: 0,
                bytes_total: None,
                peers: 1,
                metadata_done: 2,
                metadata_total: None,
            }),
            r#""event":"progress","time":"T","info_hash":"H","phase":"metadata","bytes_done":0,"bytes_total":null,"peers":1,"metadata_done":2,"metadata_total":null"#,
        ),
        (
            "seed",
            Event::Progress(Progress::Torrent {
                info_hash: HASH,
                phase: "seed",
                bytes_done: 1,
                bytes_total: 2,
                bytes_down: 3,
                bytes_up: 4,
                down_rate: 5,
                up_rate: 6,
                peers: 7,
                seeds: 8,
                panics: panics(),
            }),
            r#""event":"progress","time":"T","info_hash":"H","phase":"seed","bytes_done":1,"bytes_total":2,"bytes_down":3,"bytes_up":4,"down_rate":5,"up_rate":6,"peers":7,"seeds":8,"panics":{"connections":1,"engines":2,"others":3}"#,
        ),
        (
            "demo",
            Event::Progress(Progress::Leecher {
                name: "leecher 1",
                bytes_done: 1,
                bytes_total: 2,
                down_rate: 3,
                up_rate: 4,
                peers: 5,
            }),
            r#""event":"progress","time":"T","name":"leecher 1","bytes_done":1,"bytes_total":2,"down_rate":3,"up_rate":4,"peers":5"#,
        ),
        (
            "get",
            Event::Reason { info_hash: HASH, reason: "no_peers", detail: None, down_rate: Some(0) },
            r#""event":"reason","time":"T","info_hash":"H","reason":"no_peers","detail":null,"down_rate":0"#,
        ),
        (
            "get",
            Event::Reason {
                info_hash: HASH,
                reason: "tracker_failed",
                detail: Some("t: refused"),
                down_rate: None,
            },
            r#""event":"reason","time":"T","info_hash":"H","reason":"tracker_failed","detail":"t: refused","down_rate":null"#,
        ),
        (
            "get",
            Event::Complete(Complete::Torrent { info_hash: HASH, name: "n" }),
            r#""event":"complete","time":"T","info_hash":"H","name":"n""#,
        ),
        (
            "demo",
            Event::Complete(Complete::Demo { verified: true }),
            r#""event":"complete","time":"T","verified":true"#,
        ),
        (
            "get",
            Event::Error(Failed { code: "foreign", message: "n: a file" }),
            r#""event":"error","time":"T","code":"foreign","message":"n: a file""#,
        ),
        (
            "seed",
            Event::Stopped { reason: Some("signal") },
            r#""event":"stopped","time":"T","reason":"signal""#,
        ),
        ("tracker", Event::Stopped { reason: None }, r#""event":"stopped","time":"T""#),
        (
            "get",
            Event::Summary(Summary::Torrent {
                info_hash: HASH,
                name: "n",
                complete: true,
                bytes_total: 1,
                bytes_there: 2,
                bytes_downloaded: 3,
                bytes_uploaded: 4,
                bytes_wasted: 5,
                peers_banned: 6,
                pieces_bad: 7,
                panics: panics(),
                bytes_from_leechers: 8,
                sources,
            }),
            r#""event":"summary","time":"T","info_hash":"H","name":"n","complete":true,"bytes_total":1,"bytes_there":2,"bytes_downloaded":3,"bytes_uploaded":4,"bytes_wasted":5,"peers_banned":6,"pieces_bad":7,"panics":{"connections":1,"engines":2,"others":3},"bytes_from_leechers":8,"sources":[{"addr":"[::1]:6882","client":null,"bytes_down":9,"bytes_down_from_leecher":4,"bytes_up":2}]"#,
        ),
        (
            "get",
            Event::Summary(Summary::MetadataOnly {
                info_hash: Some(HASH),
                name: "n",
                complete: true,
                metadata_only: true,
                path: "n.torrent",
            }),
            r#""event":"summary","time":"T","info_hash":"H","name":"n","complete":true,"metadata_only":true,"path":"n.torrent""#,
        ),
        (
            "tracker",
            Event::Summary(Summary::Tracker { torrents: 1, peers: 2, announces: 3, scrapes: 4 }),
            r#""event":"summary","time":"T","torrents":1,"peers":2,"announces":3,"scrapes":4"#,
        ),
        (
            "dht",
            Event::Summary(Summary::Node { nodes: 1, torrents: 2, received: 3, sent: 4 }),
            r#""event":"summary","time":"T","nodes":1,"torrents":2,"received":3,"sent":4"#,
        ),
        (
            "demo",
            Event::Summary(Summary::Demo {
                seconds: 4.0,
                received: vec![Received {
                    name: "leecher 1",
                    from: BTreeMap::from([("seeder", 5)]),
                }],
            }),
            r#""event":"summary","time":"T","seconds":4.0,"received":[{"name":"leecher 1","from":{"seeder":5}}]"#,
        ),
    ];
    for (command, event, fields) in table {
        let fields = fields
            .replace("\"T\"", &format!("\"{TIME}\""))
            .replace("\"H\"", &format!("\"{HASH}\""));
        let expected = format!("{{\"schema\":\"bt.{command}/1\",{fields}}}");
        assert_eq!(super::event(command, TIME, &event), expected);
    }
}

#[test]
fn each_result_is_one_line() {
    let hash = || Some(HASH.to_owned());
    let none: [String; 0] = [];
    let path = ["n".to_owned(), "f".to_owned()];
    let torrent = Show {
        name: Some("n"),
        format: Some("v1"),
        info_hash_v1: hash(),
        info_hash_v2: None,
        piece_length: Some(16384),
        piece_count: Some(1),
        total_size: Some(5),
        private: Some(true),
        trackers: vec![vec!["http://a/", "http://b/"], vec!["udp://c:1"]],
        web_seeds: &["http://d/".into()],
        files: Some(vec![ListedFile { path: &path, length: 5, attr: "x".into() }]),
        creation_date: Some(TIME.into()),
        created_by: Some("bt"),
        comment: None,
        source: Some("s"),
        magnet: "magnet:?xt=x".into(),
        warnings: &["w".into()],
        link: None,
    };
    let link = Show {
        name: None,
        format: None,
        info_hash_v1: hash(),
        info_hash_v2: None,
        piece_length: None,
        piece_count: None,
        total_size: None,
        private: None,
        trackers: vec![vec!["http://a/"]],
        web_seeds: &none,
        files: None,
        creation_date: None,
        created_by: None,
        comment: None,
        source: None,
        magnet: "magnet:?xt=x".into(),
        warnings: &none,
        link: Some(ShowLink { peers: vec!["p:1".into()], select_only: vec![[1, 1], [3, 5]] }),
    };
    let remembered = || Remembered {
        info_hash: HASH.into(),
        name: "n".into(),
        dir: "d".into(),
        bytes_have: 1,
        bytes_total: 2,
    };
    let lookup = |found| DhtLookup { found, queries: 1, answers: 2, stored: 3 };
    let announced = TrackerAnswers {
        info_hash: HASH.into(),
        trackers: vec![
            TrackerAnswer {
                url: "http://a/".into(),
                ok: true,
                word: TrackerWord::Answer(AnnounceAnswer {
                    interval: 1800,
                    min_interval: None,
                    seeders: Some(1),
                    leechers: None,
                    peers: addrs().to_vec(),
                    external_ip: Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
                    warning: None,
                }),
            },
            TrackerAnswer {
                url: "udp://c:1".into(),
                ok: false,
                word: TrackerWord::Error { error: "refused".into() },
            },
        ],
    };
    let scraped = TrackerAnswers {
        info_hash: HASH.into(),
        trackers: vec![TrackerAnswer {
            url: "http://a/".into(),
            ok: true,
            word: TrackerWord::Answer(ScrapeAnswer {
                known: true,
                seeders: Some(1),
                leechers: Some(2),
                downloaders: None,
                downloaded: Some(3),
            }),
        }],
    };
    let table = [
        (
            result(
                "create",
                &Create {
                    path: "n.torrent",
                    name: "n",
                    info_hash_v1: hash(),
                    info_hash_v2: None,
                    piece_length: 16384,
                    piece_count: 1,
                    total_size: 5,
                    files: 1,
                    magnet: "magnet:?xt=x".into(),
                    skipped: vec!["pipe".into()],
                    renamed: vec![],
                },
            ),
            r#"{"schema":"bt.create/1","path":"n.torrent","name":"n","info_hash_v1":"H","info_hash_v2":null,"piece_length":16384,"piece_count":1,"total_size":5,"files":1,"magnet":"magnet:?xt=x","skipped":["pipe"],"renamed":[]}"#,
        ),
        (
            result("show", &torrent),
            r#"{"schema":"bt.show/1","name":"n","format":"v1","info_hash_v1":"H","info_hash_v2":null,"piece_length":16384,"piece_count":1,"total_size":5,"private":true,"trackers":[["http://a/","http://b/"],["udp://c:1"]],"web_seeds":["http://d/"],"files":[{"path":["n","f"],"length":5,"attr":"x"}],"creation_date":"2026-01-02T03:04:05Z","created_by":"bt","comment":null,"source":"s","magnet":"magnet:?xt=x","warnings":["w"]}"#,
        ),
        (
            result("show", &link),
            r#"{"schema":"bt.show/1","name":null,"format":null,"info_hash_v1":"H","info_hash_v2":null,"piece_length":null,"piece_count":null,"total_size":null,"private":null,"trackers":[["http://a/"]],"web_seeds":[],"files":null,"creation_date":null,"created_by":null,"comment":null,"source":null,"magnet":"magnet:?xt=x","warnings":[],"peers":["p:1"],"select_only":[[1,1],[3,5]]}"#,
        ),
        (
            result("magnet", &Magnet { magnet: "magnet:?xt=x" }),
            r#"{"schema":"bt.magnet/1","magnet":"magnet:?xt=x"}"#,
        ),
        (
            result(
                "verify",
                &Verify {
                    complete: false,
                    pieces_good: 2,
                    pieces_total: 3,
                    pieces_bad: vec![1],
                    files_bad: vec![BadFile {
                        path: "f".into(),
                        state: "bad",
                        found_length: None,
                        bad_pieces: Some(1),
                    }],
                },
            ),
            r#"{"schema":"bt.verify/1","complete":false,"pieces_good":2,"pieces_total":3,"pieces_bad":[1],"files_bad":[{"path":"f","state":"bad","found_length":null,"bad_pieces":1}]}"#,
        ),
        (
            result("announce", &announced),
            r#"{"schema":"bt.announce/1","info_hash":"H","trackers":[{"url":"http://a/","ok":true,"interval":1800,"min_interval":null,"seeders":1,"leechers":null,"peers":["127.0.0.1:6881","[::1]:6882"],"external_ip":"::1","warning":null},{"url":"udp://c:1","ok":false,"error":"refused"}]}"#,
        ),
        (
            result("scrape", &scraped),
            r#"{"schema":"bt.scrape/1","info_hash":"H","trackers":[{"url":"http://a/","ok":true,"known":true,"seeders":1,"leechers":2,"downloaders":null,"downloaded":3}]}"#,
        ),
        (
            result(
                "dht",
                &DhtPing {
                    verb: "ping",
                    addr: addrs()[0],
                    id: HASH.into(),
                    version: Some("BT\\x00\\x01".into()),
                    ms: 1.25,
                },
            ),
            r#"{"schema":"bt.dht/1","verb":"ping","addr":"127.0.0.1:6881","id":"H","version":"BT\\x00\\x01","ms":1.25}"#,
        ),
        (
            result(
                "dht",
                &lookup(Found::GetPeers {
                    info_hash: HASH.into(),
                    peers: addrs()[..1].to_vec(),
                    seeds_estimated: Some(4),
                    leechers_estimated: None,
                }),
            ),
            r#"{"schema":"bt.dht/1","verb":"get-peers","info_hash":"H","peers":["127.0.0.1:6881"],"seeds_estimated":4,"leechers_estimated":null,"queries":1,"answers":2,"stored":3}"#,
        ),
        (
            result(
                "dht",
                &lookup(Found::Get {
                    target: HASH.into(),
                    value: Some("hi".into()),
                    encoded: "323a6869".into(),
                    seq: None,
                    key: None,
                }),
            ),
            r#"{"schema":"bt.dht/1","verb":"get","target":"H","value":"hi","encoded":"323a6869","seq":null,"key":null,"queries":1,"answers":2,"stored":3}"#,
        ),
        (
            result(
                "dht",
                &lookup(Found::Put { target: HASH.into(), key: Some("ab".into()), seq: Some(1) }),
            ),
            r#"{"schema":"bt.dht/1","verb":"put","target":"H","key":"ab","seq":1,"queries":1,"answers":2,"stored":3}"#,
        ),
        (
            result("list", &StateList { state: "s".into(), torrents: vec![remembered()] }),
            r#"{"schema":"bt.list/1","state":"s","torrents":[{"info_hash":"H","name":"n","dir":"d","bytes_have":1,"bytes_total":2}]}"#,
        ),
        (
            result("forget", &StateForgotten { forgotten: vec![remembered()] }),
            r#"{"schema":"bt.forget/1","forgotten":[{"info_hash":"H","name":"n","dir":"d","bytes_have":1,"bytes_total":2}]}"#,
        ),
        (
            result(
                "import",
                &Imported {
                    dry_run: false,
                    added: 1,
                    present: 0,
                    failed: 1,
                    torrents: vec![
                        ImportedTorrent {
                            from: "f".into(),
                            info_hash: Some(HASH.into()),
                            name: Some("n".into()),
                            dir: Some("d".into()),
                            outcome: "added",
                            error: None,
                        },
                        ImportedTorrent {
                            from: "g".into(),
                            info_hash: None,
                            name: None,
                            dir: None,
                            outcome: "failed",
                            error: Some("it is damaged".into()),
                        },
                    ],
                },
            ),
            r#"{"schema":"bt.import/1","dry_run":false,"added":1,"present":0,"failed":1,"torrents":[{"from":"f","info_hash":"H","name":"n","dir":"d","outcome":"added","error":null},{"from":"g","info_hash":null,"name":null,"dir":null,"outcome":"failed","error":"it is damaged"}]}"#,
        ),
        (result("man", &ManPages { dir: "d".into() }), r#"{"schema":"bt.man/1","dir":"d"}"#),
        (
            error(&Failed { code: "not_found", message: "n is not there" }),
            r#"{"schema":"bt.error/1","code":"not_found","message":"n is not there"}"#,
        ),
    ];
    for (line, expected) in table {
        assert_eq!(line, expected.replace("\"H\"", &format!("\"{HASH}\"")));
    }
}

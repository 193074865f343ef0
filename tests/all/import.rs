//! `bt import`: all torrents of a real qBittorrent and of a real Transmission, in all states.
//!
//! Decides: the states. Must not know: what the clients keep, and how.
//! Invariant: the other client's directory is as it was, byte for byte.

use crate::Test;
use anyhow::{Result, ensure};
use bt_tests::{
    LOOPBACK, PATIENCE, Process, RunningDaemon, Seeded, Stage, ensure_same, listening, random_file,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One torrent for each state; what follows the first word makes it another of its kind.
const FILES: [&str; 13] = [
    "seeding-1",
    "seeding-2",
    "seeding-3",
    "stopped-1",
    "half-1",
    "halfstopped-1",
    "labelled-1",
    "limited-1",
    "named-1",
    "refiled-1",
    "ordered-1",
    "missing-1",
    "changed-1",
];
const FOLDERS: [&str; 3] = ["skipped-1", "refolded-1", "folder-1"];
const LENGTH: u64 = 512 << 10;
/// So that no piece is in two files: those of files that are not wanted lie elsewhere.
const PIECE: &str = "16384";

/// The torrents and their data.
struct Library {
    stage: Stage,
    torrents: PathBuf,
    data: PathBuf,
}

impl Library {
    fn new(more_files: &[&str], more_folders: &[&str]) -> Result<Library> {
        let stage = Stage::new()?;
        let library = Library { torrents: stage.path("torrents"), data: stage.path("data"), stage };
        fs::create_dir_all(&library.torrents)?;
        fs::create_dir_all(&library.data)?;
        for (seed, name) in FILES.iter().chain(more_files).enumerate() {
            let path = library.data.join(name);
            random_file(&path, seed as u64, LENGTH)?;
            library.torrent(name)?;
            if name.starts_with("half") {
                fs::File::options().write(true).open(&path)?.set_len(LENGTH / 2)?;
            }
        }
        for (seed, name) in FOLDERS.iter().chain(more_folders).enumerate() {
            fs::create_dir_all(library.data.join(name).join("sub"))?;
            for (number, file) in ["a.bin", "b.bin", "sub/c.bin"].iter().enumerate() {
                let seed = 1000 + (seed * 3 + number) as u64;
                random_file(&library.data.join(name).join(file), seed, LENGTH / 4)?;
            }
            library.torrent(name)?;
        }
        fs::remove_file(library.data.join("skipped-1/b.bin"))?;
        Ok(library)
    }

    fn torrent(&self, name: &str) -> Result<()> {
        let options = ["--piece-length", PIECE, "-a", "http://127.0.0.1:1/announce"];
        let made = self.stage.create(&self.data.join(name), &options)?;
        fs::rename(made, self.torrents.join(format!("{name}.torrent")))?;
        Ok(())
    }

    /// Loses and changes data behind the client's back.
    fn spoil(&self) -> Result<()> {
        fs::remove_file(self.data.join("missing-1"))?;
        let mut changed = fs::File::options().write(true).open(self.data.join("changed-1"))?;
        changed.seek(std::io::SeekFrom::Start(100_000))?;
        changed.write_all(&[0; 10_000])?;
        // Beyond the second of the client's last look.
        changed.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(5))?;
        Ok(())
    }

    fn daemon(&self) -> Result<RunningDaemon> {
        let data = self.stage.path("daemon data");
        RunningDaemon::start(&self.stage, "daemon", &data, &["--no-dht", "--no-lsd"])
    }

    /// Imports, and compares: nothing is downloaded, and the other client's directory stays.
    fn import(&self, client: &str, home: &Path, script: &str, damaged: &Path) -> Test {
        let before = tree(home)?;
        let daemon = self.daemon()?;
        let url = format!("http://{}", daemon.api);
        let bt = |more: &[&str]| {
            let mut command = self.stage.bt("person");
            command.args(["import", client]).arg(home).args(["--api", &url]).args(more);
            Process::run("import", &mut command, PATIENCE)
        };
        let planned = bt(&["--dry-run"])?.expect_code(9)?.last()?;
        ensure!(planned["added"] == 20 && planned["dry_run"] == true, "{planned}");
        let none = daemon.api("GET", "torrents", &Value::Null)?.json()?;
        ensure!(none["torrents"].as_array().is_some_and(Vec::is_empty), "{none}");
        let done = bt(&[])?.expect_code(9)?.last()?;
        ensure!(done["added"] == 20 && done["failed"] == 1, "{done}");
        let name = damaged.to_string_lossy().into_owned();
        let failed = done["torrents"].as_array().into_iter().flatten();
        let failed: Vec<_> = failed.filter(|one| one["outcome"] == "failed").collect();
        ensure!(failed.len() == 1 && failed[0]["from"] == name, "{failed:?}");
        run_script(script, &["compare", &daemon.api.port().to_string()], &[&self.list()])?;
        let again = bt(&[])?.expect_code(9)?.last()?;
        ensure!(again["added"] == 0 && again["present"] == 20, "{again}");

        // A complete one serves at once.
        let copy = self.stage.path("copy");
        let mut get =
            self.stage.get("leecher", &self.torrents.join("seeding-1.torrent"), &copy, LOOPBACK);
        let get = get.args(["--peer", &daemon.peers, "--no-dht", "--no-lsd"]);
        Process::run("get", get, PATIENCE)?.expect_code(0)?;
        ensure_same(&self.data.join("seeding-1"), &copy.join("seeding-1"))?;
        daemon.process.stop(PATIENCE)?.expect_code(0)?;
        ensure!(tree(home)? == before, "the other client's directory was changed");

        // It is all there after a restart, and the data that is missing is not fetched.
        let daemon = self.daemon()?;
        run_script(script, &["compare", &daemon.api.port().to_string()], &[&self.list()])?;
        daemon.process.stop(PATIENCE)?.expect_code(0)?;
        Ok(())
    }

    fn list(&self) -> PathBuf {
        self.stage.path("list.json")
    }
}

/// Returns the content of all files below a directory.
fn tree(dir: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            all.extend(tree(&path)?);
        } else {
            let bytes = if path.is_file() { fs::read(&path)? } else { Vec::new() };
            all.insert(path, bytes);
        }
    }
    Ok(all)
}

fn run_script(script: &str, words: &[&str], paths: &[&Path]) -> Result<()> {
    let mut command = Command::new("python3");
    command.args(["-c", script]).args(words).args(paths);
    Process::run("script", &mut command, PATIENCE)?.expect_code(0)?;
    Ok(())
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// Returns a port that was free a moment ago.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(LOOPBACK)?.local_addr()?.port())
}

#[test]
fn all_of_a_qbittorrent_goes_into_a_daemon() -> Test {
    if !is_there("qbittorrent-nox") {
        bt_tests::skip!("there is no qbittorrent-nox");
    }
    let library = Library::new(&["boxed-1"], &["bare-1"])?;
    // What the client downloads itself, so that its sums are not 0.
    let source = library.stage.path("fetched-1");
    random_file(&source, 77, LENGTH)?;
    let options = ["--piece-length", PIECE];
    let torrent = library.stage.create(&source, &options)?;
    let mut seed = library.stage.seed("seed", &torrent, &library.stage.path(""), LOOPBACK);
    let seed = Process::start("seed", seed.args(["--no-dht", "--no-lsd"]))?;
    let at = listening(&seed)?;
    fs::rename(&torrent, library.torrents.join("fetched-1.torrent"))?;
    // The data of these lies as another layout says.
    let data = &library.data;
    fs::rename(data.join("bare-1"), data.join("bare"))?;
    fs::rename(data.join("boxed-1"), data.join("boxed"))?;
    fs::create_dir_all(data.join("boxed-1"))?;
    fs::rename(data.join("boxed"), data.join("boxed-1/boxed-1"))?;

    let home = library.stage.path("home");
    let (api, peers) = (free_port()?, free_port()?);
    let config = home.join("qBittorrent/config");
    fs::create_dir_all(&config)?;
    let settings = format!(
        "[LegalNotice]\nAccepted=true\n\
         [BitTorrent]\nSession\\DHTEnabled=false\nSession\\LSDEnabled=false\nSession\\PeXEnabled=false\nSession\\Port={peers}\n\
         Session\\DefaultSavePath={}\nSession\\QueueingSystemEnabled=true\n\
         [Network]\nPortForwardingEnabled=false\n\
         [Preferences]\nWebUI\\LocalHostAuth=false\nWebUI\\CSRFProtection=false\nWebUI\\Port={api}\nWebUI\\Address=127.0.0.1\n",
        data.display()
    );
    fs::write(config.join("qBittorrent.conf"), settings)?;
    let mut command = Command::new("qbittorrent-nox");
    command.arg(format!("--profile={}", home.display())).env("HOME", &home);
    let client = Process::start("qbittorrent-nox", &mut command)?;
    wait_port(api)?;
    let script = concat!(
        include_str!("../scripts/import_qbittorrent.py"),
        include_str!("../scripts/import_end.py")
    );
    let mut fill = Command::new("python3");
    fill.args(["-c", script, "fill", &api.to_string()]).arg(library.list());
    fill.arg(&library.torrents).arg(data).arg(&at);
    Process::run("fill", &mut fill, PATIENCE)?.expect_code(0)?;
    client.terminate()?;
    client.finish(PATIENCE)?;
    drop(seed);
    library.spoil()?;
    let backup = home.join("qBittorrent/data/BT_backup");
    let damaged = backup.join("damaged.fastresume");
    fs::write(&damaged, b"d4:info")?;
    library.import("qbittorrent", &home, script, &damaged)
}

#[test]
fn all_of_a_transmission_goes_into_a_daemon() -> Test {
    if !is_there("transmission-daemon") {
        bt_tests::skip!("there is no transmission-daemon");
    }
    let library = Library::new(&["seeding-4", "seeding-5"], &["folder-2"])?;
    let home = library.stage.path("home");
    let (api, peers) = (free_port()?, free_port()?);
    fs::create_dir_all(&home)?;
    let settings = json!({
        "dht-enabled": false, "lpd-enabled": false, "pex-enabled": false, "utp-enabled": false,
        "port-forwarding-enabled": false, "download-dir": library.data, "peer-port": peers,
        "rpc-port": api, "rpc-bind-address": "127.0.0.1", "rpc-whitelist-enabled": false,
        "ratio-limit-enabled": false,
    });
    fs::write(home.join("settings.json"), settings.to_string())?;
    let mut command = Command::new("transmission-daemon");
    command.args(["--foreground", "--log-info", "--config-dir"]).arg(&home);
    let client = Process::start("transmission-daemon", &mut command)?;
    wait_port(api)?;
    let script = concat!(
        include_str!("../scripts/import_transmission.py"),
        include_str!("../scripts/import_end.py")
    );
    let (words, list) = (["fill", &api.to_string()], library.list());
    run_script(script, &words, &[&list, &library.torrents, &library.data])?;
    client.terminate()?;
    client.finish(PATIENCE)?;
    library.spoil()?;
    let damaged = home.join("torrents/damaged.0123456789abcdef.torrent");
    fs::write(&damaged, b"d4:info")?;
    library.import("transmission", &home, script, &damaged)
}

#[test]
fn what_is_incomplete_gets_its_name_and_its_place_once_it_is_complete() -> Test {
    let seeded = Seeded::file(1 << 20, &["--no-dht", "--no-lsd"])?;
    let Seeded { stage, source, torrent, at, .. } = &seeded;
    let (temp, data) = (stage.path("temp"), stage.path("data"));
    fs::create_dir_all(&temp)?;
    let half = fs::read(source)?[..512 << 10].to_vec();
    fs::write(temp.join("data.bin.part"), half)?;
    let daemon = RunningDaemon::start(stage, "daemon", &data, &["--no-dht", "--no-lsd"])?;
    let wanted = json!({
        "dir": data, "peers": [at],
        "import": {
            "incomplete_dir": temp, "suffix": ".part",
            "claim": { "pieces": [0, 2, 2], "written": [{ "by": i64::MAX }] },
        },
    });
    let mark = "--bt-tests-boundary";
    let form = [
        format!("{mark}\r\nContent-Disposition: form-data; name=\"request\"\r\n\r\n{wanted}\r\n"),
        format!("{mark}\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n"),
    ];
    let form =
        [form.concat().as_bytes(), &fs::read(torrent)?, b"\r\n--bt-tests-boundary--\r\n"].concat();
    let kind = [("Content-Type", "multipart/form-data; boundary=bt-tests-boundary")];
    let added = daemon.request("POST", "/api/v1/torrents", &kind, &form)?;
    ensure!(added.status == 201, "{}", added.text());
    let hash = stage.info_hash(torrent)?.to_string();
    let is_there = |row: &Value| {
        row["state"] == "seeding" && row["dir"] == data.to_string_lossy().into_owned()
    };
    let row = daemon.wait_torrent(&hash, "the download and the move", is_there)?;
    ensure!(row["bytes_down"] == 512 << 10, "the other half alone is fetched: {row}");
    ensure_same(source, &data.join("data.bin"))?;
    ensure!(fs::read_dir(&temp)?.next().is_none(), "nothing is left of the incomplete file");
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

fn wait_port(port: u16) -> Result<()> {
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(std::time::Instant::now() < deadline, "the client does not listen");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Ok(())
}

//! The configuration of `bt daemon`: file, environment and options; reload; what a supervisor is
//! told; where the APIs are served.
//!
//! Decides: the stories. Must not know: how the daemon works inside.
//! Invariant: every wait has a deadline.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{LOOPBACK, PATIENCE, Process, RunningDaemon, Seeded, Stage};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds()? {
        ensure!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn settings(daemon: &RunningDaemon) -> Result<Value> {
    daemon.api("GET", "settings", &Value::Null)?.json()
}

/// Starts a daemon by a command that has no address yet.
fn start(who: &str, mut command: Command) -> Result<RunningDaemon> {
    let at = LOOPBACK.to_string();
    command.args(["--listen", &at]);
    RunningDaemon::of(Process::start(who, &mut command)?)
}

#[test]
fn options_go_before_the_environment_that_before_the_file_and_that_before_the_api() -> Test {
    let stage = Stage::new()?;
    let (file, data) = (stage.path("config.toml"), stage.path("data"));
    let text = format!(
        "api = \"{LOOPBACK}\"\ndir = {:?}\nup = \"1MiB/s\"\n[settings.queue]\ndownloads = 1\n\
         seeds = 1\ntotal = 1\n[settings.seed_limits]\nratio = 2\n",
        data.to_string_lossy()
    );
    std::fs::write(&file, text)?;
    let command = || {
        let mut command = stage.bt("daemon");
        command.arg("daemon").arg("--config").arg(&file);
        command.env("BT_SETTINGS_QUEUE_DOWNLOADS", "2").env("BT_SETTINGS_QUEUE_SEEDS", "2");
        command.args(["--set", "queue.downloads=3"]);
        command
    };
    let daemon = start("daemon", command())?;
    let now = settings(&daemon)?;
    ensure!(now["dir"] == data.to_string_lossy().into_owned(), "{now}");
    ensure!(now["session"]["limits"]["up"] == 1 << 20, "{now}");
    let queue = json!({ "downloads": 3, "seeds": 2, "total": 1, "stalled_after": 60 });
    ensure!(now["queue"] == queue, "{now}");
    // What an API sets holds until the next start, where nothing else says so for good.
    let patch = json!({ "start_added": false, "queue": { "total": 9 } });
    let now = daemon.api("PATCH", "settings", &patch)?.json()?;
    ensure!(now["queue"]["total"] == 9 && now["start_added"] == false, "{now}");
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    let daemon = start("daemon", command())?;
    let now = settings(&daemon)?;
    ensure!(now["queue"] == queue && now["start_added"] == false, "{now}");
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    // Without the file it is as the API left it.
    let mut bare = stage.bt("daemon");
    bare.args(["daemon", "--api", &LOOPBACK.to_string()]);
    let daemon = start("daemon", bare)?;
    let now = settings(&daemon)?;
    ensure!(now["queue"]["total"] == 9 && now["seed_limits"]["ratio"].is_null(), "{now}");
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_configuration_that_is_wrong_is_named_and_starts_nothing() -> Test {
    let stage = Stage::new()?;
    let file = stage.path("config.toml");
    for (text, expected) in [
        ("dirr = \"/srv\"\n", "dirr"),
        ("\n[settings.queue]\ndownloads = \"many\"\n", "many"),
        ("api = \"nowhere\"\n", "`api`"),
        ("up = \"fast\"\n", "`up`"),
        ("api_tls_cert = \"cert.pem\"\n", "--api-tls-key"),
        ("api = \"0.0.0.0:0\"\n", "password"),
        ("[hooks]\ndone = \"rm -rf /\"\n", "line 2"),
    ] {
        std::fs::write(&file, text)?;
        let mut command = stage.bt("daemon");
        command.args(["daemon", "--check-config", "--config"]).arg(&file);
        let finished = Process::run("check", &mut command, PATIENCE)?.expect_code(2)?;
        let error = finished.last()?;
        let message = error["message"].as_str().unwrap_or_default();
        ensure!(message.contains(expected), "{text:?}: {error}");
    }
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/deploy/config.toml");
    let mut command = stage.bt("daemon");
    command.args(["daemon", "--check-config", "--config", example]);
    Process::run("example", &mut command, PATIENCE)?.expect_code(0)?;
    std::fs::write(&file, "start = 1\n")?;
    let mut command = stage.bt("daemon");
    command.args(["daemon", "--config"]).arg(stage.path("no.toml"));
    Process::run("missing", &mut command, PATIENCE)?.expect_code(2)?;
    std::fs::write(&file, "dir = \"data\"\n")?;
    let mut command = stage.bt("daemon");
    command.args(["daemon", "--check-config", "--config"]).arg(&file);
    Process::run("check", &mut command, PATIENCE)?.expect_code(0)?;
    ensure!(!stage.path("daemon").join("daemon.redb").exists(), "nothing was started");
    Ok(())
}

#[test]
fn a_supervisor_is_told_and_a_reload_takes_what_is_right() -> Test {
    let stage = Stage::new()?;
    let file = stage.path("config.toml");
    let (password, socket) = (stage.path("password"), stage.path("notify"));
    let heard = UnixDatagram::bind(&socket)?;
    heard.set_read_timeout(Some(PATIENCE))?;
    let hear = |wanted: &str| -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut bytes = [0; 4096];
        loop {
            let length = heard.recv(&mut bytes).with_context(|| format!("waited for {wanted}"))?;
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if text.lines().any(|line| line.starts_with(wanted)) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "waited for {wanted}");
        }
    };
    std::fs::write(&password, "first\n")?;
    let write = |downloads: &str| {
        let text = format!(
            "api = \"{LOOPBACK}\"\napi_password_file = \"password\"\n[settings.queue]\n\
             downloads = {downloads}\n"
        );
        std::fs::write(&file, text)
    };
    write("1")?;
    let mut command = stage.bt("daemon");
    command.arg("daemon").arg("--config").arg(&file);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "400000");
    let daemon = start("daemon", command)?;
    hear("READY=1")?;
    hear("WATCHDOG=1")?;
    hear("STATUS=0 torrents")?;
    let basic = |password: &str| {
        let text = base64(&format!("bt:{password}"));
        let head = [("Authorization", &format!("Basic {text}")[..])];
        daemon.request("GET", "/api/v1/settings", &head, b"")
    };
    let downloads = |password: &str| -> Result<Value> {
        Ok(basic(password)?.json()?["queue"]["downloads"].clone())
    };
    ensure!(downloads("first")? == 1);

    // What is wrong changes nothing, and is said.
    write("\"many\"")?;
    daemon.process.hang_up()?;
    hear("RELOADING=1")?;
    hear("READY=1")?;
    ensure!(downloads("first")? == 1);

    std::fs::write(&password, "second\n")?;
    write("5")?;
    daemon.process.hang_up()?;
    hear("RELOADING=1")?;
    hear("READY=1")?;
    ensure!(downloads("second")? == 5);
    let earlier = basic("first")?;
    ensure!(
        earlier.status == 401,
        "the earlier password opens nothing: {} {}",
        earlier.head,
        earlier.text()
    );
    daemon.process.terminate()?;
    hear("STOPPING=1")?;
    let finished = daemon.process.finish(PATIENCE)?.expect_code(0)?;
    ensure!(finished.err.contains("the earlier configuration holds"), "{}", finished.err);
    Ok(())
}

#[test]
fn the_apis_are_served_on_a_socket_over_tls_and_below_a_path() -> Test {
    let stage = Stage::new()?;
    let socket = stage.path("api");
    let mut command = stage.bt("daemon");
    command.args(["daemon", "--listen", &LOOPBACK.to_string()]);
    command.arg("--api").arg(format!("unix:{}", socket.display()));
    let process = Process::start("daemon", &mut command)?;
    let ready = process.wait_event("ready", PATIENCE)?;
    ensure!(ready["api"] == format!("unix:{}", socket.display()), "{ready}");
    ensure!(std::fs::metadata(&socket)?.permissions().mode() & 0o777 == 0o600);
    let mut list = stage.bt("person");
    list.args(["list", "--api", &format!("unix:{}", socket.display())]);
    Process::run("list", &mut list, PATIENCE)?.expect_code(0)?;
    process.stop(PATIENCE)?.expect_code(0)?;
    ensure!(!socket.exists(), "the socket goes with the daemon");

    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()])?;
    let (cert, key) = (stage.path("cert.pem"), stage.path("key.pem"));
    std::fs::write(&cert, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    let mut command = stage.bt("daemon");
    command.args(["daemon", "--api", &LOOPBACK.to_string(), "--api-base-path", "/bt"]);
    command.arg("--api-tls-cert").arg(&cert).arg("--api-tls-key").arg(&key);
    command.args(["--listen", &LOOPBACK.to_string()]);
    let process = Process::start("daemon", &mut command)?;
    let ready = process.wait_event("ready", PATIENCE)?;
    let url = ready["api"].as_str().context("a URL")?;
    ensure!(url.starts_with("https://") && url.ends_with("/bt/"), "{url}");
    let port = url.rsplit(':').next().and_then(|rest| rest.split('/').next()).context("a port")?;
    let answers = ask_over_tls(&cert, port)?;
    ensure!(answers.trim() == "200 200 404 301 path=/bt/ Secure", "{answers}");
    process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_watched_folder_and_a_hook_do_what_a_person_would() -> Test {
    let stage = Stage::new()?;
    let source = stage.path("film");
    std::fs::write(&source, vec![7; 300_000])?;
    let torrent = stage.create(&source, &[])?;
    let (new, said) = (stage.path("new"), stage.path("said"));
    std::fs::create_dir(&new)?;
    let hook = stage.path("hook");
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$TR_TORRENT_NAME $TR_TORRENT_LABELS\" \"$@\" > {0}.new\n\
         mv {0}.new {0}\n",
        said.display()
    );
    std::fs::write(&hook, script)?;
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755))?;
    let file = stage.path("config.toml");
    let text = format!(
        "api = \"{LOOPBACK}\"\ndir = {:?}\n[[watch]]\ndir = \"new\"\ncategory = \"film\"\n\
         to = {:?}\n[hooks]\ndone = [\"{}\", \"%F\", \"%L\"]\n",
        stage.path("data").to_string_lossy(),
        source.parent().context("a directory")?.to_string_lossy(),
        hook.display()
    );
    std::fs::write(&file, text)?;
    let mut command = stage.bt("daemon");
    command.arg("daemon").arg("--config").arg(&file);
    let daemon = start("daemon", command)?;
    std::fs::copy(&torrent, new.join("film.torrent"))?;
    until("the hook", || Ok(said.exists()))?;
    let expected = format!("film film\n{}\nfilm\n", source.display());
    ensure!(std::fs::read_to_string(&said)? == expected);
    ensure!(new.join("film.torrent.added").exists());
    // No API can name a program.
    let hooks = json!({ "hooks": { "done": ["/bin/sh"] } });
    ensure!(daemon.api("PATCH", "settings", &hooks)?.status == 400);
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_filtered_peer_is_neither_dialled_nor_accepted() -> Test {
    let seeded = Seeded::file(1 << 20, &[])?;
    let Seeded { stage, torrent, at, .. } = &seeded;
    let (file, list) = (stage.path("config.toml"), stage.path("list"));
    std::fs::write(&list, "this machine:127.0.0.0-127.255.255.255\n")?;
    let text = format!("api = \"{LOOPBACK}\"\nip_filter = [\"list\"]\n");
    std::fs::write(&file, text)?;
    let mut command = stage.bt("daemon");
    command.arg("daemon").arg("--config").arg(&file).arg("-d").arg(stage.path("data"));
    let daemon = start("daemon", command)?;
    let add = json!({ "path": torrent, "peers": [at] });
    let added = daemon.api("POST", "torrents", &add)?.json()?;
    let hash = added["torrent"]["hash"].as_str().context("a hash")?.to_owned();
    daemon.wait_torrent(&hash, "the check", |row| row["state"] == "downloading")?;
    // Whom it does not dial it does not hear, either: it hangs up on the other one.
    let mut get = seeded.get("other", "copy");
    get.args(["--peer", &daemon.peers, "--timeout", "2s"]);
    ensure!(Process::run("other", &mut get, PATIENCE)?.code == Some(0), "it has the seed");
    let row = daemon.api("GET", &format!("torrents/{hash}"), &Value::Null)?.json()?;
    ensure!(row["bytes_down"] == 0 && row["complete"] == false, "{row}");
    std::fs::write(&list, "192.0.2.0/24\n")?;
    daemon.process.hang_up()?;
    let peers = json!({ "add_peers": [at] });
    until("the download", || {
        daemon.api("POST", &format!("torrents/{hash}/actions"), &peers)?;
        let row = daemon.api("GET", &format!("torrents/{hash}"), &Value::Null)?.json()?;
        Ok(row["complete"] == true)
    })?;
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// Asks as a browser would that trusts the certificate.
fn ask_over_tls(cert: &Path, port: &str) -> Result<String> {
    const SCRIPT: &str = r#"
import http.client, json, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[1])
def ask(method, path, body=None):
    connection = http.client.HTTPSConnection("localhost", int(sys.argv[2]), context=context)
    connection.request(method, path, body, {"content-type": "application/json"})
    return connection.getresponse()
said = [ask("GET", "/bt/"), ask("GET", "/bt/api/v1/settings"), ask("GET", "/api/v1/settings"), ask("GET", "/bt")]
cookie = ask("POST", "/bt/api/v1/login", json.dumps({"user": "bt", "password": ""})).headers["set-cookie"]
parts = [part.strip() for part in cookie.split(";")]
print(*[answer.status for answer in said], *[part for part in parts if part.startswith(("path", "Secure"))])
"#;
    let mut command = Command::new("python3");
    command.arg("-c").arg(SCRIPT).arg(cert).arg(port);
    let output = command.output().context("python3 can be run")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

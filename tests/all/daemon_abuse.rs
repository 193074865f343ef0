//! Hostile HTTP against `bt daemon`: none of it does anything.
//!
//! Decides: the situations. Must not know: how they are refused.
//! Invariant: after each, the daemon has no torrent more, its settings are as before, and it
//! answers.

use crate::Test;
use anyhow::{Context as _, ensure};
use bt_tests::{PATIENCE, RawAnswer, RunningDaemon, Stage};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const ADD: &[u8] = br#"{"source":"magnet:?xt=urn:btih:1111111111111111111111111111111111111111"}"#;
const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A request: method, path, head, body, and the statuses that it may get.
type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], &'a [u16]);

fn rows() -> Vec<Row<'static>> {
    const V2: &str = "/api/v2/torrents/add";
    const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
    const LINK: &[u8] = b"urls=magnet:?xt=urn:btih:1111111111111111111111111111111111111111";
    vec![
        // A name that was bound to our address.
        ("POST", "/api/v1/torrents", &[("Host", "evil.example"), JSON], ADD, &[421]),
        ("POST", "/api/v1/torrents", &[("Host", "evil.example:9091"), JSON], ADD, &[421]),
        ("POST", V2, &[("Host", "127.0.0.1.evil.example"), FORM], LINK, &[421]),
        ("GET", "/api/v1/torrents", &[("Host", "evil.example")], b"", &[421]),
        ("GET", "/transmission/rpc", &[("Host", "evil.example")], b"", &[421]),
        ("GET", "/", &[("Host", "evil.example")], b"", &[421]),
        ("GET", "/api/v1/events", &[("Host", "evil.example")], b"", &[421]),
        // Pages of other sites.
        ("POST", "/api/v1/torrents", &[("Origin", "https://evil.example"), JSON], ADD, &[403]),
        ("POST", "/api/v1/torrents", &[("Origin", "null"), JSON], ADD, &[403]),
        ("POST", "/api/v1/torrents", &[("Referer", "https://evil.example/"), JSON], ADD, &[403]),
        ("POST", "/api/v1/torrents", &[("Sec-Fetch-Site", "cross-site"), JSON], ADD, &[403]),
        ("POST", "/api/v1/torrents", &[("Sec-Fetch-Site", "same-site"), JSON], ADD, &[403]),
        ("POST", V2, &[("Origin", "https://evil.example"), FORM], LINK, &[403]),
        ("POST", V2, &[("Origin", "https://evil.example"), ("Content-Type", "text/plain")], LINK, &[403]),
        ("POST", "/api/v1/stop", &[("Origin", "https://evil.example")], b"", &[403]),
        ("DELETE", "/api/v1/torrents/x", &[("Origin", "https://evil.example")], b"", &[403]),
        ("PATCH", "/api/v1/settings", &[("Origin", "https://evil.example"), JSON], b"{}", &[403]),
        ("POST", "/transmission/rpc", &[("Origin", "https://evil.example")], b"{}", &[403]),
        // A simple form cannot know the session id.
        ("POST", "/transmission/rpc", &[("Content-Type", "text/plain")], b"{\"method\":\"session-close\"}", &[409]),
        ("POST", "/transmission/rpc", &[("X-Transmission-Session-Id", "x")], b"{}", &[409]),
        // GET changes nothing.
        ("GET", "/api/v2/torrents/add?urls=magnet:?xt=urn:btih:1111111111111111111111111111111111111111", &[], b"", &[405]),
        ("GET", "/api/v2/app/shutdown", &[], b"", &[405]),
        ("GET", "/api/v2/app/setPreferences?json=%7B%22save_path%22:%22/etc%22%7D", &[], b"", &[405]),
        ("GET", "/api/v1/stop", &[], b"", &[405]),
        ("GET", "/api/v1/undo", &[], b"", &[405]),
        ("PUT", "/api/v1/torrents", &[JSON], ADD, &[405]),
        ("TRACE", "/", &[], b"", &[405]),
        // Paths.
        ("GET", "/../../etc/passwd", &[], b"", &[404]),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", &[], b"", &[404]),
        ("GET", "/vendor/..%2f..%2fCargo.toml", &[], b"", &[404]),
        ("GET", "/\\..\\windows", &[], b"", &[400, 404]),
        ("GET", "//evil.example/", &[], b"", &[404]),
        ("GET", "/stream/../../etc/passwd/0", &[], b"", &[404]),
        ("GET", "/stream/1111111111111111111111111111111111111111/0", &[], b"", &[404]),
        ("GET", "/stream/x/99999999999999999999999", &[], b"", &[400]),
        // Locations and names.
        ("POST", "/api/v1/torrents", &[JSON], br#"{"path":"/etc/passwd"}"#, &[415]),
        ("POST", "/api/v1/torrents", &[JSON], br#"{"path":"/dev/zero"}"#, &[400]),
        ("POST", "/api/v1/torrents", &[JSON], br#"{"path":"/proc/self/mem"}"#, &[400, 415]),
        ("POST", "/api/v1/torrents", &[JSON], br#"{"source":"file:///etc/passwd"}"#, &[400]),
        ("POST", "/api/v1/torrents", &[JSON], br#"{"source":"ftp://127.0.0.1/x"}"#, &[400]),
        ("POST", "/api/v1/torrents", &[JSON], br#"{"source":"http://169.254.169.254/latest"}"#, &[502]),
        ("POST", "/api/v1/torrents", &[JSON], br#"{"source":"magnet:?xt=urn:btih:1111111111111111111111111111111111111111","dir":"../x"}"#, &[400]),
        ("PATCH", "/api/v1/settings", &[JSON], br#"{"dir":"relative"}"#, &[400]),
        ("PATCH", "/api/v1/settings", &[JSON], br#"{"on_done":"rm -rf /"}"#, &[400]),
        ("PATCH", "/api/v1/settings", &[JSON], br#"{"queue":{"downloads":-1}}"#, &[400]),
        ("PATCH", "/api/v1/settings", &[JSON], br#"{"hooks":{"done":["/bin/sh"]}}"#, &[400]),
        ("PATCH", "/api/v1/settings", &[JSON], br#"{"watch":[{"dir":"/"}]}"#, &[400]),
        ("POST", "/api/v2/app/setPreferences", &[FORM], b"json=%7B%22autorun_enabled%22%3Atrue%2C%22autorun_program%22%3A%22%2Fbin%2Fsh%22%7D", &[200]),
        ("POST", "/api/v2/app/setPreferences", &[FORM], b"json=%7B%22web_ui_password%22%3A%22x%22%2C%22web_ui_address%22%3A%220.0.0.0%22%7D", &[200]),
        ("POST", "/api/v2/torrents/createCategory", &[FORM], b"category=..%2F..%2Fetc", &[400]),
        ("POST", "/api/v2/torrents/createCategory", &[FORM], b"category=a&savePath=..%2Fx", &[400]),
        // Feeds, and torrents that are made.
        ("POST", "/api/v1/rss", &[JSON], br#"{"do":"add_feed","url":"file:///etc/passwd"}"#, &[400]),
        ("POST", "/api/v1/rss", &[JSON], br#"{"do":"add_feed","url":"http://a/","path":"x\\y"}"#, &[409]),
        ("POST", "/api/v1/rss", &[JSON], br#"{"do":"run","program":"/bin/sh"}"#, &[400]),
        ("POST", "/api/v1/rss", &[JSON], br#"{"do":"set_rule","name":"r","rule":{"useRegex":true,"mustContain":"(a{1000}){1000}"}}"#, &[400]),
        ("POST", "/api/v1/rss", &[JSON], br#"{"do":"set_rule","name":"r","rule":{"savePath":"../x"}}"#, &[400]),
        ("POST", "/api/v2/rss/addFeed", &[FORM, ("Origin", "https://evil.example")], b"url=http%3A%2F%2Fa%2F", &[403]),
        ("POST", "/api/v1/creations", &[JSON], br#"{"source":"relative"}"#, &[400]),
        ("POST", "/api/v1/creations", &[JSON], br#"{"source":"/tmp","file":"../x"}"#, &[400]),
        ("POST", "/api/v1/creations", &[JSON, ("Sec-Fetch-Site", "cross-site")], br#"{"source":"/etc"}"#, &[403]),
        // What stays open is for pages of our own.
        ("GET", "/api/v1/events", &[("Accept", "text/event-stream"), ("Origin", "https://evil.example")], b"", &[403]),
        ("GET", "/api/v1/events", &[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Origin", "null")], b"", &[403]),
        // Bodies.
        ("POST", "/api/v1/torrents", &[JSON], b"{", &[400]),
        ("POST", "/api/v1/torrents", &[JSON], b"\xff\xfe", &[400]),
        ("POST", "/api/v1/torrents", &[("Content-Type", "text/plain")], ADD, &[400]),
        ("POST", "/api/v1/torrents", &[("Content-Type", "multipart/form-data")], ADD, &[400]),
        ("POST", "/api/v1/torrents", &[("Content-Type", "multipart/form-data; boundary=x")], b"--x\r\n", &[400]),
        ("POST", V2, &[("Content-Type", "multipart/form-data; boundary=x")], b"--x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\ngarbage\r\n--x--\r\n", &[415]),
        // Heads.
        ("GET", "/api/v1/session", &[("Cookie", "SID=x; SID=y")], b"", &[200]),
        ("GET", "/api/v1/session", &[("Authorization", "Basic ====")], b"", &[200]),
        ("GET", "/api/v1/session", &[("X-Forwarded-For", "8.8.8.8, evil")], b"", &[200]),
        ("GET", "/api/v1/session", &[("X-Forwarded-Host", "evil.example")], b"", &[200]),
        ("GET", "/api/v1/torrents?since=99999999999999999999999999", &[], b"", &[400]),
        ("GET", "/api/v1/torrents/%00", &[], b"", &[404]),
    ]
}

fn unchanged(daemon: &RunningDaemon, settings: &Value, what: &str) -> Test {
    let list = daemon.api("GET", "torrents", &Value::Null)?.json()?;
    ensure!(list["torrents"] == json!([]), "{what}: {list}");
    let now = daemon.api("GET", "settings", &Value::Null)?.json()?;
    ensure!(now == *settings, "{what}: {now}");
    Ok(())
}

#[test]
fn hostile_requests_do_nothing() -> Test {
    let stage = Stage::new()?;
    let daemon = RunningDaemon::start(&stage, "daemon", &stage.path("data"), &[])?;
    let settings = daemon.api("GET", "settings", &Value::Null)?.json()?;
    for (method, path, head, body, allowed) in rows() {
        let answer = daemon.request(method, path, head, body)?;
        let what = format!("{method} {path} {head:?}: {} {}", answer.head, answer.text());
        ensure!(allowed.contains(&answer.status), "{what}");
        unchanged(&daemon, &settings, &what)?;
        for name in ["access-control-allow-origin", "access-control-allow-credentials"] {
            ensure!(answer.header(name).is_none(), "{what}");
        }
        let policy = answer.header("content-security-policy").unwrap_or_default();
        let is_strict = !policy.contains("unsafe") && policy.contains("default-src");
        ensure!(is_strict || answer.status == 400, "{what}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = "x".repeat(40_000_000);
    for (body, path) in [(&deep, "settings"), (&deep, "torrents"), (&long, "torrents")] {
        let method = if path == "settings" { "PATCH" } else { "POST" };
        let answer =
            daemon.request(method, &format!("/api/v1/{path}"), &[JSON], body.as_bytes())?;
        ensure!([0, 400, 413].contains(&answer.status), "{path}: {}", answer.head);
        unchanged(&daemon, &settings, path)?;
    }
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n\tb\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"POST /api/v1/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"POST /api/v1/stop HTTP/1.1\r\nHost: evil\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    ] {
        let mut bytes = bytes.to_vec();
        if bytes.ends_with(b"\r\n\r\n") && bytes.starts_with(b"GET") {
            bytes.truncate(bytes.len() - 2);
            bytes.extend_from_slice(b"Connection: close\r\n\r\n");
        }
        let answer = daemon.raw(&bytes)?;
        ensure!(![202, 204].contains(&answer.status), "{}", answer.head);
        unchanged(&daemon, &settings, &answer.head)?;
    }
    let heads = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    ensure!([0, 400, 431].contains(&daemon.raw(heads.as_bytes())?.status));
    ensure!(daemon.process.memory()? < 200 << 20, "its memory stays small");
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

#[test]
fn slow_callers_keep_nobody_out() -> Test {
    let stage = Stage::new()?;
    let daemon = RunningDaemon::start(&stage, "daemon", &stage.path("data"), &[])?;
    let open = |text: &str| -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect(daemon.api)?;
        stream.write_all(text.as_bytes())?;
        Ok(stream)
    };
    let mut slow = Vec::new();
    for n in 0..100 {
        slow.push(open(match n % 3 {
            0 => "",
            1 => "GET / HTTP/1.1\r\nHost: local",
            _ => "POST /api/v1/torrents HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
        })?);
    }
    let answer = daemon.api("GET", "session", &Value::Null)?;
    ensure!(answer.status == 200, "{}", answer.head);
    // A head that does not end is not waited for.
    let begin = Instant::now();
    let mut first = slow.swap_remove(1);
    first.set_read_timeout(Some(PATIENCE))?;
    let _ = first.read_to_end(&mut Vec::new());
    ensure!(begin.elapsed() < Duration::from_secs(60), "it was kept for {:?}", begin.elapsed());
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_password_is_needed_and_cannot_be_guessed() -> Test {
    let stage = Stage::new()?;
    let file = stage.path("password");
    std::fs::write(&file, "correct horse\n")?;
    let options = ["--api-user", "me", "--api-password-file", &file.to_string_lossy()];
    let daemon = RunningDaemon::start(&stage, "daemon", &stage.path("data"), &options)?;
    let get = |path: &str, head: &[(&str, &str)]| daemon.request("GET", path, head, b"");
    for (path, status) in [
        ("/api/v1/torrents", 401),
        ("/api/v1/events", 401),
        ("/api/v2/app/version", 403),
        ("/transmission/rpc", 401),
        ("/stream/1111111111111111111111111111111111111111/0", 401),
        ("/metrics", 401),
        ("/", 200),
        ("/healthz", 200),
    ] {
        let answer = get(path, &[])?;
        ensure!(answer.status == status, "{path}: {}", answer.head);
    }
    let login = |password: &str| {
        let body = format!("username=me&password={password}");
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        daemon.request("POST", "/api/v2/auth/login", &form, body.as_bytes())
    };
    let right = login("correct+horse")?;
    ensure!((right.status, &right.text()[..]) == (200, "Ok."), "{}", right.head);
    let cookie = right.header("set-cookie").context("a cookie")?.to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "path=/"] {
        ensure!(cookie.contains(part), "{cookie}");
    }
    // Callers send the whole line back.
    ensure!(get("/api/v2/app/version", &[("Cookie", &cookie)])?.text() == "v5.1.4");
    let name = json!({ "name": "phone", "scope": "read" });
    let head = [("Cookie", &cookie[..]), JSON];
    let made = daemon.request("POST", "/api/v1/tokens", &head, name.to_string().as_bytes())?;
    let token = made.json()?["token"].as_str().context("a token")?.to_owned();
    let bearer = format!("Bearer {token}");
    ensure!(get("/api/v1/torrents", &[("Authorization", &bearer)])?.status == 200);
    let stop = daemon.request("POST", "/api/v1/stop", &[("Authorization", &bearer)], b"")?;
    ensure!(stop.status == 401, "a token to read stops nothing: {}", stop.head);
    for _ in 0..5 {
        ensure!(login("wrong")?.text() == "Fails.");
    }
    let locked: RawAnswer = login("correct+horse")?;
    ensure!(locked.status == 403, "{}", locked.head);
    // Who has a session is not locked out by who guesses at the same address.
    ensure!(get("/api/v1/torrents", &[("Cookie", &cookie)])?.status == 200);
    let said = daemon.process.transcript();
    ensure!(!said.contains(&token) && !said.contains("correct horse"), "a secret is in the log");
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

//! A `bt daemon`, and requests to its HTTP server byte by byte.
//!
//! Decides: how an answer is read.
//! Must not know: what the APIs mean.
//! Invariant: every wait has a deadline.

use crate::{LOOPBACK, PATIENCE, Process, Stage};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

/// A running `bt daemon`.
#[derive(Debug)]
pub struct RunningDaemon {
    /// Its process.
    pub process: Process,
    /// Where its APIs are.
    pub api: SocketAddr,
    /// Where it listens for peers.
    pub peers: String,
}

/// An answer over HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawAnswer {
    /// The status; 0 if the connection ended without an answer.
    pub status: u16,
    /// The lines of its head.
    pub head: String,
    /// Its body.
    pub body: Vec<u8>,
}

impl RawAnswer {
    /// Returns the body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("no JSON: {} {}", self.status, self.text()))
    }

    /// Returns the body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl RunningDaemon {
    /// Starts a daemon with the state of the actor `who`, whose data goes to `dir`.
    pub fn start(stage: &Stage, who: &str, dir: &Path, options: &[&str]) -> Result<RunningDaemon> {
        let at = LOOPBACK.to_string();
        let mut command = stage.bt(who);
        command.args(["daemon", "--api", &at, "--listen", &at, "-d"]).arg(dir).args(options);
        RunningDaemon::of(Process::start(who, &mut command)?)
    }

    /// Waits until a daemon is ready that was started.
    pub fn of(process: Process) -> Result<RunningDaemon> {
        let ready = process.wait_event("ready", PATIENCE)?;
        let url = ready["api"].as_str().context("ready has its URL")?;
        let api = url.trim_start_matches("http://").trim_end_matches('/').parse()?;
        let peers = ready["listen"][0].as_str().context("ready has addresses")?.to_owned();
        Ok(RunningDaemon { process, api, peers })
    }

    /// Sends a request with these lines in its head, and reads the answer.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        head: &[(&str, &str)],
        body: &[u8],
    ) -> Result<RawAnswer> {
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        if !head.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text += &format!("Host: {}\r\n", self.api);
        }
        for (name, value) in head {
            text += &format!("{name}: {value}\r\n");
        }
        text += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        self.raw(&[text.as_bytes(), body].concat())
    }

    /// Sends JSON to our own API, or asks without a body for `Value::Null`.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> Result<RawAnswer> {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let json = [("Content-Type", "application/json")];
        self.request(method, &format!("/api/v1/{path}"), &json, text.as_bytes())
    }

    /// Sends bytes, and reads what comes until the end of the connection.
    pub fn raw(&self, bytes: &[u8]) -> Result<RawAnswer> {
        let mut stream = TcpStream::connect(self.api)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        // A server that has heard enough may close before all is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Ok(parse(&answer))
    }

    /// Waits until our own API's row of a torrent is as wanted.
    pub fn wait_torrent(
        &self,
        hash: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let row = self.api("GET", &format!("torrents/{hash}"), &Value::Null)?.json()?;
            if wanted(&row) {
                return Ok(row);
            }
            ensure!(std::time::Instant::now() < deadline, "waited for {what}: {row}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

fn parse(bytes: &[u8]) -> RawAnswer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut body = bytes.get(end + 4..).unwrap_or_default().to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunked(&body);
    }
    RawAnswer { status, head, body }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(&String::from_utf8_lossy(&bytes[..end]), 16);
        let Ok(length) = length else { break };
        let Some(chunk) = bytes.get(end + 2..end + 2 + length) else { break };
        body.extend_from_slice(chunk);
        bytes = bytes.get(end + 4 + length..).unwrap_or_default();
    }
    body
}

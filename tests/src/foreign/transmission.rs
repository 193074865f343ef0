//! transmission-daemon; it refuses loopback peers, so it needs a namespace.
//!
//! Decides: its settings. Must not know: the peer on the other side.
//! Invariant: its folder, port and remote control are its own.

use super::{PORT, utf8, version};
use crate::Process;
use crate::client::{Client, ClientConfig, ClientProgress, PeersFrom, Running, until};
use crate::remote::Remote;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The state number of a torrent that is complete and checked.
const SEEDING: u64 = 6;

/// The daemon.
#[derive(Clone, Copy, Debug)]
pub struct Transmission;

impl Client for Transmission {
    fn name(&self) -> &'static str {
        "Transmission"
    }

    fn version(&self) -> Option<String> {
        version("transmission-daemon", &["--version"])
    }

    fn open(&self, at: &ClientConfig<'_>) -> Result<Box<dyn Running>> {
        let lsd = at.discovery == PeersFrom::Lsd;
        let settings = json!({
            "dht-enabled": false, "lpd-enabled": lsd, "pex-enabled": false, "utp-enabled": false, "port-forwarding-enabled": false,
            "download-dir": at.dir, "incomplete-dir-enabled": false, "rename-partial-files": false, "ratio-limit-enabled": false,
            "bind-address-ipv4": "0.0.0.0", "peer-port": PORT, "rpc-bind-address": "127.0.0.1", "rpc-whitelist-enabled": false,
        });
        fs::create_dir_all(at.home)?;
        fs::write(at.home.join("settings.json"), settings.to_string())?;
        let mut command = Command::new("transmission-daemon");
        command.args(["--foreground", "--log-info", "--config-dir"]).arg(at.home);
        let process = Process::start("transmission-daemon", &mut at.host.inside(&command))?;
        let remote = Remote::new(at.host, 9091)?;
        // The daemon answers the first request with a token, which every further request must
        // carry.
        let token = until("transmission's remote control", || {
            remote
                .post("/transmission/rpc", &[], b"{}")
                .ok()?
                .header("x-transmission-session-id")
                .map(str::to_owned)
        })?;
        Ok(Box::new(Daemon { process, remote, token, torrent: at.source().into() }))
    }
}

#[derive(Debug)]
struct Daemon {
    process: Process,
    remote: Remote,
    token: String,
    torrent: PathBuf,
}

impl Daemon {
    fn ask(&self, method: &str, arguments: &Value) -> Result<Value> {
        let body = json!({ "method": method, "arguments": arguments }).to_string();
        let headers = [format!("X-Transmission-Session-Id: {}", self.token)];
        let mut answer =
            self.remote.post("/transmission/rpc", &headers, body.as_bytes())?.json()?;
        ensure!(answer["result"] == "success", "transmission: {method}: {answer}");
        Ok(answer["arguments"].take())
    }
}

impl Running for Daemon {
    fn add(&mut self) -> Result<()> {
        self.ask("torrent-add", &json!({ "filename": utf8(&self.torrent)? })).map(drop)
    }

    fn progress(&mut self) -> Result<ClientProgress> {
        let answer = self.ask(
            "torrent-get",
            &json!({ "fields": ["status", "sizeWhenDone", "leftUntilDone", "uploadedEver", "metadataPercentComplete"] }),
        )?;
        let Some(torrent) = answer["torrents"].get(0) else { return Ok(ClientProgress::default()) };
        let count = |field: &str| {
            torrent[field].as_u64().with_context(|| format!("no {field} in {answer}"))
        };
        let left = count("leftUntilDone")?;
        let metadata = torrent["metadataPercentComplete"] == 1.0;
        Ok(ClientProgress {
            metadata,
            complete: metadata && left == 0 && count("status")? == SEEDING,
            bytes_done: count("sizeWhenDone")? - left,
            bytes_up: count("uploadedEver")?,
        })
    }

    fn transcript(&self) -> String {
        self.process.transcript()
    }

    fn process(&self) -> Option<&Process> {
        Some(&self.process)
    }
}

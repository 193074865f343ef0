//! `bt` as one client among others.
//!
//! Decides: its command line. Must not know: the peer on the other side.
//! Invariant: it uses only options that a user could type.

use super::{Client, ClientConfig, ClientProgress, PeersFrom, Running};
use crate::{Process, bt};
use anyhow::{Context as _, Result};
use std::process::Command;
use std::time::Duration;

/// `bt get` or `bt seed`.
#[derive(Clone, Copy, Debug)]
pub struct Bt {
    verb: &'static [&'static str],
}

impl Bt {
    /// Downloads and stays.
    pub const GET: Bt = Bt { verb: &["get", "--seed"] };
    /// Seeds what is there.
    pub const SEED: Bt = Bt { verb: &["seed"] };
    /// Downloads so slowly that it stays incomplete for a long time.
    pub const SLOW: Bt = Bt { verb: &["get", "--seed", "--down", "1MiB/s"] };
    /// Seeds what is there without hashing it.
    pub const TRUST: Bt = Bt { verb: &["seed", "--no-check"] };
}

impl Client for Bt {
    fn name(&self) -> &'static str {
        "bt"
    }

    fn version(&self) -> Option<String> {
        Some(env!("CARGO_PKG_VERSION").to_owned())
    }

    fn open(&self, at: &ClientConfig<'_>) -> Result<Box<dyn Running>> {
        let mut command = bt(at.home);
        command.args(self.verb).arg(at.source()).arg("-d").arg(at.dir);
        // The address family that trackers tell other peers of.
        command.args(["--listen", "0.0.0.0:6881"]);
        discover(&mut command, at.discovery);
        Ok(Box::new(RunningBt {
            command: at.host.inside(&command),
            process: None,
            is_seed: self.verb.first() == Some(&"seed"),
        }))
    }
}

/// Adds the options that enable only this way to find peers.
pub fn discover(command: &mut Command, discovery: PeersFrom) -> &mut Command {
    match discovery {
        PeersFrom::Trackers => command.arg("--no-pex"),
        PeersFrom::Dht(at) => {
            command.env_remove("BT_NO_DHT").args(["--no-pex", "--dht-bootstrap", &at.to_string()])
        }
        PeersFrom::Pex(None) => command,
        PeersFrom::Pex(Some(peer)) => command.args(["--peer", &peer.to_string()]),
        PeersFrom::Lsd => command.env_remove("BT_NO_LSD").arg("--no-pex"),
    }
}

/// A `bt` client. It has no remote control: it starts when it gets its torrent.
#[derive(Debug)]
struct RunningBt {
    command: Command,
    process: Option<Process>,
    is_seed: bool,
}

impl Running for RunningBt {
    fn add(&mut self) -> Result<()> {
        self.process = Some(Process::start("bt", &mut self.command)?);
        Ok(())
    }

    fn progress(&mut self) -> Result<ClientProgress> {
        let Some(process) = &mut self.process else { return Ok(ClientProgress::default()) };
        let metadata = process.last_event("metadata").is_some();
        let complete =
            process.last_event(if self.is_seed { "ready" } else { "complete" }).is_some();
        anyhow::ensure!(!process.is_over()?, "bt ended\n{}", process.transcript());
        let said = process.last_event("progress").filter(|said| said["phase"] != "metadata");
        let Some(said) = said else {
            return Ok(ClientProgress { metadata, complete, ..ClientProgress::default() });
        };
        let count = |field: &str| said[field].as_u64().context("progress counts bytes");
        Ok(ClientProgress {
            metadata,
            complete,
            bytes_done: count("bytes_done")?,
            bytes_up: count("bytes_up")?,
        })
    }

    fn transcript(&self) -> String {
        self.process.as_ref().map(Process::transcript).unwrap_or_default()
    }

    fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Waits for the event that `bt` prints, so that no polling is needed.
    fn wait_complete(&mut self, limit: Duration) -> Result<()> {
        let process = self.process.as_ref().context("bt has its torrent")?;
        process.wait_event(if self.is_seed { "ready" } else { "complete" }, limit).map(drop)
    }
}

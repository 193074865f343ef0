//! transmission-daemon, in a namespace of its own because it refuses loopback peers.
//!
//! Decides: its settings. Must not know: who is on the other side.
//! Invariant: its folder, port and remote control are its own.

use super::is_there;
use crate::{Host, Process};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The daemon with its remote control.
#[derive(Clone, Copy, Debug)]
pub struct Transmission(());

/// A running daemon.
#[derive(Debug)]
pub struct Daemon<'a> {
    process: Process,
    host: &'a Host,
}

impl Transmission {
    /// Looks for it.
    pub fn find() -> Option<Transmission> {
        (is_there("transmission-daemon") && is_there("transmission-remote")).then_some(Transmission(()))
    }

    /// Downloads a torrent to `dir`, seeds what is there, and runs until dropped. `home` gets its settings.
    pub fn share<'a>(self, host: &'a Host, torrent: &Path, dir: &Path, home: &Path) -> Result<Daemon<'a>> {
        let settings = serde_json::json!({
            "dht-enabled": false, "lpd-enabled": false, "utp-enabled": false, "port-forwarding-enabled": false,
            "download-dir": dir, "incomplete-dir-enabled": false, "rename-partial-files": false,
            "bind-address-ipv4": "0.0.0.0", "peer-port": 51413, "rpc-bind-address": "127.0.0.1", "rpc-whitelist-enabled": false,
        });
        fs::create_dir_all(home)?;
        fs::write(home.join("settings.json"), settings.to_string())?;
        let mut command = Command::new("transmission-daemon");
        command.args(["--foreground", "--log-info", "--config-dir"]).arg(home);
        let daemon = Daemon { process: Process::start("transmission-daemon", &mut host.inside(&command))?, host };
        daemon.until("its remote control", Duration::from_secs(30), || Ok(daemon.remote(&["--session-info"])?.is_some()))?;
        let torrent = torrent.to_str().context("the path is UTF-8")?;
        daemon.remote(&["--add", torrent])?.context("transmission-remote --add failed")?;
        Ok(daemon)
    }
}

impl Daemon<'_> {
    /// Waits until all of its torrents are complete and checked.
    pub fn wait_complete(&self, limit: Duration) -> Result<()> {
        self.until("Percent Done: 100%", limit, || {
            let info = self.remote(&["--torrent", "all", "--info"])?.unwrap_or_default();
            Ok(info.contains("Percent Done: 100%") && !info.contains("State: Verifying"))
        })
    }

    /// What the remote control prints; `None` if it failed.
    fn remote(&self, args: &[&str]) -> Result<Option<String>> {
        let output = self.host.inside(Command::new("transmission-remote").args(args)).output()?;
        Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// It tells nobody of its progress, so it is asked again and again.
    fn until(&self, what: &str, limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !done()? {
            if Instant::now() > deadline {
                let info = self.remote(&["--torrent", "all", "--info", "--info-peers"])?.unwrap_or_default();
                bail!("transmission: waited {limit:?} for {what}, in vain\n{info}\n{}", self.process.transcript());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

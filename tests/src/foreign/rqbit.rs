//! rqbit.
//!
//! Decides: its options. Must not know: the peer on the other side.
//! Invariant: it keeps no state, and finds others through trackers alone.

use super::{PORT, version};
use crate::Process;
use crate::client::{Client, ClientConfig, ClientProgress, Running, until};
use crate::remote::Remote;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

const REMOTE: u16 = 3030;

/// The program.
#[derive(Clone, Copy, Debug)]
pub struct Rqbit;

impl Client for Rqbit {
    fn name(&self) -> &'static str {
        "rqbit"
    }

    fn version(&self) -> Option<String> {
        version("rqbit", &["--version"])
    }

    fn open(&self, at: &ClientConfig<'_>) -> Result<Box<dyn Running>> {
        fs::create_dir_all(at.dir)?;
        let mut command = Command::new("rqbit");
        command.args([
            "--disable-dht",
            "--disable-lsd",
            "--disable-upnp-port-forward",
            "--listen-ip",
            "0.0.0.0",
            "--listen-port",
        ]);
        command.arg(PORT.to_string()).args(["--http-api-listen-addr"]);
        command.arg(SocketAddr::from((Ipv4Addr::LOCALHOST, REMOTE)).to_string());
        command.args(["server", "start", "--disable-persistence"]).arg(at.dir);
        let process = Process::start("rqbit", &mut at.host.inside(&command))?;
        let running =
            Server { process, remote: Remote::new(at.host, REMOTE)?, torrent: at.source().into() };
        until("rqbit's remote control", || running.remote.connect().ok())?;
        Ok(Box::new(running))
    }
}

#[derive(Debug)]
struct Server {
    process: Process,
    remote: Remote,
    torrent: PathBuf,
}

impl Running for Server {
    fn add(&mut self) -> Result<()> {
        // It may use existing data, after a check.
        let body = match self.torrent.to_str().filter(|text| text.starts_with("magnet:")) {
            Some(link) => link.as_bytes().to_vec(),
            None => fs::read(&self.torrent)?,
        };
        let answer = self.remote.post("/torrents?overwrite=true", &[], &body)?.json()?;
        ensure!(answer["id"] == 0, "rqbit: {answer}");
        Ok(())
    }

    fn progress(&mut self) -> Result<ClientProgress> {
        let answer = self.remote.get("/torrents/0/stats/v1")?.json()?;
        let count =
            |field: &str| answer[field].as_u64().with_context(|| format!("no {field} in {answer}"));
        Ok(ClientProgress {
            metadata: true,
            complete: answer["finished"] == true && answer["state"] == "live",
            bytes_done: count("progress_bytes")?,
            bytes_up: count("uploaded_bytes")?,
        })
    }

    fn transcript(&self) -> String {
        self.process.transcript()
    }

    fn process(&self) -> Option<&Process> {
        Some(&self.process)
    }
}

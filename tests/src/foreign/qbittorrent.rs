//! qBittorrent without a window.
//!
//! Decides: its settings. Must not know: the peer on the other side.
//! Invariant: its profile, port and remote control are its own.

use super::{PORT, utf8, version};
use crate::Process;
use crate::client::{Client, ClientConfig, ClientProgress, PeersFrom, Running, until};
use crate::remote::{Answer, Remote};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const REMOTE: u16 = 8080;

/// Separates the fields of a form; no torrent contains it.
const BOUNDARY: &str = "bt-tests-boundary";

/// The program.
#[derive(Clone, Copy, Debug)]
pub struct Qbittorrent;

impl Client for Qbittorrent {
    fn name(&self) -> &'static str {
        "qBittorrent"
    }

    fn version(&self) -> Option<String> {
        version("qbittorrent-nox", &["--version"])
    }

    fn open(&self, at: &ClientConfig<'_>) -> Result<Box<dyn Running>> {
        let lsd = at.discovery == PeersFrom::Lsd;
        let settings = format!(
            "[LegalNotice]\nAccepted=true\n\
             [BitTorrent]\nSession\\DHTEnabled=false\nSession\\LSDEnabled={lsd}\nSession\\PeXEnabled=false\nSession\\Port={PORT}\n\
             Session\\DefaultSavePath={}\n\
             [Network]\nPortForwardingEnabled=false\n\
             [Preferences]\nWebUI\\LocalHostAuth=false\nWebUI\\CSRFProtection=false\nWebUI\\Port={REMOTE}\nWebUI\\Address=127.0.0.1\n",
            utf8(at.dir)?
        );
        let folder = at.home.join("qBittorrent/config");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("qBittorrent.conf"), settings)?;
        let mut command = Command::new("qbittorrent-nox");
        command.arg(format!("--profile={}", utf8(at.home)?)).env("HOME", at.home);
        let process = Process::start("qbittorrent-nox", &mut at.host.inside(&command))?;
        let log = at.home.join("qBittorrent/data/logs/qbittorrent.log");
        let remote = Remote::new(at.host, REMOTE)?;
        let running = RunningQbittorrent { process, remote, torrent: at.source().into(), log };
        until("qBittorrent's remote control", || running.ask("app/version", &[], b"").ok())?;
        Ok(Box::new(running))
    }
}

#[derive(Debug)]
struct RunningQbittorrent {
    process: Process,
    remote: Remote,
    torrent: PathBuf,
    log: PathBuf,
}

impl RunningQbittorrent {
    fn ask(&self, method: &str, headers: &[String], body: &[u8]) -> Result<Answer> {
        let answer = self.remote.post(&format!("/api/v2/{method}"), headers, body)?;
        ensure!(
            answer.is_ok(),
            "qBittorrent: {method}: {}{}",
            answer.head,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(answer)
    }
}

impl Running for RunningQbittorrent {
    fn add(&mut self) -> Result<()> {
        if let Some(link) = utf8(&self.torrent)?.strip_prefix("magnet:") {
            let form = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"urls\"\r\n\r\nmagnet:{link}\r\n--{BOUNDARY}--\r\n"
            );
            let headers = [format!("Content-Type: multipart/form-data; boundary={BOUNDARY}")];
            return self.ask("torrents/add", &headers, form.as_bytes()).map(drop);
        }
        let open = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"torrents\"; filename=\"a.torrent\"\r\n\
             Content-Type: application/x-bittorrent\r\n\r\n"
        );
        let form = [
            open.as_bytes(),
            &fs::read(&self.torrent)?,
            format!("\r\n--{BOUNDARY}--\r\n").as_bytes(),
        ]
        .concat();
        let headers = [format!("Content-Type: multipart/form-data; boundary={BOUNDARY}")];
        self.ask("torrents/add", &headers, &form).map(drop)
    }

    fn progress(&mut self) -> Result<ClientProgress> {
        let answer = self.ask("torrents/info", &[], b"")?.json()?;
        let Some(torrent) = answer.get(0) else { return Ok(ClientProgress::default()) };
        let count = |field: &str| {
            torrent[field].as_u64().with_context(|| format!("no {field} in {answer}"))
        };
        let state = torrent["state"].as_str().unwrap_or_default();
        Ok(ClientProgress {
            metadata: torrent["total_size"].as_i64() > Some(0),
            complete: count("amount_left")? == 0
                && matches!(state, "uploading" | "stalledUP" | "forcedUP" | "queuedUP"),
            bytes_done: count("completed")?,
            bytes_up: count("uploaded")?,
        })
    }

    fn transcript(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        format!("{}  its log\n{log}", self.process.transcript())
    }

    fn process(&self) -> Option<&Process> {
        Some(&self.process)
    }
}

//! aria2.
//!
//! Decides: its options. Must not know: the peer on the other side.
//! Invariant: it reads neither settings nor a DHT table of the user.

use super::{PORT, version};
use crate::client::{Client, ClientConfig, ClientProgress, Running, until};
use crate::remote::Remote;
use crate::{Process, Protocol};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const REMOTE: u16 = 6800;

/// The program.
#[derive(Clone, Copy, Debug)]
pub struct Aria2;

impl Client for Aria2 {
    fn name(&self) -> &'static str {
        "aria2"
    }

    fn version(&self) -> Option<String> {
        version("aria2c", &["--version"])
    }

    /// Its UDP tracker client is a part of its DHT.
    fn announces_over(&self, protocol: Protocol) -> bool {
        protocol == Protocol::Http
    }

    fn open(&self, at: &ClientConfig<'_>) -> Result<Box<dyn Running>> {
        fs::create_dir_all(at.dir)?;
        let mut command = Command::new("aria2c");
        command.args([
            "--no-conf",
            "--enable-dht=false",
            "--enable-dht6=false",
            "--bt-enable-lpd=false",
        ]);
        command.args([
            "--enable-peer-exchange=false",
            "--enable-rpc",
            &format!("--rpc-listen-port={REMOTE}"),
        ]);
        // With a check it adopts existing data; without a ratio limit it stays after the download.
        command.args([
            "--check-integrity=true",
            "--seed-ratio=0.0",
            &format!("--listen-port={PORT}"),
        ]);
        command
            .args([
                "--file-allocation=none",
                "--summary-interval=0",
                "--show-console-readout=false",
                "--dir",
            ])
            .arg(at.dir);
        let process = Process::start("aria2c", &mut at.host.inside(&command))?;
        let running = RunningAria2 {
            process,
            remote: Remote::new(at.host, REMOTE)?,
            torrent: at.source().into(),
        };
        until("aria2's remote control", || running.ask("aria2.getVersion", json!([])).ok())?;
        Ok(Box::new(running))
    }
}

#[derive(Debug)]
struct RunningAria2 {
    process: Process,
    remote: Remote,
    torrent: PathBuf,
}

impl RunningAria2 {
    fn ask(&self, method: &str, params: Value) -> Result<Value> {
        let body =
            json!({ "jsonrpc": "2.0", "id": 0, "method": method, "params": params }).to_string();
        let mut answer = self.remote.post("/jsonrpc", &[], body.as_bytes())?.json()?;
        ensure!(answer.get("error").is_none(), "aria2: {method}: {answer}");
        Ok(answer["result"].take())
    }
}

impl Running for RunningAria2 {
    fn add(&mut self) -> Result<()> {
        match self.torrent.to_str().filter(|text| text.starts_with("magnet:")) {
            Some(link) => self.ask("aria2.addUri", json!([[link]])).map(drop),
            None => {
                self.ask("aria2.addTorrent", json!([base64(&fs::read(&self.torrent)?)])).map(drop)
            }
        }
    }

    fn progress(&mut self) -> Result<ClientProgress> {
        let answer =
            self.ask("aria2.tellActive", json!([["completedLength", "uploadLength", "seeder"]]))?;
        let Some(torrent) = answer.get(0) else { return Ok(ClientProgress::default()) };
        // It writes numbers as strings.
        let count = |field: &str| {
            torrent[field]
                .as_str()
                .and_then(|number| number.parse().ok())
                .context("aria2 counts bytes")
        };
        Ok(ClientProgress {
            metadata: false,
            complete: torrent["seeder"] == "true",
            bytes_done: count("completedLength")?,
            bytes_up: count("uploadLength")?,
        })
    }

    fn transcript(&self) -> String {
        self.process.transcript()
    }

    fn process(&self) -> Option<&Process> {
        Some(&self.process)
    }
}

/// Its remote control takes torrents in base 64 only.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte))
            << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= group.len() { char::from(DIGITS[value as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base_64_is_padded_to_groups_of_four() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}

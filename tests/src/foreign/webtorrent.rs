//! WebTorrent 1, the last that is JavaScript alone: later ones load a WebRTC library whose binary
//! npm fetches elsewhere.
//!
//! Decides: where the library is looked for, and how the script is called. Must not know: the peer
//! on the other side.
//! Invariant: the script's output is JSON lines, as that of `bt`.

use super::script::Script;
use super::{PORT, is_there};
use crate::client::{Client, ClientConfig, Running};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

const SCRIPT: &str = include_str!("webtorrent.mjs");
const DHT_SCRIPT: &str = include_str!("webtorrent_dht.mjs");

/// The library, among npm's global packages.
#[derive(Clone, Copy, Debug)]
pub struct Webtorrent;

impl Client for Webtorrent {
    fn name(&self) -> &'static str {
        "WebTorrent"
    }

    fn version(&self) -> Option<String> {
        let package = fs::read_to_string(library()?.join("package.json")).ok()?;
        let package: serde_json::Value = serde_json::from_str(&package).ok()?;
        package["version"].as_str().map(str::to_owned)
    }

    fn open(&self, at: &ClientConfig<'_>) -> Result<Box<dyn Running>> {
        fs::create_dir_all(at.dir)?;
        let library = library().context("WebTorrent is not installed")?.join("index.js");
        let mut command = Command::new("node");
        command
            .args(["--input-type=module", "--eval", SCRIPT])
            .arg(library)
            .arg(at.source())
            .arg(at.dir);
        command.arg(PORT.to_string()).env("HOME", at.home);
        Ok(Box::new(Script::open("WebTorrent", &mut at.host.inside(&command))?))
    }
}

impl Webtorrent {
    /// Its DHT node, the package `bittorrent-dht`, if it is installed: it joins at `bootstrap` and
    /// runs until it is stopped. It announces a peer at port 7777 for the info-hash, or looks for
    /// its peers (`get-peers`).
    pub fn dht(mode: &str, hash: &str, bootstrap: &str) -> Option<Command> {
        let library = library()?.join("index.js");
        let mut command = Command::new("node");
        command
            .args(["--input-type=module", "--eval", DHT_SCRIPT])
            .arg(library)
            .args([mode, hash, bootstrap]);
        Some(command)
    }
}

fn library() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let find = || {
        let root = is_there("node")
            .then(|| Command::new("npm").args(["root", "--global"]).output())?
            .ok()?;
        let folder = PathBuf::from(String::from_utf8_lossy(&root.stdout).trim()).join("webtorrent");
        folder.is_dir().then_some(folder)
    };
    FOLDER.get_or_init(find).clone()
}

//! libtorrent, driven through its Python binding.
//!
//! Decides: how the script is called. Must not know: the peer on the other side.
//! Invariant: the script's output is JSON lines, as that of `bt`.

use super::PORT;
use super::script::Script;
use crate::client::{Client, ClientConfig, PeersFrom, Running};
use anyhow::Result;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = include_str!("libtorrent.py");
const DHT_SCRIPT: &str = include_str!("libtorrent_dht.py");

/// The library with its Python binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Libtorrent {
    name: &'static str,
    options: &'static [&'static str],
}

impl Libtorrent {
    /// With its defaults.
    pub const DEFAULT: Libtorrent = Libtorrent { name: "libtorrent", options: &[] };
    /// Without uTP.
    pub const TCP: Libtorrent = Libtorrent { name: "libtorrent TCP", options: &["--tcp-only"] };
    /// Its seed shows each peer one piece at a time (BEP 16).
    pub const SUPER: Libtorrent =
        Libtorrent { name: "libtorrent super", options: &["--super-seed"] };
    /// Downloads so slowly that it stays incomplete for a long time.
    pub const SLOW: Libtorrent =
        Libtorrent { name: "libtorrent slow", options: &["--down", "1048576"] };

    /// Finds the library.
    pub fn find() -> Option<Libtorrent> {
        Libtorrent::DEFAULT.version().map(|_| Libtorrent::DEFAULT)
    }

    /// Checks the data of each torrent in `dir` and prints `checked` with `info_hash` and
    /// `progress` (1.0: all is there).
    pub fn check<'a>(self, torrents: impl IntoIterator<Item = &'a Path>, dir: &Path) -> Command {
        let mut command = script("check", dir);
        command.args(torrents);
        command
    }

    /// Runs a node of the DHT on loopback that joins at `bootstrap` and does one thing, as the
    /// script describes, until it is killed.
    pub fn dht(self, mode: &str, what: &str, bootstrap: &str) -> Command {
        let mut command = Command::new("python3");
        command.args([
            "-u",
            "-c",
            DHT_SCRIPT,
            mode,
            what,
            "--listen",
            "127.0.0.1:0",
            "--bootstrap",
            bootstrap,
        ]);
        command
    }

    /// Seeds every torrent of a folder, with the data in `dir`, believing that it is there. It
    /// prints `open`, adds them when it is told a line, prints `added`, and ends when it is told
    /// another.
    pub fn many(self, torrents: &Path, dir: &Path) -> Command {
        let mut command = script("many", dir);
        command.arg(torrents).args(["--listen", "127.0.0.1:0"]);
        command
    }

    /// Downloads a torrent, or what a magnet link names, to `dir`, seeds what is there, and runs
    /// until it is killed. It listens on `listen` (`ADDR:PORT`) and prints `ready` when the data is
    /// checked and `complete` when all is there. `--peer ADDR:PORT` may be added.
    pub fn share_on(self, torrent: impl AsRef<OsStr>, dir: &Path, listen: &str) -> Command {
        let mut command = script("share", dir);
        command.arg(torrent).args(["--listen", listen]).args(self.options);
        command
    }
}

impl Client for Libtorrent {
    fn name(&self) -> &'static str {
        self.name
    }

    fn version(&self) -> Option<String> {
        super::version("python3", &["-c", "import libtorrent; print(libtorrent.__version__)"])
    }

    fn open(&self, at: &ClientConfig<'_>) -> Result<Box<dyn Running>> {
        let mut command = self.share_on(at.source(), at.dir, &format!("{}:{PORT}", at.host.v4));
        match at.discovery {
            PeersFrom::Trackers => {}
            PeersFrom::Dht(at) => drop(command.args(["--no-pex", "--dht", &at.to_string()])),
            PeersFrom::Pex(peer) => {
                command.args(peer.iter().flat_map(|peer| ["--peer".into(), peer.to_string()]));
            }
            PeersFrom::Lsd => drop(command.args(["--no-pex", "--lsd"])),
        }
        command.arg("--wait").env("HOME", at.home);
        Ok(Box::new(Script::open(self.name, &mut at.host.inside(&command))?))
    }
}

fn script(mode: &str, dir: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-u", "-c", SCRIPT, mode, "--dir"]).arg(dir);
    command
}

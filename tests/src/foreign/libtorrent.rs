//! libtorrent, driven through its Python binding.
//!
//! Decides: how the script is called. Must not know: who is on the other side.
//! Invariant: the script's output is JSON lines, as that of `bt`.

use super::PORT;
use super::script::Script;
use crate::client::{Client, Running, Seat};
use anyhow::Result;
use std::path::Path;
use std::process::Command;

const SCRIPT: &str = include_str!("libtorrent.py");
const DHT_SCRIPT: &str = include_str!("libtorrent_dht.py");

/// The library with its Python binding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Libtorrent {
    name: &'static str,
    option: Option<&'static str>,
}

impl Libtorrent {
    /// As it comes.
    pub const DEFAULT: Libtorrent = Libtorrent { name: "libtorrent", option: None };
    /// Without uTP.
    pub const TCP: Libtorrent = Libtorrent { name: "libtorrent TCP", option: Some("--tcp-only") };
    /// Its seed shows each peer one piece at a time (BEP 16).
    pub const SUPER: Libtorrent = Libtorrent { name: "libtorrent super", option: Some("--super-seed") };

    /// Looks for it.
    pub fn find() -> Option<Libtorrent> {
        Libtorrent::DEFAULT.version().map(|_| Libtorrent::DEFAULT)
    }

    /// Checks the data of each torrent in `dir` and prints `checked` with `info_hash` and `progress` (1.0: all is there).
    pub fn check<'a>(self, torrents: impl IntoIterator<Item = &'a Path>, dir: &Path) -> Command {
        let mut command = script("check", dir);
        command.args(torrents);
        command
    }

    /// Runs a node of the DHT on loopback that joins at `bootstrap` and does one thing, as the script describes, until it is killed.
    pub fn dht(self, mode: &str, what: &str, bootstrap: &str) -> Command {
        let mut command = Command::new("python3");
        command.args(["-u", "-c", DHT_SCRIPT, mode, what, "--listen", "127.0.0.1:0", "--bootstrap", bootstrap]);
        command
    }

    /// Seeds every torrent of a folder, with the data in `dir`, believing that it is there. It prints `open`, adds them when it is told a
    /// line, prints `added`, and ends when it is told another.
    pub fn many(self, torrents: &Path, dir: &Path) -> Command {
        let mut command = script("many", dir);
        command.arg(torrents).args(["--listen", "127.0.0.1:0"]);
        command
    }

    /// Downloads a torrent to `dir`, seeds what is there, and runs until it is killed. It listens on `listen` (`ADDR:PORT`) and
    /// prints `ready` when the data is checked and `complete` when all is there. `--peer ADDR:PORT` may be added.
    pub fn share_on(self, torrent: &Path, dir: &Path, listen: &str) -> Command {
        let mut command = script("share", dir);
        command.arg(torrent).args(["--listen", listen]).args(self.option);
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

    fn open(&self, seat: &Seat<'_>) -> Result<Box<dyn Running>> {
        let mut command = self.share_on(seat.torrent, seat.dir, &format!("{}:{PORT}", seat.host.v4));
        command.arg("--wait").env("HOME", seat.home);
        Ok(Box::new(Script::open(self.name, &mut seat.host.inside(&command))?))
    }
}

fn script(mode: &str, dir: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-u", "-c", SCRIPT, mode, "--dir"]).arg(dir);
    command
}

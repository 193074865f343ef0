//! libtorrent, driven through its Python binding.
//!
//! Decides: how the script is called. Must not know: who is on the other side.
//! Invariant: the script's output is JSON lines, as that of `bt`.

use std::path::Path;
use std::process::Command;

const SCRIPT: &str = include_str!("libtorrent.py");

/// The library with its Python binding.
#[derive(Clone, Copy, Debug)]
pub struct Libtorrent(());

impl Libtorrent {
    /// Looks for it.
    pub fn find() -> Option<Libtorrent> {
        let found = Command::new("python3").args(["-c", "import libtorrent"]).output().ok()?;
        found.status.success().then_some(Libtorrent(()))
    }

    /// Checks the data of each torrent in `dir` and prints `checked` with `info_hash` and `progress` (1.0: all is there).
    pub fn check<'a>(self, torrents: impl IntoIterator<Item = &'a Path>, dir: &Path) -> Command {
        let mut command = script("check", dir);
        command.args(torrents);
        command
    }

    /// Downloads a torrent to `dir`, seeds what is there, and runs until it is killed. It listens on `listen` (`ADDR:PORT`) and
    /// prints `ready` when the data is checked and `complete` when all is there. `--peer ADDR:PORT` may be added.
    pub fn share(self, torrent: &Path, dir: &Path, listen: &str) -> Command {
        let mut command = script("share", dir);
        command.arg(torrent).args(["--listen", listen]);
        command
    }
}

fn script(mode: &str, dir: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-u", "-c", SCRIPT, mode, "--dir"]).arg(dir);
    command
}

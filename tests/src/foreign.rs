//! Foreign programs: clients, a tracker and a maker of torrents.
//!
//! Decides: how each program is configured: discovery as the configuration names it, encryption at
//! its default. Must not know: `bt`.
//! Invariant: a program that is not installed is `None`, never a failure.

mod aquatic;
mod aria2;
mod libtorrent;
mod mktorrent;
mod opentracker;
mod qbittorrent;
mod rqbit;
mod rtorrent;
mod script;
mod transmission;
mod webtorrent;

pub use aquatic::Aquatic;
pub use aria2::Aria2;
pub use libtorrent::Libtorrent;
pub use mktorrent::Mktorrent;
pub use opentracker::Opentracker;
pub use qbittorrent::Qbittorrent;
pub use rqbit::Rqbit;
pub use rtorrent::Rtorrent;
pub use transmission::Transmission;
pub use webtorrent::Webtorrent;

use crate::Client;
use anyhow::{Context as _, Result};
use std::path::Path;
use std::process::Command;

/// Every client that the harness can drive and that `.ci/run` installs. [`Rqbit`] is a further one
/// where the user has compiled it.
pub const CLIENTS: [&dyn Client; 6] =
    [&Libtorrent::DEFAULT, &Transmission, &Aria2, &Qbittorrent, &Rtorrent, &Webtorrent];

/// The port of every client; each has a namespace of its own.
const PORT: u16 = 6881;

/// Tells whether a program of this name can be run.
fn is_there(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Runs a program and returns the first number with dots in its output; `None` if it cannot be run.
fn version(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    said.split_whitespace()
        .map(|word| word.trim_start_matches('v').trim_end_matches('.'))
        .find(|word| is_version(word))
        .map(str::to_owned)
}

fn is_version(word: &str) -> bool {
    word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok())
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{}: not UTF-8", path.display()))
}

//! Other people's programs: libtorrent, Transmission, opentracker and mktorrent.
//!
//! Decides: how each is configured: discovery other than trackers is off, encryption stays at their default. Must not know: `bt`.
//! Invariant: a program that is not installed is `None`, never a failure.

mod libtorrent;
mod mktorrent;
mod opentracker;
mod transmission;

pub use libtorrent::Libtorrent;
pub use mktorrent::Mktorrent;
pub use opentracker::Opentracker;
pub use transmission::{Daemon, Transmission};

use std::process::Command;

/// Whether a program of this name can be run.
fn is_there(program: &str) -> bool {
    Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().is_ok_and(|output| output.status.success())
}

//! mktorrent: another maker of torrents, to compare info-hashes with.
//!
//! Decides: its options. Must not know: how an info-hash is read from its result.
//! Invariant: same tree and options, same `info` dictionary.

use super::is_there;
use std::path::Path;
use std::process::Command;

/// The program.
#[derive(Clone, Copy, Debug)]
pub struct Mktorrent(());

impl Mktorrent {
    /// Finds the program.
    pub fn find() -> Option<Mktorrent> {
        is_there("mktorrent").then_some(Mktorrent(()))
    }

    /// Makes `output` of `path`, with pieces of 2 to the power of `piece_power` bytes, on two
    /// threads.
    pub fn create(self, path: &Path, output: &Path, piece_power: u32) -> Command {
        let mut command = Command::new("mktorrent");
        command
            .args([
                "-t",
                "2",
                "-l",
                &piece_power.to_string(),
                "-a",
                "http://127.0.0.1/announce",
                "-o",
            ])
            .arg(output)
            .arg(path);
        command
    }
}

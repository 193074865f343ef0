//! aquatic_udp, a UDP tracker in Rust; not packaged by Debian.
//!
//! Decides: its options. Must not know: which clients announce.
//! Invariant: it sees no file but its configuration.

use super::is_there;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// The program.
#[derive(Clone, Copy, Debug)]
pub struct Aquatic(());

impl Aquatic {
    /// Finds the program.
    pub fn find() -> Option<Aquatic> {
        is_there("aquatic_udp").then_some(Aquatic(()))
    }

    /// Starts a tracker at an address, with one worker and at most 200 peers in an answer. `home`
    /// gets the configuration.
    pub fn serve(self, addr: SocketAddr, home: &Path) -> std::io::Result<Command> {
        let config = home.join("aquatic.toml");
        std::fs::write(
            &config,
            format!("[network]\naddress = \"{addr}\"\n[protocol]\nmax_response_peers = 200\n"),
        )?;
        let mut command = Command::new("aquatic_udp");
        command.arg("-c").arg(config);
        Ok(command)
    }
}

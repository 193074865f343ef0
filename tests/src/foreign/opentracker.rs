//! opentracker, as Debian builds it: IPv4, HTTP and UDP on one port number, only for torrents on a
//! list.
//!
//! Decides: its options. Must not know: which clients announce.
//! Invariant: it sees no file but its list.

use super::is_there;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;

/// The program.
#[derive(Clone, Copy, Debug)]
pub struct Opentracker(());

impl Opentracker {
    /// Finds the program.
    pub fn find() -> Option<Opentracker> {
        is_there("opentracker").then_some(Opentracker(()))
    }

    /// Starts a tracker on `ip`, port 6969 of TCP and UDP, for torrents with these info-hashes
    /// (hex). `home` gets the list and becomes its root.
    pub fn serve(
        self,
        ip: Ipv4Addr,
        info_hashes: &[&str],
        home: &Path,
    ) -> std::io::Result<Command> {
        std::fs::write(
            home.join("whitelist"),
            info_hashes.iter().map(|hash| format!("{hash}\n")).collect::<String>(),
        )?;
        let mut command = Command::new("opentracker");
        command
            .args(["-i", &ip.to_string(), "-p", "6969", "-P", "6969", "-w", "whitelist", "-d"])
            .arg(home);
        Ok(command)
    }

    /// Where [`Opentracker::serve`] listens.
    pub fn address(ip: Ipv4Addr) -> SocketAddrV4 {
        SocketAddrV4::new(ip, 6969)
    }
}

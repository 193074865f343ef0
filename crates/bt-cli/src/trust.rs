//! `--ca`: the certificates that the user trusts.
//!
//! Decides: how large such a file may be.
//! Must not know: what is fetched with them.
//! Invariant: every file is understood before anything is sent.

use crate::args::TrustArgs;
use crate::exit::{Exit, Failure, Outcome};
use bt_session::Roots;
use std::io::Read as _;
use std::path::Path;

/// Most bytes of a file: twenty times the size of all roots of a browser.
const FILE_MAX: u64 = 8 << 20;

impl TrustArgs {
    /// Reads the certificates of all files.
    pub(crate) fn roots(&self) -> Outcome<Roots> {
        let mut roots = Roots::default();
        for path in &self.ca {
            roots.add_pem(&read(path)?).map_err(|error| unusable(path, error))?;
        }
        Ok(roots)
    }
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| unusable(path, error))?;
    file.take(FILE_MAX).read_to_end(&mut pem).map_err(|error| unusable(path, error))?;
    Ok(pem)
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> Failure {
    let advice =
        "--ca takes a file of certificates in PEM, which begin with -----BEGIN CERTIFICATE-----";
    Failure::new(
        Exit::Input,
        "invalid_ca",
        format!("cannot trust {}: {why}; {advice}", path.display()),
    )
}

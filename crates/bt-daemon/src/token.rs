//! Tokens: what a program shows in place of a password.
//!
//! Decides: what a token may do.
//! Must not know: HTTP.
//! Invariant: the text of a token is not kept.

use serde::{Deserialize, Serialize};

/// What a request may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    /// Read the metrics.
    Metrics,
    /// Read everything.
    Read,
    /// Read and change everything.
    Write,
}

/// A token as it is kept: the digest of its text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Token {
    /// What it may do.
    pub(crate) scope: Scope,
    /// When it was made, in seconds since 1970.
    pub(crate) made: u64,
    /// The SHA-256 of its text, in hex.
    pub(crate) digest: String,
}

//! Libraries that are driven by a script of ours.
//!
//! Decides: the protocol of the script: it prints JSON lines as `bt` does, and begins at a line on
//! its standard input.
//! Must not know: which library it is.
//! Invariant: it ends with the value that runs it.

use crate::Process;
use crate::client::{ClientProgress, OPEN_WITHIN, Running};
use anyhow::{Context as _, Result, ensure};
use std::process::Command;
use std::time::Duration;

/// A script that has said `open`.
#[derive(Debug)]
pub(super) struct Script {
    process: Process,
}

impl Script {
    pub(super) fn open(name: &str, command: &mut Command) -> Result<Script> {
        let process = Process::start_told(name, command)?;
        process.wait_event("open", OPEN_WITHIN)?;
        Ok(Script { process })
    }
}

impl Running for Script {
    fn add(&mut self) -> Result<()> {
        self.process.tell("begin")
    }

    fn progress(&mut self) -> Result<ClientProgress> {
        let metadata = self.process.last_event("metadata").is_some();
        let complete = self.process.last_event("complete").is_some();
        ensure!(!self.process.is_over()?, "the script ended\n{}", self.process.transcript());
        let Some(said) = self.process.last_event("progress") else {
            return Ok(ClientProgress { metadata, complete, ..ClientProgress::default() });
        };
        let count = |field: &str| said[field].as_u64().context("progress counts bytes");
        Ok(ClientProgress {
            metadata,
            complete,
            bytes_done: count("bytes_done")?,
            bytes_up: count("bytes_up")?,
        })
    }

    /// Waits for the event that the script prints, so that no polling is needed.
    fn wait_complete(&mut self, limit: Duration) -> Result<()> {
        self.process.wait_event("complete", limit).map(drop)
    }

    fn transcript(&self) -> String {
        self.process.transcript()
    }

    fn process(&self) -> Option<&Process> {
        Some(&self.process)
    }
}

//! Tests of real processes: what a user sees of `bt`, and how foreign clients work with it.
//!
//! Decides: nothing; each module has a theme. Must not know: the inside of any bt crate.
//! Invariant: no test depends on the speed of the machine: each waits for an output of a process.
#![cfg(target_os = "linux")]

mod battery;
mod cli;
mod creation;
mod daemon;
mod daemon_abuse;
mod daemon_callers;
mod daemon_clients;
mod daemon_config;
mod dead_addresses;
mod debian;
mod dht;
mod farewell;
mod flood;
mod hostile;
mod idle;
mod import;
mod interop;
mod liars;
mod limits;
mod links;
mod local;
mod magnet;
mod mistakes;
mod moving;
mod poison;
mod private;
mod resume;
mod saved;
mod screens;
mod select;
mod tour;
mod trackers;
mod transfer;
mod why;

type Test = anyhow::Result<()>;

//! The commands, one file each.
//!
//! Decides: nothing.
//! Invariant: each command is a function from its arguments and an output to an outcome.

pub(crate) mod ask;
pub(crate) mod create;
pub(crate) mod daemon;
pub(crate) mod demo;
pub(crate) mod dht;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod man;
pub(crate) mod remote;
pub(crate) mod saved;
pub(crate) mod seed;
pub(crate) mod show;
pub(crate) mod tracker;
pub(crate) mod verify;
pub(crate) mod why;

//! Every parser and every machine, against hostile inputs.
//!
//! Decides: nothing; each module has its targets. Must not know: how inputs are made.
//! Invariant: a target panics at a finding and at nothing else.

mod engine;
mod machines;
mod parsers;
mod steps;
mod wire;

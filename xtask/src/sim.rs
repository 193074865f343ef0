//! `sim`: a named simulation, again.
//!
//! Decides: what is printed. Must not know: what a scenario does.
//! Invariant: the trace hash is printed, so that two runs can be compared.

use anyhow::Result;
use bt_sim::scenarios;

/// Which simulation.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The scenario
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(scenarios::names()))]
    name: String,
    /// Where all chance comes from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs it and prints the report.
pub(crate) fn run(args: &Args) -> Result<()> {
    println!("{}", scenarios::run(&args.name, args.seed)?);
    Ok(())
}

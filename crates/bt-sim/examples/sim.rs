//! Runs a scenario by name and seed, as `cargo xtask sim` does.
//!
//! Decides: nothing. Must not know: what the scenarios are.
//! Invariant: the exit code tells whether every rule held.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "small".into());
    let seed = args.next().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    match bt_sim::scenarios::run(&name, seed) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("error: {violation}");
            ExitCode::FAILURE
        }
    }
}

//! A network of a thousand nodes in virtual time, with loss and liars: `cargo run --release -p
//! bt-dht --example swarm -- --seed 1`.
//!
//! Decides: the options.
//! Must not know: the world.
//! Invariant: it fails when less than 99 % of the stored peers are found.

#[path = "../tests/world/mod.rs"]
mod world;

use std::process::ExitCode;
use world::{Course, run};

fn main() -> ExitCode {
    let mut course =
        Course { nodes: 1000, loss: 10, bad: 30, stored: 100, lookups_each: 5, seed: 1 };
    let mut args = std::env::args().skip(1);
    while let (Some(option), value) = (args.next(), args.next()) {
        let Some(value) = value.and_then(|value| value.parse::<u64>().ok()) else { return usage() };
        let count = usize::try_from(value).unwrap_or(usize::MAX);
        match option.as_str() {
            "--seed" => course.seed = value,
            "--nodes" => course.nodes = count,
            "--loss" => course.loss = value,
            "--bad" => course.bad = count,
            "--stored" => course.stored = count,
            _ => return usage(),
        }
    }
    let report = run(course);
    println!("{course:?}\n{report}");
    if report.found * 100 >= report.lookups * 99 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("swarm [--seed N] [--nodes N] [--loss PERCENT] [--bad PERCENT] [--stored N]");
    ExitCode::from(2)
}

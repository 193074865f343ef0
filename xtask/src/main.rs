//! The project's own tools, run as `cargo xtask NAME`.
//!
//! Decides: names and options of the tools. Must not know: how any of them works.
//! Invariant: a tool that finds something wrong ends with a code other than 0.
#![forbid(unsafe_code)]

mod api;
mod bench;
mod beps;
mod ci;
mod cost;
mod dist;
mod fuzz;
mod interop;
mod median;
mod packages;
mod race;
mod sim;
mod swarm;
mod tidy;
mod torture;

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The project's own tools.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Everything that must pass before a change lands
    Ci,
    /// Check floors, purity, file headers and other rules of the house
    Tidy {
        /// The workspace to check
        #[arg(long, default_value_os_t = root())]
        root: PathBuf,
    },
    /// Compare the public interface of every library crate with docs/api, or write it there
    Api(api::Args),
    /// Run a named simulation; equal seeds give equal traces
    Sim(sim::Args),
    /// Real `bt` processes over loopback: a tracker, seeds, leechers; compares every copy
    SwarmTest(swarm::Args),
    /// Time, processor time, memory and system calls of the data path, beside other clients
    Bench(bench::Args),
    /// Instructions of the engine for one input, with few and with many peers, pieces and idle
    /// torrents
    Cost,
    /// Every foreign client that is installed, both ways and in one swarm, in network namespaces
    Interop(interop::Args),
    /// Swarms with narrow uplinks, of `bt` and of foreign clients, in network namespaces
    Race(race::Args),
    /// Kills, power cuts, a full disk, changed files: real `bt` processes, and what they promise
    Torture(torture::Args),
    /// Every parser and every machine, against hostile inputs
    Fuzz(fuzz::Args),
    /// Every shipped crate, packed as it would be published, and built from that
    Packages,
    /// What users install, in target/dist: an archive of the program, and a Debian package
    Dist(dist::Args),
    /// Print the table of docs/beps.md from the mentions in the sources
    Beps,
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Ci => ci::run(&root()),
        Task::Tidy { root } => tidy::run(&root),
        Task::Api(args) => api::run(&args, &root()),
        Task::Sim(args) => sim::run(&args),
        Task::SwarmTest(args) => swarm::run(&args),
        Task::Bench(args) => bench::run(&args, &root()),
        Task::Cost => cost::run(),
        Task::Interop(args) => interop::run(&args, &root()),
        Task::Race(args) => race::run(&args),
        Task::Torture(args) => torture::run(&args),
        Task::Fuzz(args) => fuzz::run(&args, &root()),
        Task::Packages => packages::run(&root()),
        Task::Dist(args) => dist::run(&args, &root()),
        Task::Beps => beps::run(&root()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace that this program was built from.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

//! `dist`: what users install: an archive of the program, and a Debian package.
//!
//! Decides: what is made, and its time. Must not know: the layout of an archive or a package.
//! Invariant: the same commit and program give the same bytes.

mod archive;
mod debian;
mod licences;
mod pages;
mod program;
mod tree;

use anyhow::{Context as _, Result, ensure};
use program::Program;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The version of what is made.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the files go [default: target/dist]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Build for the C library of this machine, also where the target with musl is installed
    #[arg(long)]
    gnu: bool,
    /// Take this program and build none
    #[arg(long, conflicts_with = "gnu")]
    program: Option<PathBuf>,
}

/// Makes the files.
pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    let dir = args.dir.clone().unwrap_or_else(|| root.join("target/dist"));
    fs::create_dir_all(&dir)?;
    let program = match &args.program {
        Some(path) => Program::read(path)?,
        None => Program::build(args.gnu)?,
    };
    println!("{}: {}", program.target, program.describe());
    let made = Made { root, dir: &dir, epoch: epoch(root)?, program: &program };
    println!("{}", archive::make(&made)?.display());
    match debian::make(&made)? {
        Some(package) => println!("{}", package.display()),
        None => println!("no Debian package: there is no dpkg-deb here"),
    }
    Ok(())
}

/// Of what, and where, the files are made.
struct Made<'a> {
    /// The workspace.
    root: &'a Path,
    /// Where the files go.
    dir: &'a Path,
    /// The time of everything in them, in seconds since 1970.
    epoch: u64,
    program: &'a Program,
}

impl Made<'_> {
    /// Returns an empty directory that is gone when it is dropped.
    fn workshop(&self) -> Result<tempfile::TempDir> {
        Ok(tempfile::Builder::new().prefix(".work-").tempdir_in(self.dir)?)
    }
}

/// Returns the time of everything that is made: `SOURCE_DATE_EPOCH`, or that of the last commit.
fn epoch(root: &Path) -> Result<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => {
            let git = ["log", "-1", "--format=%ct"];
            said(Command::new("git").arg("-C").arg(root).args(git)).context(
                "no commit says when this was written; set SOURCE_DATE_EPOCH to seconds since 1970",
            )?
        }
    };
    text.trim().parse().context("the time of what is made is a number of seconds")
}

/// Runs a command and returns what it wrote to standard output.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {why}");
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} prints no text"))
}

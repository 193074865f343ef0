//! Where the `bt` binary is: `BT_BIN`, or a release build that is made once.
//!
//! Decides: which binary is tested. Must not know: what it does.
//! Invariant: all tests of one run use the same binary.

use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A `bt` command with JSON output whose state lives in `home`, apart from every other process's.
/// It finds no peers but those that trackers, peers and its arguments name: nothing leaves for the
/// outside, and no test meets another.
pub fn bt(home: &Path) -> Command {
    let mut command = bt_for_people(home);
    command.arg("--json");
    command
}

/// The same, which speaks to people.
pub fn bt_for_people(home: &Path) -> Command {
    let mut command = Command::new(binary());
    command.env("BT_HOME", home).env_remove("BT_LOG").env("BT_NO_DHT", "1").env("BT_NO_LSD", "1");
    command
}

fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("BT_BIN") {
        Some(path) => PathBuf::from(path),
        None => build_release(&["--package", "bt-cli"])
            .unwrap_or_else(|error| panic!("no bt: {error:#}")),
    })
}

/// The cargo that runs us, or the one there is, in a folder.
pub fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder);
    command
}

/// Makes a release build of the one program of the workspace that these options of `cargo build`
/// select, and returns its path.
pub fn build_release(options: &[&str]) -> Result<PathBuf> {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("tests/ is in the workspace")?;
    let mut command = cargo(root);
    command
        .args(["build", "--quiet", "--release", "--message-format", "json-render-diagnostics"])
        .args(options);
    let output = command.stderr(Stdio::inherit()).output().context("cargo can be run")?;
    ensure!(output.status.success(), "{options:?} does not build");
    // Cargo itself says where it put the program, whatever the target directory is.
    let text = String::from_utf8_lossy(&output.stdout);
    let messages =
        text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut executables =
        messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables.next().context("cargo names the executable")
}

//! Where the `bt` binary is: `BT_BIN`, or a release build that is made once.
//!
//! Decides: which binary is tested. Must not know: what it does.
//! Invariant: all tests of one run use the same binary.

use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Returns a `bt` command with JSON output and a state of its own in `home`. It finds only peers
/// that trackers, peers and its arguments name. So nothing is sent to the outside, and tests do not
/// meet each other.
pub fn bt(home: &Path) -> Command {
    let mut command = bt_for_people(home);
    command.arg("--json");
    command
}

/// Returns the same command with output for people.
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

/// Returns a command of the cargo that runs this process, or of the one on the path, in a folder.
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
    // Cargo prints the path of the program, so that any target directory works.
    let text = String::from_utf8_lossy(&output.stdout);
    let messages =
        text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut executables =
        messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    executables.next().context("cargo names the executable")
}

//! Where the `bt` binary is: `BT_BIN`, or a release build that is made once.
//!
//! Decides: which binary is tested. Must not know: what it does.
//! Invariant: all tests of one run use the same binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A `bt` command with JSON output whose state lives in `home`, apart from every other process's. It finds no peers but those that
/// trackers, peers and its arguments name: nothing leaves for the outside, and no test meets another.
pub fn bt(home: &Path) -> Command {
    let mut command = Command::new(binary());
    command.arg("--json").env("BT_HOME", home).env_remove("BT_LOG").env("BT_NO_DHT", "1").env("BT_NO_LSD", "1");
    command
}

fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("BT_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace");
    let output = Command::new(cargo)
        .args(["build", "--release", "--package", "bt-cli", "--message-format", "json-render-diagnostics"])
        .current_dir(root)
        .stderr(std::process::Stdio::inherit())
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "bt-cli does not build");
    // Cargo itself says where it put the binary, whatever the target directory is.
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable")
}

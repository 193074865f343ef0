//! What users install: the Debian package on a copy of this machine, the archive, the Dockerfile.
//!
//! Decides: the stories. Must not know: how a package is made.
//! Invariant: the machine itself is not changed.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{
    LOOPBACK, MachineCopy, PATIENCE, Process, RunningDaemon, Stage, bt_for_people, skip,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The time of what is made.
const EPOCH: &str = "1800000000";
/// The unit.
const UNIT: &str = "/lib/systemd/system/bt.service";
/// How long the making of a package, and a check of it, may take.
const LONG: Duration = Duration::from_secs(300);

/// Makes what users install of the program that is tested, and returns the directory.
fn make(stage: &Stage, name: &str) -> Result<PathBuf> {
    let dir = stage.path(name);
    let program = bt_for_people(stage.path(name).as_path()).get_program().to_owned();
    let mut command = bt_tests::cargo(root());
    command.args(["run", "--quiet", "--package", "xtask", "--", "dist", "--program"]);
    command.arg(program).arg("--dir").arg(&dir).env("SOURCE_DATE_EPOCH", EPOCH);
    Process::run("dist", &mut command, LONG)?.expect_code(0)?;
    Ok(dir)
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn said(program: &str, args: &[&str], path: &Path) -> Result<String> {
    let mut command = Command::new(program);
    Ok(Process::run(program, command.args(args).arg(path), LONG)?.expect_code(0)?.out)
}

/// Returns the one file of a directory with this end.
fn only(dir: &Path, end: &str) -> Result<PathBuf> {
    let paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let found = paths.into_iter().find(|path| path.to_string_lossy().ends_with(end));
    found.with_context(|| format!("a file with {end}"))
}

#[test]
fn what_users_install_is_whole_and_the_same_each_time() -> Test {
    if !is_installed("dpkg-deb") {
        skip!("there is no dpkg-deb");
    }
    let stage = Stage::new()?;
    let (one, other) = (make(&stage, "one")?, make(&stage, "other")?);
    for end in [".deb", ".tar.gz"] {
        let same = fs::read(only(&one, end)?)? == fs::read(only(&other, end)?)?;
        ensure!(same, "{end}: the same program gives the same bytes");
    }
    let package = only(&one, ".deb")?;
    let listed = said("dpkg-deb", &["--contents"], &package)?;
    ensure!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
    for path in [
        "./usr/bin/bt",
        "./lib/systemd/system/bt.service",
        "./etc/bt/config.toml",
        "./usr/share/man/man1/bt-daemon.1.gz",
        "./usr/share/bash-completion/completions/bt",
        "./usr/share/zsh/vendor-completions/_bt",
        "./usr/share/fish/vendor_completions.d/bt.fish",
        "./usr/share/doc/bt/copyright",
        "./usr/share/doc/bt/changelog.gz",
    ] {
        ensure!(listed.lines().any(|line| line.ends_with(&format!(" {path}"))), "{path}: {listed}");
    }
    let fields = said("dpkg-deb", &["--field"], &package)?;
    ensure!(fields.contains("\nDepends: libc6 (>= 2."), "{fields}");
    let listed = said("tar", &["--list", "--gzip", "--file"], &only(&one, ".tar.gz")?)?;
    for path in ["bt", "man/bt-get.1", "completions/_bt", "deploy/bt.service", "LICENSE-MIT"] {
        ensure!(listed.lines().any(|line| line.ends_with(&format!("/{path}"))), "{path}: {listed}");
    }
    if is_installed("lintian") {
        // A debug build has symbols, which no package of ours has.
        let options = ["--fail-on", "error", "--suppress-tags", "unstripped-binary-or-object"];
        let mut lintian = Command::new("lintian");
        let finished = Process::run("lintian", lintian.args(options).arg(&package), LONG)?;
        ensure!(finished.code == Some(0), "{}{}", finished.out, finished.err);
    }
    Ok(())
}

#[test]
fn the_package_installs_runs_and_goes_and_leaves_what_is_the_users() -> Test {
    if !is_installed("dpkg-deb") || !rustix::process::geteuid().is_root() {
        skip!("a package is installed by root, with dpkg");
    }
    let stage = Stage::new()?;
    let base = stage.path("machine");
    fs::create_dir(&base)?;
    let machine = match MachineCopy::new(&base) {
        Ok(machine) => machine,
        Err(error) => skip!("no copy of this machine can be made: {error:#}"),
    };
    let dist = make(&stage, "dist")?;
    fs::copy(only(&dist, ".deb")?, machine.path("/bt.deb"))?;
    machine.run("dpkg", &["--install", "/bt.deb"])?;
    for (path, owner) in [("/usr/bin/bt", "root"), ("/var/lib/bt/downloads", "bt")] {
        ensure!(machine.owner(path)? == owner, "{path} is of {owner}");
    }
    if is_installed("systemd-analyze") {
        let said = machine.run("systemd-analyze", &["verify", UNIT])?;
        ensure!(!said.contains("bt.service"), "{said}");
    }
    let daemon = start(&machine)?;
    let healthy = daemon.request("GET", "/healthz", &[], b"")?;
    ensure!(healthy.status == 200, "{healthy:?}");
    let settings = daemon.api("GET", "settings", &Value::Null)?.json()?;
    ensure!(settings["dir"] == "/var/lib/bt/downloads", "{settings}");
    daemon.process.terminate()?;
    daemon.process.finish(PATIENCE)?.expect_code(0)?;
    ensure!(machine.owner("/var/lib/bt/daemon.redb")? == "bt", "state is of the user");
    // An administrator's change holds over an upgrade.
    let config = machine.path("/etc/bt/config.toml");
    let changed = fs::read_to_string(&config)? + "# mine\n";
    fs::write(&config, &changed)?;
    fs::write(machine.path("/etc/bt/password"), "secret\n")?;
    fs::write(machine.path("/var/lib/bt/downloads/film"), "film")?;
    machine.run("dpkg", &["--install", "/bt.deb"])?;
    ensure!(fs::read_to_string(&config)? == changed, "the configuration is as it was");
    machine.run("dpkg", &["--remove", "bt"])?;
    ensure!(!machine.path("/usr/bin/bt").exists() && config.exists(), "a removal");
    let said = machine.run("dpkg", &["--purge", "bt"])?;
    ensure!(said.contains("/var/lib/bt stays"), "{said}");
    let film = fs::read_to_string(machine.path("/var/lib/bt/downloads/film"))?;
    ensure!(film == "film", "downloads stay");
    let left = machine.changes()?;
    ensure!(left.contains("/var/lib/bt/daemon.redb"), "{left:?}");
    let foreign: BTreeSet<_> = left.iter().filter(|path| !is_expected(path)).collect();
    ensure!(foreign.is_empty(), "nothing else is left: {foreign:?}");
    Ok(())
}

/// Starts the daemon as its unit says, as its user; a supervisor hears that it is ready.
fn start(machine: &MachineCopy) -> Result<RunningDaemon> {
    let unit = fs::read_to_string(machine.path(UNIT))?;
    let line =
        unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).context("a command")?;
    let notify = "/var/lib/bt/notify";
    let heard = UnixDatagram::bind(machine.path(notify))?;
    heard.set_read_timeout(Some(PATIENCE))?;
    std::os::unix::fs::chown(machine.path(notify), Some(user(machine)?), None)?;
    let mut command = machine.inside("setpriv");
    command.args(["--reuid=bt", "--regid=bt", "--init-groups", "--"]);
    command.args(line.split_whitespace()).arg("--json");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("NOTIFY_SOCKET", notify);
    // Other daemons may run beside it, and none is to be told of it.
    command.env("BT_DAEMON_API", LOOPBACK.to_string()).env("BT_LISTEN", LOOPBACK.to_string());
    command.env("BT_NO_DHT", "1").env("BT_NO_LSD", "1");
    let daemon = RunningDaemon::of(Process::start("installed", &mut command)?)?;
    let mut bytes = [0; 4096];
    let length = heard.recv(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    ensure!(text.lines().any(|line| line == "READY=1"), "{text}");
    fs::remove_file(machine.path(notify))?;
    Ok(daemon)
}

fn user(machine: &MachineCopy) -> Result<u32> {
    Ok(machine.run("id", &["--user", "bt"])?.trim().parse()?)
}

/// Returns whether a file may be left after a purge: what is the user's, and what dpkg and adduser
/// note of every package.
fn is_expected(path: &str) -> bool {
    let begins = [
        "/var/lib/bt",
        "/var/lib/dpkg/",
        "/var/cache/debconf/",
        "/var/cache/man",
        "/var/log/",
        "/etc/passwd",
        "/etc/shadow",
        "/etc/group",
        "/etc/gshadow",
        "/etc/subuid",
        "/etc/subgid",
        "/etc/.pwd.lock",
        "/run/adduser",
        "/run/systemd/",
        "/bt.deb",
    ];
    begins.iter().any(|begin| path.starts_with(begin))
}

/// The instructions of a Dockerfile that ours may use.
const INSTRUCTIONS: [&str; 9] =
    ["FROM", "WORKDIR", "COPY", "RUN", "ENV", "VOLUME", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT"];

#[test]
fn the_dockerfile_copies_what_is_there_and_starts_what_is_accepted() -> Test {
    let text = fs::read_to_string(root().join("docs/deploy/Dockerfile"))?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let text = lines.join("\n").replace("\\\n", " ");
    let (mut stages, mut variables, mut entry) = (Vec::new(), Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (word, rest) = line.split_once(' ').with_context(|| line.to_owned())?;
        ensure!(INSTRUCTIONS.contains(&word), "{line}");
        let words: Vec<&str> = rest.split_whitespace().collect();
        match (word, words.as_slice()) {
            ("FROM", [image, "AS", name]) => stages.push((*image, *name)),
            ("FROM", [image]) => stages.push((*image, "")),
            ("COPY", [from, source, _]) if from.starts_with("--from=") => {
                let stage = from.trim_start_matches("--from=");
                ensure!(stages.iter().any(|(_, name)| *name == stage), "{line}");
                ensure!(*source == "/src/target/release/bt", "where the build leaves it: {line}");
            }
            ("COPY", [source, _]) => ensure!(root().join(source).exists(), "{line}"),
            ("RUN", ["cargo", "build", options @ ..]) => {
                ensure!(options == ["--release", "--locked", "--package", "bt-cli"], "{line}");
            }
            ("ENV", pairs) => {
                variables.extend(pairs.iter().filter_map(|pair| pair.split_once('=')))
            }
            ("ENTRYPOINT", _) => entry = serde_json::from_str::<Vec<String>>(rest)?,
            ("VOLUME", _) => drop(serde_json::from_str::<Vec<String>>(rest)?),
            ("WORKDIR" | "EXPOSE" | "STOPSIGNAL", [_, ..]) => {}
            _ => anyhow::bail!("what does this do? {line}"),
        }
    }
    ensure!(stages.len() == 2 && variables.len() == 6, "{stages:?} {variables:?}");
    ensure!(stages.iter().all(|(image, _)| image.contains("bookworm")), "one glibc: {stages:?}");
    let (program, options) = entry.split_first().context("a program")?;
    ensure!(program == "/usr/bin/bt", "{entry:?}");
    let stage = Stage::new()?;
    let config = stage.path("config");
    fs::create_dir_all(config.join("bt"))?;
    fs::write(config.join("password"), "secret\n")?;
    let check = || {
        let mut command = bt_for_people(&stage.path("home"));
        command.args(options).arg("--check-config").arg("--json");
        for (name, value) in &variables {
            command.env(name, value.replace("/config", &config.to_string_lossy()));
        }
        Process::run("entry point", &mut command, PATIENCE)
    };
    check()?.expect_code(0)?;
    // The file in the volume is read.
    fs::write(config.join("bt/config.toml"), "[settings.queue]\ndownloads = \"many\"\n")?;
    check()?.expect_code(2)?;
    // The variables are read: without a password no other machine is let in.
    fs::remove_file(config.join("bt/config.toml"))?;
    fs::remove_file(config.join("password"))?;
    check()?.expect_code(3)?;
    Ok(())
}

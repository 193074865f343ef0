//! `fuzz`: every target of `tests/fuzz` for a while, with inputs that no run before tried.
//!
//! Decides: for how long, from which seed, which engine draws the inputs. Must not know: any
//! target.
//! Invariant: drawn by chance, the same seed and the same number of executions are the same inputs;
//! libFuzzer goes on from what it found before.

use anyhow::{Context as _, Result, ensure};
use bt_tests::{cargo, skipped};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

/// The targets to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only targets with this in their name
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of the inputs; the clock if it is not given
    #[arg(long)]
    seed: Option<u32>,
    /// Engine that draws the inputs; both, one after the other, if it is not given
    #[arg(long, value_enum)]
    engine: Option<Engine>,
}

/// The engine that draws the inputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Engine {
    /// Chance, which changes files of the corpus
    Chance,
    /// libFuzzer, led by the branches that an input takes: needs a nightly toolchain and a C++
    /// compiler
    Libfuzzer,
}

/// Runs the targets, as many at a time as there are cores.
pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    let clock =
        || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32);
    let seed = args.seed.unwrap_or_else(clock);
    println!("fuzz: {} s for each target, seed {seed}", args.seconds);
    if args.engine != Some(Engine::Libfuzzer) {
        by_chance(args, seed, root)?;
    }
    if args.engine != Some(Engine::Chance) {
        if has_nightly() {
            by_coverage(args, seed, root)?;
        } else {
            skipped("libFuzzer: no nightly toolchain is installed");
        }
    }
    Ok(())
}

fn by_chance(args: &Args, seed: u32, root: &Path) -> Result<()> {
    let mut command = cargo(root);
    command.args([
        "test",
        "--quiet",
        "--profile",
        "fuzz",
        "--package",
        "bt-fuzz",
        "--test",
        "all",
        "--",
    ]);
    command.args(&args.target).arg("--nocapture");
    command
        .env("BT_FUZZ_SECONDS", args.seconds.to_string())
        .env("BOLERO_RANDOM_SEED", seed.to_string());
    ensure!(
        command.status().context("cargo can be run")?.success(),
        "there is a finding: make it a file of the target's corpus"
    );
    Ok(())
}

fn has_nightly() -> bool {
    Command::new("rustup")
        .args(["run", "nightly", "rustc", "--version"])
        .output()
        .is_ok_and(|said| said.status.success())
}

/// The compiler options that count branches for libFuzzer.
const FLAGS: [&str; 7] = [
    "--cfg fuzzing",
    "--cfg fuzzing_libfuzzer",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// The greatest length of an input, in bytes.
const INPUT_MAX: u32 = 16 << 10;
/// The limit of one input, in seconds.
const INPUT_SECONDS: u32 = 20;

fn by_coverage(args: &Args, seed: u32, root: &Path) -> Result<()> {
    let folder = root.join("target/libfuzzer");
    let program = build(root, &folder)?;
    let listed = Command::new(&program)
        .args(["--list", "--format", "terse"])
        .output()
        .context("the targets can be listed")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let wanted = |name: &&str| args.target.as_ref().is_none_or(|part| name.contains(part));
    let waiting = Mutex::new(names.filter(wanted).collect::<Vec<_>>().into_iter());
    ensure!(listed.contains(": test"), "{} has no targets", program.display());
    let work = || -> Result<()> {
        loop {
            let Some(name) = waiting.lock().ok().and_then(|mut names| names.next()) else {
                return Ok(());
            };
            one(args, seed, root, &folder, &program, name)?;
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// Builds the targets so that libFuzzer can watch them.
fn build(root: &Path, folder: &Path) -> Result<PathBuf> {
    let host = Command::new("rustup").args(["run", "nightly", "rustc", "-vV"]).output()?;
    let host = String::from_utf8_lossy(&host.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned));
    let mut command = Command::new("rustup");
    command.args([
        "run",
        "nightly",
        "cargo",
        "test",
        "--quiet",
        "--profile",
        "fuzz",
        "--package",
        "bt-fuzz",
        "--test",
        "all",
    ]);
    // With a target, programs that only build are not watched.
    command
        .args(["--no-run", "--message-format", "json", "--target"])
        .arg(host.context("rustc says for whom it compiles")?);
    command.current_dir(root).env("RUSTFLAGS", FLAGS.join(" ")).env("CARGO_TARGET_DIR", folder);
    // These variables would select the cargo and rustc of this run in place of the toolchain's.
    command
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN")
        .stderr(std::process::Stdio::inherit());
    let built = command.output().context("rustup can be run")?;
    ensure!(built.status.success(), "the targets cannot be built for libFuzzer");
    let said = String::from_utf8_lossy(&built.stdout);
    let objects =
        said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let program = objects
        .filter(|object| object["target"]["name"] == "all")
        .find_map(|object| object["executable"].as_str().map(PathBuf::from));
    program.context("cargo says what it built")
}

/// Runs one target and prints how many inputs it tried and how many edges they took.
fn one(
    args: &Args,
    seed: u32,
    root: &Path,
    folder: &Path,
    program: &Path,
    name: &str,
) -> Result<()> {
    let short = name.rsplit("::").next().unwrap_or(name);
    let (corpus, found, findings) = (
        root.join("tests/fuzz/corpus").join(short),
        folder.join("corpus").join(short),
        folder.join("findings"),
    );
    std::fs::create_dir_all(&found)?;
    std::fs::create_dir_all(&findings)?;
    let options = format!(
        "{} {} -max_total_time={} -seed={seed} -max_len={INPUT_MAX} -timeout={INPUT_SECONDS} -print_final_stats=1 -artifact_prefix={}/{short}-",
        found.display(),
        corpus.display(),
        args.seconds,
        findings.display(),
    );
    let mut command = Command::new(program);
    command.args([name, "--exact", "--nocapture", "--test-threads", "1"]).current_dir(root);
    command
        .env("BOLERO_LIBFUZZER_ARGS", options)
        .env("BOLERO_LIBTEST_HARNESS", "1")
        .env("BOLERO_TEST_NAME", name);
    let ran = command.output()?;
    let said = String::from_utf8_lossy(&ran.stderr);
    let last = |what: &str| {
        said.lines().rev().find_map(|line| line.split_once(what)?.1.split_whitespace().next())
    };
    let (runs, edges) = (last("stat::number_of_executed_units:"), last(" cov: "));
    if let (true, Some(runs), Some(edges)) = (ran.status.success(), runs, edges) {
        println!("fuzz {short}, libFuzzer: {runs} executions, {edges} edges, no finding");
        return Ok(());
    }
    let tail: Vec<&str> = said.lines().rev().take(60).collect();
    let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
    anyhow::bail!(
        "{name}: there is a finding, in {}: make it a file of {}\n{tail}",
        findings.display(),
        corpus.display()
    )
}

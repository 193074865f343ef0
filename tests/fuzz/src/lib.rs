//! How a target is run: its corpus first, then inputs grown from the corpus, up to a number or a
//! time.
//!
//! Decides: how an input is made of a corpus. Must not know: any target.
//! Invariant: a target that fails fails again with the seed that is printed.
//!
//! A parser refuses a random input at its first byte. So the engine draws a recipe: which file of
//! the corpus is taken, and how it is changed. A target gets the result. libFuzzer sees which
//! branches an input takes and grows the corpus itself; its inputs are used as they are.

mod recipe;

use recipe::Recipe;
use std::panic::RefUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The number of inputs that are tried where no time is given.
const INPUTS: usize = 4_000;
/// The greatest length of a recipe, in bytes.
const RECIPE_MAX: usize = 2_048;
/// The variable with the seconds for which each target runs, in place of a number of inputs.
const SECONDS: &str = "BT_FUZZ_SECONDS";

/// The variable with libFuzzer's arguments; it is set only where libFuzzer draws the inputs.
const LIBFUZZER: &str = "BOLERO_LIBFUZZER_ARGS";

/// Runs `check`, which panics at a finding, with the files of `corpus/NAME` and with inputs grown
/// from them.
pub fn fuzz(name: &str, check: impl Fn(&[u8]) + RefUnwindSafe) {
    let corpus = corpus(name);
    corpus.iter().for_each(|input| check(input));
    let executions = AtomicU64::new(corpus.len() as u64);
    if std::env::var_os(LIBFUZZER).is_some() {
        return bolero::check!().for_each(|input: &[u8]| check(input));
    }
    let target = bolero::check!().with_max_len(RECIPE_MAX);
    let target = match std::env::var(SECONDS).ok().and_then(|seconds| seconds.parse().ok()) {
        Some(seconds) => target.with_test_time(Duration::from_secs(seconds)),
        None => target.with_iterations(INPUTS),
    };
    target.for_each(|recipe: &[u8]| {
        executions.fetch_add(1, Relaxed);
        check(&Recipe::new(recipe).cook(&corpus));
    });
    println!(
        "fuzz {name}: {} executions, {} files in the corpus, no finding",
        executions.load(Relaxed),
        corpus.len()
    );
}

/// Reads the corpus files of a target, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries
        .map(|entry| entry.unwrap_or_else(|error| panic!("{name}: {error}")).path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths
        .iter()
        .map(|path| {
            std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        })
        .collect()
}

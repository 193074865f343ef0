//! Tidy fails when a rule is broken: each case breaks one rule of a small workspace that was in
//! order.
//!
//! Decides: the small workspace. Must not know: how a rule looks for what it finds.
//! Invariant: every case is one change.

use super::problems;
use std::fs;
use std::path::Path;

const HEADER: &str = "//! Decides: nothing. Must not know: anything. Invariant: none.\n";
const PURE: &str =
    "#![no_std]\n#![forbid(unsafe_code)]\nextern crate alloc;\n#[cfg(test)]\nextern crate std;\n";

/// What a published package says of itself.
const SAYS: &str = "description = \"d\"\ndocumentation = \"d\"\nrepository = \"r\"\nrust-version = \"1.90\"\nkeywords = [\"k\"]\ncategories = [\"c\"]\n[package.metadata.docs.rs]\nall-features = true\n";
const README: &str = "#[doc = include_str!(\"../README.md\")]\nstruct Readme;\n";

/// A workspace of two crates of the table, in order.
fn write_fixture(root: &Path) {
    let write = |name: &str, text: &str| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a file lies in a directory")).expect("directory");
        fs::write(path, text).expect("file");
    };
    let manifest = |name: &str, dependencies: &str| {
        format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{SAYS}\n[dependencies]\n{dependencies}"
        )
    };
    write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n");
    write(
        "docs/decisions/0001-dependencies.md",
        "| crate | why |\n|---|---|\n| rand, serde | doors |\n",
    );
    write("crates/bt-types/Cargo.toml", &manifest("bt-types", ""));
    write("crates/bt-types/README.md", "# bt-types\n");
    write("crates/bt-types/src/lib.rs", &format!("{HEADER}{PURE}pub struct Piece;\n{README}"));
    write(
        "crates/bt-net/Cargo.toml",
        &manifest("bt-net", "bt-types = { path = \"../bt-types\" }\nserde = \"1\"\n"),
    );
    write("crates/bt-net/README.md", "# bt-net\n");
    let net = format!("{HEADER}use bt_types as _;\nuse serde as _;\n{README}");
    write("crates/bt-net/src/lib.rs", &net);
    for name in ["bt-types", "bt-net"] {
        write(&format!("crates/{name}/LICENSE-MIT"), "MIT\n");
        write(&format!("crates/{name}/LICENSE-APACHE"), "Apache\n");
    }
    write("crates/bt-net/src/a.rs", &format!("{HEADER}use crate::b;\n"));
    write("crates/bt-net/src/b.rs", HEADER);
    write("crates/bt-net/src/c.rs", &format!("{HEADER}// use crate::b;\nuse super::a;\n"));
}

/// What tidy says after `from` in a file became `to`; an empty `from` appends.
fn after(name: &str, from: &str, to: &str) -> Vec<String> {
    let dir = tempfile::tempdir().expect("temporary directory");
    write_fixture(dir.path());
    let path = dir.path().join(name);
    let text = fs::read_to_string(&path).unwrap_or_default();
    let changed = if from.is_empty() { format!("{text}{to}") } else { text.replacen(from, to, 1) };
    assert_ne!(text, changed, "the case changes {name}");
    fs::write(path, changed).expect("file");
    problems(dir.path()).expect("tidy can read the workspace")
}

#[test]
fn a_workspace_in_order_has_no_problems() {
    assert_eq!(after("crates/bt-net/README.md", "", "More.\n"), Vec::<String>::new());
}

#[test]
fn each_broken_rule_is_found_and_named() {
    let lib = "crates/bt-types/src/lib.rs";
    let net = "crates/bt-net/src/lib.rs";
    let place = concat!("// /ro", "ot/somebody\n");
    let long = "// a line\n".repeat(600);
    let wide: &str = &format!("// {}\n", "x".repeat(98));
    let cases = [
        (
            "floor",
            "crates/bt-types/Cargo.toml",
            "",
            "bt-net = { path = \"../bt-net\" }\n",
            "bt-types: must not use bt-net",
        ),
        (
            "floor of tests",
            "crates/bt-types/Cargo.toml",
            "",
            "[dev-dependencies]\nbt-net = { path = \"../bt-net\" }\n",
            "bt-types: must not use bt-net",
        ),
        (
            "unknown crate",
            "crates/bt-net/Cargo.toml",
            "\"bt-net\"",
            "\"bt-drawer\"",
            "bt-drawer: this crate is not in tidy's table",
        ),
        ("unused", net, "use serde as _;\n", "", "bt-net: does not use serde"),
        ("no_std", lib, "#![no_std]\n", "", "lacks #![no_std]"),
        ("forbid unsafe", lib, "#![forbid(unsafe_code)]\n", "", "lacks #![forbid(unsafe_code)]"),
        ("std", lib, "#[cfg(test)]\n", "", "`extern crate std` outside of tests"),
        ("file header", lib, "//!", "//", "src/lib.rs:1: does not open with `//!`"),
        ("length", net, "", &long, "has 605 lines"),
        ("printing", net, "", "fn f() { println!(\"x\"); }\n", "bt-net/src/lib.rs:6: `println!(`"),
        ("unwrap", net, "", "fn f() { Some(1).unwrap(); }\n", "`.unwrap()`"),
        (
            "unbounded",
            net,
            "",
            "use tokio::sync::mpsc::unbounded_channel;\n",
            "`unbounded_channel`",
        ),
        (
            "reason",
            "crates/bt-net/Cargo.toml",
            "serde",
            "anyhow",
            "anyhow: docs/decisions/0001-dependencies.md gives no reason",
        ),
        ("wide comment", net, "", wide, "a comment of 101 columns"),
        ("phrase", net, "", "// It came in Vain.\n", "says \"in vain\""),
        ("phrase of a page", "crates/bt-net/README.md", "", "Nobody knows.\n", "says \"nobody\""),
        ("name", net, "", "pub struct Piece;\n", "Piece: a public type of bt-net and of bt-types"),
        (
            "circle",
            "crates/bt-net/src/a.rs",
            "use crate::b;",
            "use crate::{b, c};",
            "bt-net: a circle of files: a → c",
        ),
        (
            "manifest",
            "crates/bt-net/Cargo.toml",
            "documentation = \"d\"\n",
            "",
            "bt-net: lacks documentation",
        ),
        (
            "keywords",
            "crates/bt-net/Cargo.toml",
            "[\"k\"]",
            "[]",
            "bt-net: lacks one to 5 keywords",
        ),
        (
            "docs.rs",
            "crates/bt-net/Cargo.toml",
            "all-features = true",
            "all-features = false",
            "bt-net: lacks [package.metadata.docs.rs]",
        ),
        ("doctest", net, README, "", "bt-net: lacks its README.md among the doctests"),
        ("place", net, "", place, "a directory of one machine"),
    ];
    for (case, name, from, to, expected) in cases {
        let problems = after(name, from, to);
        assert!(
            problems.iter().any(|problem| problem.contains(expected)),
            "{case}: {problems:?} does not say {expected:?}"
        );
    }
}

#[test]
fn tests_and_comments_may_say_what_code_may_not() {
    let text = "// .unwrap() is for tests\n#[cfg(test)]\nmod tests {\n    fn f() { Some(1).unwrap(); }\n}\n";
    assert_eq!(after("crates/bt-net/src/lib.rs", "", text), Vec::<String>::new());
}

#[test]
fn a_missing_text_is_found() {
    let dir = tempfile::tempdir().expect("temporary directory");
    write_fixture(dir.path());
    fs::remove_file(dir.path().join("crates/bt-net/README.md")).expect("it was there");
    fs::remove_file(dir.path().join("crates/bt-net/LICENSE-MIT")).expect("it was there");
    assert_eq!(
        problems(dir.path()).expect("tidy can read the workspace"),
        ["bt-net: has no README.md", "bt-net: lacks readme", "bt-net: lacks LICENSE-MIT"]
    );
}

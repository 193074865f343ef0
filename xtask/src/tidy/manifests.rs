//! What a published package must say of itself, and what it must hold.
//!
//! Decides: the fields of its manifest, the texts beside it. Must not know: what is in a crate.
//! Invariant: packages that are not published are not looked at.

use super::workspace::metadata;
use anyhow::Result;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Fields that crates.io and docs.rs show.
const FIELDS: &[&str] = &["description", "documentation", "readme", "repository", "rust_version"];
/// The texts of the licence expression, in each package.
const LICENCES: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT"];
/// Most keywords and categories that crates.io takes, each.
const WORDS_MAX: usize = 5;

pub(super) fn problems(root: &Path) -> Result<Vec<String>> {
    let metadata = metadata(root, &["--no-deps", "--offline"])?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let published = packages.filter(|package| package["publish"].is_null());
    Ok(published.flat_map(of_package).collect())
}

fn of_package(package: &Value) -> Vec<String> {
    let mut lacks: Vec<String> = Vec::new();
    let is_text = |field: &str| package[field].as_str().is_some_and(|text| !text.is_empty());
    lacks.extend(FIELDS.iter().filter(|field| !is_text(field)).map(|field| field.to_string()));
    for field in ["keywords", "categories"] {
        let count = package[field].as_array().map_or(0, Vec::len);
        if !(1..=WORDS_MAX).contains(&count) {
            lacks.push(format!("one to {WORDS_MAX} {field}"));
        }
    }
    if package["metadata"]["docs"]["rs"]["all-features"] != true {
        lacks.push("[package.metadata.docs.rs] all-features = true".to_owned());
    }
    let manifest = package["manifest_path"].as_str().unwrap_or_default();
    let dir = Path::new(manifest).parent().unwrap_or(Path::new(""));
    let is_missing = |text: &&&str| !dir.join(text).is_file();
    lacks.extend(LICENCES.iter().filter(is_missing).map(|text| text.to_string()));
    if let Ok(lib) = fs::read_to_string(dir.join("src/lib.rs"))
        && !lib.contains("#[doc = include_str!(\"../README.md\")]")
    {
        lacks.push("its README.md among the doctests of src/lib.rs".to_owned());
    }
    let name = package["name"].as_str().unwrap_or_default();
    lacks.into_iter().map(|lack| format!("{name}: lacks {lack}")).collect()
}

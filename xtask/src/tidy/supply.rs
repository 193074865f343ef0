//! What comes from outside is what deny.toml allows: licences, bans, sources.
//!
//! Decides: which rules bind. Must not know: which licences are allowed.
//! Invariant: every package of Cargo.lock is looked at, whatever system it is for.

use super::workspace::metadata;
use anyhow::Result;
use serde_json::Value;
use spdx::{Expression, LicenseReq, ParseMode};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Everything that deny.toml does not allow; a workspace without that file has no such rule.
pub(super) fn problems(root: &Path) -> Result<Vec<String>> {
    let path = root.join("deny.toml");
    if !path.exists() {
        return Ok(Vec::new());
    }
    let rules = Rules::parse(&fs::read_to_string(path)?);
    let metadata = metadata(root, &["--locked"])?;
    Ok(metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|package| rules.problems(package))
        .collect())
}

/// What of deny.toml is checked.
struct Rules {
    licences: BTreeSet<String>,
    banned: BTreeSet<String>,
}

impl Rules {
    fn parse(text: &str) -> Rules {
        Rules { licences: list(text, "[licenses]", "allow"), banned: list(text, "[bans]", "deny") }
    }

    fn problems(&self, package: &Value) -> Vec<String> {
        let text = |field: &str| package[field].as_str().unwrap_or_default();
        let name = text("name");
        let mut problems = Vec::new();
        if !self.allows(text("license")) {
            problems.push(format!("{name}: deny.toml allows no licence of {:?}", text("license")));
        }
        if self.banned.contains(name) {
            problems.push(format!("{name}: deny.toml bans it"));
        }
        if package["source"].as_str().is_some_and(|source| !source.starts_with("registry+")) {
            problems.push(format!("{name}: comes from {}, not from a registry", text("source")));
        }
        problems
    }

    /// Whether a licence expression (SPDX, with `/` for OR as in old manifests) can be met with
    /// what is allowed. An exception makes another licence of one.
    fn allows(&self, expression: &str) -> bool {
        let is_allowed = |wanted: &LicenseReq| {
            wanted.addition.is_none() && self.licences.contains(&wanted.license.to_string())
        };
        Expression::parse_mode(expression, ParseMode::LAX)
            .is_ok_and(|parsed| parsed.evaluate(is_allowed))
    }
}

/// The strings of the list `key` in a section.
fn list(text: &str, section: &str, key: &str) -> BTreeSet<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let inside =
        lines.skip_while(|line| *line != section).skip(1).take_while(|line| !line.starts_with('['));
    let start = format!("{key} = [");
    let entries = inside
        .skip_while(|line| !line.starts_with(&start))
        .take_while(|line| !line.starts_with(']'));
    entries.flat_map(|line| line.split('"').skip(1).step_by(2)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::Rules;
    use serde_json::json;

    const TEXT: &str = "[licenses]\nallow = [\n    \"MIT\", # why\n    \"ISC\",\n]\n[bans]\nwildcards = \"deny\"\ndeny = [\n    \"curl\",\n]\n[sources]\n";

    #[test]
    fn expressions_are_met_with_what_is_allowed() {
        let table = [
            ("MIT", true),
            ("GPL-3.0", false),
            ("", false),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0/MIT", true),
            ("MIT AND ISC", true),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND ISC", true),
            ("ISC AND (GPL-3.0 OR AGPL-3.0)", false),
            ("GPL-3.0 AND ISC OR MIT", true),
            ("MIT WITH LLVM-exception", false),
            ("MIT WITH LLVM-exception OR ISC", true),
            ("MIT ISC", false),
            ("(MIT", false),
        ];
        for (expression, allowed) in table {
            assert_eq!(Rules::parse(TEXT).allows(expression), allowed, "{expression}");
        }
    }

    #[test]
    fn a_package_must_pass_every_rule() {
        let registry = "registry+https://example.invalid/index";
        let table = [
            (json!({"name": "good", "license": "MIT", "source": registry}), 0),
            (json!({"name": "ours", "license": "MIT", "source": null}), 0),
            (json!({"name": "curl", "license": "MIT", "source": registry}), 1),
            (json!({"name": "unlicensed", "license": null, "source": registry}), 1),
            (
                json!({"name": "curl", "license": "GPL-3.0", "source": "git+https://example.invalid/curl"}),
                3,
            ),
        ];
        for (package, count) in table {
            assert_eq!(Rules::parse(TEXT).problems(&package).len(), count, "{package}");
        }
    }
}

//! Places in JSON: `.torrents[0].name`, `[hash=ab12].state`, `.` for all of it.
//!
//! Decides: which value a path names.
//! Must not know: what is claimed of it.
//! Invariant: a path that leads nowhere names nothing; a path that cannot be read is an error.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Finds the value that a path names.
pub(super) fn find<'a>(value: &'a Value, path: &str) -> Result<Option<&'a Value>> {
    let (mut found, mut rest) = (Some(value), path);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (key, next) = after.split_at(end);
            if !key.is_empty() {
                found = found.and_then(|value| value.get(key));
            }
            rest = next;
        } else if let Some(after) = rest.strip_prefix('[') {
            let (place, next) = after.split_once(']').with_context(|| format!("{path}: no ]"))?;
            found = match place.split_once('=') {
                Some((key, wanted)) => found.and_then(|list| one(list, key, wanted)),
                None => found.and_then(|list| place.parse::<usize>().ok().map(|n| list.get(n))?),
            };
            rest = next;
        } else {
            bail!("{path}: a path goes on with . or [");
        }
    }
    Ok(found)
}

/// Finds the entry of a list whose key has this text or number.
fn one<'a>(list: &'a Value, key: &str, wanted: &str) -> Option<&'a Value> {
    let number = serde_json::from_str::<Value>(wanted).ok();
    list.as_array()?.iter().find(|entry| match entry.get(key) {
        Some(Value::String(text)) => text == wanted,
        value => value.is_some() && value == number.as_ref(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() -> Result<()> {
        let all = json!({ "a": { "b": [10, { "h": "x", "n": 7 }] } });
        assert_eq!(find(&all, ".a.b[0]")?, Some(&json!(10)));
        assert_eq!(find(&all, ".a.b[h=x].n")?, Some(&json!(7)));
        assert_eq!(find(&all, ".a.b[n=7].h")?, Some(&json!("x")));
        assert_eq!(find(&all, ".")?, Some(&all));
        assert_eq!(find(&all, ".a.c[0]")?, None);
        assert!(find(&all, "a").is_err());
        Ok(())
    }
}

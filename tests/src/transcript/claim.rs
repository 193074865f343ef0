//! What is claimed of an answer.
//!
//! Decides: the claims that can be written, and when they hold.
//! Must not know: requests.
//! Invariant: a claim of what is not there does not hold; `is missing` does.

use super::Names;
use super::path::find;
use crate::RawAnswer;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// The kinds of JSON values that can be claimed.
const KINDS: [&str; 7] = ["integer", "float", "text", "boolean", "object", "list", "missing"];

/// A claim, or the order to take a value.
#[derive(Debug)]
pub(super) enum Claim {
    /// `header NAME = TEXT`, or `~` for a part of it.
    Header(String, Compare, String),
    /// `text = TEXT`: the whole body.
    Text(Compare, String),
    /// `json PATH OP VALUE`, or `json PATH / PATH OP VALUE` for the ratio of two numbers.
    Json { path: String, over: Option<String>, compare: Compare, value: String },
    /// `take NAME from json PATH` or `take NAME from header NAME [until TEXT]`.
    Take { name: String, json: bool, place: String, until: Option<String> },
}

/// How a value is compared with what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compare {
    Is,
    Equal,
    Other,
    AtLeast,
    AtMost,
    /// It contains this: a text, or an entry of a list.
    Contains,
    /// It is one of these words.
    OneOf,
    /// The object has all these keys.
    Has,
    /// The list or object has this number of entries.
    Counts,
}

impl Compare {
    fn parse(word: &str) -> Result<Compare> {
        Ok(match word {
            "is" => Compare::Is,
            "=" => Compare::Equal,
            "!=" => Compare::Other,
            ">=" => Compare::AtLeast,
            "<=" => Compare::AtMost,
            "~" => Compare::Contains,
            "in" => Compare::OneOf,
            "has" => Compare::Has,
            "counts" => Compare::Counts,
            _ => bail!("{word} compares nothing"),
        })
    }
}

/// Splits off the first word.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(' ').map_or((text, ""), |(word, rest)| (word, rest.trim()))
}

impl Claim {
    pub(super) fn parse(line: &str) -> Result<Claim> {
        let (what, rest) = word(line);
        Claim::of(what, rest).with_context(|| line.to_owned())
    }

    fn of(what: &str, rest: &str) -> Result<Claim> {
        match what {
            "header" => {
                let (name, rest) = word(rest);
                let (compare, value) = word(rest);
                Ok(Claim::Header(name.to_owned(), Compare::parse(compare)?, value.to_owned()))
            }
            "text" => {
                let (compare, value) = word(rest);
                Ok(Claim::Text(Compare::parse(compare)?, value.to_owned()))
            }
            "json" => {
                let (path, rest) = word(rest);
                let (over, rest) = match word(rest) {
                    ("/", rest) => {
                        let (over, rest) = word(rest);
                        (Some(over.to_owned()), rest)
                    }
                    _ => (None, rest),
                };
                let (compare, value) = word(rest);
                let compare = Compare::parse(compare)?;
                ensure!(compare != Compare::Is || KINDS.contains(&value), "{value} is no kind");
                Ok(Claim::Json { path: path.to_owned(), over, compare, value: value.to_owned() })
            }
            "take" => {
                let (name, rest) = word(rest);
                let (from, rest) = word(rest);
                let (kind, place) = word(rest);
                ensure!(from == "from" && ["json", "header"].contains(&kind), "take NAME from …");
                let (place, until) = match place.split_once(" until ") {
                    Some((place, until)) => (place, Some(until.to_owned())),
                    None => (place, None),
                };
                let (name, place) = (name.to_owned(), place.to_owned());
                Ok(Claim::Take { name, json: kind == "json", place, until })
            }
            _ => bail!("a claim begins with header, text, json or take"),
        }
    }

    /// Fails unless the claim holds.
    pub(super) fn judge(&self, answer: &RawAnswer, names: &mut Names) -> Result<()> {
        match self {
            Claim::Header(name, compare, value) => {
                let found = answer.header(name).map(Value::from);
                holds(found.as_ref(), *compare, value)
            }
            Claim::Text(compare, value) => {
                holds(Some(&Value::from(answer.text())), *compare, value)
            }
            Claim::Json { path, over, compare, value } => {
                let all = answer.json()?;
                let found = find(&all, path)?;
                match over {
                    None => holds(found, *compare, value),
                    Some(over) => {
                        let ratio = ratio(found, find(&all, over)?)?;
                        holds(Some(&ratio), *compare, value)
                    }
                }
            }
            Claim::Take { name, json, place, until } => {
                let taken = match *json {
                    true => find(&answer.json()?, place)?.map(plain),
                    false => answer.header(place).map(str::to_owned),
                };
                let mut taken = taken.with_context(|| format!("{place} is not there to take"))?;
                if let Some(end) = until.as_deref().and_then(|until| taken.find(until)) {
                    taken.truncate(end);
                }
                names.insert(name.clone(), taken);
                Ok(())
            }
        }
        .with_context(|| format!("{self:?}"))
    }
}

fn ratio(part: Option<&Value>, whole: Option<&Value>) -> Result<Value> {
    let number = |value: Option<&Value>| value.and_then(Value::as_f64).context("no number");
    Ok(Value::from(number(part)? / number(whole)?))
}

/// A value as it is written in a transcript: a text without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn holds(found: Option<&Value>, compare: Compare, wanted: &str) -> Result<()> {
    if (compare, wanted) == (Compare::Is, "missing") {
        ensure!(found.is_none(), "it is there: {found:?}");
        return Ok(());
    }
    let found = found.context("it is missing")?;
    let number = || found.as_f64().context("it is no number");
    let does = match compare {
        Compare::Is => is(found, wanted),
        Compare::Equal => equals(found, wanted),
        Compare::Other => !equals(found, wanted),
        Compare::AtLeast => number()? >= wanted.parse::<f64>()?,
        Compare::AtMost => number()? <= wanted.parse::<f64>()?,
        Compare::Contains => match found {
            Value::Array(list) => list.iter().any(|entry| equals(entry, wanted)),
            other => plain(other).contains(wanted),
        },
        Compare::OneOf => wanted.split_whitespace().any(|word| equals(found, word)),
        Compare::Has => {
            let absent = wanted.split_whitespace().find(|key| found.get(*key).is_none());
            ensure!(absent.is_none(), "{absent:?} is missing");
            true
        }
        Compare::Counts => {
            let count = match found {
                Value::Array(list) => list.len(),
                Value::Object(object) => object.len(),
                _ => bail!("it has no entries"),
            };
            count == wanted.parse::<usize>()?
        }
    };
    ensure!(does, "it is {found}");
    Ok(())
}

fn is(found: &Value, kind: &str) -> bool {
    match kind {
        "integer" => found.is_i64() || found.is_u64(),
        "float" => found.is_f64(),
        "text" => found.is_string(),
        "boolean" => found.is_boolean(),
        "object" => found.is_object(),
        "list" => found.is_array(),
        _ => false,
    }
}

/// Compares with a text, or with the JSON that it is. 1 and 1.0 are one number.
fn equals(found: &Value, wanted: &str) -> bool {
    if let Some(text) = found.as_str() {
        return text == wanted;
    }
    match serde_json::from_str::<Value>(wanted) {
        Ok(wanted) if wanted.is_number() => found.as_f64() == wanted.as_f64(),
        Ok(wanted) => *found == wanted,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_hold_or_do_not() -> Result<()> {
        let head = "HTTP/1.1 200 OK\r\nSet-Cookie: SID=x; path=/".to_owned();
        let body = br#"{"n":3,"f":1.0,"s":"300","l":["a",2],"o":{"k":null},"up":6}"#.to_vec();
        let answer = RawAnswer { status: 200, head, body };
        let mut names = Names::new();
        let mut judge = |line: &str| Claim::parse(line).and_then(|c| c.judge(&answer, &mut names));
        for right in [
            "header Set-Cookie ~ SID=",
            "json .n = 3",
            "json .n is integer",
            "json .f is float",
            "json .f = 1",
            "json .s = 300",
            "json .s is text",
            "json .n in 1 2 3",
            "json .n >= 3",
            "json .up / .n <= 2",
            "json .l ~ a",
            "json .l counts 2",
            "json .o has k",
            "json .x is missing",
            "json .n != 4",
            "take cookie from header Set-Cookie",
            "take sid from header Set-Cookie until ;",
            "take s from json .s",
        ] {
            judge(right).with_context(|| right.to_owned())?;
        }
        for wrong in [
            "header Location = x",
            "text = x",
            "json .n = 4",
            "json .x != 4",
            "json .f is integer",
            "json .n in 1 2",
            "json .l ~ b",
            "json .o has k q",
            "json .s >= 1",
            "json .n is missing",
            "take x from json .x",
        ] {
            assert!(judge(wrong).is_err(), "{wrong}");
        }
        assert_eq!(names["cookie"], "SID=x; path=/");
        assert_eq!((&names["sid"][..], &names["s"][..]), ("SID=x", "300"));
        Ok(())
    }
}

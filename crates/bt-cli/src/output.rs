//! Results on standard output, news on standard error.
//!
//! Decides: the frame of JSON objects, and what is silenced. Must not know: any command.
//! Invariant: in JSON mode standard output holds nothing but JSON, one object per line, flushed at once.

use crate::args::{OutputArgs, ProgressMode};
use crate::exit::Failure;
use serde_json::{Map, Value, json};
use std::io::{IsTerminal as _, Write as _};

/// Where a command's words go.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    command: &'static str,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) mode: ProgressMode,
    /// Something of the command's own schema was printed.
    began: std::rc::Rc<std::cell::Cell<bool>>,
}

impl Output {
    pub(crate) fn new(command: &'static str, args: &OutputArgs) -> Output {
        let mode = match args.progress {
            _ if args.quiet => ProgressMode::None,
            ProgressMode::Auto if std::io::stderr().is_terminal() => ProgressMode::Bar,
            ProgressMode::Auto => ProgressMode::Plain,
            chosen => chosen,
        };
        Output { command, json: args.json, quiet: args.quiet, mode, began: std::rc::Rc::default() }
    }

    /// A line of the result, unless JSON was asked for.
    pub(crate) fn line(&self, text: impl std::fmt::Display) {
        if !self.json {
            print_line(&text.to_string());
        }
    }

    /// A line for the person, unless it was silenced.
    pub(crate) fn note(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// The result as an object of this command's schema, if JSON was asked for.
    pub(crate) fn object(&self, fields: Value) {
        if self.json {
            self.began.set(true);
            print_json(&format!("bt.{}/1", self.command), fields);
        }
    }

    /// An event of a long command, with the time.
    pub(crate) fn event(&self, event: &str, fields: Value) {
        if self.json {
            let mut all = json!({ "event": event, "time": jiff::Timestamp::now().to_string() });
            if let (Value::Object(all), Value::Object(fields)) = (&mut all, fields) {
                all.extend(fields);
            }
            self.object(all);
        }
    }

    /// The last word of a command that failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        if self.json && self.began.get() && matches!(self.command, "get" | "seed" | "demo" | "tracker" | "dht") {
            self.event("error", json!({ "code": failure.code, "message": failure.message }));
        } else if self.json {
            print_json("bt.error/1", json!({ "code": failure.code, "message": failure.message }));
        }
        eprintln!("bt: {}", failure.message);
    }
}

fn print_json(schema: &str, fields: Value) {
    let mut object = Map::new();
    object.insert("schema".into(), schema.into());
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    print_line(&Value::Object(object).to_string());
}

/// A reader that went away is no failure of ours.
fn print_line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

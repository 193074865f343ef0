//! Results on standard output, news on standard error: the only way to either.
//!
//! Decides: what is silenced, and which characters reach a terminal.
//! Must not know: what a command does.
//! Invariant: in JSON mode standard output holds nothing but JSON, one object per line, flushed at
//! once. No control character of foreign text leaves here. A reader that went away, or a full disk
//! behind a log, ends nothing.

use crate::args::{OutputArgs, ProgressMode};
use crate::exit::Failure;
use crate::json::{self, Event, Failed};
use serde::Serialize;
use std::borrow::Cow;
use std::io::{IsTerminal as _, Write};

/// The output of a command.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    command: &'static str,
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) mode: ProgressMode,
    /// An object of the command's own schema was printed.
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

    /// Prints a line of the result, unless JSON was asked for.
    pub(crate) fn line(&self, text: impl std::fmt::Display) {
        if !self.json {
            print(text);
        }
    }

    /// Prints a line for the user, unless it was silenced.
    pub(crate) fn note(&self, text: impl std::fmt::Display) {
        if !self.quiet {
            say(text);
        }
    }

    /// Prints the result as an object of this command's schema, if JSON was asked for.
    pub(crate) fn object(&self, fields: &impl Serialize) {
        if self.json {
            self.began.set(true);
            print_json(&json::result(self.command, fields));
        }
    }

    /// Prints an event of a long command, with the time.
    pub(crate) fn event(&self, event: &Event<'_>) {
        if self.json {
            self.began.set(true);
            let time = jiff::Timestamp::now().to_string();
            print_json(&json::event(self.command, &time, event));
        }
    }

    /// Prints the error of a command that failed.
    pub(crate) fn failure(&self, failure: &Failure) {
        self.error_object(failure);
        say(format_args!("bt: {}", failure.message));
    }

    /// Prints a failure for programs: an event of a command that has begun, else an object of its
    /// own.
    pub(crate) fn error_object(&self, failure: &Failure) {
        let failed = Failed { code: failure.code, message: &failure.message };
        if self.json
            && self.began.get()
            && matches!(self.command, "get" | "seed" | "demo" | "tracker" | "dht")
        {
            self.event(&Event::Error(failed));
        } else if self.json {
            print_json(&json::error(&failed));
        }
    }
}

fn print_json(line: &str) {
    write_line(std::io::stdout().lock(), &escape(line));
}

/// Prints a line on standard output.
pub(crate) fn print(text: impl std::fmt::Display) {
    write_line(std::io::stdout().lock(), &printable(&text.to_string()));
}

/// Prints a line on standard error.
pub(crate) fn say(text: impl std::fmt::Display) {
    write_line(std::io::stderr().lock(), &printable(&text.to_string()));
}

/// Prints our own text of several lines on standard output.
pub(crate) fn print_all(text: &str) {
    text.lines().for_each(print);
}

/// Writes logs to standard error line by line, like everything else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        String::from_utf8_lossy(bytes).lines().for_each(say);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Replaces characters that could steer a terminal, line breaks included: foreign text must not
/// look like a line of ours.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(bt_types::is_steering) {
        Cow::Owned(bt_types::printable(text.as_bytes()))
    } else {
        Cow::Borrowed(text)
    }
}

/// Escapes steering characters in JSON text. They occur only in strings, and `serde_json` escapes
/// only those below a space.
fn escape(json: &str) -> Cow<'_, str> {
    if !json.contains(bt_types::is_steering) {
        return Cow::Borrowed(json);
    }
    let escape = |c: char| match c {
        // All of them are in the basic plane, so one escape is enough for each.
        c if bt_types::is_steering(c) => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    Cow::Owned(json.chars().map(escape).collect())
}

/// Writes a line. A reader that went away is no failure of ours.
fn write_line(mut to: impl Write, text: &str) {
    let _ = writeln!(to, "{text}").and_then(|()| to.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_steers_no_terminal() {
        let hostile = "a\u{1b}]0;x\u{7}\u{9b}2J\r\nb\u{202e}c\u{7f}";
        assert_eq!(
            printable(hostile),
            "a\u{fffd}]0;x\u{fffd}\u{fffd}2J\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}"
        );
        let text = serde_json::json!({ "text": hostile });
        let escaped = escape(&text.to_string()).into_owned();
        assert!(!escaped.contains(bt_types::is_steering), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), text);
    }

    #[test]
    fn a_writer_that_fails_ends_nothing() {
        write_line(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap(), "lost");
    }
}

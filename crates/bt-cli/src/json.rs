//! Everything that `--json` prints, as types: `results` of commands, `events` of long ones.
//!
//! Decides: the keys, their order, and what stands where a value is unknown.
//! Must not know: how a command works.
//! Invariant: a line begins with its schema; an event goes on with its name and the time.

mod events;
mod results;
#[cfg(test)]
mod tests;

pub(crate) use events::{Complete, Event, Failed, Progress, Ready, Received, SourceBytes, Summary};
pub(crate) use results::{
    Added, AnnounceAnswer, BadFile, Changed, Create, DaemonList, DhtLookup, DhtPing, Found,
    Imported, ImportedTorrent, Info, ListedFile, Magnet, ManPages, Reasons, Remembered,
    ScrapeAnswer, Show, ShowLink, StateForgotten, StateList, TorrentWhy, TrackerAnswer,
    TrackerAnswers, TrackerWord, Verify,
};

use serde::Serialize;

/// Makes the line of a command's result.
pub(crate) fn result(command: &str, fields: &impl Serialize) -> String {
    line(&format!("bt.{command}/1"), fields)
}

/// Makes the line of an event of a long command. `time` is in RFC 3339.
pub(crate) fn event(command: &str, time: &str, event: &Event<'_>) -> String {
    #[derive(Serialize)]
    struct Timed<'a> {
        event: &'static str,
        time: &'a str,
        #[serde(flatten)]
        fields: &'a Event<'a>,
    }
    result(command, &Timed { event: event.name(), time, fields: event })
}

/// Makes the line of a failure before the first result or event.
pub(crate) fn error(failed: &Failed<'_>) -> String {
    line("bt.error/1", failed)
}

fn line(schema: &str, fields: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Line<'a, T> {
        schema: &'a str,
        #[serde(flatten)]
        fields: &'a T,
    }
    // Only a map can fail whose keys are no strings, and there is none.
    serde_json::to_string(&Line { schema, fields }).unwrap_or_default()
}

//! The verbs that a daemon carries out: `add`, `list`, `info`, `pause`, `resume`, `check`,
//! `remove`, `set`, `move`, `undo`, `watch`.
//!
//! Decides: which torrent an ID means, and how rows read.
//! Must not know: HTTP.
//! Invariant: an ID that means no torrent, or more than one, changes nothing.

use crate::args::{
    AddArgs, IdsArgs, InfoArgs, ListArgs, MoveArgs, Order, RemoveArgs, SetArgs, UndoArgs, WatchArgs,
};
use crate::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::json::{Added, Changed, DaemonList, Info};
use crate::output::Output;
use crate::screen::Screen;
use crate::units;
use bt_api::v1::{FileRow, PeerRow, TorrentList, TorrentRow, TrackerRow};
use bt_piece_store::PathPattern;
use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Map, Value, json};
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;

/// The fewest digits of an info-hash that name a torrent.
pub(crate) const DIGITS: usize = 8;
/// Time between two looks of `bt watch`.
const LOOK: Duration = Duration::from_secs(1);
/// Most bytes of a torrent file.
const FILE_MAX: u64 = 32 << 20;

pub(crate) async fn add(args: AddArgs, output: &Output) -> Outcome {
    let client = Client::new(&args.api.api)?;
    let mut settings = Map::new();
    if let Some(category) = args.category {
        settings.insert("category".into(), category.into());
    }
    if !args.label.is_empty() {
        settings.insert("tags".into(), args.label.into());
    }
    let mut wanted = Map::new();
    wanted.insert("settings".into(), settings.into());
    if let Some(dir) = args.dir {
        wanted.insert("dir".into(), absolute(&dir)?.into());
    }
    if args.stopped {
        wanted.insert("start".into(), false.into());
    }
    let mut torrents = Vec::new();
    for source in &args.source {
        let mut wanted = wanted.clone();
        let answer = match read(source)? {
            Some(file) => client.send_file("torrents", &wanted, &file).await?,
            None => {
                wanted.insert("source".into(), source.as_str().into());
                client.send_json(Method::POST, "torrents", &wanted).await?
            }
        };
        let answer: Added = serde_json::from_slice(&answer).map_err(anyhow::Error::from)?;
        if let Some(row) = answer.torrent {
            let word = if answer.duplicate { "is there already" } else { "added" };
            output.line(format_args!("{}  {}: {word}", row.id, row.name));
            torrents.push(row);
        }
    }
    output.object(&DaemonList { torrents });
    Ok(())
}

/// Reads a source that is a file; links are left to the daemon.
fn read(source: &str) -> Outcome<Option<Vec<u8>>> {
    let path = Path::new(source);
    let is_link = source.contains(':') || source.len() == 40;
    if is_link && !path.exists() {
        return Ok(None);
    }
    let why = |error: std::io::Error| {
        let why = format!("cannot read {source}: {error}; give a .torrent file, a URL or a link");
        Failure::new(Exit::Input, "unreadable", why)
    };
    let length = std::fs::metadata(path).map_err(why)?.len();
    if length > FILE_MAX {
        let why = format!("{source} is longer than a torrent may be");
        return Err(Failure::new(Exit::Input, "invalid_torrent", why));
    }
    std::fs::read(path).map(Some).map_err(why)
}

fn absolute(dir: &Path) -> Outcome<String> {
    let dir = std::path::absolute(dir).map_err(anyhow::Error::from)?;
    Ok(dir.to_string_lossy().into_owned())
}

pub(crate) async fn list(args: ListArgs, output: &Output) -> Outcome {
    let client = Client::new(&args.api.api)?;
    let torrents = rows(&client, args.filter.as_deref()).await?;
    if torrents.is_empty() {
        output.note("no torrents");
    }
    torrents.iter().for_each(|row| output.line(line(row)));
    output.object(&DaemonList { torrents });
    Ok(())
}

/// Returns the torrents in a state, or with a text in their name.
pub(crate) async fn rows(client: &Client, filter: Option<&str>) -> Outcome<Vec<TorrentRow>> {
    let list: TorrentList = client.get("torrents").await?;
    let text = filter.unwrap_or_default().to_lowercase();
    let passes = |row: &TorrentRow| {
        text.is_empty() || row.state.state == text || row.name.to_lowercase().contains(&text)
    };
    Ok(list.torrents.into_iter().filter(passes).collect())
}

/// Returns a torrent as a line.
fn line(row: &TorrentRow) -> String {
    let state = match (&row.state.error, &row.state.reason) {
        (Some(error), _) => format!("{}: {error}", row.state.state),
        (None, Some(reason)) => format!("{} ({reason})", row.state.state),
        (None, None) => row.state.state.to_string(),
    };
    let percent = (row.progress.progress * 100.0).floor();
    let mut rates = String::new();
    if row.transfer.down_rate > 0 {
        rates += &format!("  down {}", units::rate(row.transfer.down_rate));
    }
    if row.transfer.up_rate > 0 {
        rates += &format!("  up {}", units::rate(row.transfer.up_rate));
    }
    let size = units::size(row.progress.size);
    format!("{:>4}  {percent:>3}%  {size:>10}  {}  {state}{rates}", row.id, row.name)
}

/// Returns the torrents that IDs mean.
async fn meant(client: &Client, ids: &[String]) -> Outcome<Vec<TorrentRow>> {
    let list: TorrentList = client.get("torrents").await?;
    let mut all: Vec<TorrentRow> = Vec::new();
    for id in ids {
        let row = one(&list.torrents, id)?;
        if !all.iter().any(|other| other.hash == row.hash) {
            all.push(row.clone());
        }
    }
    Ok(all)
}

/// Returns the torrent that an ID means.
pub(crate) fn one<'a>(rows: &'a [TorrentRow], id: &str) -> Outcome<&'a TorrentRow> {
    let by_number = id.parse().ok().and_then(|id: u64| rows.iter().find(|row| row.id == id));
    if let Some(row) = by_number {
        return Ok(row);
    }
    let begin = id.to_ascii_lowercase();
    let is_meant =
        |row: &&TorrentRow| row.name == id || id.len() >= DIGITS && row.hash.starts_with(&begin);
    let found: Vec<&TorrentRow> = rows.iter().filter(is_meant).collect();
    match found[..] {
        [row] => Ok(row),
        [] => {
            let why = format!("the daemon has no torrent {id}; `bt list` lists what it has");
            Err(Failure::new(Exit::Input, "not_found", why))
        }
        [..] => {
            let numbers: Vec<String> = found.iter().map(|row| row.id.to_string()).collect();
            let (count, numbers) = (found.len(), numbers.join(", "));
            Err(Failure::usage(format!("{id} means {count} torrents; name one of {numbers}")))
        }
    }
}

pub(crate) async fn info(args: InfoArgs, output: &Output) -> Outcome {
    let client = Client::new(&args.api.api)?;
    let Some(torrent) = meant(&client, &[args.id]).await?.pop() else { return Ok(()) };
    let path = |what: &str| format!("torrents/{}/{what}", torrent.hash);
    let mut info =
        Info { torrent: &torrent, files: None, peers: None, trackers: None, pieces: None };
    if args.files {
        info.files = Some(client.get(&path("files")).await?);
    }
    if args.peers {
        info.peers = Some(client.get(&path("peers")).await?);
    }
    if args.trackers {
        info.trackers = Some(client.get(&path("trackers")).await?);
    }
    if args.pieces {
        info.pieces = Some(client.get(&path("pieces")).await?);
    }
    describe(&torrent, output);
    info.files.iter().flatten().for_each(|file| output.line(file_line(file)));
    info.peers.iter().flatten().for_each(|peer| output.line(peer_line(peer)));
    info.trackers.iter().flatten().for_each(|tracker| output.line(tracker_line(tracker)));
    if let Some(pieces) = &info.pieces {
        output.line(format_args!("  pieces, missing and there by turns: {pieces:?}"));
    }
    output.object(&info);
    Ok(())
}

fn describe(row: &TorrentRow, output: &Output) {
    output.line(line(row));
    output.line(format_args!("  info-hash  {}", row.hash));
    output.line(format_args!("  directory  {}", row.wanted.dir));
    let (down, up) = (row.transfer.bytes_down, row.transfer.bytes_up);
    output.line(format_args!("  received   {}, sent {}", units::size(down), units::size(up)));
    if !row.wanted.category.is_empty() {
        output.line(format_args!("  category   {}", row.wanted.category));
    }
    if let Some(trouble) = &row.swarm.tracker_trouble {
        output.line(format_args!("  tracker    {trouble}"));
    }
}

fn file_line(file: &FileRow) -> String {
    let percent = units::percent(file.bytes_done, file.length);
    let size = units::size(file.length);
    format!("  {:>4}  {percent:>3}%  {size:>10}  {}", file.number, file.path)
}

fn peer_line(peer: &PeerRow) -> String {
    let client = peer.client.as_deref().unwrap_or("?");
    let (down, up) = (units::rate(peer.down_rate), units::rate(peer.up_rate));
    let percent = (peer.progress * 100.0).floor();
    format!("  {}  {client}  has {percent}%  down {down}  up {up}", peer.address)
}

fn tracker_line(tracker: &TrackerRow) -> String {
    format!("  {}  {}  {}", tracker.url, tracker.standing, tracker.message)
}

/// Starts or stops torrents.
pub(crate) async fn run(args: IdsArgs, running: bool, output: &Output) -> Outcome {
    let word = if running { "started" } else { "stopped" };
    let patch = json!({ "running": running });
    each(&args, word, output, async |client, row| {
        client.send_json(Method::PATCH, &format!("torrents/{row}"), &patch).await
    })
    .await
}

/// Acts on torrents: `check`, `reannounce`.
pub(crate) async fn act(args: IdsArgs, act: &'static str, output: &Output) -> Outcome {
    let word = if act == "check" { "is being checked" } else { "is being announced" };
    let action = json!({ act: {} });
    each(&args, word, output, async |client, row| {
        client.send_json(Method::POST, &format!("torrents/{row}/actions"), &action).await
    })
    .await
}

pub(crate) async fn remove(args: RemoveArgs, output: &Output) -> Outcome {
    let with_data = args.with_data;
    let word = if with_data { "removed with its data" } else { "removed; its data stays" };
    each(&args.ids, word, output, async |client, row| {
        client.ask(Method::DELETE, &format!("torrents/{row}?with_data={with_data}")).await
    })
    .await
}

pub(crate) async fn move_to(args: MoveArgs, output: &Output) -> Outcome {
    let dir = absolute(&args.dir)?;
    let ids = IdsArgs { id: vec![args.id], api: args.api };
    let word = format!("moves to {dir}");
    let action = json!({ "move": { "dir": dir } });
    each(&ids, &word, output, async |client, row| {
        client.send_json(Method::POST, &format!("torrents/{row}/actions"), &action).await
    })
    .await
}

pub(crate) async fn set(args: SetArgs, output: &Output) -> Outcome {
    let SetArgs { ids, select, .. } = &args;
    let patch = patch(&args);
    if patch.is_empty() && select.is_empty() {
        return Err(Failure::usage("there is nothing to set; `bt set --help` lists what can be"));
    }
    each(ids, "set", output, async |client, row| {
        let mut patch = patch.clone();
        if !select.is_empty() {
            let files: Vec<FileRow> = client.get(&format!("torrents/{row}/files")).await?;
            patch.insert("files".into(), selection(&files, select)?);
        }
        client.send_json(Method::PATCH, &format!("torrents/{row}"), &patch).await
    })
    .await
}

fn patch(args: &SetArgs) -> Map<String, Value> {
    let order = args.order.map(|order| match order {
        Order::RarestFirst => "rarest_first",
        Order::Sequential => "sequential",
    });
    let list = |list: &Vec<String>| (!list.is_empty()).then(|| json!(list));
    let changes = [
        ("down_limit", args.down.map(|limit| json!(limit.0))),
        ("up_limit", args.up.map(|limit| json!(limit.0))),
        ("seed_limits", args.ratio.map(|ratio| json!({ "ratio": { "at": ratio } }))),
        ("order", order.map(Value::from)),
        ("category", args.category.clone().map(Value::from)),
        ("add_tags", list(&args.label)),
        ("remove_tags", list(&args.unlabel)),
    ];
    changes.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// Returns the priorities by which the files that patterns name are wanted, and no others.
fn selection(files: &[FileRow], patterns: &[String]) -> Outcome<Value> {
    let patterns: Vec<(&String, PathPattern)> =
        patterns.iter().map(|text| (text, PathPattern::new(text))).collect();
    let matches = |pattern: &PathPattern, path: &str| {
        let below = path.split_once('/').map_or(path, |(_, below)| below);
        [path, below].into_iter().any(|path| pattern.names(path) || pattern.is_glob_match(path))
    };
    for (text, pattern) in &patterns {
        if !files.iter().any(|file| matches(pattern, &file.path)) {
            return Err(Failure::usage(format!("--select {text:?} matches no file")));
        }
    }
    let priority = |file: &FileRow| {
        let is_wanted = patterns.iter().any(|(_, pattern)| matches(pattern, &file.path));
        json!([file.number, if is_wanted { "normal" } else { "skip" }])
    };
    Ok(files.iter().map(priority).collect())
}

pub(crate) async fn undo(args: UndoArgs, output: &Output) -> Outcome {
    Client::new(&args.api.api)?.ask(Method::POST, "undo").await?;
    output.line("undone");
    output.object(&Changed { torrents: Vec::new() });
    Ok(())
}

/// Asks for something for each torrent that is meant.
async fn each(
    args: &IdsArgs,
    word: &str,
    output: &Output,
    ask: impl AsyncFn(&Client, &str) -> Outcome<Bytes>,
) -> Outcome {
    let client = Client::new(&args.api.api)?;
    let torrents = meant(&client, &args.id).await?;
    for row in &torrents {
        ask(&client, &row.hash).await?;
        output.line(format_args!("{}  {}: {word}", row.id, row.name));
    }
    output.object(&Changed { torrents: torrents.into_iter().map(|row| row.hash).collect() });
    Ok(())
}

pub(crate) async fn watch(args: WatchArgs, output: &Output) -> Outcome {
    let client = Client::new(&args.api.api)?;
    let mut screen = std::io::stderr().is_terminal().then(Screen::new);
    loop {
        let torrents = rows(&client, args.filter.as_deref()).await?;
        match &mut screen {
            _ if output.json => output.object(&DaemonList { torrents }),
            Some(screen) => draw(screen, &torrents),
            None => torrents.iter().for_each(|row| output.line(line(row))),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Draws the torrents that fit on a terminal.
fn draw(screen: &mut Screen, torrents: &[TorrentRow]) {
    let size = screen.size();
    let lines = torrents.iter().take(size.rows.saturating_sub(2)).map(|row| {
        let line = line(row);
        crate::fit::cut(&crate::output::printable(&line), size.columns.saturating_sub(1))
    });
    screen.draw(None, &lines.collect::<Vec<_>>());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_wants_what_is_named_and_nothing_else() {
        let file = |number: usize, path: &str| FileRow {
            number,
            path: path.into(),
            length: 1,
            bytes_done: 0,
            priority: bt_session::Priority::Normal,
        };
        let files = [file(0, "a/b.mkv"), file(2, "a/c.txt"), file(3, "a/extra/d.mkv")];
        let select = |pattern: &str| selection(&files, &[pattern.to_owned()]);
        let wanted = |numbers: &[usize]| {
            let one = |file: &FileRow| {
                json!([file.number, if numbers.contains(&file.number) { "normal" } else { "skip" }])
            };
            files.iter().map(one).collect::<Value>()
        };
        assert_eq!(select("*.txt").expect("a selection"), wanted(&[2]));
        assert_eq!(select("a/b.mkv").expect("a selection"), wanted(&[0]));
        assert_eq!(select("nonsense").expect_err("nothing").exit, Exit::Usage);
    }
}

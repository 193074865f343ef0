//! Feeds and their rules.
//!
//! Decides: how feeds are shown as a tree.
//! Must not know: HTTP, when a feed is fetched.
//! Invariant: an article is shown with the keys of qBittorrent.

use super::answer::{Planned, commands, refuse, value};
use super::form::Form;
use crate::command::Command;
use crate::rss::{Feed, Rss, RssCommand, Rule, SEPARATOR};
use crate::state::DaemonState;
use serde_json::{Map, Value, json};

/// Returns the plan of an action that only reads.
pub(super) fn read(action: &str, form: &Form, state: &DaemonState) -> Option<Planned> {
    match action {
        "items" => value(tree(&state.rss, form.flag("withData") == Some(true))),
        "rules" => value(rules(&state.rss)),
        "matchingArticles" => {
            let found = state.rss.matching(form.text("ruleName").unwrap_or_default());
            value(
                found
                    .into_iter()
                    .map(|(feed, titles)| (feed, titles.into()))
                    .collect::<Map<_, _>>(),
            )
        }
        _ => None,
    }
}

/// Returns the plan of an action that changes something.
pub(super) fn act(action: &str, form: &Form) -> Option<Planned> {
    let text = |name: &str| form.text(name).unwrap_or_default().to_owned();
    let change = |change: RssCommand| commands(vec![Command::Rss(change)]);
    match action {
        "addFolder" => change(RssCommand::AddFolder { path: text("path") }),
        "addFeed" => {
            change(RssCommand::AddFeed { url: text("url").trim().into(), path: text("path") })
        }
        "setFeedURL" => {
            change(RssCommand::SetUrl { path: text("path"), url: text("url").trim().into() })
        }
        // Feeds have one interval.
        "setFeedRefreshInterval" => commands(vec![]),
        "removeItem" => change(RssCommand::Remove { path: text("path") }),
        "moveItem" => change(RssCommand::Move { path: text("itemPath"), to: text("destPath") }),
        "markAsRead" => change(RssCommand::MarkRead {
            path: text("itemPath"),
            article: form.word("articleId").map(str::to_owned),
        }),
        "refreshItem" => change(RssCommand::Refresh { path: text("itemPath") }),
        "setRule" => match serde_json::from_str(form.text("ruleDef").unwrap_or_default()) {
            Ok(rule) => {
                change(RssCommand::SetRule { name: text("ruleName"), rule: Box::new(params(rule)) })
            }
            Err(error) => refuse(400, format!("ruleDef: {error}")),
        },
        "renameRule" => {
            change(RssCommand::RenameRule { name: text("ruleName"), to: text("newRuleName") })
        }
        "removeRule" => change(RssCommand::RemoveRule { name: text("ruleName") }),
        _ => None,
    }
}

/// A rule as it is sent: newer callers say how torrents are added in an object of its own.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    #[serde(flatten)]
    rule: Rule,
    #[serde(default)]
    torrent_params: Value,
}

fn params(sent: Sent) -> Rule {
    let Sent { mut rule, torrent_params: params } = sent;
    let text = |key: &str| params.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(category) = text("category") {
        rule.assigned_category = category.to_owned();
    }
    if let Some(dir) = text("save_path") {
        rule.save_path = dir.to_owned();
    }
    if let Some(stopped) = params.get("stopped").and_then(Value::as_bool) {
        rule.add_paused = Some(stopped);
    }
    rule
}

fn rules(rss: &Rss) -> Value {
    let rule = |(name, rule): (&String, &Rule)| {
        let mut row = serde_json::to_value(rule).unwrap_or_default();
        if let Value::Object(row) = &mut row {
            row.insert(
                "torrentParams".into(),
                json!({
                    "category": rule.assigned_category,
                    "save_path": rule.save_path,
                    "stopped": rule.add_paused,
                }),
            );
        }
        (name.clone(), row)
    };
    rss.rules.iter().map(rule).collect::<Map<_, _>>().into()
}

/// Returns the folders and feeds as objects in one another.
fn tree(rss: &Rss, with_data: bool) -> Value {
    let mut tree = Map::new();
    for path in &rss.folders {
        put(&mut tree, path, json!({}));
    }
    for (path, feed) in &rss.feeds {
        put(&mut tree, path, row(feed, with_data));
    }
    tree.into()
}

fn put(tree: &mut Map<String, Value>, path: &str, row: Value) {
    let mut place = tree;
    let mut names = path.split(SEPARATOR).peekable();
    while let Some(name) = names.next() {
        if names.peek().is_none() {
            // A folder that is there already keeps what is in it.
            place.entry(name).or_insert(row);
            return;
        }
        let Value::Object(below) = place.entry(name).or_insert_with(|| json!({})) else { return };
        place = below;
    }
}

fn row(feed: &Feed, with_data: bool) -> Value {
    let mut row = json!({ "uid": feed.uid, "url": feed.url });
    if with_data && let Value::Object(row) = &mut row {
        row.insert("title".into(), feed.title.clone().into());
        row.insert("lastBuildDate".into(), feed.built.clone().into());
        row.insert("isLoading".into(), false.into());
        row.insert("hasError".into(), feed.trouble.is_some().into());
        let articles = serde_json::to_value(&feed.articles).unwrap_or_default();
        row.insert("articles".into(), articles);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_are_shown_as_a_tree() {
        let mut state = DaemonState::default();
        let feed = |uid: &str| Feed { uid: uid.into(), url: "http://f/".into(), ..Feed::default() };
        state.rss.folders = ["a", "a\\b"].map(String::from).into();
        state.rss.feeds.insert("a\\b\\c".into(), feed("1"));
        state.rss.feeds.insert("d".into(), feed("2"));
        let expected = json!({
            "a": {"b": {"c": {"uid": "1", "url": "http://f/"}}},
            "d": {"uid": "2", "url": "http://f/"},
        });
        assert_eq!(tree(&state.rss, false), expected);
        let with_data = tree(&state.rss, true);
        assert_eq!(with_data["d"]["hasError"], json!(false));
        assert_eq!(with_data["d"]["articles"], json!([]));
    }

    #[test]
    fn both_ways_of_saying_how_torrents_are_added_are_read() {
        for text in [
            r#"{"mustContain":"x","assignedCategory":"tv","addPaused":true}"#,
            r#"{"mustContain":"x","torrentParams":{"category":"tv","stopped":true}}"#,
        ] {
            let rule = params(serde_json::from_str(text).expect("a rule"));
            assert_eq!(
                (&rule.assigned_category[..], rule.add_paused),
                ("tv", Some(true)),
                "{text}"
            );
        }
    }
}

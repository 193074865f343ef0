//! Feeds (RSS, Atom, JSON Feed) and the rules by which their torrents are added.
//!
//! Decides: what is kept of feeds, and how their folders are named.
//! Must not know: HTTP, when a feed is fetched.
//! Invariant: feeds, articles and rules are bounded. A path names one feed or folder, and all its
//! parents are folders.

mod article;
mod episode;
mod rule;

pub use article::{Article, parse_feed};
pub use rule::Rule;

use crate::fault::{Fault, FaultKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Most feeds and folders.
pub const FEEDS_MAX: usize = 500;
/// Fewest minutes between two fetches of a feed.
pub const REFRESH_MIN: u32 = 5;
/// Most rules.
pub const RULES_MAX: usize = 1000;
/// Most articles that are kept of a feed, whatever the settings say.
pub const ARTICLES_MAX: usize = 1000;
/// What parts the names of a path, as qBittorrent has it.
pub const SEPARATOR: char = '\\';

/// All feeds and rules. Kept in the state directory.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Rss {
    /// Folders by path.
    pub folders: BTreeSet<String>,
    /// Feeds by path.
    pub feeds: BTreeMap<String, Feed>,
    /// Rules by name.
    pub rules: BTreeMap<String, Rule>,
}

/// A feed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Feed {
    /// Its own id, which a rename keeps.
    pub uid: String,
    /// Its URL.
    pub url: String,
    /// The title that it gives itself.
    pub title: String,
    /// When its server says that it changed.
    pub built: String,
    /// Its articles, the newest first.
    pub articles: Vec<Article>,
    /// When it was last fetched, in seconds since 1970; 0 for never.
    pub fetched: u64,
    /// The ids of its last answer that are not among the articles: they are not new when they come
    /// again.
    pub known: Vec<String>,
    /// The server of the last answer: what its articles name, it names.
    pub server: Option<IpAddr>,
    /// Why that failed.
    pub trouble: Option<String>,
    /// What its server calls this version: an entity tag and a date, to ask for newer ones only.
    pub version: (Option<String>, Option<String>),
}

/// An article that a rule wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// The uid of its feed.
    pub feed: String,
    /// The server that named it.
    pub server: Option<IpAddr>,
    /// The article.
    pub article: Article,
    /// The name of the rule.
    pub rule: String,
}

/// What is wanted of feeds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RssSettings {
    /// Feeds are fetched.
    pub enabled: bool,
    /// Torrents that a rule wants are added.
    pub auto_add: bool,
    /// Minutes between two fetches of a feed; 5 at least.
    pub refresh_minutes: u32,
    /// Articles that are kept of a feed.
    pub articles_max: u32,
    /// An episode that is out again as REPACK or PROPER is wanted again.
    pub repacks: bool,
}

impl Default for RssSettings {
    fn default() -> RssSettings {
        RssSettings {
            enabled: true,
            auto_add: true,
            refresh_minutes: 30,
            articles_max: 50,
            repacks: true,
        }
    }
}

/// A change of feeds and rules.
#[derive(Clone, PartialEq, Debug, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum RssCommand {
    /// Make a folder.
    AddFolder {
        /// Its path.
        path: String,
    },
    /// Add a feed.
    AddFeed {
        /// Its URL.
        url: String,
        /// Its path; empty for one by its URL.
        #[serde(default)]
        path: String,
    },
    /// Give a feed another URL.
    SetUrl {
        /// Its path.
        path: String,
        /// The URL.
        url: String,
    },
    /// Remove a feed, or a folder with all that is in it.
    Remove {
        /// Its path.
        path: String,
    },
    /// Give a feed or folder another path.
    Move {
        /// Its path.
        path: String,
        /// The new path.
        to: String,
    },
    /// Mark an article as read; all of a feed or folder without one.
    MarkRead {
        /// The path.
        path: String,
        /// The article's id.
        #[serde(default)]
        article: Option<String>,
    },
    /// Fetch a feed, or all of a folder, now.
    Refresh {
        /// The path; empty for all.
        path: String,
    },
    /// Make or change a rule.
    SetRule {
        /// Its name.
        name: String,
        /// The rule.
        rule: Box<Rule>,
    },
    /// Rename a rule.
    RenameRule {
        /// Its name.
        name: String,
        /// The new name.
        to: String,
    },
    /// Remove a rule.
    RemoveRule {
        /// Its name.
        name: String,
    },
}

impl Rss {
    /// Carries out a change. Nothing is fetched here.
    pub fn apply(
        &mut self,
        command: RssCommand,
        new_uid: impl FnOnce() -> String,
    ) -> Result<(), Fault> {
        match command {
            RssCommand::AddFolder { path } => {
                self.check_free(&path)?;
                self.folders.insert(path);
            }
            RssCommand::AddFeed { url, path } => {
                check_url(&url)?;
                let by_url = || url.replace(SEPARATOR, "/");
                let path = if path.is_empty() { by_url() } else { path };
                self.check_free(&path)?;
                if self.feeds.values().any(|feed| feed.url == url) {
                    return Err(conflict("there is a feed with this URL already"));
                }
                let feed = Feed { uid: new_uid(), url, ..Feed::default() };
                self.feeds.insert(path, feed);
            }
            RssCommand::SetUrl { path, url } => {
                check_url(&url)?;
                let feed = self.feeds.get_mut(&path).ok_or_else(|| missing(&path))?;
                *feed = Feed { uid: std::mem::take(&mut feed.uid), url, ..Feed::default() };
            }
            RssCommand::Remove { path } => {
                self.check_there(&path)?;
                self.folders.retain(|at| !is_at_or_below(at, &path));
                self.feeds.retain(|at, _| !is_at_or_below(at, &path));
            }
            RssCommand::Move { path, to } => self.rename(&path, &to)?,
            RssCommand::MarkRead { path, article } => {
                self.check_there(&path)?;
                let here = self.feeds.iter_mut().filter(|(at, _)| is_at_or_below(at, &path));
                let articles = here.flat_map(|(_, feed)| &mut feed.articles);
                articles
                    .filter(|found| article.as_ref().is_none_or(|id| *id == found.id))
                    .for_each(|article| article.is_read = true);
            }
            RssCommand::Refresh { path } => {
                if !path.is_empty() {
                    self.check_there(&path)?;
                }
                let here = |at: &str| path.is_empty() || is_at_or_below(at, &path);
                let feeds = self.feeds.iter_mut().filter(|(at, _)| here(at));
                feeds.for_each(|(_, feed)| feed.fetched = 0);
            }
            RssCommand::SetRule { name, rule } => {
                let is_name = !name.trim().is_empty() && name.len() <= 255;
                if !is_name || !self.rules.contains_key(&name) && self.rules.len() >= RULES_MAX {
                    return Err(conflict("a rule has a name, and there are at most 1,000"));
                }
                rule.check().map_err(|why| Fault::new(FaultKind::Invalid, why))?;
                // Who changes a rule may know an earlier state of what it remembers, or none.
                let rule = match self.rules.get(&name) {
                    Some(now) => rule.remembering(now),
                    None => *rule,
                };
                self.rules.insert(name, rule);
            }
            RssCommand::RenameRule { name, to } => {
                if to.trim().is_empty() || self.rules.contains_key(&to) {
                    return Err(conflict("the new name is empty, or another rule has it"));
                }
                let rule = self.rules.remove(&name).ok_or_else(|| missing(&name))?;
                self.rules.insert(to, rule);
            }
            RssCommand::RemoveRule { name } => drop(self.rules.remove(&name)),
        }
        Ok(())
    }

    /// Takes what a feed's server sent; returns the ids of articles that are new.
    pub fn take(
        &mut self,
        uid: &str,
        parsed: (String, String, Vec<Article>),
        max: usize,
    ) -> Vec<String> {
        let Some(feed) = self.feeds.values_mut().find(|feed| feed.uid == uid) else {
            return Vec::new();
        };
        let (title, built, articles) = parsed;
        (feed.title, feed.built, feed.trouble) = (title, built, None);
        let known: BTreeSet<&String> =
            feed.articles.iter().map(|article| &article.id).chain(&feed.known).collect();
        let all: Vec<String> = articles.iter().map(|article| article.id.clone()).collect();
        let fresh: Vec<Article> = articles.into_iter().filter(|a| !known.contains(&a.id)).collect();
        let ids = fresh.iter().map(|article| article.id.clone()).collect();
        feed.articles.splice(0..0, fresh);
        feed.articles.truncate(max.clamp(1, ARTICLES_MAX));
        let kept: BTreeSet<&String> = feed.articles.iter().map(|article| &article.id).collect();
        feed.known = all.into_iter().filter(|id| !kept.contains(id)).collect();
        ids
    }

    /// Returns the unread articles that rules want now, in seconds since 1970, by priority of the
    /// first rule that wants each.
    pub fn wanted(&self, now: u64, repacks: bool) -> Vec<Wanted> {
        let mut rules: Vec<_> = self.rules.iter().collect();
        rules.sort_by_key(|(name, rule)| (rule.priority, (*name).clone()));
        let matchers: Vec<_> = rules
            .into_iter()
            .filter_map(|(name, rule)| Some((name, rule, rule.matcher(now, repacks)?)))
            .collect();
        let mut wanted = Vec::new();
        for feed in self.feeds.values() {
            let unread = |article: &&Article| !article.is_read && !article.torrent_url.is_empty();
            for article in feed.articles.iter().filter(unread) {
                let rule = matchers.iter().find(|(_, rule, matcher)| {
                    rule.affected_feeds.contains(&feed.url) && matcher.wants(&article.title)
                });
                wanted.extend(rule.map(|(name, ..)| Wanted {
                    feed: feed.uid.clone(),
                    server: feed.server,
                    article: article.clone(),
                    rule: (*name).clone(),
                }));
            }
        }
        wanted
    }

    /// Returns whether an article that was wanted still is.
    pub fn still_wants(&self, wanted: &Wanted, now: u64, repacks: bool) -> bool {
        let feed = self.feeds.values().find(|feed| feed.uid == wanted.feed);
        let is_unread = |feed: &Feed| {
            feed.articles.iter().any(|article| article.id == wanted.article.id && !article.is_read)
        };
        let rule = self.rules.get(&wanted.rule);
        let matcher = rule.and_then(|rule| rule.matcher(now, repacks));
        feed.is_some_and(is_unread)
            && matcher.is_some_and(|matcher| matcher.wants(&wanted.article.title))
    }

    /// Returns the titles that a rule wants, by feed title, read ones included.
    pub fn matching(&self, rule: &str) -> Vec<(String, Vec<String>)> {
        let Some(rule) = self.rules.get(rule) else { return Vec::new() };
        let rule = Rule { enabled: true, ignore_days: 0, ..rule.clone() };
        let Some(matcher) = rule.matcher(0, true) else { return Vec::new() };
        let feeds = self.feeds.values().filter(|feed| rule.affected_feeds.contains(&feed.url));
        let titles = |feed: &Feed| {
            let titles = feed.articles.iter().map(|article| article.title.clone());
            titles.filter(|title| matcher.wants(title)).collect::<Vec<_>>()
        };
        feeds
            .map(|feed| (feed.title.clone(), titles(feed)))
            .filter(|(_, t)| !t.is_empty())
            .collect()
    }

    /// Notes that a rule's article was added, or never can be.
    pub fn note_added(&mut self, wanted: &Wanted, is_added: bool, now: u64) {
        let feed = self.feeds.values_mut().find(|feed| feed.uid == wanted.feed);
        let articles = feed.into_iter().flat_map(|feed| &mut feed.articles);
        for article in articles.filter(|article| article.id == wanted.article.id) {
            article.is_read = true;
        }
        if let Some(rule) = self.rules.get_mut(&wanted.rule).filter(|_| is_added) {
            rule.note(&wanted.article.title, now);
        }
    }

    fn rename(&mut self, path: &str, to: &str) -> Result<(), Fault> {
        self.check_there(path)?;
        self.check_free(to)?;
        if is_at_or_below(to, path) {
            return Err(conflict("a folder cannot lie in itself"));
        }
        let renamed = |at: &str| match at.strip_prefix(path) {
            Some(rest) if is_at_or_below(at, path) => format!("{to}{rest}"),
            _ => at.to_owned(),
        };
        self.folders = self.folders.iter().map(|at| renamed(at)).collect();
        let feeds = std::mem::take(&mut self.feeds);
        self.feeds = feeds.into_iter().map(|(at, feed)| (renamed(&at), feed)).collect();
        Ok(())
    }

    fn check_there(&self, path: &str) -> Result<(), Fault> {
        match self.feeds.contains_key(path) || self.folders.contains(path) {
            true => Ok(()),
            false => Err(missing(path)),
        }
    }

    /// Refuses a path that is taken, or whose parent is no folder.
    fn check_free(&self, path: &str) -> Result<(), Fault> {
        let is_path = path.len() <= 1024
            && !path.contains(char::is_control)
            && path.split(SEPARATOR).all(|name| !name.trim().is_empty());
        if !is_path {
            return Err(conflict("a path is names with \\ between them"));
        }
        if self.check_there(path).is_ok() {
            return Err(conflict("there is a feed or folder with this name already"));
        }
        if path.rsplit_once(SEPARATOR).is_some_and(|(parent, _)| !self.folders.contains(parent)) {
            return Err(conflict("its folder does not exist"));
        }
        match self.feeds.len() + self.folders.len() < FEEDS_MAX {
            true => Ok(()),
            false => Err(conflict("there are 500 feeds and folders already")),
        }
    }
}

fn is_at_or_below(at: &str, path: &str) -> bool {
    at.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(SEPARATOR))
}

fn check_url(url: &str) -> Result<(), Fault> {
    let is_http = ["http://", "https://"].iter().any(|scheme| {
        url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    match is_http && url.len() <= 4096 && !url.contains(|c: char| c.is_control() || c == ' ') {
        true => Ok(()),
        false => {
            Err(Fault::new(FaultKind::Invalid, "a feed's URL begins with http:// or https://"))
        }
    }
}

fn conflict(why: &str) -> Fault {
    Fault::new(FaultKind::Conflict, why)
}

fn missing(name: &str) -> Fault {
    Fault::new(FaultKind::Conflict, format!("there is no {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &str) -> RssCommand {
        RssCommand::AddFolder { path: path.into() }
    }

    fn feed(url: &str, path: &str) -> RssCommand {
        RssCommand::AddFeed { url: url.into(), path: path.into() }
    }

    fn apply(rss: &mut Rss, command: RssCommand) -> bool {
        rss.apply(command, || "uid".into()).is_ok()
    }

    fn article(id: &str, title: &str) -> Article {
        let torrent_url = format!("http://a.example/{id}");
        Article { id: id.into(), title: title.into(), torrent_url, ..Article::default() }
    }

    #[test]
    fn paths_form_a_tree() {
        let mut rss = Rss::default();
        assert!(apply(&mut rss, folder("tv")));
        for (command, expected) in [
            (folder("tv"), false),
            (folder(""), false),
            (folder("tv\\\\x"), false),
            (folder("no\\x"), false),
            (folder("tv\\new"), true),
            (feed("http://a.example/", "tv\\new\\a"), true),
            (feed("http://a.example/", "b"), false),
            (feed("file:///etc/passwd", "c"), false),
            (feed("http://b.example/", ""), true),
            (RssCommand::Move { path: "tv".into(), to: "tv\\new\\tv".into() }, false),
            (RssCommand::Move { path: "tv".into(), to: "series".into() }, true),
        ] {
            assert_eq!(apply(&mut rss, command.clone()), expected, "{command:?}");
        }
        let paths: Vec<_> = rss.feeds.keys().map(String::as_str).collect();
        assert_eq!(paths, ["http://b.example/", "series\\new\\a"]);
        assert!(apply(&mut rss, RssCommand::Remove { path: "series".into() }));
        assert_eq!((rss.folders.len(), rss.feeds.len()), (0, 1));
    }

    #[test]
    fn what_a_rule_wants_is_wanted_once() {
        let mut rss = Rss::default();
        assert!(apply(&mut rss, feed("http://a.example/", "a")));
        let rule = |must: &str| Rule {
            must_contain: must.into(),
            affected_feeds: vec!["http://a.example/".into()],
            smart_filter: true,
            ..Rule::default()
        };
        for (name, must) in [("one", "show"), ("two", "show* 720p")] {
            let rule = Box::new(rule(must));
            assert!(apply(&mut rss, RssCommand::SetRule { name: name.into(), rule }));
        }
        let articles = vec![article("1", "The Show S01E02 1080p"), article("2", "Other")];
        let fresh = rss.take("uid", ("A".into(), String::new(), articles.clone()), 50);
        assert_eq!(fresh, ["1", "2"]);
        let wanted = rss.wanted(0, true);
        let [found] = &wanted[..] else { panic!("one article: {wanted:?}") };
        assert_eq!((&found.article.id[..], &found.rule[..]), ("1", "one"));
        assert!(rss.still_wants(found, 0, true));
        rss.note_added(found, true, 100);
        assert!(!rss.still_wants(found, 0, true));
        assert!(rss.wanted(0, true).is_empty(), "it is read");
        // The same episode again, and then as REPACK.
        let again = vec![article("3", "The Show 1x02 WEB"), article("4", "Show S01E02 REPACK")];
        assert_eq!(rss.take("uid", ("A".into(), String::new(), again), 50).len(), 2);
        let ids: Vec<_> = rss.wanted(0, true).into_iter().map(|found| found.article.id).collect();
        assert_eq!(ids, ["4"]);
        assert!(rss.wanted(0, false).is_empty());
        // What is known is not new, and the oldest go.
        assert!(rss.take("uid", ("A".into(), String::new(), articles), 2).is_empty());
        assert_eq!(rss.feeds["a"].articles.len(), 2);
    }

    #[test]
    fn a_feed_that_is_longer_than_what_is_kept_brings_nothing_twice() {
        let mut rss = Rss::default();
        assert!(apply(&mut rss, feed("http://a.example/", "a")));
        let answer: Vec<Article> = (0..100).map(|n| article(&n.to_string(), "t")).collect();
        let mut take =
            |max| rss.take("uid", ("A".into(), String::new(), answer.clone()), max).len();
        assert_eq!((take(50), take(50), take(10), take(50)), (100, 0, 0, 0));
    }

    #[test]
    fn what_a_rule_remembers_outlives_a_change_of_the_rule() {
        let mut rss = Rss::default();
        let set = |rule: Rule| RssCommand::SetRule { name: "r".into(), rule: Box::new(rule) };
        let plain = Rule { smart_filter: true, ..Rule::default() };
        assert!(apply(&mut rss, set(plain.clone())));
        rss.rules.get_mut("r").expect("a rule").note("Show S01E02", 100);
        assert!(apply(&mut rss, set(Rule { must_contain: "show".into(), ..plain })));
        let rule = &rss.rules["r"];
        assert_eq!((&rule.must_contain[..], &rule.last_match[..]), ("show", "100"));
        assert_eq!(rule.previously_matched_episodes, ["1x2"]);
    }
}

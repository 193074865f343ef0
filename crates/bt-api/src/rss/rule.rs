//! A rule: which articles are added, and how.
//!
//! Decides: what a title must have.
//! Must not know: feeds, when an article came.
//! Invariant: a pattern takes time in proportion to the title.

use super::episode;
use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most bytes of a compiled pattern.
const PATTERN_MAX: usize = 1 << 20;
/// Most bytes of a rule's texts.
const TEXT_MAX: usize = 4096;
/// Most episodes that a rule remembers: the oldest are forgotten.
const EPISODES_MAX: usize = 2000;
const DAY: u64 = 24 * 60 * 60;

/// A rule by which articles are added. Its JSON is that of qBittorrent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    /// It is used.
    pub enabled: bool,
    /// The rule with the least number comes first.
    pub priority: i64,
    /// The patterns are regular expressions; else words with `*` and `?`, of which all must be
    /// there, and alternatives with `|` between them.
    pub use_regex: bool,
    /// What a title must have; empty for anything.
    pub must_contain: String,
    /// What it must not have; empty for nothing.
    pub must_not_contain: String,
    /// Episodes, as `1x2;8-15;20-;`; empty for all.
    pub episode_filter: String,
    /// The URLs of its feeds.
    pub affected_feeds: Vec<String>,
    /// Days after an addition in which it adds nothing.
    pub ignore_days: u32,
    /// When it last added something: seconds since 1970, or empty for never.
    pub last_match: String,
    /// An episode is added once.
    pub smart_filter: bool,
    /// The episodes that were added.
    pub previously_matched_episodes: Vec<String>,
    /// Torrents are not started; `None` as the daemon's settings say.
    pub add_paused: Option<bool>,
    /// Their category.
    pub assigned_category: String,
    /// Where their data goes; empty: as the category says.
    pub save_path: String,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule {
            enabled: true,
            priority: 0,
            use_regex: false,
            must_contain: String::new(),
            must_not_contain: String::new(),
            episode_filter: String::new(),
            affected_feeds: Vec::new(),
            ignore_days: 0,
            last_match: String::new(),
            smart_filter: false,
            previously_matched_episodes: Vec::new(),
            add_paused: None,
            assigned_category: String::new(),
            save_path: String::new(),
        }
    }
}

impl Rule {
    /// Says what is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let texts = [&self.must_contain, &self.must_not_contain, &self.episode_filter];
        let is_long = texts.iter().any(|text| text.len() > TEXT_MAX);
        if is_long || self.affected_feeds.len() > super::FEEDS_MAX {
            return Err("a rule's texts have at most 4,096 bytes each".into());
        }
        if !self.save_path.is_empty() && !self.save_path.starts_with('/') {
            return Err(format!("{:?} is not an absolute path", self.save_path));
        }
        if !self.assigned_category.is_empty() && !crate::is_category(&self.assigned_category) {
            return Err(format!("{:?} cannot be a category", self.assigned_category));
        }
        for text in [&self.must_contain, &self.must_not_contain] {
            if self.use_regex {
                regex(text).map_err(|error| format!("not a regular expression: {error}"))?;
            }
        }
        Ok(())
    }

    /// Returns what tells the titles that it wants now, in seconds since 1970; `None` where it
    /// wants nothing.
    pub(super) fn matcher(&self, now: u64, repacks: bool) -> Option<Matcher<'_>> {
        let last: u64 = self.last_match.parse().unwrap_or(0);
        let rests = now.saturating_sub(last) < u64::from(self.ignore_days).saturating_mul(DAY);
        if !self.enabled || rests {
            return None;
        }
        let pattern = |text: &str| Pattern::new(text, self.use_regex);
        let (must, must_not) = (pattern(&self.must_contain), pattern(&self.must_not_contain));
        Some(Matcher { rule: self, must, must_not, repacks })
    }

    /// Returns it with what the rule that it takes the place of remembers.
    pub(super) fn remembering(mut self, before: &Rule) -> Rule {
        let time = |rule: &Rule| rule.last_match.parse::<u64>().unwrap_or(0);
        if time(&self) < time(before) {
            self.last_match.clone_from(&before.last_match);
        }
        let (mine, earlier) =
            (&mut self.previously_matched_episodes, &before.previously_matched_episodes);
        if mine.len() < earlier.len() {
            mine.clone_from(earlier);
        }
        mine.truncate(EPISODES_MAX);
        self
    }

    /// Notes that the article with this title was added.
    pub(super) fn note(&mut self, title: &str, now: u64) {
        self.last_match = now.to_string();
        if self.smart_filter
            && let Some(name) = remembered(title)
            && !self.previously_matched_episodes.contains(&name)
        {
            self.previously_matched_episodes.push(name);
            let over = self.previously_matched_episodes.len().saturating_sub(EPISODES_MAX);
            self.previously_matched_episodes.drain(..over);
        }
    }

    /// Returns whether the episode was added before.
    fn knows(&self, title: &str, repacks: bool) -> bool {
        let Some(plain) = episode::name(title) else { return false };
        let known = |name: &str| self.previously_matched_episodes.iter().any(|old| old == name);
        match (episode::is_repack(title) && repacks, remembered(title)) {
            (true, Some(repack)) => known(&repack),
            _ => known(&plain) || known(&format!("{plain}{REPACK}")),
        }
    }
}

/// Tells the titles that a rule wants: its patterns, compiled.
pub(super) struct Matcher<'a> {
    rule: &'a Rule,
    must: Pattern,
    must_not: Pattern,
    repacks: bool,
}

impl Matcher<'_> {
    pub(super) fn wants(&self, title: &str) -> bool {
        self.must.is_in(title).unwrap_or(true)
            && !self.must_not.is_in(title).unwrap_or(false)
            && episode::is_wanted(&self.rule.episode_filter, title)
            && !(self.rule.smart_filter && self.rule.knows(title, self.repacks))
    }
}

/// A pattern: alternatives, of which all parts must be in a title. A part that is no regular
/// expression is in none.
struct Pattern(Vec<Vec<Option<Regex>>>);

impl Pattern {
    fn new(text: &str, use_regex: bool) -> Pattern {
        if text.trim().is_empty() {
            return Pattern(Vec::new());
        }
        if use_regex {
            return Pattern(vec![vec![regex(text).ok()]]);
        }
        let words = |part: &str| {
            part.split_whitespace().map(|word| regex(&wildcard(word)).ok()).collect::<Vec<_>>()
        };
        Pattern(text.split('|').map(words).filter(|words| !words.is_empty()).collect())
    }

    /// Returns whether it is in a title; `None` for an empty pattern.
    fn is_in(&self, title: &str) -> Option<bool> {
        let has = |part: &Option<Regex>| part.as_ref().is_some_and(|part| part.is_match(title));
        (!self.0.is_empty()).then(|| self.0.iter().any(|parts| parts.iter().all(has)))
    }
}

const REPACK: &str = "-REPACK";

/// Returns the name by which an episode is remembered.
fn remembered(title: &str) -> Option<String> {
    let ending = if episode::is_repack(title) { REPACK } else { "" };
    Some(format!("{}{ending}", episode::name(title)?))
}

fn regex(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).case_insensitive(true).size_limit(PATTERN_MAX).build()
}

/// Returns a word with `*` and `?` as a regular expression.
fn wildcard(word: &str) -> String {
    let part = |c: char| match c {
        '*' => ".*".to_owned(),
        '?' => ".".to_owned(),
        c => regex::escape(c.encode_utf8(&mut [0; 4])),
    };
    word.chars().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(rule: &Rule, title: &str, now: u64) -> bool {
        rule.matcher(now, true).is_some_and(|matcher| matcher.wants(title))
    }

    #[test]
    fn titles_are_matched_by_words_or_by_a_pattern() {
        for (use_regex, must, must_not, title, expected) in [
            (false, "", "", "anything", true),
            (false, "show 1080p", "", "The SHOW in 1080p", true),
            (false, "show 1080p", "", "The show in 720p", false),
            (false, "sh?w|other", "", "shaw", true),
            (false, "sh*1080p", "", "show in 1080p", true),
            (false, "show", "720p|cam", "Show 720p", false),
            (false, "a.b", "", "axb", false),
            (true, r"^show\.s\d+", "", "Show.S01", true),
            (true, r"^show", "cam$", "Show CAM", false),
        ] {
            let rule = Rule {
                use_regex,
                must_contain: must.into(),
                must_not_contain: must_not.into(),
                ..Rule::default()
            };
            assert_eq!(wants(&rule, title, 0), expected, "{must} {must_not} {title}");
        }
    }

    #[test]
    fn a_rule_rests_after_an_addition() {
        let mut rule = Rule { ignore_days: 2, ..Rule::default() };
        rule.note("a", 10 * DAY);
        assert!(!wants(&rule, "b", 11 * DAY));
        assert!(wants(&rule, "b", 12 * DAY));
    }

    #[test]
    fn a_pattern_that_would_take_for_ever_or_is_none_is_refused() {
        for (pattern, is_right) in [("(", false), ("(a{1000}){1000}", false), ("a+b", true)] {
            let rule = Rule { use_regex: true, must_contain: pattern.into(), ..Rule::default() };
            assert_eq!(rule.check().is_ok(), is_right, "{pattern}");
        }
        let rule = Rule { save_path: "../x".into(), ..Rule::default() };
        assert!(rule.check().is_err());
        let rule = Rule { assigned_category: "../x".into(), ..Rule::default() };
        assert!(rule.check().is_err());
    }

    #[test]
    fn the_json_of_qbittorrent_is_read() {
        let text = r#"{"enabled":true,"mustContain":"x","affectedFeeds":["u"],
            "torrentParams":{"category":"tv"},"addPaused":null,"unknown":1}"#;
        let rule: Rule = serde_json::from_str(text).expect("a rule");
        assert_eq!((&rule.must_contain[..], rule.add_paused), ("x", None));
    }
}

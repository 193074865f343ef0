//! Seasons and episodes in titles.
//!
//! Decides: which ways of writing them are known.
//! Must not know: rules, feeds.
//! Invariant: the same episode has the same name, however a title writes it.

use regex::Regex;
use std::sync::LazyLock;

static NUMBERED: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)\bs(\d{1,3})[ ._-]?e(\d{1,4})|\b(\d{1,3})x(\d{1,4})\b").ok());
static DATED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\b(\d{4})[.\-](\d{1,2})[.\-](\d{1,2})\b|\b(\d{1,2})[.\-](\d{1,2})[.\-](\d{4})\b")
        .ok()
});
static REPACK: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i)\b(repack|proper)\d?\b").ok());

/// Returns the season and the episode in a title.
pub(super) fn numbers(title: &str) -> Option<(u32, u32)> {
    let found = NUMBERED.as_ref()?.captures(title)?;
    let part = |a: usize, b: usize| found.get(a).or(found.get(b))?.as_str().parse().ok();
    Some((part(1, 3)?, part(2, 4)?))
}

/// Returns the name of the episode in a title: by its numbers, or by its date.
pub(super) fn name(title: &str) -> Option<String> {
    if let Some((season, episode)) = numbers(title) {
        return Some(format!("{season}x{episode}"));
    }
    let found = DATED.as_ref()?.captures(title)?;
    let part = |a: usize, b: usize| found.get(a).or(found.get(b))?.as_str().parse::<u32>().ok();
    let (year, month, day) = (part(1, 6)?, part(2, 5)?, part(3, 4)?);
    Some(format!("{year}-{month:02}-{day:02}"))
}

/// Returns whether a title says that it replaces an earlier one.
pub(super) fn is_repack(title: &str) -> bool {
    REPACK.as_ref().is_some_and(|repack| repack.is_match(title))
}

/// Returns whether a filter like `1x2;8-15;20-;` wants the episode in a title: of season 1 the
/// episodes 2, 8 to 15, and all from 20 on, those of later seasons included. An empty filter wants
/// all.
pub(super) fn is_wanted(filter: &str, title: &str) -> bool {
    let filter = filter.trim();
    if filter.is_empty() {
        return true;
    }
    let Some((season, parts)) = filter.split_once(['x', 'X']) else { return false };
    let (Ok(season), Some((its_season, episode))) = (season.trim().parse::<u32>(), numbers(title))
    else {
        return false;
    };
    parts.split(';').map(str::trim).filter(|part| !part.is_empty()).any(|part| {
        let number = |text: &str| text.trim().parse::<u32>().ok();
        match part.split_once('-') {
            None => its_season == season && number(part) == Some(episode),
            Some((from, "")) => number(from)
                .is_some_and(|from| its_season > season || its_season == season && episode >= from),
            Some((from, to)) => number(from)
                .zip(number(to))
                .is_some_and(|(from, to)| its_season == season && (from..=to).contains(&episode)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_episode_has_one_name() {
        for (title, expected) in [
            ("Show.S01E02.1080p", Some("1x2")),
            ("Show s1 e2", Some("1x2")),
            ("Show 01x02 WEB", Some("1x2")),
            ("Show 2026.11.30", Some("2026-11-30")),
            ("Show 30-11-2026", Some("2026-11-30")),
            ("Film 1920x1080", None),
            ("Film", None),
        ] {
            assert_eq!(name(title).as_deref(), expected, "{title}");
        }
        assert!(is_repack("Show S01E02 PROPER") && is_repack("x.repack2.y"));
        assert!(!is_repack("Properly"));
    }

    #[test]
    fn filters_of_episodes() {
        for (filter, title, expected) in [
            ("", "anything", true),
            ("1x2", "S01E02", true),
            ("1x2", "S02E02", false),
            ("1x2;5-7;", "S01E06", true),
            ("1x2;5-7;", "S01E08", false),
            ("1x20-;", "S01E21", true),
            ("1x20-;", "S03E01", true),
            ("2x20-;", "S01E30", false),
            ("1x2", "no number", false),
            ("nonsense", "S01E02", false),
            ("1xa-b;-;", "S01E02", false),
        ] {
            assert_eq!(is_wanted(filter, title), expected, "{filter} {title}");
        }
    }
}

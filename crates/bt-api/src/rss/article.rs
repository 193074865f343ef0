//! The articles of a feed.
//!
//! Decides: which of an article's links is its torrent, and how much of it is kept.
//! Must not know: where a feed comes from.
//! Invariant: all texts are bounded; what has no id gets one that is the same next time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most articles that are read of one answer.
const ARTICLES_MAX: usize = 1000;
/// Most bytes of a title.
const TITLE_MAX: usize = 512;
/// Most bytes of a link.
const LINK_MAX: usize = 4096;
/// Most bytes of a description.
const DESCRIPTION_MAX: usize = 2048;

/// An article of a feed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Article {
    /// What tells it from the others of its feed.
    pub id: String,
    /// Its title.
    pub title: String,
    /// When it was published (RFC 2822), or empty.
    pub date: String,
    /// The link to its torrent: a URL or a magnet link; empty if it has none.
    #[serde(rename = "torrentURL")]
    pub torrent_url: String,
    /// The link to its page, or empty.
    pub link: String,
    /// Its text, which may be HTML of a stranger.
    pub description: String,
    /// It was read, or added by a rule.
    pub is_read: bool,
}

/// Reads a feed: its title, when it changed, and its articles, the newest first.
pub fn parse_feed(bytes: &[u8]) -> Result<(String, String, Vec<Article>), String> {
    // What has no id of its own gets one by what it leads to, below.
    let parser = feed_rs::parser::Builder::new().id_generator(|_, _, _| String::new()).build();
    let feed = parser.parse(bytes).map_err(|error| format!("it is no feed: {error}"))?;
    let title = feed.title.map(|text| cut(&text.content, TITLE_MAX)).unwrap_or_default();
    let built = feed.updated.or(feed.published).map(|time| time.to_rfc2822()).unwrap_or_default();
    let articles = feed.entries.into_iter().take(ARTICLES_MAX).map(article).collect();
    Ok((title, built, articles))
}

fn article(entry: feed_rs::model::Entry) -> Article {
    let is_torrent = |kind: Option<&str>| kind == Some("application/x-bittorrent");
    let media = entry.media.iter().flat_map(|media| &media.content);
    let enclosed = media.filter_map(|content| {
        let kind = content.content_type.as_ref().map(ToString::to_string);
        Some((content.url.as_ref()?.to_string(), is_torrent(kind.as_deref())))
    });
    let links = entry.links.iter().map(|link| {
        let is_enclosure = link.rel.as_deref() == Some("enclosure");
        (link.href.clone(), is_torrent(link.media_type.as_deref()) || is_enclosure)
    });
    let all: Vec<(String, bool)> = enclosed.chain(links).collect();
    let is_magnet = |url: &str| url.get(..8).is_some_and(|s| s.eq_ignore_ascii_case("magnet:?"));
    // A link to a torrent, then one by its name, then any: many sites put it where the page is.
    let torrent = all
        .iter()
        .find(|(url, is_typed)| *is_typed || is_magnet(url))
        .or_else(|| all.iter().find(|(url, _)| url.to_ascii_lowercase().contains(".torrent")))
        .or(all.first());
    let torrent_url = torrent.map(|(url, _)| url.clone()).unwrap_or_default();
    let page = entry.links.iter().find(|link| link.rel.as_deref() != Some("enclosure"));
    let text = entry.summary.map(|text| text.content);
    let text = text.or_else(|| entry.content.and_then(|content| content.body));
    let title = entry.title.map(|text| cut(&text.content, TITLE_MAX)).unwrap_or_default();
    let id = if entry.id.is_empty() { format!("{torrent_url} {title}") } else { entry.id };
    Article {
        id: cut(&id, LINK_MAX),
        title,
        date: entry.published.or(entry.updated).map(|time| time.to_rfc2822()).unwrap_or_default(),
        // A link that was cut leads nowhere.
        torrent_url: if torrent_url.len() > LINK_MAX { String::new() } else { torrent_url },
        link: page.map(|link| cut(&link.href, LINK_MAX)).unwrap_or_default(),
        description: cut(&text.unwrap_or_default(), DESCRIPTION_MAX),
        is_read: false,
    }
}

/// Returns as much of a text as fits.
fn cut(text: &str, max: usize) -> String {
    let end = (0..=text.len().min(max)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEED: &str = r#"<?xml version="1.0"?><rss version="2.0"><channel>
        <title>New</title><link>http://site.example/</link><description>d</description>
        <item><title>One &lt;script&gt;</title><guid>g1</guid><link>http://site.example/1</link>
          <pubDate>Mon, 30 Nov 2026 08:00:00 +0000</pubDate>
          <enclosure url="http://site.example/1.torrent" length="1" type="application/x-bittorrent"/>
        </item>
        <item><title>Two</title><guid>g2</guid><link>magnet:?xt=urn:btih:aa</link></item>
        <item><title>Three</title><link>http://site.example/download/3</link></item>
        <item><title>Four</title>
          <enclosure url="http://site.example/4.torrent" type="application/x-bittorrent"/></item>
        </channel></rss>"#;

    #[test]
    fn a_feed_has_articles_with_torrents() {
        let (title, _, articles) = parse_feed(FEED.as_bytes()).expect("a feed");
        assert_eq!(title, "New");
        let found: Vec<_> = articles.iter().map(|a| (&a.title[..], &a.torrent_url[..])).collect();
        let expected = [
            ("One <script>", "http://site.example/1.torrent"),
            ("Two", "magnet:?xt=urn:btih:aa"),
            ("Three", "http://site.example/download/3"),
            ("Four", "http://site.example/4.torrent"),
        ];
        assert_eq!(found, expected);
        assert_eq!(articles[0].date, "Mon, 30 Nov 2026 08:00:00 +0000");
        assert!(articles.iter().all(|article| !article.id.is_empty()));
        let again = parse_feed(FEED.as_bytes()).expect("a feed");
        assert_eq!(again.2, articles, "ids are the same next time");
        for wrong in ["", "<html>", "{}", "<rss><channel>"] {
            let parsed = parse_feed(wrong.as_bytes());
            assert!(parsed.is_err() || parsed.is_ok_and(|(_, _, all)| all.is_empty()), "{wrong}");
        }
    }
}

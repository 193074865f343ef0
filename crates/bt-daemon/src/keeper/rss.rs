//! Feeds: fetched in time, and what rules want of them is added.
//!
//! Decides: when a feed is fetched again.
//! Must not know: dialects; what a rule wants.
//! Invariant: an article that was added is marked before the next look, so that it is not added
//! twice. A feed that does not answer holds up no other.

use super::{Keeper, not_stored};
use crate::clock::now;
use crate::secret::secret;
use crate::store::{Batch, RSS};
use bt_api::rss::{Feed, REFRESH_MIN, Rss, RssCommand, Wanted, parse_feed};
use bt_api::{Add, AddSource, Command, Fault, FaultKind, TorrentPatch};
use bt_session::Fetched;
use bt_types::Source;
use futures_util::StreamExt as _;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Most bytes of a feed.
const FEED_MAX: usize = 8 << 20;
/// Most feeds that are fetched at once.
const FETCHES_MAX: usize = 4;
/// Most tries to add an article's torrent.
const TRIES_MAX: u32 = 6;
/// How long it rests after the first failure; twice as long after each further one.
const AGAIN: Duration = Duration::from_secs(60);
/// How often it is looked which feeds are due.
const LOOK: Duration = Duration::from_secs(15);

/// What became of an article.
enum Outcome {
    /// It is added, or never can be.
    Over,
    /// It is tried again later.
    Again,
}

impl Keeper {
    pub(super) async fn change_rss(&self, command: RssCommand) -> Result<(), Fault> {
        let uid = secret().map_err(|error| Fault::new(FaultKind::Internal, error.to_string()))?;
        let mut rss = self.state().rss.clone();
        rss.apply(command, || uid)?;
        self.keep_rss(rss).await?;
        self.wake_rss();
        Ok(())
    }

    /// Lets feeds and rules be looked at now.
    pub(super) fn wake_rss(&self) {
        self.rss_wake.notify_one();
        self.rss_news.notify_one();
    }

    /// Fetches feeds until the daemon stops.
    pub(super) async fn watch_rss(self: Arc<Self>) {
        loop {
            let due = self.due_feeds();
            let is_news = !due.is_empty();
            let fetched = futures_util::stream::iter(due)
                .map(|feed| self.fetch_feed(feed))
                .buffer_unordered(FETCHES_MAX)
                .collect::<Vec<()>>();
            tokio::select! {
                () = self.asked_to_stop() => return,
                _ = fetched => {}
            }
            if is_news {
                self.rss_news.notify_one();
            }
            tokio::select! {
                () = self.asked_to_stop() => return,
                () = self.rss_wake.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            if self.session().is_none() {
                return;
            }
        }
    }

    /// Adds what rules want, until the daemon stops. A server that does not answer holds up other
    /// additions, and no feed.
    pub(super) async fn watch_wanted(self: Arc<Self>) {
        let mut failures: HashMap<(String, String), (u32, Instant)> = HashMap::new();
        // What an earlier run left unread is looked at first.
        self.rss_news.notify_one();
        loop {
            let next_try = failures.values().map(|(_, until)| *until).min();
            let next_try = async {
                match next_try {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.asked_to_stop() => return,
                () = self.rss_news.notified() => {}
                () = next_try => {}
            }
            if self.session().is_none() {
                return;
            }
            let (wanted, settings) = {
                let state = self.state();
                let settings = state.settings.rss;
                let wanted = state.rss.wanted(now(), settings.repacks);
                (if settings.auto_add { wanted } else { Vec::new() }, settings)
            };
            let is_wanted = |key: &(String, String)| {
                wanted.iter().any(|found| found.feed == key.0 && found.article.id == key.1)
            };
            failures.retain(|key, _| is_wanted(key));
            for found in &wanted {
                let key = (found.feed.clone(), found.article.id.clone());
                let rests = failures.get(&key).is_some_and(|(_, until)| Instant::now() < *until);
                // An earlier one of these may have been the same episode.
                if rests || !self.state().rss.still_wants(found, now(), settings.repacks) {
                    continue;
                }
                let tries = failures.get(&key).map_or(0, |(tries, _)| *tries) + 1;
                if let Outcome::Again = self.add_article(found, tries >= TRIES_MAX).await {
                    failures.insert(key, (tries, Instant::now() + AGAIN * 2u32.pow(tries)));
                }
            }
        }
    }

    fn due_feeds(&self) -> Vec<Feed> {
        let state = self.state();
        if !state.settings.rss.enabled {
            return Vec::new();
        }
        let minutes = u64::from(state.settings.rss.refresh_minutes.max(REFRESH_MIN));
        let is_due = |feed: &&Feed| {
            // Not all at the same moment.
            let apart = feed.uid.bytes().map(u64::from).sum::<u64>() % 60;
            feed.fetched == 0 || now() >= feed.fetched.saturating_add(minutes * 60 + apart)
        };
        state.rss.feeds.values().filter(is_due).cloned().collect()
    }

    async fn fetch_feed(&self, feed: Feed) {
        let version = feed.version.clone();
        let fetched = self.fetch.fetch_newer(Source::Api, &feed.url, FEED_MAX, version).await;
        let news = match fetched {
            Ok(Fetched::Same) => Ok(None),
            Ok(Fetched::New { bytes, version, from }) => {
                let parsed = tokio::task::spawn_blocking(move || parse_feed(&bytes)).await;
                let parsed = parsed.unwrap_or_else(|error| Err(error.to_string()));
                parsed.map(|parsed| Some((parsed, version, from)))
            }
            Err(error) => Err(error.to_string()),
        };
        let _turn = self.turn.lock().await;
        let mut rss = self.state().rss.clone();
        let most = self.state().settings.rss.articles_max as usize;
        // It may have been removed, or have got another URL.
        let same = |place: &&mut Feed| place.uid == feed.uid && place.url == feed.url;
        let Some(place) = rss.feeds.values_mut().find(same) else { return };
        place.fetched = now();
        match news {
            Ok(None) => place.trouble = None,
            Ok(Some((parsed, version, from))) => {
                place.version = version;
                place.server = Some(from);
                let _ = rss.take(&feed.uid, parsed, most);
            }
            Err(why) => {
                tracing::info!(feed = %feed.url, %why, "a feed was not fetched");
                place.trouble = Some(why);
            }
        }
        if let Err(fault) = self.keep_rss(rss).await {
            tracing::error!(%fault, "a feed could not be stored");
        }
    }

    async fn add_article(self: &Arc<Self>, found: &Wanted, is_last: bool) -> Outcome {
        let Some(rule) = self.state().rss.rules.get(&found.rule).cloned() else {
            return Outcome::Over;
        };
        let title = &found.article.title;
        let category = Some(rule.assigned_category).filter(|category| !category.is_empty());
        let dir = Some(PathBuf::from(&rule.save_path)).filter(|dir| dir.is_absolute());
        let source = AddSource::Heard(found.article.torrent_url.clone(), found.server);
        let add = Add {
            dir,
            start: rule.add_paused.map(|paused| !paused),
            patch: TorrentPatch { category, ..TorrentPatch::default() },
            ..Add::new(source)
        };
        let is_added = match self.run(Command::Add(Box::new(add))).await {
            Ok(_) => true,
            Err(fault) => {
                use FaultKind::{Disk, Internal, Network};
                let passes = matches!(fault.kind, Disk | Internal | Network);
                if passes && !is_last {
                    tracing::error!(%title, %fault, "a rule's torrent is tried again later");
                    return Outcome::Again;
                }
                tracing::error!(%title, %fault, "a rule's torrent is not added");
                false
            }
        };
        let _turn = self.turn.lock().await;
        let mut rss = self.state().rss.clone();
        rss.note_added(found, is_added, now());
        if let Err(fault) = self.keep_rss(rss).await {
            tracing::error!(%fault, "what a rule added could not be stored");
            return Outcome::Again;
        }
        Outcome::Over
    }

    async fn keep_rss(&self, rss: Rss) -> Result<(), Fault> {
        let mut batch = Batch::default();
        batch.value(RSS, &rss);
        self.store.write(batch).await.map_err(|error| not_stored(&error))?;
        self.update(|state| state.rss = rss);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::tests::{FILE, keeper, until_some};
    use bt_api::rss::Rule;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Serves a feed with one torrent, and says so in 304 to who knows it.
    async fn site() -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (base, same) = (url.clone(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&same);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let feed = format!(
                    "<rss version='2.0'><channel><title>T</title><link>{base}</link>\
                     <description/><item><title>Show S01E01</title><guid>1</guid>\
                     <enclosure url='{base}/a.torrent' length='1' \
                     type='application/x-bittorrent'/></item></channel></rss>"
                );
                let body = if head.starts_with("GET /a.torrent") { FILE } else { feed.as_bytes() };
                let answer = if head.contains("if-none-match: \"v1\"") {
                    count.fetch_add(1, Ordering::Relaxed);
                    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 0\r\n\r\n".to_vec()
                } else {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    [head.as_bytes(), body].concat()
                };
                let _ = stream.write_all(&answer).await;
            }
        });
        (url, same)
    }

    #[tokio::test]
    async fn what_a_rule_wants_is_added_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let keeper = keeper(dir.path()).await;
        let (url, same) = site().await;
        let run = async |command| keeper.run(Command::Rss(command)).await.expect("a change");
        run(RssCommand::AddFeed { url: url.clone(), path: "feed".into() }).await;
        until_some(|| {
            let state = keeper.state();
            state.rss.feeds.get("feed").filter(|feed| !feed.articles.is_empty()).map(drop)
        })
        .await;
        assert!(keeper.state().is_empty(), "no rule wants it");
        let rule = Rule {
            must_contain: "show".into(),
            affected_feeds: vec![url],
            assigned_category: "tv".into(),
            add_paused: Some(true),
            ..Rule::default()
        };
        run(RssCommand::SetRule { name: "r".into(), rule: Box::new(rule) }).await;
        until_some(|| {
            let state = keeper.state();
            let torrent = state.torrents().next()?;
            let is_read = state.rss.feeds.get("feed")?.articles.first()?.is_read;
            (is_read && torrent.record.labels.category == "tv").then_some(())
        })
        .await;
        // Fetched again it is the same, and nothing is added again.
        let hash = keeper.state().torrents().next().map(|torrent| torrent.hash).expect("one");
        keeper.run(Command::Remove(vec![hash], false)).await.expect("a removal");
        run(RssCommand::Refresh { path: String::new() }).await;
        until_some(|| (same.load(Ordering::Relaxed) > 0).then_some(())).await;
        until_some(|| {
            let feed = keeper.state().rss.feeds.get("feed").cloned()?;
            (feed.fetched > 0 && feed.trouble.is_none()).then_some(())
        })
        .await;
        assert!(keeper.state().is_empty());
        assert!(
            keeper
                .store
                .value::<Rss>(RSS)
                .expect("a store")
                .is_some_and(|rss| !rss.rules.is_empty())
        );
    }
}

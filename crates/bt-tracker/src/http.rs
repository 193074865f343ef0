//! Reads the targets of HTTP requests, and writes the bodies of replies.
//!
//! Decides: which page a path is. Must not know: swarms.
//! Invariant: a request that cannot be read gets a refusal that is bencoded, like every answer to a
//! client.

use crate::Stats;
use alloc::format;
use alloc::string::ToString as _;
use alloc::vec::Vec;
use bt_tracker_wire::{
    Announce, AnnounceReply, Failure, QueryError, RetryIn, ScrapeReply, parse_announce,
    parse_scrape, write_announce_body, write_failure_body, write_scrape_body,
};
use bt_types::InfoHash;

/// What a GET asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HttpRequest {
    /// An announce.
    Announce(Announce),
    /// The counts of these swarms.
    Scrape(Vec<InfoHash>),
    /// The page for people.
    Page,
    /// The answer is known without the table: a refusal, or that there is no such page.
    Answered(HttpAnswer),
}

/// The answer to an HTTP client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpAnswer {
    /// 200, also for refusals (their reason is in the body), or 404.
    pub status: u16,
    /// Bencode for announces and scrapes, text for the rest.
    pub body: Vec<u8>,
    /// Whether compression may help: the counts of a scrape shrink, the addresses of an announce do
    /// not.
    pub shrinks: bool,
}

impl HttpRequest {
    /// Reads the target of a GET, the path with its query. Extra slashes are ignored.
    pub fn parse(target: &str) -> HttpRequest {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match path.strip_prefix('/').map(|path| path.trim_matches('/')) {
            Some("announce") => match parse_announce(query) {
                Ok(announce) => HttpRequest::Announce(announce),
                Err(error) => HttpRequest::Answered(refuse(error, false)),
            },
            Some("scrape") => match parse_scrape(query) {
                Ok(hashes) => HttpRequest::Scrape(hashes),
                Err(error) => HttpRequest::Answered(refuse(error, true)),
            },
            Some("") => HttpRequest::Page,
            _ => {
                let body = b"no such page; announce at /announce\n".to_vec();
                HttpRequest::Answered(HttpAnswer { status: 404, body, shrinks: false })
            }
        }
    }
}

impl HttpAnswer {
    /// Answers an announce.
    pub fn announce(reply: &Result<AnnounceReply, Failure>) -> HttpAnswer {
        let body = match reply {
            Ok(reply) => write_announce_body(reply),
            Err(failure) => write_failure_body(failure),
        };
        HttpAnswer { status: 200, body, shrinks: false }
    }

    /// Answers a scrape.
    pub fn scrape(reply: &ScrapeReply) -> HttpAnswer {
        HttpAnswer { status: 200, body: write_scrape_body(reply), shrinks: true }
    }

    /// Answers a person.
    pub fn page(stats: &Stats) -> HttpAnswer {
        let Stats { torrents, peers, announces, scrapes, .. } = stats;
        let body = format!(
            "bt tracker\n\ntorrents  {torrents}\npeers     {peers}\nannounces {announces}\nscrapes   {scrapes}\n"
        );
        HttpAnswer { status: 200, body: body.into_bytes(), shrinks: false }
    }
}

/// Refuses a query. "Never" (BEP 31) silences a client for good. It is said only of a bad info-hash
/// or peer id, which no other configuration of the client changes.
fn refuse(error: QueryError, shrinks: bool) -> HttpAnswer {
    let failure = Failure::new(error.to_string());
    let failure = if error.key() == "port" { failure } else { failure.retry(RetryIn::Never) };
    HttpAnswer { status: 200, body: write_failure_body(&failure), shrinks }
}

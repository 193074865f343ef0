//! One request to one address of an HTTP tracker.
//!
//! Decides: which replies count as the tracker's.
//! Must not know: other addresses, UDP.
//! Invariant: at most 1 MiB of a reply is read.

use crate::{Answered, TrackerError};
use bt_net::{Egress, HttpOptions};
use bt_tracker_wire::{
    Answer, Failure, ReplyError, RetryIn, TrackerRequest, announce_url, read_announce_body,
    read_scrape_body, scrape_url,
};
use bt_types::Source;
use std::net::SocketAddr;
use tokio::time::Instant;

/// Asks the tracker behind `url` at `addr`. Redirects may lead to other addresses, which are then
/// the source of the answer.
pub(crate) async fn ask(
    egress: &Egress,
    url: &str,
    addr: SocketAddr,
    ask: &TrackerRequest,
    deadline: Instant,
) -> Result<Answered, TrackerError> {
    let url = match ask {
        TrackerRequest::Announce(announce) => announce_url(url, announce),
        TrackerRequest::Scrape(hashes) => {
            scrape_url(url, hashes).ok_or(TrackerError::NotScrapable)?
        }
    };
    let timeout = deadline.saturating_duration_since(Instant::now());
    let reply = egress
        .http_get(&url, &HttpOptions { via: Some(addr), timeout, ..HttpOptions::new(Source::User) })
        .await?;
    let read = match ask {
        TrackerRequest::Announce(_) => read_announce_body(&reply.body).map(Answer::Announce),
        TrackerRequest::Scrape(_) => read_scrape_body(&reply.body).map(Answer::Scrape),
    };
    match (reply.status, read) {
        (200, Ok(answer)) => Ok(Answered { answer, from: reply.from.ip() }),
        // Some trackers refuse with a status and say why in the body.
        (_, Err(ReplyError::Refused(failure))) => {
            let after = reply
                .retry_after
                .map(|after| RetryIn::Seconds(u32::try_from(after.as_secs()).unwrap_or(u32::MAX)));
            Err(TrackerError::Refused(Failure { retry_in: failure.retry_in.or(after), ..failure }))
        }
        (200, Err(error)) => Err(error.into()),
        (status, _) => Err(TrackerError::Status { status, retry_after: reply.retry_after }),
    }
}

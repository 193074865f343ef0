//! Why a tracker gave no answer.
//!
//! Decides: the list of causes and their words.
//! Must not know: which caller reads them.
//! Invariant: the texts show nothing of a URL's path or query, which may hold a passkey.

use bt_net::NetError;
use bt_tracker_wire::{ExchangeError, Failure, ReplyError, RetryIn};
use std::net::IpAddr;
use std::time::Duration;
use thiserror::Error;

/// Why a tracker gave no answer.
#[derive(Debug, Error)]
pub enum TrackerError {
    /// The tracker's URL cannot be read.
    #[error("the tracker's URL is not usable: {0}")]
    Url(&'static str),
    /// A kind of tracker whose protocol we do not speak.
    #[error("trackers of the kind {0}:// are not supported; http, https and udp are")]
    Scheme(String),
    /// The tracker is in a private network or on this machine, and its URL is not a tracker's: it
    /// might be another service.
    #[error(
        "{0} is not public, and the URL's path is none of a tracker: /announce…, /KEY/announce… or /scrape…"
    )]
    PrivatePath(IpAddr),
    /// The URL does not end in `announce...`, so it is not known where to scrape (BEP 48).
    #[error("the tracker cannot be scraped: its URL does not end in announce")]
    NotScrapable,
    /// Too many requests to trackers were waiting.
    #[error("too many other questions to trackers are under way")]
    Busy,
    /// The network gave no reply.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The server answered with an HTTP error and no tracker's reply.
    #[error("the server answered with HTTP status {status}")]
    Status {
        /// The status.
        status: u16,
        /// How long it wants no further request, if it says so.
        retry_after: Option<Duration>,
    },
    /// The reply cannot be read.
    #[error("{0}")]
    Malformed(ReplyError),
    /// The tracker understood and refused.
    #[error("the tracker refused: {0}")]
    Refused(Failure),
    /// An announce was answered as a scrape, or the other way round.
    #[error("the tracker answered another question")]
    WrongAnswer,
}

impl TrackerError {
    /// Turns the error into a tracker's refusal: its words, and when it may be asked again.
    pub fn into_failure(self) -> Failure {
        let reason = self.to_string();
        match self {
            TrackerError::Refused(failure) => failure,
            TrackerError::Status { retry_after: Some(after), .. } => Failure::new(reason)
                .retry(RetryIn::Seconds(u32::try_from(after.as_secs()).unwrap_or(u32::MAX))),
            _ => Failure::new(reason),
        }
    }
}

impl From<ReplyError> for TrackerError {
    fn from(error: ReplyError) -> TrackerError {
        match error {
            ReplyError::Refused(failure) => TrackerError::Refused(failure),
            other => TrackerError::Malformed(other),
        }
    }
}

impl From<ExchangeError> for TrackerError {
    fn from(error: ExchangeError) -> TrackerError {
        match error {
            ExchangeError::Refused(failure) => TrackerError::Refused(failure),
            ExchangeError::TimedOut => TrackerError::Net(NetError::Timeout),
        }
    }
}

//! Represents announces and scrapes as values and as bytes, in both directions. They go to trackers
//! over HTTP (BEP 3, 7, 21, 23, 24, 31, 48) and UDP (BEP 15, 41), and to the local network
//! (BEP 14).
//!
//! Decides: which requests and replies are well-formed. Must not know: sockets, swarms, when to
//! announce.
//! Invariant: what one side writes the other side reads back as the same value; no claimed length
//! is trusted.
//!
//! The server parses what the client writes:
//!
//! ```
//! use bt_tracker_wire::{Announce, Event, announce_url, parse_announce};
//! use bt_types::{InfoHash, PeerId};
//!
//! let of = Announce::new(InfoHash([0x2b; 20]), PeerId(*b"-bt0100-abcdefghijkl"), 6881);
//! let announce = Announce { event: Event::Started, left: 1 << 40, ..of };
//! let url = announce_url("http://tracker.example/announce", &announce);
//! let (_, query) = url.split_once('?').unwrap();
//! assert_eq!(parse_announce(query), Ok(announce));
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]
extern crate alloc;
#[cfg(test)]
extern crate std;

mod body;
mod exchange;
mod lsd;
mod options;
mod query;
mod udp;
mod value;

pub use body::{
    ReplyError, read_announce_body, read_scrape_body, write_announce_body, write_failure_body,
    write_scrape_body,
};
pub use exchange::{ExchangeError, Output, UdpConnection, UdpExchange};
pub use lsd::{LSD_HASHES_MAX, LSD_MAX, LSD_V4, LSD_V6, LocalAnnounce};
pub use query::{QueryError, announce_url, parse_announce, parse_scrape, scrape_url};
pub use udp::{
    AddressFamily, SCRAPE_ASKED_MAX, SCRAPE_HASHES_MAX, UDP_PAYLOAD_MAX, UdpBody, UdpHead,
    UdpReply, UdpRequest, push_udp_announce, push_udp_connect, push_udp_counts, push_udp_error,
    push_udp_scrape, udp_peers_max, write_udp_counts,
};
pub use value::{
    Announce, AnnounceReply, Answer, Event, Failure, LEFT_UNKNOWN, RetryIn, ScrapeReply,
    SwarmCounts, TrackerRequest,
};

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

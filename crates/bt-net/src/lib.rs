//! The one way out to the network: a resolver, a dialer and a capped HTTP(S) client behind one
//! address gate.
//!
//! Decides: whether we connect, from which address, and how much of a reply is read.
//! Must not know: torrents, peers, trackers.
//! Invariant: no packet goes to an address before `may_name` allowed the source that named it, at
//! every redirect again.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use bt_net::{Egress, EgressConfig, NetError};
//! use bt_types::Source;
//! use std::time::Duration;
//! use tokio::time::Instant;
//!
//! let egress = Egress::new(EgressConfig::default()).unwrap();
//! let stranger = Source::Host("8.8.8.8".parse().unwrap());
//! let deadline = Instant::now() + Duration::from_secs(5);
//! let refused = egress.dial(stranger, "127.0.0.1:22".parse().unwrap(), deadline).await;
//! assert!(matches!(refused, Err(NetError::Refused { .. })));
//! # });
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod egress;
mod error;
mod gzip;
mod http;
mod ip_filter;
mod lenient;
#[cfg(not(feature = "tls"))]
mod no_tls;
mod resolve;
#[cfg(feature = "tls")]
mod tls;

#[cfg(not(feature = "tls"))]
use no_tls as tls;

pub use egress::{Egress, EgressConfig};
pub use error::NetError;
pub use http::{HttpOptions, HttpReply};
pub use ip_filter::{IpFilter, SharedIpFilter};
pub use tls::Roots;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

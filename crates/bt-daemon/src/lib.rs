//! A BitTorrent daemon: one session, what is kept of its torrents over restarts, and the HTTP APIs
//! that drive it.
//!
//! Data flows one way: a request is read by a dialect (`bt-api`) against the state and becomes
//! commands; the keeper carries them out, one after the other: it stores, then acts, then
//! changes the state; answers are written from the state.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod clock;
mod config;
mod disk_space;
mod http;
mod keeper;
mod queue;
mod store;
mod token;

pub use config::{DaemonConfig, DaemonError, HttpConfig, PasswordError};

use keeper::Keeper;
use std::net::SocketAddr;
use std::sync::Arc;

/// A daemon that runs.
#[derive(Debug)]
pub struct Daemon {
    keeper: Arc<Keeper>,
    server: http::Server,
}

impl Daemon {
    /// Opens the state, starts the session and its torrents, and serves the APIs. The torrents'
    /// data is checked afterwards.
    pub async fn start(config: DaemonConfig) -> Result<Daemon, DaemonError> {
        if config.http.password.is_none() && !config.api.ip().is_loopback() {
            return Err(DaemonError::NoPassword(config.api));
        }
        let listener = http::listen(config.api)?;
        let keeper = Keeper::open(&config).await?;
        let server = http::serve(listener, Arc::clone(&keeper), config.http)?;
        Ok(Daemon { keeper, server })
    }

    /// Returns the address of the APIs.
    pub fn api_addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Returns the addresses that peers can connect to.
    pub fn peer_addrs(&self) -> Vec<SocketAddr> {
        self.keeper.session().map(|session| session.listen_addrs().to_vec()).unwrap_or_default()
    }

    /// Waits until a request asks for the end.
    pub async fn asked_to_stop(&self) {
        self.keeper.asked_to_stop().await;
    }

    /// Stops serving, stores the totals, and stops the session.
    pub async fn stop(self) {
        self.server.stop().await;
        self.keeper.stop().await;
    }
}

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

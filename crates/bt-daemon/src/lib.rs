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
mod config_file;
mod disk_space;
mod http;
mod keeper;
mod queue;
mod secret;
mod store;
mod token;
mod watch_folder;
mod whole_file;

pub use config::{
    ApiAddr, BasePath, DaemonConfig, DaemonError, Hooks, HttpConfig, PasswordError, Reloadable,
    TlsFiles, WatchFolder,
};
pub use config_file::{ConfigFile, setting_of_text, settings_of_variables};

use bt_api::DaemonSettings;
use keeper::Keeper;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// A daemon that runs.
#[derive(Debug)]
pub struct Daemon {
    keeper: Arc<Keeper>,
    server: http::Server,
    /// The directories whose files are added.
    folders: watch::Sender<Vec<WatchFolder>>,
}

impl Daemon {
    /// Says what of a configuration is wrong that a start is not needed to know.
    pub fn check(config: &DaemonConfig) -> Result<(), DaemonError> {
        let Reloadable { http: server, settings, .. } = &config.reloadable;
        if server.password.is_none() && !config.api.is_local() {
            return Err(DaemonError::NoPassword(config.api.clone()));
        }
        if let Some(files) = &config.tls {
            http::acceptor(files)?;
        }
        if !settings.is_null() {
            DaemonSettings::default().with(settings).map_err(DaemonError::Settings)?;
        }
        Ok(())
    }

    /// Opens the state, starts the session and its torrents, and serves the APIs. The torrents'
    /// data is checked afterwards.
    pub async fn start(config: DaemonConfig) -> Result<Daemon, DaemonError> {
        Daemon::check(&config)?;
        let listener = http::Listener::open(&config.api)?;
        let keeper = Keeper::open(&config).await?;
        let (folders, watched) = watch::channel(config.reloadable.watch.clone());
        let server = http::serve(listener, Arc::clone(&keeper), config)?;
        tokio::spawn(watch_folder::watch(Arc::clone(&keeper), watched));
        Ok(Daemon { keeper, server, folders })
    }

    /// Takes what of the configuration can change while it runs. Where something of it cannot be
    /// used, all stays as it was.
    pub async fn reload(&self, config: Reloadable) -> Result<(), DaemonError> {
        self.keeper.check_settings(&config.settings).map_err(DaemonError::Settings)?;
        self.server.reload(&config.http)?;
        let overridden = self.keeper.override_settings(&config.settings).await;
        overridden.map_err(DaemonError::Settings)?;
        self.keeper.set_hooks(config.hooks);
        self.keeper.set_filter_files(config.ip_filter).await;
        self.folders.send_replace(config.watch);
        Ok(())
    }

    /// Returns whether its tasks ran within the last minute.
    pub fn is_alive(&self) -> bool {
        self.keeper.is_alive()
    }

    /// Returns in a few words what it does.
    pub fn status(&self) -> String {
        self.keeper.status()
    }

    /// Returns the URL of the page; `unix:PATH` for a Unix socket.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// Returns the address of the APIs.
    pub fn api_addr(&self) -> &ApiAddr {
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

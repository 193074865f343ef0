//! Addresses that no torrent has to do with: a list that is fetched, files of the configuration,
//! and peers that the user banned.
//!
//! Decides: when the list is fetched again.
//! Must not know: dialects; what a line of a list means.
//! Invariant: a list that cannot be fetched or read leaves the earlier one.

use super::{Keeper, lock};
use crate::whole_file;
use bt_api::{Blocklist, Fault, FaultKind};
use bt_session::IpFilter;
use bt_types::Source;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The list as it was fetched, in the state directory.
const FILE: &str = "blocklist";
/// The list is fetched again after this time.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// How often it is looked whether that is so.
const LOOK: Duration = Duration::from_secs(10 * 60);

impl Keeper {
    /// Fetches the list now, and returns how many ranges it has.
    pub(super) async fn update_blocklist(&self) -> Result<usize, Fault> {
        let url = self.state().settings.blocklist.url.clone().unwrap_or_default();
        if url.is_empty() {
            return Err(Fault::new(FaultKind::Invalid, "no blocklist URL is set"));
        }
        let network = |why: String| Fault::new(FaultKind::Network, why);
        let bytes = self.fetch.fetch_for(Source::Api, &url, IpFilter::BYTES_MAX).await;
        let bytes = bytes.map_err(|error| network(error.to_string()))?;
        let path = self.state_dir.join(FILE);
        // One at a time: a caller may ask while it is time anyway.
        let turn = self.blocklist_turn.lock().await;
        let kept = tokio::task::spawn_blocking(move || {
            let filter = parse(&bytes)?;
            if filter.is_empty() {
                return Err("no valid blocklist rules".to_owned());
            }
            whole_file::replace(&path, &bytes).map_err(|error| error.to_string())?;
            Ok(filter.len())
        });
        let count = kept.await.map_err(|error| network(error.to_string()))?;
        let count = count.map_err(|why| Fault::new(FaultKind::NotATorrent, why))?;
        drop(turn);
        self.load_blocklist().await;
        Ok(count)
    }

    /// Reads the list and the files, and gives the session the filter. A file that cannot be read
    /// leaves the earlier filter.
    pub(crate) async fn load_blocklist(&self) {
        let _turn = self.blocklist_turn.lock().await;
        let blocklist = self.state().settings.blocklist.clone();
        let files = lock(&self.filter_files).clone();
        let dir = self.state_dir.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&dir, &files, &blocklist)).await;
        match loaded.unwrap_or_else(|error| Err(error.to_string())) {
            Ok((filter, count)) => {
                if let Some(session) = self.session() {
                    session.set_ip_filter(Arc::new(filter));
                }
                self.update(|state| state.blocklist_ranges = count);
            }
            Err(why) => tracing::error!(%why, "the earlier filter of addresses holds"),
        }
    }

    /// Takes other files from now on.
    pub(crate) async fn set_filter_files(&self, files: Vec<PathBuf>) {
        *lock(&self.filter_files) = files;
        self.load_blocklist().await;
    }

    /// Fetches the list when it is old, until the daemon stops.
    pub(super) async fn watch_blocklist(self: Arc<Self>) {
        let mut at_times = tokio::time::interval(LOOK);
        let mut seen = self.state().settings.blocklist.url.clone();
        loop {
            let is_other = tokio::select! {
                () = self.asked_to_stop() => return,
                _ = at_times.tick() => false,
                () = self.blocklist_wake.notified() => {
                    let url = self.state().settings.blocklist.url.clone();
                    std::mem::replace(&mut seen, url.clone()) != url
                }
            };
            let is_wanted = {
                let state = self.state();
                let blocklist = &state.settings.blocklist;
                blocklist.enabled && blocklist.url.as_ref().is_some_and(|url| !url.is_empty())
            };
            let data = tokio::fs::metadata(self.state_dir.join(FILE)).await;
            let age = data.ok().and_then(|data| data.modified().ok()?.elapsed().ok());
            if is_wanted
                && (is_other || age.is_none_or(|age| age > FRESH))
                && let Err(fault) = self.update_blocklist().await
            {
                tracing::error!(%fault, "the blocklist was not fetched");
            }
            if self.session().is_none() {
                return;
            }
        }
    }
}

/// Reads the fetched list if it is used, the files, and what was banned; returns also how many
/// ranges the fetched list has.
pub(super) fn load(
    state_dir: &Path,
    files: &[PathBuf],
    blocklist: &Blocklist,
) -> Result<(IpFilter, usize), String> {
    let named = |path: &Path| read(path).map_err(|why| format!("{}: {why}", path.display()));
    let list = state_dir.join(FILE);
    let fetched = if list.exists() { named(&list)? } else { IpFilter::default() };
    let count = fetched.len();
    let fetched = if blocklist.enabled { fetched } else { IpFilter::default() };
    let banned = fetched.and(IpFilter::of(blocklist.banned.iter().copied()));
    let all = files.iter().try_fold(banned, |all, path| Ok::<_, String>(all.and(named(path)?)))?;
    Ok((all, count))
}

fn read(path: &Path) -> Result<IpFilter, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > IpFilter::BYTES_MAX as u64 {
        return Err("it is too long".into());
    }
    parse(&std::fs::read(path).map_err(|error| error.to_string())?)
}

fn parse(bytes: &[u8]) -> Result<IpFilter, String> {
    let (filter, unknown) = IpFilter::from_bytes(bytes).map_err(|error| error.to_string())?;
    if unknown > 0 {
        tracing::info!(unknown, "lines of a list of addresses say nothing that is known");
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::tests::keeper;
    use bt_api::Command;
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_list_is_fetched_kept_and_used_and_one_that_is_none_leaves_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let keeper = keeper(dir.path()).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let url = format!("http://{}/list", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            for body in ["a:1.2.3.4-1.2.3.5\nb:9.0.0.0-9.0.0.1\n", "<html>gone</html>"] {
                let Ok((mut stream, _)) = listener.accept().await else { return };
                let _ = stream.read(&mut [0; 4096]).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await;
            }
        });
        let update = async || keeper.run(Command::UpdateBlocklist).await;
        assert!(update().await.is_err(), "there is no URL");
        let patch = json!({"blocklist": {"enabled": true, "url": url, "banned": ["192.0.2.7"]}});
        keeper.run(Command::Settings(patch)).await.expect("settings");
        let done = update().await.expect("a list");
        assert_eq!((done.count, keeper.state().blocklist_ranges), (Some(2), 2));
        assert!(update().await.is_err(), "a page is no list");
        let kept = read(&dir.path().join("state").join(FILE)).expect("a list");
        assert!(kept.has([9, 0, 0, 1].into()) && kept.len() == 2);
    }
}

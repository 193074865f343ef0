//! Groups of torrents that share limits.
//!
//! Decides: when a torrent's share is set anew.
//! Must not know: dialects; how a limit is shared.
//! Invariant: a torrent's own limit holds within its share.

use super::{Keeper, lock};
use bt_api::{DaemonState, Group, Torrent, shares};
use bt_model::Rates;
use bt_types::InfoHash;
use std::collections::HashMap;

impl Keeper {
    /// Gives each torrent of a group its share of the group's limits, by what it does now. To be
    /// called every second.
    pub(super) async fn share_groups(&self) {
        let has_none = self.state().settings.groups.is_empty() && lock(&self.grouped).is_empty();
        if has_none {
            return;
        }
        // A command may change a torrent's own limits meanwhile.
        let _turn = self.turn.lock().await;
        let wanted = limits(&self.state());
        let before = std::mem::take(&mut *lock(&self.grouped));
        // Who left a group has its own limits again.
        let left = before.into_keys().filter(|hash| !wanted.contains_key(hash));
        let own = |hash| Some((hash, self.torrent(hash).ok()?.record.settings.limits));
        let left: Vec<(InfoHash, Rates)> = left.filter_map(own).collect();
        let shared = wanted.iter().map(|(hash, limits)| (*hash, *limits));
        for (hash, limits) in left.into_iter().chain(shared) {
            if let Some(handle) = self.handle(hash)
                && handle.settings().limits != limits
            {
                handle.change(|torrent| torrent.limits = limits).await;
            }
        }
        *lock(&self.grouped) = wanted;
    }
}

/// Returns the limits of all torrents that share one.
fn limits(state: &DaemonState) -> HashMap<InfoHash, Rates> {
    let mut all = HashMap::new();
    for (name, group) in &state.settings.groups {
        let members = state.torrents().filter(|torrent| {
            torrent.record.group == *name
                && torrent.live.view.as_ref().is_some_and(|v| !v.is_paused)
        });
        let members: Vec<_> = members.map(|torrent| &**torrent).collect();
        for (torrent, limits) in members.iter().zip(of_members(group, &members)) {
            all.insert(torrent.hash, limits);
        }
    }
    all
}

fn of_members(group: &Group, members: &[&Torrent]) -> Vec<Rates> {
    let rate = |of: fn(&bt_model::TorrentView) -> u64| {
        let rates = members.iter().map(|torrent| torrent.live.view.as_deref().map_or(0, of));
        rates.collect::<Vec<u64>>()
    };
    let share = |limit: Option<u64>, rates: Vec<u64>| match limit {
        Some(limit) => shares(limit, &rates).into_iter().map(Some).collect(),
        None => vec![None; rates.len()],
    };
    let up = share(group.limits.up, rate(|view| view.up_rate));
    let down = share(group.limits.down, rate(|view| view.down_rate));
    let least = |own: Option<u64>, share: Option<u64>| match (own, share) {
        (Some(own), Some(share)) => Some(own.min(share)),
        (own, share) => own.or(share),
    };
    let own = members.iter().map(|torrent| torrent.record.settings.limits);
    own.zip(up.into_iter().zip(down))
        .map(|(own, (up, down))| Rates { up: least(own.up, up), down: least(own.down, down) })
        .collect()
}

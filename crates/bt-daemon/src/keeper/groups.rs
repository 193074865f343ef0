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
        let (wanted, known) = {
            let state = self.state();
            let known = lock(&self.grouped).clone();
            if state.settings.groups.is_empty() && known.is_empty() {
                return;
            }
            (limits(&state), known)
        };
        // A command may change a torrent's own limits meanwhile.
        let _turn = self.turn.lock().await;
        let own = |hash: InfoHash| Some(self.torrent(hash).ok()?.record.settings.limits);
        // Who left a group has its own limits again.
        let left = known.keys().filter(|hash| !wanted.contains_key(*hash));
        let left = left.filter_map(|hash| Some((*hash, own(*hash)?)));
        // What a command did meanwhile may have set a torrent's own limits: shares are given again.
        let all: Vec<(InfoHash, Rates)> =
            left.chain(wanted.iter().map(|(hash, limits)| (*hash, *limits))).collect();
        for (hash, limits) in all {
            if let Some(handle) = self.handle(hash) {
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

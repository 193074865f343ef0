//! Chooses the peers that an announcing peer is told of.
//!
//! Decides: which peers suit it. Must not know: how they are written.
//! Invariant: a peer is never told of itself, of a peer that has nothing for it, or of an address
//! closer to us than its own.

use crate::pool::Role;
use crate::sample::Draw;
use crate::table::{Family, Member, Needs, Table};
use alloc::vec::Vec;
use core::hint::black_box;
use core::net::SocketAddr;
use core::ops::Range;

impl Table {
    /// Gives `take` up to `wanted` random peers of a family that suit a member. `is_own` is whether
    /// the member is of this family.
    pub(crate) fn name<P: Family>(
        &mut self,
        member: &Member,
        is_own: bool,
        wanted: usize,
        mut take: impl FnMut(P),
    ) {
        let Some(peers) = self.torrents.get(member.torrent).map(P::peers) else { return };
        let now = self.clock.tick();
        let mut random = Draw::new(&mut self.rng);
        let members = P::pool(self).members(peers);
        // A client with both families has one port in both, and one peer id.
        let is_asker =
            |peer: P| !is_own && peer.port() == member.port && peer.meta().has_tag_of(member.meta);
        let suits = |peer: P| {
            let may_name = peer.closeness().is_some_and(|it| it <= member.closeness);
            may_name && !peer.meta().is_expired(now) && !is_asker(peer)
        };
        let mut draw = |range: Range<u32>, wanted: usize| {
            // The place of the asker is cut out.
            let skipped = is_own && range.contains(&member.at);
            let len = range.len() as u32 - u32::from(skipped);
            let get = |at| {
                let at = range.start + at;
                members.get(at + u32::from(skipped && at >= member.at))
            };
            // Loads that wait for nothing run side by side: the cache has these peers when they are
            // judged one by one.
            let ahead = |at| {
                if peers.is_large() {
                    black_box(get(at).port());
                }
            };
            random.positions_ahead(len, wanted, ahead, |at| {
                let peer = get(at);
                let suits = suits(peer);
                if suits {
                    take(peer);
                }
                suits
            })
        };
        let leechers = peers.range(Role::Leecher);
        match member.needs {
            Needs::All => drop(draw(0..peers.len(), wanted)),
            Needs::Leechers => drop(draw(leechers, wanted)),
            Needs::Unproven => {
                let rest = leechers.end..peers.len();
                let kept = places(wanted, leechers.len(), rest.len());
                let told = draw(leechers, kept);
                draw(rest, wanted - told);
            }
        }
    }

    /// Lists random peers of a family as addresses.
    pub(crate) fn named<P: Family>(
        &mut self,
        member: &Member,
        is_own: bool,
        wanted: usize,
    ) -> Vec<SocketAddr> {
        let mut addrs = Vec::new();
        self.name(member, is_own, wanted, |peer: P| addrs.push(peer.addr()));
        addrs
    }
}

/// Merges two lists of at most `wanted` peers: the first list gets at least half of the places if
/// it can fill them.
pub(crate) fn shared(
    mut first: Vec<SocketAddr>,
    mut second: Vec<SocketAddr>,
    wanted: usize,
) -> Vec<SocketAddr> {
    first.truncate(places(wanted, first.len(), second.len()));
    second.truncate(wanted.saturating_sub(first.len()));
    first.extend(second);
    first
}

/// Returns how many of the places the first of two lists gets: half at least, and what the second
/// leaves.
fn places(wanted: usize, first: usize, second: usize) -> usize {
    let second = second.min((wanted / 2).max(wanted.saturating_sub(first)));
    first.min(wanted.saturating_sub(second))
}

//! Why a torrent is slow or waits: facts, what was tried, and what would help.
//!
//! Decides: which facts matter, in which order.
//! Must not know: how they are shown.
//! Invariant: a sentence is only said if the facts that it names are known.

use crate::details::Details;
use crate::state::DaemonState;
use crate::torrent::{Phase, Torrent};
use bt_model::{PeerView, SlowReason, TrackerStanding, TrackerView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Most peers that are named one by one.
const PEERS_MAX: usize = 5;
/// What helps a torrent without peers.
const MORE_PEERS: &str = "Wait for peers, or add a tracker or a peer.";

/// Why a torrent is slow or waits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// The main reason as a stable name in snake_case; `fine` if there is none.
    pub reason: Cow<'static, str>,
    /// The main reason in a sentence.
    pub summary: String,
    /// Who could have sent what and did not, and why.
    pub facts: Vec<String>,
    /// What was tried.
    pub tried: Vec<String>,
    /// What would help.
    pub advice: Vec<String>,
}

impl Why {
    fn new(reason: &'static str, summary: impl Into<String>) -> Why {
        Why {
            reason: reason.into(),
            summary: summary.into(),
            facts: Vec::new(),
            tried: Vec::new(),
            advice: Vec::new(),
        }
    }

    fn fact(&mut self, fact: impl Into<String>) {
        self.facts.push(fact.into());
    }

    fn advise(&mut self, advice: &str) {
        self.advice.push(advice.to_owned());
    }
}

/// Returns why a torrent is slow or waits.
pub fn why(torrent: &Torrent, details: &Details, state: &DaemonState) -> Why {
    let mut why = main_reason(torrent, state);
    if torrent.live.phase == Phase::Downloading {
        peers(&details.peers, &mut why);
    }
    if torrent.record.settings.running {
        trackers(&details.trackers, &mut why);
        discovery(torrent, state, &mut why);
    }
    limits(torrent, state, &mut why);
    if let Some(trouble) = &torrent.live.move_trouble {
        why.fact(format!("{trouble}."));
    }
    why
}

fn main_reason(torrent: &Torrent, state: &DaemonState) -> Why {
    match &torrent.live.phase {
        Phase::Stopped if torrent.record.finished => {
            Why::new("seed_limit", "It reached its seed limit and was stopped for that.")
        }
        Phase::Stopped => {
            let mut why = Why::new("stopped", "It is stopped.");
            why.advise("Start it.");
            why
        }
        Phase::Queued => queued(torrent, state),
        Phase::Checking { done, total } => {
            let percent = done.saturating_mul(100).checked_div(*total).unwrap_or(0);
            Why::new("checking", format!("Its data is being checked: {percent} % so far."))
        }
        Phase::Metadata(view) => {
            let mut why = Why::new("metadata", "The metadata of its link is not there yet.");
            why.fact(format!("{} peers are connected that may have it.", view.peers));
            if view.peers == 0 {
                why.advise(MORE_PEERS);
            }
            why
        }
        Phase::Moving => Why::new("moving", "Its data is moving to another directory."),
        Phase::Failed(reason) => {
            let mut why = Why::new("failed", format!("It cannot go on: {reason}"));
            why.advise("Mend that, then start it again.");
            why
        }
        Phase::Downloading => downloading(torrent),
        Phase::Seeding => seeding(torrent),
    }
}

fn queued(torrent: &Torrent, state: &DaemonState) -> Why {
    let is_before = |other: &&std::sync::Arc<Torrent>| {
        other.record.settings.running
            && other.is_done() == torrent.is_done()
            && other.record.queue.place < torrent.record.queue.place
    };
    let before = state.torrents().filter(is_before).count();
    let mut why = Why::new("queued", "It waits for its turn in the queue.");
    why.fact(format!("{before} torrents come before it."));
    why.advise("Move it to the top, force it, or let more torrents run at once.");
    why
}

fn downloading(torrent: &Torrent) -> Why {
    let Some(view) = &torrent.live.view else { return Why::new("fine", "It begins.") };
    let rate = format!("{} of {} peers send to us.", view.serving_us, view.peers);
    let mut why = match view.slow {
        None => Why::new("fine", "It downloads as fast as its peers send."),
        Some(SlowReason::Paused) => Why::new("stopped", "It is stopped."),
        Some(SlowReason::Store(fault)) => {
            let mut why = Why::new("disk", format!("The disk refuses: {}.", fault.name()));
            why.advise("Make room on the disk, or move the torrent to another one.");
            why
        }
        Some(SlowReason::Limit) => {
            let mut why = Why::new("limit", "A rate limit holds it back.");
            why.advise("Raise the limit.");
            why
        }
        Some(SlowReason::NoPeers) => {
            let mut why = Why::new("no_peers", "No peer is connected.");
            why.advise(MORE_PEERS);
            why
        }
        Some(SlowReason::NoData) => {
            Why::new("no_data", "No connected peer has a piece that is missing.")
        }
        Some(SlowReason::Choked) => {
            Why::new("choked", "Peers have what is missing, and none of them sends to us now.")
        }
        Some(SlowReason::RarestOnePeer) => {
            Why::new("rarest_one_peer", "Only one peer has what is missing.")
        }
        Some(SlowReason::SlowPeers) => {
            Why::new("slow_peers", "The peers that send to us send little.")
        }
    };
    why.fact(rate);
    if view.bytes_bad > 0 {
        why.fact(format!("{} were wrong and were fetched again.", size(view.bytes_bad)));
    }
    why
}

fn seeding(torrent: &Torrent) -> Why {
    let Some(view) = &torrent.live.view else { return Why::new("fine", "It begins.") };
    if view.up_rate > 0 {
        return Why::new("fine", "It gives to those who ask.");
    }
    let mut why = Why::new("no_requests", "No connected peer asks for a piece.");
    why.fact(format!(
        "{} peers are connected, {} of them have everything.",
        view.peers, view.seeds
    ));
    why
}

/// Says who could send what, and why it does not.
fn peers(peers: &[PeerView], why: &mut Why) {
    let useful: Vec<&PeerView> = peers.iter().filter(|peer| peer.pieces_wanted > 0).collect();
    let count = |is_so: fn(&PeerView) -> bool| useful.iter().filter(|peer| is_so(peer)).count();
    let choking = count(|peer| peer.peer_choking);
    let silent = count(|peer| peer.snubbed);
    why.fact(format!(
        "{} of {} peers have pieces that are missing; {choking} of these choke us, {silent} stay \
         silent.",
        useful.len(),
        peers.len()
    ));
    for peer in useful.iter().take(PEERS_MAX) {
        let state = match (peer.peer_choking, peer.snubbed, peer.down_rate) {
            (true, _, _) => "chokes us".to_owned(),
            (false, true, _) => "was asked and stays silent".to_owned(),
            (false, false, 0) => format!("was asked for {} blocks", peer.requests),
            (false, false, rate) => format!("sends {} a second", size(rate)),
        };
        why.fact(format!("{}: has {} missing pieces, {state}.", peer.addr, peer.pieces_wanted));
    }
}

fn trackers(trackers: &[TrackerView], why: &mut Why) {
    for tracker in trackers {
        let said = match tracker.standing {
            TrackerStanding::Untried => "was not asked yet".to_owned(),
            TrackerStanding::Works => {
                let count =
                    |count: Option<u32>| count.map_or("?".into(), |count| count.to_string());
                let (seeders, leechers) = (count(tracker.seeders), count(tracker.leechers));
                format!("named {} peers; {seeders} seeders, {leechers} leechers", tracker.peers)
            }
            TrackerStanding::Fails(times) => {
                format!("failed {times} times in a row: {}", tracker.message)
            }
            TrackerStanding::Gone => format!("is gone for good: {}", tracker.message),
        };
        why.tried.push(format!("{} {said}.", tracker.url));
    }
    let fail = trackers.iter().all(|tracker| tracker.standing != TrackerStanding::Works);
    if fail
        && !trackers.is_empty()
        && trackers.iter().any(|t| t.standing != TrackerStanding::Untried)
    {
        why.advise("No tracker works: look at their messages, or replace them.");
    }
}

fn discovery(torrent: &Torrent, state: &DaemonState, why: &mut Why) {
    if torrent.metainfo.as_ref().is_some_and(|metainfo| metainfo.private) {
        why.tried.push("It is private: the DHT and other peers are not asked for peers.".into());
        return;
    }
    let settings = &state.settings.session;
    let dht = match state.session.dht {
        Some(dht) if settings.dht => format!("The DHT is asked; {} nodes are known.", dht.nodes),
        _ => "The DHT is off.".into(),
    };
    why.tried.push(dht);
    let lsd = if settings.lsd { "asked" } else { "not asked" };
    why.tried.push(format!("The local network is {lsd}."));
    if !settings.pex {
        why.tried.push("Peers are not asked for other peers (PEX is off).".into());
    }
}

fn limits(torrent: &Torrent, state: &DaemonState, why: &mut Why) {
    let all = state.settings.session_now().limits;
    let own = torrent.record.settings.limits;
    for (name, limit) in [
        ("Its own limit from peers", own.down),
        ("Its own limit to peers", own.up),
        ("The limit from peers over all torrents", all.down),
        ("The limit to peers over all torrents", all.up),
    ] {
        if let Some(limit) = limit {
            why.fact(format!("{name} is {} a second.", size(limit)));
        }
    }
}

/// Returns bytes as people read them.
fn size(bytes: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = units.into_iter();
    let mut name = unit.next().unwrap_or_default();
    for next in unit {
        if value < 1024.0 {
            break;
        }
        (value, name) = (value / 1024.0, next);
    }
    if name == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::torrent::Record;
    use bt_types::InfoHash;

    #[test]
    fn the_main_reason_follows_the_phase() {
        let mut state = DaemonState::default();
        for n in 1..=2 {
            let mut record = Record::default();
            record.queue.place = u32::from(n);
            state.add(InfoHash([n; 20]), record, None);
        }
        let ask = |phase: Phase, state: &DaemonState| {
            let mut torrent = (**state.by_number(2).expect("a torrent")).clone();
            torrent.live.phase = phase;
            why(&torrent, &Details::default(), state)
        };
        assert_eq!(ask(Phase::Stopped, &state).advice, ["Start it."]);
        assert_eq!(ask(Phase::Queued, &state).facts, ["1 torrents come before it."]);
        let checked = ask(Phase::Checking { done: 1, total: 4 }, &state);
        assert_eq!(checked.summary, "Its data is being checked: 25 % so far.");
        let failed = ask(Phase::Failed("no disk".into()), &state);
        assert_eq!(
            (&failed.reason[..], &failed.summary[..]),
            ("failed", "It cannot go on: no disk")
        );
        state.settings.session.limits.down = Some(7);
        let facts = ask(Phase::Stopped, &state).facts;
        assert_eq!(facts, ["The limit from peers over all torrents is 7 bytes a second."]);
    }
}

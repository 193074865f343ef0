//! Announces under way: when each is sent, and which must end before another begins.
//!
//! Decides: nothing about trackers. The engine says what to announce to which tracker,
//! `AnnouncePacing` says when.
//! Must not know: sockets, tiers.
//! Invariant: each announce of a torrent in the registry is answered, by the tracker's reply or by
//! a failure, unless a `stopped` to the same tracker was ordered after it. `stopped` waits only for
//! the announce before it, and only briefly. An announce after `stopped` waits for that.

use crate::mail::clock::Clock;
use crate::mail::panics::{Bugs, Place};
use crate::mail::registry::Registry;
use crate::mail::to_shard::ToShard;
use bt_engine::announce_pacing::AnnouncePacing;
use bt_engine::{AnnounceOrder, Input, TorrentKey, TrackerKey};
use bt_tracker_client::{TrackerClient, tracker_host};
use bt_tracker_wire::{Announce, AnnounceReply, Event, Failure};
use bt_types::{InfoHash, PeerId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

/// Time for a tracker to answer. `stopped` gets less, because the user waits for the client to
/// quit.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(30);
const STOPPED_TIMEOUT: Duration = Duration::from_millis(3_500);
/// The part of `STOPPED_TIMEOUT` for an earlier announce to the same tracker. After it the earlier
/// announce is given up.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// The last unfinished announce to each tracker. Another one follows it only when we leave the
/// swarm, or join it again.
type Asked = Rc<RefCell<BTreeMap<(TorrentKey, TrackerKey), UnderWay>>>;

/// The number of the last `stopped` to each tracker of a torrent in the registry: that of a torrent
/// that pauses.
type Paused = Rc<RefCell<BTreeMap<(TorrentKey, TrackerKey), u64>>>;

/// An announce that was sent to a tracker, or waits for the announce before it.
struct UnderWay {
    /// The number of this announce.
    number: u64,
    /// Resolves when the announce ends.
    over: oneshot::Receiver<()>,
    /// Ends the announce.
    give_up: oneshot::Sender<()>,
}

/// What a session says of itself in every announce.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ourselves {
    pub(crate) peer_id: PeerId,
    pub(crate) port: u16,
    /// The `key` parameter: the same for all trackers and both address families (BEP 7).
    pub(crate) key: u32,
}

pub(crate) struct Announces {
    clock: Clock,
    bugs: Bugs,
    /// When announces to each tracker host may leave, over all torrents of the session.
    pacing: AnnouncePacing,
    trackers: TrackerClient,
    ourselves: Ourselves,
    registry: Rc<RefCell<Registry>>,
    asked: Asked,
    paused: Paused,
    /// How many announces were begun.
    count: u64,
    regular: JoinSet<()>,
    stopped_announces: JoinSet<()>,
}

impl Announces {
    pub(crate) fn new(
        clock: Clock,
        bugs: Bugs,
        trackers: TrackerClient,
        ourselves: Ourselves,
        registry: Rc<RefCell<Registry>>,
    ) -> Announces {
        let (regular, stopped_announces) = (JoinSet::new(), JoinSet::new());
        Announces {
            clock,
            bugs,
            pacing: AnnouncePacing::default(),
            trackers,
            ourselves,
            registry,
            asked: Asked::default(),
            paused: Paused::default(),
            count: 0,
            regular,
            stopped_announces,
        }
    }

    /// Starts an announce that the engine ordered.
    pub(crate) fn begin(&mut self, key: TorrentKey, hash: InfoHash, order: AnnounceOrder) {
        self.count += 1;
        if order.event == Event::Stopped {
            self.note_pause(key, order.tracker, self.count);
            let stopped_announce = self.stopped_announce(key, hash, order, self.count);
            self.stopped_announces.spawn_local(stopped_announce);
        } else {
            let announce = self.announce(key, hash, order, self.count);
            self.regular.spawn_local(announce);
        }
    }

    /// Notes that a torrent that stays in the registry leaves its swarm: earlier announces to the
    /// tracker are over.
    fn note_pause(&self, key: TorrentKey, tracker: TrackerKey, number: u64) {
        let registry = self.registry.borrow();
        let mut paused = self.paused.borrow_mut();
        paused.retain(|(key, _), _| registry.shard(*key).is_some());
        if registry.shard(key).is_some() {
            paused.insert((key, tracker), number);
        }
    }

    /// Forgets announces as they end; never returns.
    pub(crate) async fn reap(&mut self) {
        loop {
            tokio::select! {
                Some(_) = self.regular.join_next() => {}
                Some(_) = self.stopped_announces.join_next() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Waits at most [`STOPPED_TIMEOUT`] for the `stopped` announces. Gives up all other
    /// announces.
    pub(crate) async fn finish(mut self) {
        let stopped_announces =
            async { while self.stopped_announces.join_next().await.is_some() {} };
        let _ = timeout(STOPPED_TIMEOUT, stopped_announces).await;
    }

    /// Announces when the pacing lets a request go to the tracker's host.
    ///
    /// A torrent that has left by then is not announced. A `completed` right before `stopped` waits
    /// for an announce that is under way to the same tracker.
    fn announce(
        &mut self,
        key: TorrentKey,
        hash: InfoHash,
        order: AnnounceOrder,
        number: u64,
    ) -> impl Future<Output = ()> + use<> {
        let now = self.clock.now();
        let at = tracker_host(&order.url).map_or(now, |host| self.pacing.announce_at(now, &host));
        let (leaves, tracker) = (self.clock.instant(at), order.tracker);
        let (registry, asked, bugs) =
            (Rc::clone(&self.registry), Rc::clone(&self.asked), self.bugs.clone());
        let paused = Rc::clone(&self.paused);
        let is_old =
            move || paused.borrow().get(&(key, tracker)).is_some_and(|stopped| number < *stopped);
        let ask = self.ask(hash, order, ANNOUNCE_TIMEOUT);
        let begin = move |asked: &Asked| {
            let (told, over) = oneshot::channel();
            let (give_up, given_up) = oneshot::channel();
            let before =
                asked.borrow_mut().insert((key, tracker), UnderWay { number, over, give_up });
            (before, told, given_up)
        };
        let begun = (at <= now).then(|| begin(&asked));
        async move {
            let (before, over, given_up) = match begun {
                Some(begun) => begun,
                None => {
                    sleep_until(leaves.into()).await;
                    if registry.borrow().shard(key).is_none() || is_old() {
                        return;
                    }
                    begin(&asked)
                }
            };
            let ask = async {
                if let Some(before) = before {
                    let _ = before.over.await;
                }
                ask.await
            };
            let result = tokio::select! {
                result = bugs.contain_task(Place::Other, ask) => result.unwrap_or_else(|| Err(Failure::new("a bug of ours"))),
                // Given up here, or in a chain: an announce that waits for a given-up one ends with
                // it.
                _ = given_up => Err(Failure::new("we leave")),
            };
            forget(&asked, (key, tracker), number);
            drop(over);
            let shard = registry.borrow().shard(key).filter(|_| !is_old());
            if let Some(shard) = shard {
                let _ = shard.send(ToShard::Input(Input::Announced(key, tracker, result))).await;
            }
        }
    }

    /// Announces `stopped`, at once or after the announce that is under way to the same tracker.
    ///
    /// `stopped` before `completed` would leave a dead peer on the tracker's list. A tracker silent
    /// for [`LAST_WORD_TIMEOUT`] is told `stopped` all the same: it may only be slow, and may list
    /// us.
    fn stopped_announce(
        &self,
        key: TorrentKey,
        hash: InfoHash,
        order: AnnounceOrder,
        number: u64,
    ) -> impl Future<Output = ()> + use<> {
        let (told, over) = oneshot::channel::<()>();
        // It has a time limit, and is not given up before.
        let (give_up, _) = oneshot::channel();
        let (asked, place) = (Rc::clone(&self.asked), (key, order.tracker));
        let before = asked.borrow_mut().insert(place, UnderWay { number, over, give_up });
        let ask = self.ask(hash, order, STOPPED_TIMEOUT);
        async move {
            let in_order = async {
                if let Some(UnderWay { mut over, give_up, .. }) = before
                    && timeout(LAST_WORD_TIMEOUT, &mut over).await.is_err()
                {
                    let _ = give_up.send(());
                    let _ = over.await;
                }
                ask.await
            };
            // The tracker's reply to `stopped` is of no use.
            let _ = timeout(STOPPED_TIMEOUT, in_order).await;
            forget(&asked, place, number);
            drop(told);
        }
    }

    fn ask(
        &self,
        hash: InfoHash,
        order: AnnounceOrder,
        deadline: Duration,
    ) -> impl Future<Output = Result<(IpAddr, AnnounceReply), Failure>> + use<> {
        let trackers = self.trackers.clone();
        let Ourselves { peer_id, port, key } = self.ourselves;
        let announce = Announce {
            uploaded: order.uploaded,
            downloaded: order.downloaded,
            left: order.left,
            event: order.event,
            key,
            num_want: Some(order.num_want),
            tracker_id: order.tracker_id,
            ..Announce::new(hash, peer_id, port)
        };
        async move {
            // Made when the announce begins: many announces wait for their turn, and this future is
            // large.
            match Box::pin(trackers.announce(&order.url, &announce, deadline)).await {
                Ok(answer) => Ok((answer.from, answer.reply)),
                Err(error) => Err(error.into_failure()),
            }
        }
    }
}

/// Forgets an announce that ended, unless another one follows it.
fn forget(asked: &Asked, place: (TorrentKey, TrackerKey), number: u64) {
    if let Entry::Occupied(last) = asked.borrow_mut().entry(place)
        && last.get().number == number
    {
        last.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_net::{Egress, EgressConfig};
    use bt_types::Rng;
    use std::net::{SocketAddr, TcpListener};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::{JoinHandle, LocalSet};

    fn announces() -> Announces {
        let mut rng = Rng::from_seed(1);
        let ourselves = Ourselves { peer_id: PeerId::ours(&mut rng), port: 1, key: 1 };
        let trackers = TrackerClient::new(Egress::new(EgressConfig::default()).unwrap(), rng);
        Announces::new(Clock::start(), Bugs::default(), trackers, ourselves, Rc::default())
    }

    fn order(at: SocketAddr, event: Event) -> AnnounceOrder {
        let (tracker, url) = (TrackerKey(0), format!("http://{at}/announce"));
        AnnounceOrder {
            tracker,
            url,
            event,
            uploaded: 0,
            downloaded: 0,
            left: 0,
            num_want: 0,
            tracker_id: None,
        }
    }

    /// Announces these events to the tracker at this address, one right after the other.
    fn say(at: SocketAddr, events: &[Event]) -> Announces {
        let mut announces = announces();
        for &event in events {
            announces.begin(TorrentKey(0), InfoHash([1; 20]), order(at, event));
        }
        announces
    }

    #[tokio::test]
    async fn every_announce_is_answered_also_one_that_waited_for_its_turn() {
        // A free port without a listener: every announce to it fails at once.
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (shard, mut inbox) = tokio::sync::mpsc::channel(100);
        let mut announces = announces();
        LocalSet::new()
            .run_until(async {
                // The first burst goes out at once, the next two wait for their turns.
                for key in 0..42 {
                    announces.registry.borrow_mut().insert(
                        InfoHash([1; 20]),
                        TorrentKey(key),
                        shard.clone(),
                    );
                    announces.begin(
                        TorrentKey(key),
                        InfoHash([1; 20]),
                        order(closed, Event::Started),
                    );
                }
                while announces.regular.join_next().await.is_some() {}
            })
            .await;
        let mut answered = Vec::new();
        while let Ok(ToShard::Input(Input::Announced(TorrentKey(key), _, result))) =
            inbox.try_recv()
        {
            assert!(result.is_err());
            answered.push(key);
        }
        answered.sort_unstable();
        assert_eq!(answered, (0..42).collect::<Vec<_>>());
    }

    /// A tracker that answers three announces, one after the other, and says what it was told.
    async fn tracker() -> (SocketAddr, JoinHandle<Vec<&'static str>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let tracker = tokio::spawn(async move {
            let mut told = Vec::new();
            for _ in 0..3 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                let request = String::from_utf8(request).unwrap();
                let events = ["started", "completed", "stopped"];
                told.extend(
                    events.into_iter().filter(|event| request.contains(&format!("event={event}"))),
                );
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nde").await.unwrap();
            }
            told
        });
        (addr, tracker)
    }

    #[tokio::test]
    async fn stopped_is_announced_after_the_announce_under_way() {
        let (addr, tracker) = tracker().await;
        let all = [Event::Started, Event::Completed, Event::Stopped];
        LocalSet::new().run_until(async { say(addr, &all).finish().await }).await;
        assert_eq!(tracker.await.unwrap(), ["started", "completed", "stopped"]);
    }

    #[tokio::test]
    async fn a_resumed_torrent_is_announced_after_stopped_and_old_answers_are_dropped() {
        let (addr, tracker) = tracker().await;
        let (shard, mut inbox) = tokio::sync::mpsc::channel(100);
        let mut announces = announces();
        announces.registry.borrow_mut().insert(InfoHash([1; 20]), TorrentKey(0), shard);
        LocalSet::new()
            .run_until(async {
                for event in [Event::Started, Event::Stopped, Event::Started] {
                    announces.begin(TorrentKey(0), InfoHash([1; 20]), order(addr, event));
                }
                while announces.regular.join_next().await.is_some() {}
            })
            .await;
        assert_eq!(tracker.await.unwrap(), ["started", "stopped", "started"]);
        assert!(matches!(inbox.try_recv(), Ok(ToShard::Input(Input::Announced(..)))));
        assert!(inbox.try_recv().is_err(), "the answer from before `stopped` is told");
    }

    #[tokio::test]
    async fn a_silent_tracker_gets_stopped_when_the_announce_under_way_has_timed_out() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let tracker = tokio::spawn(async move {
            let mut told = Vec::new();
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                // No answer; the request ends when the client closes the connection.
                let _ = stream.read_to_end(&mut request).await;
                told.push(String::from_utf8(request).unwrap().contains("event=stopped"));
            }
            told
        });
        LocalSet::new()
            .run_until(async { say(addr, &[Event::Completed, Event::Stopped]).finish().await })
            .await;
        assert_eq!(tracker.await.unwrap(), [false, true]);
    }
}

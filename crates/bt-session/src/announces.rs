//! Announces under way: when each is sent, and which must end before another begins.
//!
//! Decides: nothing about trackers. The engine says what to announce to which tracker, the desk
//! says when.
//! Must not know: sockets, tiers.
//! Invariant: each announce of a torrent in the registry is answered, by the tracker's reply or by
//! a failure. `stopped` is the last announce to its tracker. It waits only for the announce before
//! it, and only briefly.

use crate::clock::Clock;
use crate::control::Registry;
use crate::listen::{self, SharedDesk};
use crate::panics::{Bugs, Place};
use crate::shard::ToShard;
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
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(3_500);
/// The part of `FAREWELL_TIMEOUT` for an earlier announce to the same tracker. After it the earlier
/// announce is given up.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// The last unfinished announce to each tracker. Another one follows it only when we leave the
/// swarm.
type Asked = Rc<RefCell<BTreeMap<(TorrentKey, TrackerKey), UnderWay>>>;

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
    desk: SharedDesk,
    trackers: TrackerClient,
    ourselves: Ourselves,
    registry: Rc<RefCell<Registry>>,
    asked: Asked,
    /// How many announces were begun.
    count: u64,
    regular: JoinSet<()>,
    farewells: JoinSet<()>,
}

impl Announces {
    pub(crate) fn new(
        clock: Clock,
        bugs: Bugs,
        desk: SharedDesk,
        trackers: TrackerClient,
        ourselves: Ourselves,
        registry: Rc<RefCell<Registry>>,
    ) -> Announces {
        let (regular, farewells) = (JoinSet::new(), JoinSet::new());
        Announces {
            clock,
            bugs,
            desk,
            trackers,
            ourselves,
            registry,
            asked: Asked::default(),
            count: 0,
            regular,
            farewells,
        }
    }

    /// Starts an announce that the engine ordered.
    pub(crate) fn begin(&mut self, key: TorrentKey, hash: InfoHash, order: AnnounceOrder) {
        if order.event == Event::Stopped {
            let farewell = self.farewell(key, hash, order);
            self.farewells.spawn_local(farewell);
        } else {
            self.count += 1;
            let announce = self.announce(key, hash, order, self.count);
            self.regular.spawn_local(announce);
        }
    }

    /// Forgets announces as they end; never returns.
    pub(crate) async fn reap(&mut self) {
        loop {
            tokio::select! {
                Some(_) = self.regular.join_next() => {}
                Some(_) = self.farewells.join_next() => {}
                else => std::future::pending().await,
            }
        }
    }

    /// Waits at most [`FAREWELL_TIMEOUT`] for the `stopped` announces. Gives up all other
    /// announces.
    pub(crate) async fn finish(mut self) {
        let farewells = async { while self.farewells.join_next().await.is_some() {} };
        let _ = timeout(FAREWELL_TIMEOUT, farewells).await;
    }

    /// Announces when the desk lets a request go to the tracker's host.
    ///
    /// A torrent that has left by then is not announced. A `completed` right before `stopped` waits
    /// for an announce that is under way to the same tracker.
    fn announce(
        &self,
        key: TorrentKey,
        hash: InfoHash,
        order: AnnounceOrder,
        number: u64,
    ) -> impl Future<Output = ()> + use<> {
        let now = self.clock.now();
        let at = tracker_host(&order.url)
            .map_or(now, |host| listen::lock(&self.desk).announce_at(now, &host));
        let (leaves, tracker) = (self.clock.instant(at), order.tracker);
        let (registry, asked, bugs) =
            (Rc::clone(&self.registry), Rc::clone(&self.asked), self.bugs.clone());
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
                    if registry.borrow().shard(key).is_none() {
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
            if let Entry::Occupied(last) = asked.borrow_mut().entry((key, tracker))
                && last.get().number == number
            {
                last.remove();
            }
            drop(over);
            let shard = registry.borrow().shard(key);
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
    fn farewell(
        &self,
        key: TorrentKey,
        hash: InfoHash,
        order: AnnounceOrder,
    ) -> impl Future<Output = ()> + use<> {
        let before = self.asked.borrow_mut().remove(&(key, order.tracker));
        let ask = self.ask(hash, order, FAREWELL_TIMEOUT);
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
            let _ = timeout(FAREWELL_TIMEOUT, in_order).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use bt_engine::Budget;
    use bt_engine::desk::Desk;
    use bt_net::{Egress, EgressConfig};
    use bt_types::Rng;
    use std::net::{SocketAddr, TcpListener};
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::LocalSet;

    fn announces() -> Announces {
        let mut rng = Rng::from_seed(1);
        let ourselves = Ourselves { peer_id: PeerId::ours(&mut rng), port: 1, key: 1 };
        let trackers = TrackerClient::new(Egress::new(EgressConfig::default()).unwrap(), rng);
        let desk = Arc::new(Mutex::new(Desk::new(Budget::default(), 1)));
        Announces::new(Clock::start(), Bugs::default(), desk, trackers, ourselves, Rc::default())
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

    #[tokio::test]
    async fn a_farewell_follows_what_is_under_way() {
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
                told.push(
                    ["started", "completed", "stopped"]
                        .map(|event| request.contains(&format!("event={event}"))),
                );
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nde").await.unwrap();
            }
            told
        });
        let all = [Event::Started, Event::Completed, Event::Stopped];
        LocalSet::new().run_until(async { say(addr, &all).finish().await }).await;
        assert_eq!(
            tracker.await.unwrap(),
            [[true, false, false], [false, true, false], [false, false, true]]
        );
    }

    #[tokio::test]
    async fn a_tracker_that_is_silent_hears_the_farewell_when_what_is_under_way_was_given_up() {
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

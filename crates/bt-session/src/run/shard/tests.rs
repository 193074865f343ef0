//! What a shard publishes.
//!
//! Decides: nothing.
//! Must not know: sockets.
//! Invariant: nothing here depends on the time.

use super::*;
use crate::mail::changes::Changes;
use crate::mail::events::TorrentState;
use bt_engine::{Budget, TorrentSettings};
use bt_metainfo::{Builder, Metainfo};
use bt_model::SessionSettings;
use bt_net::EgressConfig;
use bt_piece_store::MemStorage;
use bt_types::{Bitfield, PeerId};
use tokio::sync::oneshot;

/// Makes a shard that does not run, with `torrents` complete torrents.
fn shard(torrents: u32) -> (Shard, Vec<Arc<SharedTorrent>>) {
    let (shard, added, _) = shard_of(torrents, 1, vec![]);
    (shard, added)
}

/// Makes the same with trackers, and with room for `room` messages to the control thread.
fn shard_of(
    torrents: u32,
    room: usize,
    trackers: Vec<Vec<String>>,
) -> (Shard, Vec<Arc<SharedTorrent>>, mpsc::Receiver<ToControl>) {
    let (clock, mut rng) = (Clock::start(), Rng::from_seed(1));
    let (disks, bugs) =
        (Arc::new(Disks::start(1, clock, &Bugs::default()).unwrap()), Bugs::default());
    let (control, to_control) = mpsc::channel(room);
    let (inbox, _) = mpsc::channel(1);
    let egress = Egress::new(EgressConfig::default()).unwrap();
    let config = Config::new(PeerId::ours(&mut rng));
    let lease = Lease::of(&SessionSettings::default(), Budget::default(), None);
    let (watched, (_, leases)) = (Watched::default(), watch::channel(lease));
    let mut shard = Shard::new(
        clock,
        config,
        leases,
        rng,
        bugs,
        egress,
        disks,
        control,
        None,
        inbox,
        Arc::clone(&watched),
    );
    let add = |number: u32| {
        let torrent = Builder {
            piece_length: 16_384,
            single_file: true,
            ..Builder::new(&number.to_string(), vec![(vec![], 1_000_000)])
        };
        let torrent = Metainfo::from_bytes(&torrent.build(&[[0; 20]; 62])).unwrap();
        let (key, info_hash) = (TorrentKey(number), torrent.info_hashes.v1.unwrap());
        let (geometry, layout) = (torrent.info.geometry, Arc::new(Layout::new(&torrent.info)));
        let shared = Arc::new(SharedTorrent::new(
            key,
            info_hash,
            TorrentState::Checking,
            TorrentSettings::default(),
            Arc::clone(&watched),
            Changes::default(),
        ));
        let spec = TorrentSpec {
            info_hash,
            geometry,
            have: Bitfield::full(geometry.piece_count()),
            trackers: trackers.clone(),
            settings: TorrentSettings::default(),
            files: vec![],
            metadata: torrent.info_bytes,
            private: false,
        };
        let storage = Arc::new(MemStorage::new());
        let new = NewTorrent {
            torrent: Arc::clone(&shared),
            spec,
            layout,
            storage,
            peers: vec![],
            is_known: false,
        };
        shard.take(ToShard::Add(key, Box::new(new)));
        shared
    };
    let added = (0..torrents).map(add).collect();
    (shard, added, to_control)
}

/// Takes the torrents that are published next.
fn news(shard: &mut Shard) -> BTreeSet<TorrentKey> {
    let changed = shard.take_changed();
    shard.take_news(&changed)
}

#[tokio::test]
async fn many_torrents_removed_at_once_announce_stopped() {
    let test = async {
        let (mut shard, _torrents, mut to_control) =
            shard_of(5, 6, vec![vec!["http://127.0.0.1:9/announce".into()]]);
        shard.carry_out();
        let mut left = Vec::new();
        for key in (0..5).map(TorrentKey) {
            let (done, departure) = oneshot::channel();
            shard.take(ToShard::Remove(key, done));
            left.push(departure);
        }
        // A torrent has left once all its announces are with the control thread.
        let mut stopped_announces = 0;
        let told = async {
            for departure in left {
                departure.await.unwrap();
            }
        };
        tokio::pin!(told);
        loop {
            tokio::select! {
                biased;
                Some(message) = to_control.recv() => {
                    let leaves = |order: &bt_engine::AnnounceOrder| order.event == bt_tracker_wire::Event::Stopped;
                    stopped_announces += u32::from(matches!(&message, ToControl::Announce(_, _, order) if leaves(order)));
                }
                () = &mut told => break,
            }
        }
        assert_eq!(stopped_announces, 5);
    };
    tokio::task::LocalSet::new().run_until(test).await;
}

#[test]
fn a_torrent_without_a_watcher_publishes_nothing() {
    let (mut shard, torrents) = shard(100);
    let touch = |shard: &mut Shard, number| {
        let found =
            Input::PeersFound(TorrentKey(number), Source::User, vec![([127, 0, 0, 1], 9).into()]);
        shard.take(ToShard::Input(found));
    };
    let keys = |numbers: &[u32]| numbers.iter().copied().map(TorrentKey).collect::<BTreeSet<_>>();
    assert!(
        torrents.iter().all(|torrent| matches!(*torrent.state.borrow(), TorrentState::Active(_))),
        "they are told to be there"
    );
    assert_eq!(news(&mut shard), keys(&[]), "and then it is not asked for");

    let state = torrents[5].watch();
    assert_eq!(news(&mut shard), keys(&[5]), "who begins to watch is told what was missed");
    (0..10).for_each(|number| touch(&mut shard, number));
    assert_eq!(news(&mut shard), keys(&[5]));
    assert_eq!(news(&mut shard), keys(&[]), "nothing has changed since");
    drop(state);
    touch(&mut shard, 5);
    assert_eq!(news(&mut shard), keys(&[]));
    let others = torrents[5].state.subscribe();
    let state = torrents[5].watch();
    assert_eq!(
        news(&mut shard),
        keys(&[5]),
        "what was missed is told also to one who is not alone"
    );
    drop((state, others));
    drop(torrents[7].watch());
    assert_eq!(
        news(&mut shard),
        keys(&[7]),
        "also one who only looks is told, for when he looks again"
    );
}

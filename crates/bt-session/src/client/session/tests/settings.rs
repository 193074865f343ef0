//! Settings and views of a whole session.
//!
//! Decides: nothing.
//! Must not know: how a shard follows its lease.
//! Invariant: what is compared with a limit is counted, not timed.

use super::*;

#[tokio::test]
async fn a_subscriber_hears_what_changed_and_limits_of_all_change_while_they_run() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path(), "a");
    let seeder = seed(&torrent, from.path(), None).await;
    let limits = Rates { up: None, down: Some(1) };
    let settings = SessionSettings { limits, ..SessionSettings::default() };
    let leecher = Session::start(SessionConfig { settings, ..config() }).unwrap();
    let mut subscription = leecher.subscribe();
    let peers = seeder.listen_addrs().to_vec();
    let leech = leecher.add(&torrent, AddOptions { peers, ..AddOptions::new(to.path()) }).unwrap();
    assert_eq!(subscription.changed().await, [leech.info_hash()].into());
    leech.wait_active().await.unwrap();
    leecher.change(|settings| settings.limits.down = None);
    leech.wait_complete().await.unwrap();
    assert_eq!(subscription.changed().await, [leech.info_hash()].into());
    leecher.remove(&leech).await;
    while leecher.torrent(leech.info_hash()).is_some() {
        subscription.changed().await;
    }
    leecher.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn a_view_of_the_session_counts_what_all_torrents_did() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrents = ["a", "b"].map(|name| torrent(from.path(), name));
    let seeder = Session::start(SessionConfig { shards: 2, ..config() }).unwrap();
    let leecher = Session::start(config()).unwrap();
    assert_eq!((leecher.view().await.bytes_down, leecher.view().await.torrents), (0, 0));
    let both = 2 * u64::from(SIZE);
    for torrent in &torrents {
        seeder.add(torrent, AddOptions::new(from.path())).unwrap();
        download(&leecher, &seeder, torrent, to.path()).await;
    }
    // An engine that panics takes no count along, and a torrent that is removed neither.
    leecher.shards[0].inbox.send(ToShard::Bug(None)).await.unwrap();
    leecher.remove(&leecher.torrents()[0]).await;
    let view = leecher.view().await;
    assert_eq!((view.torrents, view.panics.engines), (1, 1));
    assert!(view.bytes_down >= both, "{} bytes came", view.bytes_down);
    assert_eq!((view.listen, view.dht, view.store_bytes), (leecher.listen.clone(), None, 0));
    assert_eq!(view.store_bytes_max, SessionConfig::default().store_bytes);
    let view = seeder.view().await;
    assert!(view.bytes_up >= both && view.torrents == 2, "{view:?}");
    leecher.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn a_session_is_set_again_without_effect_and_a_lower_limit_ends_connections() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path(), "a");
    let seeder = seed(&torrent, from.path(), Some(1)).await;
    let leecher = Session::start(config()).unwrap();
    let mut lease = leecher.shards[0].lease.subscribe();
    leecher.set(leecher.settings());
    leecher.change(|settings| settings.pex = true);
    assert!(!lease.has_changed().unwrap());
    leecher.change(|settings| settings.pex = false);
    assert!(lease.has_changed().unwrap() && !lease.borrow_and_update().pex);

    let peers = seeder.listen_addrs().to_vec();
    let leech = leecher.add(&torrent, AddOptions { peers, ..AddOptions::new(to.path()) }).unwrap();
    view_once(&leech, |view| view.peers == 1).await;
    assert_eq!((leecher.view().await.connections, seeder.view().await.connections), (1, 1));
    leecher.change(|settings| settings.peers_max = Some(0));
    view_once(&leech, |view| view.peers == 0).await;
    assert_eq!(leecher.view().await.connections, 0);
    leecher.stop().await;
    seeder.stop().await;
}

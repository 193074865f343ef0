//! Two sessions on loopback: the shortest path of a real file through every thread.

use bt_piece_store::{CreateOptions, Progress, create_torrent};
use bt_session::{AddOptions, Metainfo, Session, SessionConfig, TorrentError};
use std::net::Ipv4Addr;
use std::path::Path;

fn config() -> SessionConfig {
    SessionConfig { listen: Some((Ipv4Addr::LOCALHOST, 0).into()), ..SessionConfig::default() }
}

/// Makes a file of `len` bytes in `dir`, and a torrent of it.
fn torrent(dir: &Path, name: &str, len: u32) -> Metainfo {
    let data: Vec<u8> = (0..len).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(dir.join(name), data).unwrap();
    let options = CreateOptions { piece_length: Some(32 << 10), ..CreateOptions::default() };
    create_torrent(&dir.join(name), &options, &Progress::default()).unwrap().metainfo
}

fn assert_equal(from: &Path, to: &Path, name: &str) {
    let read = |dir: &Path| std::fs::read(dir.join(name)).unwrap();
    assert!(read(from) == read(to), "{name} differs");
}

#[tokio::test]
async fn a_file_goes_from_one_session_to_another() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path(), "data.bin", 3_000_001);
    let seeder = Session::start(config()).unwrap();
    let seed = seeder.add(&torrent, AddOptions::new(from.path())).unwrap();
    let status = seed.wait_active().await.unwrap();
    assert_eq!(status.pieces_done, status.pieces_total);

    let leecher = Session::start(config()).unwrap();
    let peers = seeder.listen_addrs().to_vec();
    let leech = leecher.add(&torrent, AddOptions { peers, ..AddOptions::new(to.path()) }).unwrap();
    leech.wait_complete().await.unwrap();
    assert_equal(from.path(), to.path(), "data.bin");

    let account = leech.stop().await;
    assert_eq!(account.sources.iter().map(|source| source.down).sum::<u64>(), 3_000_001);
    assert_eq!(account.status.unwrap().bytes_wasted, 0);
    leecher.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn several_torrents_at_once_on_several_shards() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrents: Vec<Metainfo> =
        (1..=5).map(|n| torrent(from.path(), &format!("file{n}"), n * 300_007)).collect();
    let config = || SessionConfig { shards: 2, ..config() };
    let (seeder, leecher) = (Session::start(config()).unwrap(), Session::start(config()).unwrap());
    let mut leeches = Vec::new();
    for torrent in &torrents {
        let seed = seeder.add(torrent, AddOptions::new(from.path())).unwrap();
        seed.wait_active().await.unwrap();
        assert_eq!(
            seeder.add(torrent, AddOptions::new(from.path())).unwrap_err(),
            TorrentError::Duplicate
        );
        let peers = seeder.listen_addrs().to_vec();
        leeches.push(
            leecher.add(torrent, AddOptions { peers, ..AddOptions::new(to.path()) }).unwrap(),
        );
    }
    for (n, leech) in leeches.iter().enumerate() {
        leech.wait_complete().await.unwrap();
        assert_equal(from.path(), to.path(), &format!("file{}", n + 1));
    }
    leecher.remove(&leeches[0]).await;
    assert_eq!(leeches[0].wait_active().await.unwrap_err(), TorrentError::Stopping);
    leecher.stop().await;
    seeder.stop().await;
}

#[tokio::test]
async fn one_directory_is_worked_on_once() {
    let (from, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let torrent = torrent(from.path(), "data.bin", 100_000);
    let config = || SessionConfig { state_dir: Some(state.path().to_owned()), ..config() };
    let (one, other) = (Session::start(config()).unwrap(), Session::start(config()).unwrap());
    let first = one.add(&torrent, AddOptions::new(from.path())).unwrap();
    first.wait_active().await.unwrap();
    let refused = other.add(&torrent, AddOptions::new(from.path())).unwrap();
    assert!(matches!(refused.wait_active().await, Err(TorrentError::Locked { .. })));
    first.stop().await;
    let second = other.add(&torrent, AddOptions::new(from.path())).unwrap();
    second.wait_active().await.unwrap();
    assert_eq!(second.bytes_there(), 100_000);
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_torrent_that_was_removed_takes_none_with_it_that_came_later() {
    let dir = tempfile::tempdir().unwrap();
    let torrent = torrent(dir.path(), "data.bin", 100_000);
    let session = Session::start(config()).unwrap();
    let first = session.add(&torrent, AddOptions::new(dir.path())).unwrap();
    session.remove(&first).await;
    let second = session.add(&torrent, AddOptions::new(dir.path())).unwrap();
    session.remove(&first).await;
    assert_eq!(
        session.add(&torrent, AddOptions::new(dir.path())).unwrap_err(),
        TorrentError::Duplicate
    );
    session.stop().await;
    assert!(second.state().borrow().is_over(), "the session knew of it");
}

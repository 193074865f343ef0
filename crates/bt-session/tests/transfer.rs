//! Two sessions on loopback: the shortest path of a real file through every thread.

use bt_piece_store::{CreateOptions, Progress, create_torrent};
use bt_session::{AddOptions, Session, SessionConfig};
use std::net::{Ipv4Addr, SocketAddr};

fn config() -> SessionConfig {
    SessionConfig { listen: Some((Ipv4Addr::LOCALHOST, 0).into()), ..SessionConfig::default() }
}

#[tokio::test]
async fn a_file_goes_from_one_session_to_another() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data: Vec<u8> = (0..3_000_001u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(from.path().join("data.bin"), &data).unwrap();
    let options = CreateOptions { piece_length: Some(32 << 10), ..CreateOptions::default() };
    let created = create_torrent(&from.path().join("data.bin"), &options, &Progress::default()).unwrap();

    let seeder = Session::start(config()).unwrap();
    let seed = seeder.add(&created.metainfo, AddOptions::new(from.path())).unwrap();
    let status = seed.wait_active().await.unwrap();
    assert_eq!(status.pieces_done, status.pieces_total);

    let leecher = Session::start(config()).unwrap();
    let peers: Vec<SocketAddr> = seeder.listen_addrs().to_vec();
    let leech = leecher.add(&created.metainfo, AddOptions { peers, ..AddOptions::new(to.path()) }).unwrap();
    leech.wait_complete().await.unwrap();
    assert!(std::fs::read(to.path().join("data.bin")).unwrap() == data, "the copy is identical");

    let account = leech.stop().await;
    assert_eq!(account.sources.iter().map(|source| source.down).sum::<u64>(), data.len() as u64);
    assert_eq!(account.status.unwrap().bytes_wasted, 0);
    leecher.stop().await;
    seeder.stop().await;
}

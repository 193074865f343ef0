//! What is deleted with a torrent whose file has further names.
//!
//! Decides: the names.
//! Must not know: how a name is deleted.
//! Invariant: what another torrent reads by its own name stays.

use super::*;

#[tokio::test]
async fn a_further_name_of_a_file_that_another_torrent_reads_is_deleted() {
    let (dir, links) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = torrent(dir.path(), "a");
    // As another tracker has it: the same data in other pieces.
    let options = CreateOptions { piece_length: Some(2 * PIECE), ..CreateOptions::default() };
    let second = create_torrent(&dir.path().join("a"), &options, &Progress::default()).unwrap();
    std::fs::hard_link(dir.path().join("a"), links.path().join("a")).unwrap();
    let session = Session::start(config()).unwrap();
    let seeding = session.add(&first, AddOptions::new(dir.path())).unwrap();
    seeding.wait_active().await.unwrap();
    let same_name = session.add(&second.metainfo, AddOptions::new(dir.path())).unwrap();
    same_name.wait_active().await.unwrap();
    let is_owned = |error| matches!(error, TorrentError::Owned { is_written: false, .. });
    assert!(is_owned(session.remove_with_data(&same_name).await.unwrap_err()));
    let linked = session.add(&second.metainfo, AddOptions::new(links.path())).unwrap();
    linked.wait_active().await.unwrap();
    session.remove_with_data(&linked).await.unwrap();
    assert!(dir.path().join("a").exists() && !links.path().join("a").exists());
    assert!(seeding.wait_active().await.unwrap().is_done());
    session.stop().await;
}

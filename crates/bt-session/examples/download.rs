//! Downloads a torrent into the current directory:
//! `cargo run -p bt-session --example download -- FILE.torrent`.

use bt_session::{AddOptions, Metainfo, Session, SessionConfig, TorrentState};
use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let path =
        std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("usage: download FILE.torrent"))?;
    let torrent = Metainfo::from_bytes(&std::fs::read(path)?)?;
    let session = Session::start(SessionConfig::default())?;
    let download = session.add(&torrent, AddOptions::new("."))?;

    let state = download.state();
    let complete = download.wait_complete();
    tokio::pin!(complete);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            done = &mut complete => break done.map(drop)?,
            _ = tick.tick() => if let TorrentState::Active(now) = &*state.borrow() {
                println!("{}/{} pieces, {} peers, {} B/s", now.pieces_done, now.pieces_total, now.peers, now.down_rate);
            },
        }
    }
    session.stop().await;
    println!("complete and verified");
    Ok(())
}

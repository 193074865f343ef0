//! Downloads a torrent into the current directory:
//! `cargo run -p bt-session --example download -- FILE.torrent [PEER]...`.

use bt_session::{AddOptions, Metainfo, Session, SessionConfig, TorrentState};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or(anyhow::anyhow!("usage: download FILE.torrent [PEER]..."))?;
    let torrent = Metainfo::from_bytes(&std::fs::read(path)?)?;
    let peers = args.map(|peer| peer.parse()).collect::<Result<_, _>>()?;
    let session = Session::start(SessionConfig::default())?;
    let download = session.add(&torrent, AddOptions { peers, ..AddOptions::new(".") })?;
    let mut state = download.state();
    loop {
        match &*state.borrow_and_update() {
            TorrentState::Active(now) if now.is_done() => break,
            TorrentState::Active(now) => println!("{}/{}", now.pieces_done, now.pieces_total),
            TorrentState::Failed(error) => anyhow::bail!("{error}"),
            _ => {}
        }
        state.changed().await?;
    }
    session.stop().await;
    println!("complete and verified");
    Ok(())
}

//! Writes a file of a torrent to the standard output while it downloads, for a player:
//! `stream FILE.torrent NUMBER [PEER]... | mpv -`. What is read next is fetched first.

use bt_session::{AddOptions, Metainfo, Session, SessionConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(number)) = (args.next(), args.next()) else {
        anyhow::bail!("usage: stream FILE.torrent NUMBER [PEER]...")
    };
    let torrent = Metainfo::from_bytes(&std::fs::read(path)?)?;
    let peers = args.map(|peer| peer.parse()).collect::<Result<_, _>>()?;
    let session = Session::start(SessionConfig::default())?;
    let download = session.add(&torrent, AddOptions { peers, ..AddOptions::new(".") })?;
    download.wait_active().await?;
    let number = number.parse()?;
    let mut file = download.reader(number).ok_or(anyhow::anyhow!("there is no file {number}"))?;
    tokio::io::copy(&mut file, &mut tokio::io::stdout()).await?;
    session.stop().await;
    Ok(())
}

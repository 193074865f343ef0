//! Seeds every torrent of a folder from one session: `many TORRENTS DATA [SHARDS [LISTEN]]`. Prints
//! JSON lines, and waits for a line on its standard input before it adds them and before it ends,
//! so that a person can look at it in between.

use bt_session::{AddOptions, Metainfo, Session, SessionConfig};
use std::io::BufRead as _;
use std::path::PathBuf;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(torrents), Some(data)) = (args.next(), args.next()) else {
        anyhow::bail!("usage: many TORRENTS DATA [SHARDS [LISTEN]]")
    };
    let shards = args.next().map_or(Ok(1), |count| count.parse())?;
    let listen = args.next().map_or(Ok(([127, 0, 0, 1], 0).into()), |addr| addr.parse())?;
    let session =
        Session::start(SessionConfig { listen: Some(listen), shards, ..SessionConfig::default() })?;
    println!("{{\"event\":\"open\"}}");
    let mut told = std::io::stdin().lock().lines();
    told.next();

    let mut paths: Vec<PathBuf> = std::fs::read_dir(torrents)?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<_>>()?;
    paths.sort();
    let mut seeding = Vec::with_capacity(paths.len());
    for path in paths {
        let torrent = Metainfo::from_bytes(&std::fs::read(path)?)?;
        seeding.push(
            session.add(&torrent, AddOptions { trust_data: true, ..AddOptions::new(&data) })?,
        );
    }
    for torrent in &seeding {
        torrent.wait_complete().await?;
    }
    println!("{{\"event\":\"added\",\"torrents\":{}}}", seeding.len());
    println!("{{\"event\":\"ready\",\"listen\":[\"{}\"]}}", session.listen_addrs()[0]);
    told.next();
    session.stop().await;
    Ok(())
}

//! Manages three torrents: lists, pauses, limits, chooses files, moves, removes with data, and goes
//! on from what was saved: `manage FILE.torrent FILE.torrent FILE.torrent PEER`.
//!
//! It works below the current directory: `data` and `moved` hold files, `state` what is saved.

use bt_session::{AddOptions, Metainfo, Priority, Session, SessionConfig, TorrentHandle};
use std::net::SocketAddr;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [first, second, third, peer] = &args[..] else {
        anyhow::bail!("usage: manage FILE.torrent FILE.torrent FILE.torrent PEER")
    };
    let read = |path: &String| anyhow::Ok(Metainfo::from_bytes(&std::fs::read(path)?)?);
    let torrents = [read(first)?, read(second)?, read(third)?];
    let peer: SocketAddr = peer.parse()?;
    let config = || SessionConfig { state_dir: Some("state".into()), ..SessionConfig::default() };

    let session = Session::start(config())?;
    let mut added = Vec::new();
    for torrent in &torrents {
        let mut options = AddOptions::new("data");
        options.peers = vec![peer];
        // They wait until all is said that is wanted of them.
        options.settings.running = false;
        let torrent = session.add(torrent, options)?;
        torrent.wait_active().await?;
        added.push(torrent);
    }
    list(&session.torrents()).await;

    // The first one at 4 MiB/s at most, the second one paused, of the third one the first file.
    added[0].change(|settings| settings.limits.down = Some(4 << 20)).await;
    let others: Vec<usize> =
        added[2].files().await.iter().skip(1).map(|file| file.number).collect();
    let choose = |number: &usize| (*number, Priority::Skip);
    added[2]
        .change(|settings| {
            others.iter().map(choose).for_each(|(number, skip)| settings.set_file(number, skip));
        })
        .await;
    added[0].resume().await;
    added[2].resume().await;
    added[0].wait_complete().await?;
    added[2].wait_complete().await?;
    list(&session.torrents()).await;

    added[0].move_to("moved").await?;
    session.remove_with_data(&added[1]).await?;
    println!("moved {}, removed {}", torrents[0].info.name, torrents[1].info.name);
    // What is wanted of each torrent is a value that can be saved.
    let saved = [&added[0], &added[2]].map(|torrent| serde_json::to_string(&torrent.settings()));
    session.stop().await;

    let session = Session::start(config())?;
    let places = [(&torrents[0], "moved"), (&torrents[2], "data")];
    for ((torrent, dir), settings) in places.into_iter().zip(saved) {
        let settings = serde_json::from_str(&settings?)?;
        let again = session.add(torrent, AddOptions { settings, ..AddOptions::new(dir) })?;
        again.wait_active().await?;
        println!("{} goes on with {} bytes", torrent.info.name, again.bytes_there());
    }
    session.stop().await;
    Ok(())
}

async fn list(torrents: &[TorrentHandle]) {
    for torrent in torrents {
        let (Some(metainfo), Some(view)) = (torrent.metainfo(), torrent.view().await) else {
            continue;
        };
        let state = if view.is_paused { "paused" } else { "running" };
        println!(
            "{}: {}/{} bytes, {state}",
            metainfo.info.name,
            view.bytes_done,
            metainfo.info.geometry.total()
        );
        for file in torrent.files().await {
            println!("  {}: {}/{} bytes", file.path.display(), file.bytes_done, file.length);
        }
    }
}

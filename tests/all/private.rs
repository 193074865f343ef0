//! A private torrent beside a public one: the DHT, the local network and peer exchange never carry
//! the private one.
//!
//! Decides: what is looked for on the wire. Must not know: which part of `bt` keeps the secret.
//! Invariant: what is forbidden for the private torrent is seen of the public one, which is
//! otherwise equal.

use crate::Test;
use anyhow::{Context as _, ensure};
use bt_tests::{
    Heard, InfoHash, Net, PATIENCE, Process, Stage, Tap, ensure_same, listening, random_file, skip,
};
use std::net::SocketAddr;

const SIZE: u64 = 4 << 20;
const PORT: u16 = 6881;
/// The message PORT (BEP 5), to the first byte of its port.
const PORT_MESSAGE: [u8; 5] = [0, 0, 0, 3, 9];

#[test]
fn nothing_of_a_private_torrent_is_in_the_dht_on_the_local_network_or_told_by_peers() -> Test {
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    let stage = Stage::new()?;
    let (node_host, seed_host, host) = (net.host()?, net.host()?, net.host()?);
    let (seed_at, node_at) =
        (SocketAddr::from((seed_host.v4, PORT)), SocketAddr::from((node_host.v4, PORT)));
    let mut node = stage.bt("node");
    let node = Process::start(
        "node",
        &mut node_host.inside(node.args(["dht", "node", "--listen", &node_at.to_string()])),
    )?;
    listening(&node)?;
    let mut torrents = Vec::new();
    for (name, options) in [("private", &["--private"][..]), ("public", &[])] {
        random_file(&stage.path(name), torrents.len() as u64, SIZE)?;
        let torrent = stage.create(&stage.path(name), options)?;
        let hash =
            stage.show(&torrent)?["info_hash_v1"].as_str().context("an info-hash")?.to_owned();
        torrents.push((name, torrent, hash));
    }
    let taps = [Tap::new(&seed_host)?, Tap::new(&host)?];
    let command = |who: &str, args: &[&str]| {
        let mut command = stage.bt(who);
        command
            .env_remove("BT_NO_DHT")
            .env_remove("BT_NO_LSD")
            .args(args)
            .args(torrents.iter().map(|(_, torrent, _)| torrent));
        command.args([
            "--listen",
            &format!("0.0.0.0:{PORT}"),
            "--dht-bootstrap",
            &node_at.to_string(),
        ]);
        command
    };
    let seed = Process::start("seed", &mut seed_host.inside(&command("seed", &["seed"])))?;
    seed.wait_event("ready", PATIENCE)?;
    let args = ["get", "--seed", "-d", "copy", "--peer", &seed_at.to_string()];
    let get = Process::start("get", &mut host.inside(&command("get", &args)))?;
    for (name, _, hash) in &torrents {
        get.wait_for(name, PATIENCE, |said| {
            said["event"] == "complete" && said["info_hash"] == **hash
        })?;
        ensure_same(&stage.path(name), &stage.path("copy").join(name))?;
    }
    let [private, public] = [0, 1].map(|number: usize| torrents[number].2.as_str());
    // Once the public torrent was seen everywhere, the private one had every occasion.
    let deadline = std::time::Instant::now() + PATIENCE;
    let heard = loop {
        let heard = taps.each_ref().map(Tap::heard);
        let seen = Traces::of(&heard, public)?;
        if seen == Traces::ALL {
            break heard;
        }
        ensure!(std::time::Instant::now() < deadline, "of the public torrent was seen: {seen:?}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    let seen = Traces::of(&heard, private)?;
    ensure!(
        seen == Traces { shared: true, ..Traces::default() },
        "of the private torrent was seen: {seen:?}"
    );
    Ok(())
}

/// The traces of a torrent on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Traces {
    /// Peers shake hands for it.
    shared: bool,
    /// Its info-hash is in a datagram to the DHT.
    in_dht: bool,
    /// It is in a datagram to the local network.
    on_lsd: bool,
    /// Its peers say that they have DHT nodes, and where.
    tells_node: bool,
    /// Its peers offer to tell of others.
    offers_pex: bool,
}

impl Traces {
    const ALL: Traces =
        Traces { shared: true, in_dht: true, on_lsd: true, tells_node: true, offers_pex: true };

    fn of(heard: &[Heard], info_hash: &str) -> anyhow::Result<Traces> {
        let hash = InfoHash::from_hex(info_hash).context("40 hex digits")?.0;
        let has =
            |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        let mut seen = Traces::default();
        for datagram in heard.iter().flat_map(|heard| &heard.datagrams) {
            seen.in_dht |= has(datagram, &hash);
            seen.on_lsd |= has(datagram, info_hash.as_bytes());
        }
        for stream in heard.iter().flat_map(|heard| heard.streams.values()) {
            // The handshake: length and name of the protocol, eight reserved bytes, the info-hash.
            let Some(reserved) =
                stream.get(20..28).filter(|_| stream.get(28..48) == Some(&hash[..]))
            else {
                continue;
            };
            seen.shared = true;
            seen.tells_node |= reserved[7] & 1 != 0 || has(stream, &PORT_MESSAGE);
            seen.offers_pex |= has(stream, b"ut_pex");
        }
        Ok(seen)
    }
}

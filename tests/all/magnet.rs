//! Magnet links and swarms without a tracker, between processes in network namespaces: over the DHT
//! alone, over what peers tell alone, over the local network alone.
//!
//! Decides: which clients meet, and how. Must not know: how peers are found.
//! Invariant: every copy is compared byte by byte; times are printed, and only a hang reaches a
//! deadline.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::foreign::{Libtorrent, Qbittorrent, Transmission};
use bt_tests::{
    Bt, Client, ClientConfig, Host, Net, PATIENCE, PeersFrom, Process, Running, Stage, ensure_same,
    listening, random_file, skip,
};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SIZE: u64 = 100 << 20;
/// The port of every client and node.
const PORT: u16 = 6881;

/// How they find each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Dht,
    Pex,
    Lsd,
}

#[test]
fn bt_over_the_dht_alone() -> Test {
    meet(Way::Dht, &[(&Bt::SEED, &Bt::GET), (&Libtorrent::DEFAULT, &Libtorrent::DEFAULT)])
}

#[test]
fn bt_over_pex_alone() -> Test {
    meet(Way::Pex, &[(&Bt::SEED, &Bt::GET), (&Libtorrent::DEFAULT, &Libtorrent::DEFAULT)])
}

#[test]
fn bt_over_the_local_network_alone() -> Test {
    meet(Way::Lsd, &[(&Bt::SEED, &Bt::GET), (&Libtorrent::DEFAULT, &Libtorrent::DEFAULT)])
}

#[test]
fn bt_and_libtorrent_over_the_dht_alone() -> Test {
    meet(Way::Dht, &[(&Libtorrent::DEFAULT, &Bt::GET), (&Bt::SEED, &Libtorrent::DEFAULT)])
}

#[test]
fn bt_and_libtorrent_over_pex_alone() -> Test {
    meet(Way::Pex, &[(&Libtorrent::DEFAULT, &Bt::GET), (&Bt::SEED, &Libtorrent::DEFAULT)])
}

#[test]
fn bt_and_libtorrent_over_the_local_network_alone() -> Test {
    meet(Way::Lsd, &[(&Libtorrent::DEFAULT, &Bt::GET), (&Bt::SEED, &Libtorrent::DEFAULT)])
}

#[test]
fn bt_from_transmission_over_the_local_network() -> Test {
    meet(Way::Lsd, &[(&Transmission, &Bt::GET)])
}

#[test]
fn transmission_from_bt_over_the_local_network() -> Test {
    meet(Way::Lsd, &[(&Bt::SEED, &Transmission)])
}

#[test]
fn bt_and_qbittorrent_over_the_local_network() -> Test {
    meet(Way::Lsd, &[(&Qbittorrent, &Bt::GET), (&Bt::SEED, &Qbittorrent)])
}

/// Lets each pair of a seed and a getter meet, and prints how long it took.
fn meet(way: Way, pairs: &[(&dyn Client, &dyn Client)]) -> Test {
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    for client in pairs.iter().flat_map(|(seed, getter)| [seed, getter]) {
        if client.version().is_none() {
            skip!("{} is not installed", client.name())
        }
    }
    let scene = Scene::new()?;
    for &(seed, getter) in pairs {
        let (metadata, complete) = scene.transfer(&net, way, seed, getter)?;
        println!(
            "{} from {} over {way:?}: metadata after {:.2} s, {} MiB after {:.1} s",
            getter.name(),
            seed.name(),
            metadata.as_secs_f64(),
            SIZE >> 20,
            complete.as_secs_f64()
        );
    }
    Ok(())
}

/// Makes a torrent that names no tracker.
struct Scene {
    stage: Stage,
    source: PathBuf,
    torrent: PathBuf,
    hash: String,
    magnet: String,
}

impl Scene {
    fn new() -> Result<Scene> {
        let stage = Stage::new()?;
        let source = stage.path("content.bin");
        random_file(&source, 1, SIZE)?;
        let torrent = stage.create(&source, &["--piece-length", "256KiB"])?;
        let shown = stage.show(&torrent)?;
        let text = |field: &str| {
            Ok::<_, anyhow::Error>(
                shown[field].as_str().with_context(|| format!("no {field}"))?.to_owned(),
            )
        };
        let (hash, magnet) = (text("info_hash_v1")?, text("magnet")?);
        Ok(Scene { stage, source, torrent, hash, magnet })
    }

    /// The getter's time until it has the metadata, and until it has everything.
    fn transfer(
        &self,
        net: &Net,
        way: Way,
        seed: &dyn Client,
        getter: &dyn Client,
    ) -> Result<(Duration, Duration)> {
        let pair = format!("{way:?} {} {}", seed.name(), getter.name());
        let (node_host, seed_host, host) = (net.host()?, net.host()?, net.host()?);
        let node_at = SocketAddr::from((node_host.v4, PORT));
        let _node = (way == Way::Dht).then(|| self.node(&node_host, node_at)).transpose()?;
        let discovery = match way {
            Way::Dht => PeersFrom::Dht(node_at),
            Way::Pex => PeersFrom::Pex(None),
            Way::Lsd => PeersFrom::Lsd,
        };
        let (dir, home) =
            (self.stage.path(""), self.stage.path(format!("{pair}: home of the seed")));
        let at =
            ClientConfig { discovery, ..ClientConfig::new(&seed_host, &self.torrent, &dir, &home) };
        let mut seeding = seed.share(&at)?;
        seeding.wait_complete(PATIENCE)?;
        if way == Way::Dht {
            self.wait_announced(&node_host, node_at, &seed_host)?;
        }
        let between =
            (way == Way::Pex).then(|| self.between(net, &pair, getter, &seed_host)).transpose()?;

        let discovery = match &between {
            Some((_, at, _)) => PeersFrom::Pex(Some(*at)),
            None => discovery,
        };
        let (dir, home) = (
            self.stage.path(format!("{pair}: copy")),
            self.stage.path(format!("{pair}: home of the getter")),
        );
        let at = ClientConfig {
            magnet: Some(&self.magnet),
            discovery,
            ..ClientConfig::new(&host, &self.torrent, &dir, &home)
        };
        let mut running = getter.open(&at)?;
        let before = seeding.progress()?.bytes_up;
        let began = Instant::now();
        running.add()?;
        running
            .wait_metadata(PATIENCE)
            .with_context(|| format!("{pair}; the seed:\n{}", seeding.transcript()))?;
        let metadata = began.elapsed();
        running
            .wait_complete(PATIENCE)
            .with_context(|| format!("{pair}; the seed:\n{}", seeding.transcript()))?;
        let complete = began.elapsed();
        ensure_same(&self.source, &dir.join("content.bin"))?;
        if way == Way::Pex {
            // The peer of the argument has little payload in that time.
            seeding.wait("its part", PATIENCE, &mut |progress| {
                progress.bytes_up - before > SIZE / 2
            })?;
        }
        std::fs::remove_dir_all(&dir)?;
        Ok((metadata, complete))
    }

    /// Starts the DHT node that all clients bootstrap from.
    fn node(&self, host: &Host, at: SocketAddr) -> Result<Process> {
        let mut command = self.stage.bt("node");
        let node = Process::start(
            "node",
            &mut host.inside(command.args(["dht", "node", "--listen", &at.to_string()])),
        )?;
        listening(&node)?;
        Ok(node)
    }

    /// Waits until a search in the DHT finds a seed.
    fn wait_announced(&self, host: &Host, node: SocketAddr, seed: &Host) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut command = self.stage.bt("asker");
            command.args(["dht", "get-peers", &self.hash, "--dht-bootstrap", &node.to_string()]);
            let found = Process::run("get-peers", &mut host.inside(&command), PATIENCE)?;
            let peer = format!("{}:{PORT}", seed.v4);
            if found.objects().iter().any(|answer| answer["peers"].to_string().contains(&peer)) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{peer} was not announced; at last: {}", found.out);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Starts a peer that has little payload yet and knows the seed.
    fn between(
        &self,
        net: &Net,
        pair: &str,
        like: &dyn Client,
        seed: &Host,
    ) -> Result<(Host, SocketAddr, Box<dyn Running>)> {
        let slow: &dyn Client =
            if like.name() == Bt::GET.name() { &Bt::SLOW } else { &Libtorrent::SLOW };
        let host = net.host()?;
        let (dir, home) = (
            self.stage.path(format!("{pair}: slow copy")),
            self.stage.path(format!("{pair}: home between")),
        );
        let discovery = PeersFrom::Pex(Some((seed.v4, PORT).into()));
        let at = ClientConfig { discovery, ..ClientConfig::new(&host, &self.torrent, &dir, &home) };
        let mut running = slow.share(&at)?;
        running.wait("a first piece", PATIENCE, &mut |progress| progress.bytes_done > 0)?;
        let at = (host.v4, PORT).into();
        Ok((host, at, running))
    }
}

//! Meetings of clients: two of any kind, or a whole mixed swarm, in a network of their own.
//!
//! Decides: what is shared, which clients meet, when a meeting is over. Must not know: how the
//! clients are configured.
//! Invariant: every copy is compared byte by byte with the original.

use crate::{
    Bt, Client, ClientConfig, Host, Net, PATIENCE, Process, Protocol, Running, Stage, ensure_same,
    random_file,
};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The size of the shared content, in bytes.
const SIZE: u64 = 24 << 20;

/// The seed's uplink in a mixed swarm, as `tc` takes it: so narrow that the leechers need each
/// other.
const SEED_UPLINK: &str = "60mbit";

/// A tree, its torrent, and a tracker for it.
#[derive(Debug)]
pub struct Meeting<'a> {
    net: &'a Net,
    stage: Stage,
    source: PathBuf,
    torrent: PathBuf,
    _tracker: Option<(Process, Host)>,
}

/// A client in a mixed swarm.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// The name of its program.
    pub name: &'static str,
    /// The time from the start of the last client until this one was complete.
    pub took: Duration,
    /// The payload that it sent to the others, in bytes.
    pub bytes_up: u64,
}

impl<'a> Meeting<'a> {
    /// Prepares a meeting through `bt tracker`.
    pub fn new(net: &'a Net, protocol: Protocol) -> Result<Meeting<'a>> {
        let host = net.host()?;
        let stage = Stage::new()?;
        let (tracker, url) = stage.tracker_with(
            protocol,
            (host.v4, 6969).into(),
            Some(&host),
            &["--interval", "5s"],
        )?;
        Meeting::on(stage, net, &url, Some((tracker, host)))
    }

    /// Prepares a meeting through the tracker at this URL, which may start later.
    pub fn through(net: &'a Net, url: &str) -> Result<Meeting<'a>> {
        Meeting::on(Stage::new()?, net, url, None)
    }

    fn on(
        stage: Stage,
        net: &'a Net,
        url: &str,
        tracker: Option<(Process, Host)>,
    ) -> Result<Meeting<'a>> {
        let source = stage.path("content");
        // Neither hidden names nor empty files: Transmission renames the former and does not make
        // the latter.
        for (index, name) in
            ["one.bin", "two/ünïcödé 日本.bin", "two/three/four.bin"].into_iter().enumerate()
        {
            let path = source.join(name);
            fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
            random_file(&path, index as u64, SIZE / 3 + index as u64)?;
        }
        let torrent = stage.create(&source, &["--piece-length", "256KiB", "-a", url])?;
        Ok(Meeting { net, stage, source, torrent, _tracker: tracker })
    }

    /// Returns the info-hash in hex.
    pub fn info_hash(&self) -> Result<String> {
        let shown = self.stage.show(&self.torrent)?;
        Ok(shown["info_hash_v1"].as_str().context("the torrent has a v1 info-hash")?.to_owned())
    }

    /// Returns a path in the folder of the meeting.
    pub fn path(&self, name: &str) -> PathBuf {
        self.stage.path(name)
    }

    /// Runs a seed and a leecher, compares the copy, and returns how long the download took.
    pub fn transfer(&self, seed: &dyn Client, leecher: &dyn Client) -> Result<Duration> {
        self.transfer_of(seed, leecher, None)
    }

    /// Runs the same transfer; the leecher has only the magnet link, with the tracker in it.
    pub fn transfer_by_link(&self, seed: &dyn Client, leecher: &dyn Client) -> Result<Duration> {
        let shown = self.stage.show(&self.torrent)?;
        self.transfer_of(
            seed,
            leecher,
            Some(shown["magnet"].as_str().context("the torrent has a link")?),
        )
    }

    fn transfer_of(
        &self,
        seed: &dyn Client,
        leecher: &dyn Client,
        magnet: Option<&str>,
    ) -> Result<Duration> {
        let (host, other_host) = (self.net.host()?, self.net.host()?);
        let _seed = self.seed(seed, &host)?;
        let began = Instant::now();
        let (mut running, copy) = self.leech(leecher, "leecher", &other_host, magnet)?;
        running
            .wait_complete(PATIENCE)
            .with_context(|| format!("{} from {}", leecher.name(), seed.name()))?;
        let took = began.elapsed();
        ensure_same(&self.source, &copy)?;
        Ok(took)
    }

    /// Runs a swarm of one `bt` seed, a leecher of every client and two of `bt`; compares every
    /// copy.
    pub fn mixed(&self, clients: &[&dyn Client]) -> Result<Vec<Guest>> {
        let host = self.net.host()?;
        host.shape(SEED_UPLINK)?;
        let _seed = self.seed(&Bt::SEED, &host)?;
        let everyone = [&[&Bt::GET as &dyn Client, &Bt::GET], clients].concat();
        let hosts = everyone.iter().map(|_| self.net.host()).collect::<Result<Vec<_>>>()?;
        let mut swarm = Vec::new();
        for (number, (client, host)) in everyone.iter().zip(&hosts).enumerate() {
            swarm.push((
                client.name(),
                self.leech(*client, &format!("leecher {number}"), host, None)?,
            ));
        }
        let (began, mut times) = (Instant::now(), vec![None; swarm.len()]);
        while times.contains(&None) {
            for ((name, (running, _)), took) in swarm.iter_mut().zip(&mut times) {
                if took.is_none() && running.progress()?.complete {
                    *took = Some(began.elapsed());
                }
                ensure!(
                    began.elapsed() < PATIENCE || took.is_some(),
                    "{name} did not complete\n{}",
                    running.transcript()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let mut guests = Vec::new();
        for ((name, (mut running, copy)), took) in swarm.into_iter().zip(times) {
            ensure_same(&self.source, &copy).with_context(|| format!("the copy of {name}"))?;
            guests.push(Guest {
                name,
                took: took.unwrap_or_default(),
                bytes_up: running.progress()?.bytes_up,
            });
        }
        Ok(guests)
    }

    /// Starts a seed and waits until the tracker tells of it.
    fn seed(&self, client: &dyn Client, host: &Host) -> Result<Box<dyn Running>> {
        let home = self.path("home of the seed");
        let mut seed =
            client.share(&ClientConfig::new(host, &self.torrent, &self.path(""), &home))?;
        seed.wait_complete(PATIENCE).with_context(|| format!("{} as a seed", client.name()))?;
        let known = self.stage.wait_seeders(1, &self.torrent, Some(host));
        known.with_context(|| {
            format!("{} did not announce itself\n{}", client.name(), seed.transcript())
        })?;
        Ok(seed)
    }

    /// Starts a leecher and returns it with the path of its future copy.
    fn leech(
        &self,
        client: &dyn Client,
        who: &str,
        host: &Host,
        magnet: Option<&str>,
    ) -> Result<(Box<dyn Running>, PathBuf)> {
        let (dir, home) = (self.path(who), self.path(&format!("home of {who}")));
        let running = client.share(&ClientConfig {
            magnet,
            ..ClientConfig::new(host, &self.torrent, &dir, &home)
        })?;
        Ok((running, dir.join("content")))
    }
}

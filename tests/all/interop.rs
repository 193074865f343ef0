//! Real foreign clients, both directions, through our tracker and through a foreign one.
//!
//! Decides: who meets whom. Each process is in a network namespace of its own, as Transmission refuses loopback peers.
//! Must not know: how the clients are configured, but that encryption is at their default.
//! Invariant: every copy is compared byte by byte with the original.

use crate::Test;
use anyhow::{Context as _, Result};
use bt_tests::foreign::{Libtorrent, Opentracker, Transmission};
use bt_tests::{Host, Net, PATIENCE, Process, Protocol, Stage, ensure_same, random_file, skip};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

const SIZE: u64 = 24 << 20;

#[test]
fn foreign_clients_download_from_bt_through_http() -> Test {
    foreign_clients_download_from_bt(Protocol::Http)
}

#[test]
fn foreign_clients_download_from_bt_through_udp() -> Test {
    foreign_clients_download_from_bt(Protocol::Udp)
}

#[test]
fn bt_downloads_from_libtorrent_through_http() -> Test {
    bt_downloads_from_libtorrent(Protocol::Http)
}

#[test]
fn bt_downloads_from_libtorrent_through_udp() -> Test {
    bt_downloads_from_libtorrent(Protocol::Udp)
}

#[test]
fn bt_downloads_from_transmission_through_http() -> Test {
    bt_downloads_from_transmission(Protocol::Http)
}

#[test]
fn bt_downloads_from_transmission_through_udp() -> Test {
    bt_downloads_from_transmission(Protocol::Udp)
}

fn foreign_clients_download_from_bt(protocol: Protocol) -> Test {
    let (Some(libtorrent), Some(transmission)) = (Libtorrent::find(), Transmission::find()) else {
        skip!("libtorrent for Python or transmission-daemon is not installed")
    };
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    let scene = Scene::new(&net, protocol)?;
    let _seed = scene.bt_seed()?;

    let (host, other_host) = (net.host()?, net.host()?);
    let (copy, other_copy) = (scene.stage.path("libtorrent"), scene.stage.path("transmission"));
    let command = libtorrent.share(&scene.torrent, &copy, &format!("{}:6881", host.v4));
    let first = Process::start("libtorrent", &mut host.inside(&command))?;
    let second = transmission.share(&other_host, &scene.torrent, &other_copy, &scene.stage.path("daemon"))?;
    first.wait_event("complete", PATIENCE)?;
    second.wait_complete(PATIENCE)?;
    scene.compare(&copy)?;
    scene.compare(&other_copy)
}

fn bt_downloads_from_libtorrent(protocol: Protocol) -> Test {
    let Some(libtorrent) = Libtorrent::find() else { skip!("libtorrent for Python is not installed") };
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    let scene = Scene::new(&net, protocol)?;
    let host = net.host()?;
    let command = libtorrent.share(&scene.torrent, &scene.stage.path(""), &format!("{}:6881", host.v4));
    let seed = Process::start("libtorrent", &mut host.inside(&command))?;
    seed.wait_event("complete", PATIENCE)?;
    scene.bt_get(&net.host()?)
}

fn bt_downloads_from_transmission(protocol: Protocol) -> Test {
    let Some(transmission) = Transmission::find() else { skip!("transmission-daemon is not installed") };
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    let scene = Scene::new(&net, protocol)?;
    let host = net.host()?;
    let seed = transmission.share(&host, &scene.torrent, &scene.stage.path(""), &scene.stage.path("daemon"))?;
    seed.wait_complete(PATIENCE)?;
    scene.bt_get(&net.host()?)
}

#[test]
fn bt_works_through_opentracker() -> Test {
    let Some(opentracker) = Opentracker::find() else { skip!("opentracker is not installed") };
    let Some(net) = Net::new() else { skip!("no network namespaces: not root, or no `ip`") };
    for scheme in ["http", "udp"] {
        let host = net.host()?;
        let url = format!("{scheme}://{}/announce", Opentracker::address(host.v4));
        let scene = Scene::on(Stage::new()?, &net, url, None)?;
        let shown = scene.stage.show(&scene.torrent)?;
        let hash = shown["info_hash_v1"].as_str().context("the torrent has a v1 info-hash")?;
        let home = scene.stage.path("opentracker");
        fs::create_dir(&home)?;
        let command = opentracker.serve(host.v4, &[hash], &home)?;
        let _tracker = Process::start("opentracker", &mut host.inside(&command))?;
        let _seed = scene.bt_seed()?;
        scene.bt_get(&net.host()?)?;
    }
    Ok(())
}

/// A tree, its torrent, and a tracker for it.
struct Scene {
    stage: Stage,
    source: PathBuf,
    torrent: PathBuf,
    seeder: Host,
    _tracker: Option<(Process, Host)>,
}

impl Scene {
    fn new(net: &Net, protocol: Protocol) -> Result<Scene> {
        let host = net.host()?;
        let stage = Stage::new()?;
        let (tracker, url) = stage.tracker(protocol, (host.v4, 6969).into(), Some(&host))?;
        Scene::on(stage, net, url, Some((tracker, host)))
    }

    fn on(stage: Stage, net: &Net, url: String, tracker: Option<(Process, Host)>) -> Result<Scene> {
        let source = stage.path("content");
        // No hidden names and no empty files: Transmission renames the ones and does not make the others.
        for (index, name) in ["one.bin", "two/ünïcödé 日本.bin", "two/three/four.bin"].into_iter().enumerate() {
            let path = source.join(name);
            fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
            random_file(&path, index as u64, SIZE / 3 + index as u64)?;
        }
        let torrent = stage.create(&source, &["--piece-length", "256KiB", "-a", &url])?;
        Ok(Scene { stage, source, torrent, seeder: net.host()?, _tracker: tracker })
    }

    fn bt_seed(&self) -> Result<Process> {
        let command = self.stage.seed("seed", &self.torrent, &self.stage.path(""), any(6881));
        let seed = Process::start("seed", &mut self.seeder.inside(&command))?;
        seed.wait_event("ready", PATIENCE)?;
        Ok(seed)
    }

    /// Downloads with `bt get` in this host, and compares.
    fn bt_get(&self, host: &Host) -> Test {
        let copy = self.stage.path("bt");
        let command = self.stage.get("get", &self.torrent, &copy, any(6881));
        Process::run("get", &mut host.inside(&command), PATIENCE)?.expect_code(0)?;
        self.compare(&copy)
    }

    fn compare(&self, copy: &Path) -> Test {
        ensure_same(&self.source, &copy.join("content"))
    }
}

fn any(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

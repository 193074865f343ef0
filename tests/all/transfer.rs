//! The main job: create, track, seed, and three leechers that download at once and share with each
//! other.
//!
//! Decides: the four runs. Must not know: how pieces are picked or which peers a seed serves.
//! Invariant: all are separate processes on loopback; the seed's uplink is limited, so that time
//! does not depend on the machine.

use crate::Test;
use anyhow::{Context as _, ensure};
use bt_tests::{PATIENCE, Process, Protocol, Stage, ensure_same, random_file, tree};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

const SIZE: u64 = 128 << 20;
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[test]
fn file_over_http_and_ipv4() -> Test {
    share(Protocol::Http, V4, |source| random_file(source, 1, SIZE))
}

#[test]
fn file_over_udp_and_ipv6() -> Test {
    share(Protocol::Udp, V6, |source| random_file(source, 2, SIZE))
}

#[test]
fn tree_over_udp_and_ipv4() -> Test {
    share(Protocol::Udp, V4, |source| tree(source, 3, 1000, SIZE))
}

#[test]
fn tree_over_http_and_ipv6() -> Test {
    share(Protocol::Http, V6, |source| tree(source, 4, 1000, SIZE))
}

fn share(
    protocol: Protocol,
    ip: IpAddr,
    generate: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Test {
    let stage = Stage::new()?;
    let source = stage.path("content");
    generate(&source)?;
    let any = SocketAddr::new(ip, 0);
    let (_tracker, url) = stage.tracker(protocol, any, None)?;
    let torrent = stage.create(&source, &["--piece-length", "256KiB", "-a", &url])?;
    let seed = Process::start(
        "seed",
        stage.seed("seed", &torrent, &stage.path(""), any).args(["--up", "16MiB/s"]),
    )?;
    seed.wait_event("ready", PATIENCE)?;

    let began = Instant::now();
    let names = ["leecher 1", "leecher 2", "leecher 3"];
    let mut leechers = Vec::new();
    for name in names {
        leechers.push(Process::start(
            name,
            stage.get(name, &torrent, &stage.path(name), any).arg("--seed"),
        )?);
    }
    ensure!(began.elapsed() < Duration::from_secs(1), "the three were not started together");

    let mut times = Vec::new();
    for leecher in &leechers {
        leecher.wait_event("complete", PATIENCE)?;
        times.push(began.elapsed());
    }
    let mut table = format!(
        "{url}, {} MiB\n  who        from seed  from leechers  share  seconds\n",
        SIZE >> 20
    );
    let mut shares = Vec::new();
    for ((leecher, name), took) in leechers.into_iter().zip(names).zip(times) {
        let summary = leecher.stop(PATIENCE)?.expect_code(0)?.event("summary")?;
        let count = |field: &str| {
            summary[field].as_u64().with_context(|| format!("the summary has {field}"))
        };
        let (all, shared) = (count("bytes_downloaded")?, count("bytes_from_leechers")?);
        let percent = shared * 100 / SIZE;
        table += &format!(
            "  {name} {:>6} MiB {:>10} MiB {percent:>4} % {:>8.1}\n",
            all.saturating_sub(shared) >> 20,
            shared >> 20,
            took.as_secs_f64()
        );
        shares.push(percent);
        ensure_same(&source, &stage.path(name).join("content"))?;
    }
    println!("{table}");
    ensure!(
        shares.iter().all(|percent| *percent >= 25),
        "a copy came from leechers by less than 25 %:\n{table}"
    );
    seed.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

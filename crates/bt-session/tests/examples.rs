//! Runs the examples as processes of their own, against a seed.
//!
//! Decides: their torrents and arguments. Must not know: how they do what they show.
//! Invariant: what an example wrote is compared with the seed's data.

use bt_piece_store::{CreateOptions, Progress, create_torrent};
use bt_session::{AddOptions, Metainfo, Session, SessionConfig};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A seed of three torrents `0`, `1` and `2`, of two files each.
struct Seed {
    session: Session,
    dir: tempfile::TempDir,
}

impl Seed {
    async fn start() -> Seed {
        let dir = tempfile::tempdir().unwrap();
        let listen = Some((Ipv4Addr::LOCALHOST, 0).into());
        let session = Session::start(SessionConfig { listen, ..SessionConfig::default() }).unwrap();
        for n in 0..3u32 {
            let torrent = make(dir.path(), n);
            let seeding = session.add(&torrent, AddOptions::new(dir.path())).unwrap();
            seeding.wait_active().await.unwrap();
        }
        Seed { session, dir }
    }

    fn addr(&self) -> String {
        self.session.listen_addrs()[0].to_string()
    }

    fn torrent(&self, n: u32) -> String {
        self.dir.path().join(format!("{n}.torrent")).display().to_string()
    }
}

fn make(dir: &Path, n: u32) -> Metainfo {
    let folder = dir.join(n.to_string());
    std::fs::create_dir(&folder).unwrap();
    for (file, len) in [("a", 3_000_000u32), ("b", 500_000)] {
        let data: Vec<u8> =
            (0..len).map(|at| ((at ^ (n << 20)).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        std::fs::write(folder.join(file), data).unwrap();
    }
    let options = CreateOptions::default();
    let created = create_torrent(&folder, &options, &Progress::default()).unwrap();
    std::fs::write(dir.join(format!("{n}.torrent")), &created.bytes).unwrap();
    created.metainfo
}

/// Runs an example in a directory. Cargo builds it beside this test.
async fn run(example: &str, args: Vec<String>, dir: &Path) -> Output {
    let test = std::env::current_exe().unwrap();
    let path: PathBuf = test.ancestors().nth(2).unwrap().join("examples").join(example);
    let mut command = tokio::process::Command::new(path);
    let output = command.args(args).current_dir(dir).kill_on_drop(true).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(60), output);
    let output = output.await.expect("it ends").unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example}: {errors}");
    output
}

fn assert_equal(seed: &Seed, dir: &Path, names: &[&str]) {
    for name in names {
        let read = |dir: &Path| std::fs::read(dir.join(name)).unwrap();
        assert!(read(seed.dir.path()) == read(dir), "{name} differs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn download_fetches_everything() {
    let (seed, dir) = (Seed::start().await, tempfile::tempdir().unwrap());
    let output = run("download", vec![seed.torrent(0), seed.addr()], dir.path()).await;
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("complete and verified\n"));
    assert_equal(&seed, dir.path(), &["0/a", "0/b"]);
    seed.session.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manage_does_all_that_it_says() {
    let (seed, dir) = (Seed::start().await, tempfile::tempdir().unwrap());
    let mut args: Vec<String> = (0..3).map(|n| seed.torrent(n)).collect();
    args.push(seed.addr());
    let output = String::from_utf8(run("manage", args, dir.path()).await.stdout).unwrap();
    for line in [
        "0: 3500000/3500000 bytes, running",
        "1: 0/3500000 bytes, paused",
        "  2/b: 0/500000 bytes",
        "moved 0, removed 1",
        "0 goes on with 3500000 bytes",
        "2 goes on with",
    ] {
        assert!(output.contains(line), "{line}: {output}");
    }
    assert_equal(&seed, &dir.path().join("moved"), &["0/a", "0/b"]);
    assert_equal(&seed, &dir.path().join("data"), &["2/a"]);
    assert!(!dir.path().join("data/0").exists() && !dir.path().join("data/1").exists());
    seed.session.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_storage_keeps_bytes_alone() {
    let (seed, dir) = (Seed::start().await, tempfile::tempdir().unwrap());
    let output = run("own_storage", vec![seed.torrent(1), seed.addr()], dir.path()).await;
    let expected = std::fs::read(seed.dir.path().join("1/a")).unwrap();
    assert!(output.stdout == expected, "{} bytes differ", output.stdout.len());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is on a disk");
    seed.session.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_writes_a_file_while_it_downloads() {
    let (seed, dir) = (Seed::start().await, tempfile::tempdir().unwrap());
    let args = vec![seed.torrent(2), "1".to_owned(), seed.addr()];
    let output = run("stream", args, dir.path()).await;
    let expected = std::fs::read(seed.dir.path().join("2/b")).unwrap();
    assert!(output.stdout == expected, "{} bytes differ", output.stdout.len());
    seed.session.stop().await;
}

//! A session that is dropped without `stop`. The only test of its process, as it counts threads.

use bt_piece_store::{CreateOptions, Progress, create_torrent};
use bt_session::{AddOptions, Session, SessionConfig};
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

/// Returns the names of this process's threads that a session started.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    };
    tasks.filter_map(name).filter(|name| name.starts_with("bt-")).collect()
}

#[test]
fn a_dropped_session_leaves_no_thread_and_no_port() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("data.bin"), vec![7; 300_000]).unwrap();
    let (path, options) = (dir.path().join("data.bin"), CreateOptions::default());
    let torrent = create_torrent(&path, &options, &Progress::default()).unwrap().metainfo;
    let listen = Some((Ipv4Addr::LOCALHOST, 0).into());
    let session = Session::start(SessionConfig { listen, ..SessionConfig::default() }).unwrap();
    session.add(&torrent, AddOptions::new(dir.path())).unwrap();
    let addr = session.listen_addrs()[0];
    // A thread names itself once it runs.
    let deadline = Instant::now() + Duration::from_secs(10);
    while threads().is_empty() {
        assert!(Instant::now() < deadline, "a session has threads");
        std::thread::yield_now();
    }
    drop(session);
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let (left, port) = (threads(), TcpListener::bind(addr));
        if left.is_empty() && port.is_ok() {
            break;
        }
        assert!(Instant::now() < deadline, "threads {left:?}, port {port:?}");
        std::thread::yield_now();
    }
}

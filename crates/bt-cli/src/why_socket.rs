//! The socket of a `bt get` or `bt seed` that says why its torrents are slow or wait, and who asks
//! there.
//!
//! Decides: where the socket is, which of them are left over, what is known of a torrent.
//! Must not know: what is a reason.
//! Invariant: only the user of the process can ask. An answer is whole or none, and has a deadline.

use crate::json::{Reasons, TorrentWhy};
use crate::source;
use bt_api::{DaemonState, Details, Phase, Record, Torrent, why};
use bt_session::{Session, TorrentHandle, TorrentState, TrackerView};
use std::convert::Infallible;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

/// How the name of a socket begins; the number of the process follows.
const BEGIN: &str = "why-";
/// How it ends.
const END: &str = ".sock";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection, which needs no help of the process, may take.
const CONNECT: Duration = Duration::from_secs(2);
/// Most bytes of an answer.
const ANSWER_MAX: u64 = 64 << 20;
/// The wait after a connection that could not be accepted, as while no descriptor is left.
const PAUSE: Duration = Duration::from_secs(1);

/// A torrent of this process that is asked about.
pub(crate) struct Asked {
    pub(crate) handle: TorrentHandle,
    /// Its link, which names it while its metadata is not there.
    pub(crate) link: Option<String>,
}

/// The socket of this process. It is removed on drop.
pub(crate) struct WhySocket {
    path: PathBuf,
    listener: UnixListener,
}

impl WhySocket {
    /// Listens in a state directory, and removes what dead processes left there.
    pub(crate) async fn open(state: &Path) -> io::Result<WhySocket> {
        for (_, path) in sockets(state)? {
            if is_dead(&path).await {
                fs::remove_file(&path)?;
            }
        }
        // In a directory of its own no other user can connect before it has its mode.
        let aside = tempfile::Builder::new().prefix(".why-").tempdir_in(state)?;
        let unready = aside.path().join("s");
        let dir = File::open(aside.path())?;
        let listener = UnixListener::bind(short(&dir, &unready))?;
        fs::set_permissions(&unready, Permissions::from_mode(0o600))?;
        let path = state.join(format!("{BEGIN}{}{END}", std::process::id()));
        fs::rename(&unready, &path)?;
        Ok(WhySocket { path, listener })
    }

    /// Answers everybody who connects, one after the other.
    pub(crate) async fn serve(&self, session: &Session, torrents: &[Asked]) -> Infallible {
        loop {
            let Ok((mut stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let answer = async {
                let reasons = Reasons { torrents: reasons(session, torrents).await };
                let text = serde_json::to_vec(&reasons)?;
                stream.write_all(&text).await?;
                stream.shutdown().await
            };
            // Who asked and does not read, or left, misses the answer.
            if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, answer).await {
                tracing::debug!(%error, "a question why could not be answered");
            }
        }
    }
}

impl Drop for WhySocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What the processes of a state directory say.
#[derive(PartialEq, Eq, Debug, Default)]
pub(crate) struct Answers {
    /// Why their torrents are slow or wait; `None` if no process answers.
    pub(crate) torrents: Option<Vec<TorrentWhy>>,
    /// The numbers of processes that live and do not answer.
    pub(crate) silent: Vec<u32>,
}

/// Asks every process that has a socket in a state directory, all at once.
pub(crate) async fn ask_all(state: &Path) -> Answers {
    let ask = |(number, path): (u32, PathBuf)| {
        let asked = async move { tokio::time::timeout(PATIENCE, ask(&path)).await };
        (number, tokio::spawn(asked))
    };
    let asked: Vec<_> = sockets(state).unwrap_or_default().into_iter().map(ask).collect();
    let mut answers = Answers::default();
    for (number, answer) in asked {
        match answer.await {
            Ok(Ok(Ok(torrents))) => {
                answers.torrents.get_or_insert_with(Vec::new).extend(torrents);
            }
            Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            _ => answers.silent.push(number),
        }
    }
    answers
}

async fn ask(path: &Path) -> io::Result<Vec<TorrentWhy>> {
    let stream = connect(path).await?;
    let mut bytes = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut bytes).await?;
    Ok(serde_json::from_slice::<Reasons>(&bytes)?.torrents)
}

/// Returns the numbers of processes and the sockets in a state directory, in the order of numbers.
fn sockets(state: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(state)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(BEGIN)?.strip_suffix(END));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    let dir = File::open(path.parent().unwrap_or(Path::new(".")))?;
    UnixStream::connect(short(&dir, path)).await
}

/// Returns a path of a socket in an open directory: the system takes 107 bytes of one at most, and
/// a state directory may be longer.
fn short(dir: &File, path: &Path) -> PathBuf {
    Path::new("/proc/self/fd")
        .join(dir.as_raw_fd().to_string())
        .join(path.file_name().unwrap_or_default())
}

/// Returns whether no process listens at a socket.
async fn is_dead(path: &Path) -> bool {
    let connected = tokio::time::timeout(CONNECT, connect(path)).await;
    matches!(connected, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Returns why the torrents are slow or wait; those that are over are left out.
async fn reasons(session: &Session, torrents: &[Asked]) -> Vec<TorrentWhy> {
    let mut state = DaemonState::default();
    state.settings.session = session.settings();
    state.session = session.view().await;
    let mut all = Vec::new();
    for Asked { handle, link } in torrents {
        let hash = handle.info_hash();
        let Some(phase) = phase(handle) else { continue };
        let settings = handle.settings();
        let record = Record { settings, magnet: link.clone(), ..Record::default() };
        state.add(hash, record, handle.metainfo());
        state.change(hash, |torrent| describe(torrent, handle, phase));
        let trackers = handle.trackers().await.into_iter().map(without_password).collect();
        let details = Details { peers: handle.peers().await, trackers, ..Details::default() };
        if let Some(torrent) = state.torrent(hash) {
            all.push(TorrentWhy {
                info_hash: hash.to_string(),
                name: torrent.name(),
                process: Some(std::process::id()),
                why: why(torrent, &details, &state),
            });
        }
    }
    all
}

/// Returns what a torrent does; `None` once it is over.
fn phase(handle: &TorrentHandle) -> Option<Phase> {
    Some(match &*handle.state().borrow() {
        TorrentState::Finding(view) => Phase::Metadata(*view),
        TorrentState::Checking => {
            let (done, total) = handle.check_progress();
            Phase::Checking { done, total }
        }
        TorrentState::Active(view) if view.is_done() => Phase::Seeding,
        TorrentState::Active(_) => Phase::Downloading,
        TorrentState::Failed(error) => Phase::Failed(error.to_string()),
        TorrentState::Known | TorrentState::Stopped => return None,
    })
}

fn describe(torrent: &mut Torrent, handle: &TorrentHandle, phase: Phase) {
    torrent.live.phase = phase;
    if let TorrentState::Active(view) = &*handle.state().borrow() {
        torrent.live.view = Some(Box::new(view.clone()));
    }
}

fn without_password(tracker: TrackerView) -> TrackerView {
    TrackerView { url: source::without_password(&tracker.url), ..tracker }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileTypeExt as _;

    #[tokio::test]
    async fn a_socket_is_the_users_alone_and_one_of_the_dead_is_removed() {
        // Longer than the path of a socket may be.
        let state = tempfile::Builder::new().prefix(&"long".repeat(40)).tempdir();
        let state = state.expect("a directory");
        let dir = File::open(state.path()).expect("a directory");
        let old = state.path().join("why-1.sock");
        drop(UnixListener::bind(short(&dir, &old)).expect("a socket"));
        assert!(old.exists());
        assert_eq!(ask_all(state.path()).await, Answers::default());
        let alive = state.path().join("why-2.sock");
        let _other = UnixListener::bind(short(&dir, &alive)).expect("a socket");
        fs::write(state.path().join("why-mine.sock"), "").expect("a file");
        let socket = WhySocket::open(state.path()).await.expect("a socket");
        let found = fs::metadata(&socket.path).expect("its socket");
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
        let path = socket.path.clone();
        drop(socket);
        assert!(!path.exists() && !old.exists() && alive.exists());
        assert_eq!(fs::read_dir(state.path()).expect("a directory").count(), 2);
    }
}

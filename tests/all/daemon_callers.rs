//! Sonarr, Radarr, Prowlarr, autobrr and cross-seed, by what they send: `tests/transcripts`.
//!
//! Decides: what happens between their requests.
//! Must not know: the APIs; the transcripts do.
//! Invariant: the data comes from a foreign seed and goes to foreign leechers.

use crate::Test;
use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bt_tests::foreign::Libtorrent;
use bt_tests::{
    LOOPBACK, Names, PATIENCE, Process, Protocol, RunningDaemon, Seeded, Stage, Surroundings,
    ensure_same, play, random_file,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The size of each file that is shared.
const FILE: u64 = 2 << 20;
/// What a leecher takes at most, in bytes a second: so little that it is seen while it fetches.
const DOWN: &str = "6291456";

/// What is shared.
#[derive(Clone, Copy)]
enum Content {
    Film,
    Season,
}

impl Content {
    fn make(self, stage: &Stage) -> Result<PathBuf> {
        match self {
            Content::Film => {
                let film = stage.path("Film.2026.1080p.mkv");
                random_file(&film, 1, 4 * FILE)?;
                Ok(film)
            }
            Content::Season => {
                let season = stage.path("Show.S01.1080p");
                fs::create_dir_all(season.join("Subs"))?;
                for (number, name) in (0..).zip(["E01.mkv", "E02.mkv", "E03.mkv", "Subs/E01.srt"]) {
                    random_file(&season.join(name), number, FILE)?;
                }
                Ok(season)
            }
        }
    }
}

/// A caller's machine: the swarm, and where it imports to.
struct Machine {
    seeded: Seeded,
    _tracker: Process,
    /// Where the daemon listens for peers.
    peers: String,
    /// The torrent that is fetched from the daemon.
    torrent: PathBuf,
    leecher: Option<Process>,
    leechers: usize,
    began: Instant,
}

impl Machine {
    fn library(&self) -> PathBuf {
        self.seeded.stage.path("library")
    }

    /// Returns where the last leecher puts the data.
    fn copy(&self) -> PathBuf {
        self.seeded.stage.path(format!("copy {}", self.leechers))
    }

    /// Starts a foreign leecher; that before it ends.
    fn leech(&mut self) -> Result<()> {
        self.leecher = None;
        self.leechers += 1;
        let at = LOOPBACK.to_string();
        let mut command = Libtorrent::TCP.share_on(&self.torrent, &self.copy(), &at);
        command.args(["--peer", &self.peers, "--down", DOWN]);
        self.leecher = Some(Process::start("leecher", &mut command)?);
        self.began = Instant::now();
        Ok(())
    }

    fn leecher(&self) -> Result<&Process> {
        self.leecher.as_ref().context("there is a leecher")
    }

    fn copied(&self) -> Result<PathBuf> {
        Ok(self.copy().join(self.seeded.source.file_name().context("the source has a name")?))
    }
}

impl Surroundings for Machine {
    fn act(&mut self, act: &str, names: &mut Names) -> Result<()> {
        match act.split(' ').collect::<Vec<_>>()[..] {
            ["the", "seed", "leaves"] => self.seeded.seed.kill(),
            ["it", "lies", "in", path] => {
                ensure_same(&self.seeded.source, Path::new(path))?;
                names.insert("path".to_owned(), path.to_owned());
                Ok(())
            }
            ["import", path] => {
                ensure_same(&self.seeded.source, Path::new(path))?;
                link(Path::new(path), &self.library())
            }
            ["link", path, "to", dir] => {
                let name = Path::new(path).file_name().context("it has a name")?;
                fs::create_dir_all(dir)?;
                self.torrent = names["second torrent"].clone().into();
                link(Path::new(path), &Path::new(dir).join(name))
            }
            ["a", "leecher", "begins"] => self.leech(),
            ["the", "leecher", "has", "everything"] => {
                self.leecher()?.wait_event("complete", PATIENCE)?;
                ensure_same(&self.seeded.source, &self.copied()?)
            }
            ["gone", path] => {
                ensure!(!Path::new(path).exists(), "its data is gone");
                ensure_same(&self.seeded.source, &self.library())
            }
            ["still", "there", path] => ensure_same(&self.seeded.source, Path::new(path)),
            _ => bail!("no participant knows how to do that"),
        }
    }

    fn goes_on(&mut self) -> Result<bool> {
        let leecher = self.leecher()?;
        let goes_on = leecher.last_event("complete").is_none();
        ensure!(!goes_on || self.began.elapsed() < PATIENCE, "{}", leecher.transcript());
        Ok(goes_on)
    }
}

/// Makes hard links of a file, or of all files of a tree.
fn link(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        fs::hard_link(from, to)?;
        ensure!(fs::metadata(to)?.nlink() > 1, "it is a link");
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        link(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Reads a transcript, with those that it takes up by `<<<`.
fn transcript(name: &str) -> Result<String> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut whole = String::new();
    for line in text.lines() {
        match line.strip_prefix("<<< ") {
            Some(other) => whole += &transcript(other.trim())?,
            None => whole += &format!("{line}\n"),
        }
    }
    Ok(whole)
}

/// Makes a second torrent of the same content, as another tracker has it.
fn second(seeded: &Seeded, url: &str) -> Result<PathBuf> {
    let Seeded { stage, source, torrent, .. } = seeded;
    let first = fs::read(torrent)?;
    let made = stage.create(source, &["-a", url, "--source", "other"])?;
    let second = stage.path("second.torrent");
    fs::rename(&made, &second)?;
    fs::write(torrent, first)?;
    Ok(second)
}

fn names(seeded: &Seeded, tracker: &str, dir: &Path, of: &str) -> Result<Names> {
    let Seeded { stage, source, torrent, .. } = seeded;
    let second = second(seeded, tracker)?;
    let base64 = |path: &Path| anyhow::Ok(STANDARD.encode(fs::read(path)?));
    let magnet = stage.show(torrent)?["magnet"].as_str().context("it has a link")?.to_owned();
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let pairs = [
        ("hash", stage.info_hash(torrent)?.to_string()),
        ("second hash", stage.info_hash(&second)?.to_string()),
        ("torrent", text(torrent)),
        ("second torrent", text(&second)),
        ("metainfo", base64(torrent)?),
        ("second metainfo", base64(&second)?),
        ("magnet in a form", utf8_percent_encode(&magnet, NON_ALPHANUMERIC).to_string()),
        ("magnet", magnet),
        ("tracker", tracker.to_owned()),
        ("name", text(Path::new(source.file_name().context("the source has a name")?))),
        ("dir", text(dir)),
        ("basic", STANDARD.encode("me:secret")),
        // Of a caller that did not log in.
        ("cookie", "lang=en".to_owned()),
        // What a ratio is of.
        ("of", of.to_owned()),
    ];
    Ok(pairs.map(|(name, value)| (name.to_owned(), value)).into())
}

/// Plays the transcript of a caller: with a password, or without one.
fn story(name: &str, content: Content, with_password: bool) -> Test {
    if Libtorrent::find().is_none() {
        bt_tests::skip!("libtorrent for Python is not installed");
    }
    let stage = Stage::new()?;
    let source = content.make(&stage)?;
    let (tracker, url) = stage.tracker(Protocol::Http, LOOPBACK, None)?;
    let seeded = Seeded::foreign(stage, &source, &url)?;
    let dir = seeded.stage.path("data");
    let password = seeded.stage.path("password");
    fs::write(&password, "secret\n")?;
    let options = ["--api-user", "me", "--api-password-file", &password.to_string_lossy()];
    let options = if with_password { &options[..] } else { &[] };
    let daemon = RunningDaemon::start(&seeded.stage, "daemon", &dir, options)?;
    let of = if name.starts_with("cross-seed") { "sizeWhenDone" } else { "downloadedEver" };
    let mut names = names(&seeded, &url, &dir, of)?;
    let torrent = seeded.torrent.clone();
    let mut machine = Machine {
        seeded,
        _tracker: tracker,
        peers: daemon.peers.clone(),
        torrent,
        leecher: None,
        leechers: 0,
        began: Instant::now(),
    };
    let played = play(&transcript(name)?, &daemon, &mut names, &mut machine);
    played.with_context(|| {
        let leecher = machine.leecher.as_ref().map(Process::transcript).unwrap_or_default();
        format!("{name}\n{}\n{leecher}", daemon.process.transcript())
    })?;
    daemon.process.stop(PATIENCE)?.expect_code(0)?;
    Ok(())
}

#[test]
fn sonarr_grabs_imports_and_removes_over_qbittorrents_api() -> Test {
    story("sonarr.qbittorrent", Content::Season, true)
}

#[test]
fn sonarr_grabs_imports_and_removes_over_transmissions_rpc() -> Test {
    story("sonarr.transmission", Content::Season, true)
}

#[test]
fn radarr_grabs_imports_and_removes_over_qbittorrents_api() -> Test {
    story("radarr.qbittorrent", Content::Film, false)
}

#[test]
fn radarr_grabs_imports_and_removes_over_transmissions_rpc() -> Test {
    story("radarr.transmission", Content::Film, true)
}

#[test]
fn prowlarr_grabs_over_qbittorrents_api() -> Test {
    story("prowlarr.qbittorrent", Content::Film, true)
}

#[test]
fn prowlarr_grabs_over_transmissions_rpc() -> Test {
    story("prowlarr.transmission", Content::Season, true)
}

#[test]
fn autobrr_races_over_qbittorrents_api() -> Test {
    story("autobrr.qbittorrent", Content::Season, true)
}

#[test]
fn autobrr_races_over_transmissions_rpc() -> Test {
    story("autobrr.transmission", Content::Film, true)
}

#[test]
fn cross_seed_seeds_again_over_qbittorrents_api() -> Test {
    story("cross-seed.qbittorrent", Content::Season, true)
}

#[test]
fn cross_seed_seeds_again_over_transmissions_rpc() -> Test {
    story("cross-seed.transmission", Content::Film, true)
}

//! The saved state and half-finished downloads of earlier versions, and of newer ones.
//!
//! Decides: which numbers of a machine are put into a saved state: the inode, device and times of
//! each file, and the download directory.
//! Must not know: how `bt` reads a state; records are read and written by hand here.
//! Invariant: apart from these numbers, an earlier state is byte for byte as its version left it.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{
    Finished, LOOPBACK, PATIENCE, Process, Stage, ensure_same, journal_record, listening,
};
use flate2::read::GzDecoder;
use std::fs::{self, Metadata};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

/// The folders below `tests/fixtures`.
const STATES: [&str; 2] = ["state-1", "state-2"];
/// The files of the torrent in its order, and their lengths.
const FILES: [(&str, usize); 5] = [
    ("deep/second.txt", 500_000),
    ("empty", 0),
    ("first.txt", 300_000),
    ("small.txt", 10),
    ("third.txt", 248_566),
];
const TOTAL: u64 = 1 << 20;
const PIECE: u64 = 16 << 10;
/// The bytes that each fixture has verified.
const THERE: u64 = TOTAL / 2;
/// The exit code of a command that cannot use the disk.
const DISK: i32 = 6;
/// The length of a record's head in bytes.
const HEAD: usize = 8;
/// The address of the bootstrap node in the fixtures: the port that follows is the first node's.
const NODE: [u8; 4] = [127, 0, 0, 1];

#[test]
fn a_half_finished_download_goes_on_from_what_was_verified() -> Test {
    for version in STATES {
        let saved = Saved::lay(version, |_| Ok(()))?;
        let remembered = saved.list()?.expect_code(0)?.last()?;
        ensure!(remembered["torrents"][0]["bytes_have"] == THERE, "{version}: {remembered}");
        let (seed, at) = saved.seed(&[])?;
        let get = Process::run("get", saved.get().args(["--peer", &at]), PATIENCE)?;
        let summary = get.expect_code(0)?.event("summary")?;
        ensure!(
            summary["bytes_there"] == THERE && summary["bytes_downloaded"] == TOTAL - THERE,
            "{version}: {summary}"
        );
        ensure_same(&saved.stage.path("source"), &saved.copy)?;
        seed.stop(PATIENCE)?.expect_code(0)?;
        let verified = Process::run(
            "verify",
            saved.stage.bt("get").arg("verify").arg(&saved.torrent).arg(&saved.copy),
            PATIENCE,
        )?;
        verified.expect_code(0)?;
    }
    Ok(())
}

/// A wrong byte in a verified piece is seen only by hashing the piece.
#[test]
fn what_was_verified_is_not_hashed_again() -> Test {
    let spoil = |copy: &Path| {
        let file = copy.join("holiday").join(FILES[0].0);
        let mut bytes = fs::read(&file)?;
        // No byte of the content is 0, so that this one is of a piece that was written.
        *bytes.iter_mut().find(|byte| **byte != 0).context("a byte was written")? = b'!';
        Ok(fs::write(&file, bytes)?)
    };
    for version in STATES {
        let saved = Saved::lay(version, spoil)?;
        ensure!(saved.there()? == THERE, "{version}: pieces were hashed");

        let saved = Saved::lay(version, spoil)?;
        let file = saved.copy.join("holiday").join(FILES[0].0);
        fs::File::options().write(true).open(file)?.set_modified(UNIX_EPOCH)?;
        ensure!(saved.there()? == THERE - PIECE, "{version}: a touched file was not hashed");
    }
    Ok(())
}

#[test]
fn a_journal_of_a_newer_version_is_refused_by_name_and_stays() -> Test {
    for version in STATES {
        let saved = Saved::lay(version, |_| Ok(()))?;
        let mut records = records(&fs::read(&saved.journal)?)?;
        records[0][1] = 3;
        let newer = records.iter().flat_map(|body| journal_record(body)).collect::<Vec<_>>();
        fs::write(&saved.journal, &newer)?;
        let before = bt_tests::snapshot(&saved.copy)?;
        let name = saved.journal.file_name().context("it has a name")?.to_string_lossy();
        let (_seed, at) = saved.seed(&[])?;
        let get = Process::run("get", saved.get().args(["--peer", &at]), PATIENCE)?;
        for (what, finished) in [("get", get), ("list", saved.list()?)] {
            let finished = finished.expect_code(DISK)?;
            let error = finished.event("error").or_else(|_| finished.last())?;
            let message = error["message"].as_str().unwrap_or_default();
            ensure!(error["code"] == "newer_format", "{version}, {what}: {error}");
            ensure!(
                message.contains(&*name) && message.contains("a newer version of bt wrote it"),
                "{version}, {what}: {error}"
            );
        }
        ensure!(fs::read(&saved.journal)? == newer, "{version}: the journal was touched");
        ensure!(bt_tests::snapshot(&saved.copy)? == before, "{version}: the data was touched");
    }
    Ok(())
}

#[test]
fn saved_nodes_lead_into_the_dht_and_those_of_a_newer_version_stay() -> Test {
    for version in STATES {
        let mut saved = Saved::lay(version, |_| Ok(()))?;
        let (router, router_at) = node(&saved.stage)?;
        let file = saved.state.join("dht.nodes");
        let mut bytes = fs::read(&file)?;
        let port = router_at.rsplit(':').next().context("a port")?.parse::<u16>()?;
        let at = bytes.windows(4).position(|window| window == NODE).context("a node")? + 4;
        bytes[at..at + 2].copy_from_slice(&port.to_be_bytes());
        fs::write(&file, &bytes)?;
        // The bootstrap node of the seed is the router; the download knows it from its saved nodes.
        let (_seed, _) = saved.seed(&["--dht-bootstrap", &router_at])?;
        let closed = std::net::UdpSocket::bind(LOOPBACK)?.local_addr()?.to_string();
        let mut get = saved.get();
        get.env_remove("BT_NO_DHT").args(["--dht-bootstrap", &closed]);
        let finished = Process::run("get", &mut get, PATIENCE)?.expect_code(0)?;
        ensure!(!finished.err.contains("dht.nodes"), "{version}: {}", finished.err);
        ensure_same(&saved.stage.path("source"), &saved.copy)?;
        let now = fs::read(&file)?;
        ensure!(now != bytes && now.ends_with(b"7:versioni1ee"), "{version}: they were saved");

        let newer = b"d5:tablelld4:kindi3eeee7:versioni2ee";
        fs::write(&file, newer)?;
        saved.copy = saved.stage.path("another copy");
        let mut get = saved.get();
        get.env_remove("BT_NO_DHT").args(["--dht-bootstrap", &router_at]);
        let finished = Process::run("get", &mut get, PATIENCE)?.expect_code(0)?;
        ensure!(
            finished.err.contains("dht.nodes")
                && finished.err.contains("a newer version of bt wrote it"),
            "{version}: {}",
            finished.err
        );
        ensure!(fs::read(&file)? == newer, "{version}: the nodes were overwritten");
        router.stop(PATIENCE)?.expect_code(0)?;
    }
    Ok(())
}

/// Starts a node of the DHT on loopback, and returns it with its address.
fn node(stage: &Stage) -> Result<(Process, String)> {
    let mut command = stage.bt("router");
    command.args(["dht", "node", "--listen", &LOOPBACK.to_string()]);
    let node = Process::start("router", &mut command)?;
    let at = listening(&node)?;
    Ok((node, at))
}

/// A saved state on this machine.
struct Saved {
    stage: Stage,
    torrent: PathBuf,
    /// The state directory.
    state: PathBuf,
    journal: PathBuf,
    /// The download directory.
    copy: PathBuf,
}

impl Saved {
    /// Lays out a fixture. `change` changes its data before the journal notes how files look.
    fn lay(fixture: &str, change: impl FnOnce(&Path) -> Result<()>) -> Result<Saved> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let from = fixtures.join(fixture);
        let stage = Stage::new()?;
        let (torrent, copy, state) =
            (stage.path("holiday.torrent"), stage.path("copy"), stage.path("state of get"));
        fs::copy(fixtures.join("holiday.torrent"), &torrent)?;
        for (name, len) in FILES {
            let file = stage.path("source/holiday").join(name);
            fs::create_dir_all(file.parent().context("it lies in a folder")?)?;
            fs::write(file, content(name, len))?;
        }
        let name = journal_name(&stage, &torrent, &copy)?;
        for (name, _) in FILES {
            let packed = fs::File::open(from.join("copy/holiday").join(format!("{name}.gz")))?;
            let mut bytes = Vec::new();
            GzDecoder::new(packed).read_to_end(&mut bytes)?;
            let file = copy.join("holiday").join(name);
            fs::create_dir_all(file.parent().context("it lies in a folder")?)?;
            fs::write(file, bytes)?;
        }
        change(&copy)?;
        fs::create_dir_all(&state)?;
        let mut journal = Vec::new();
        for entry in fs::read_dir(from.join("state"))? {
            let file = entry?.path();
            let extension = file.extension().unwrap_or_default().to_string_lossy().into_owned();
            match extension.as_str() {
                "journal" => journal = fs::read(&file)?,
                "lock" => drop(fs::copy(&file, state.join(&name).with_extension("lock"))?),
                _ => drop(fs::copy(&file, state.join(file.file_name().context("a name")?))?),
            }
        }
        let records = records(&journal)?;
        let here: Result<Vec<_>> = records.into_iter().map(|body| settled(body, &copy)).collect();
        let journal = state.join(name);
        let bytes: Vec<u8> = here?.iter().flat_map(|body| journal_record(body)).collect();
        fs::write(&journal, bytes)?;
        Ok(Saved { stage, torrent, state, journal, copy })
    }

    /// Starts a seed of the right content, with these options.
    fn seed(&self, options: &[&str]) -> Result<(Process, String)> {
        let mut command =
            self.stage.seed("seed", &self.torrent, &self.stage.path("source"), LOOPBACK);
        if !options.is_empty() {
            command.env_remove("BT_NO_DHT");
        }
        let seed = Process::start("seed", command.args(options))?;
        let at = listening(&seed)?;
        Ok((seed, at))
    }

    fn get(&self) -> Command {
        self.stage.get("get", &self.torrent, &self.copy, LOOPBACK)
    }

    fn list(&self) -> Result<Finished> {
        Process::run("list", self.stage.bt("get").args(["list", "--state"]), PATIENCE)
    }

    /// Returns the bytes that a download without peers finds.
    fn there(&self) -> Result<u64> {
        let get = Process::start("get", &mut self.get())?;
        get.wait_event("ready", PATIENCE)?;
        get.wait_for("the end of the check", PATIENCE, |event| event["phase"] == "download")?;
        let summary = get.stop(PATIENCE)?.expect_code(7)?.event("summary")?;
        summary["bytes_there"].as_u64().with_context(|| format!("{summary}"))
    }
}

/// The content of a file: lines of 64 bytes that name it and count.
fn content(name: &str, len: usize) -> Vec<u8> {
    let lines =
        (0..).flat_map(|line| format!("{:<63}\n", format!("{name}, line {line}")).into_bytes());
    lines.take(len).collect()
}

/// Asks today's `bt` how it names the journal of a torrent in a directory, which is gone then.
fn journal_name(stage: &Stage, torrent: &Path, copy: &Path) -> Result<String> {
    let namer = Process::start("namer", &mut stage.get("namer", torrent, copy, LOOPBACK))?;
    namer.wait_for("the end of the check", PATIENCE, |event| event["phase"] == "download")?;
    namer.stop(PATIENCE)?.expect_code(7)?;
    fs::remove_dir_all(copy)?;
    let names = fs::read_dir(stage.path("state of namer"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<Result<Vec<String>>>()?;
    names.into_iter().find(|name| name.ends_with(".journal")).context("there is a journal")
}

/// The bodies of a journal's records.
fn records(journal: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut bodies = Vec::new();
    let mut rest = journal;
    while !rest.is_empty() {
        let (len, _) = rest.split_first_chunk::<4>().context("a length")?;
        let end = HEAD + usize::try_from(u32::from_le_bytes(*len))?;
        let (record, after) = rest.split_at_checked(end).context("a whole record")?;
        bodies.push(record[HEAD..].to_vec());
        rest = after;
    }
    Ok(bodies)
}

/// Puts the numbers of this machine into a record.
fn settled(mut body: Vec<u8>, copy: &Path) -> Result<Vec<u8>> {
    let look = |index: usize| -> Result<Metadata> {
        Ok(fs::metadata(copy.join("holiday").join(FILES[index].0))?)
    };
    match body.first() {
        // Of each file: whether it was there, its length, two times.
        Some(b'C') => {
            for (index, file) in body[1..].chunks_exact_mut(25).enumerate() {
                ensure!(file[0] == 1, "every file was there");
                let [.., mtime, ctime, _] = numbers(&look(index)?)?;
                file[9..].copy_from_slice(&[mtime, ctime].concat());
            }
        }
        // Of some files: number, whether we made it, device, inode, length, three times.
        Some(b'B') => {
            for file in body[1..].chunks_exact_mut(53) {
                let index = u32::from_le_bytes([file[0], file[1], file[2], file[3]]);
                let [device, inode, mtime, ctime, birth] = numbers(&look(index as usize)?)?;
                file[5..21].copy_from_slice(&[device, inode].concat());
                file[29..].copy_from_slice(&[mtime, ctime, birth].concat());
            }
        }
        // The directory: device, inode, birth; the name with its length; the path.
        Some(b'R') => {
            let [device, inode, _, _, birth] = numbers(&fs::metadata(copy)?)?;
            body[1..25].copy_from_slice(&[device, inode, birth].concat());
            let name =
                usize::try_from(u32::from_le_bytes([body[25], body[26], body[27], body[28]]))?;
            body.truncate(29 + name);
            body.extend(copy.canonicalize()?.as_os_str().as_bytes());
        }
        _ => {}
    }
    Ok(body)
}

/// Device, inode, when the content and the inode last changed, and when the file was made.
fn numbers(file: &Metadata) -> Result<[[u8; 8]; 5]> {
    let nanos = |seconds: i64, nanos: i64| (seconds * 1_000_000_000 + nanos).to_le_bytes();
    let birth = match file.created() {
        Ok(made) => i64::try_from(made.duration_since(UNIX_EPOCH)?.as_nanos())?,
        Err(_) => i64::MIN,
    };
    Ok([
        file.dev().to_le_bytes(),
        file.ino().to_le_bytes(),
        nanos(file.mtime(), file.mtime_nsec()),
        nanos(file.ctime(), file.ctime_nsec()),
        birth.to_le_bytes(),
    ])
}

//! Mistakes of users, and their messages: what is wrong, why, and a next step.
//!
//! Decides: the mistakes. Must not know: how `bt` finds them.
//! Invariant: a message has one line for each mistake. It has no system error numbers, names of
//! temporary files, or figures of work that never began.

use crate::Test;
use anyhow::{Context as _, Result, ensure};
use bt_tests::{LOOPBACK, PATIENCE, Process, Protocol, Stage, listening};

/// A command, its exit code, the required message, and the steps of a user who follows it. Each
/// step ends with exit code 0; a step that begins with `&` is stopped as soon as it is ready.
type Mistake = (&'static str, i32, &'static [&'static str], &'static [&'static str]);

const HASH: &str = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";

/// `HASH` stands for an info-hash without peers. In the steps `RIGHT` is that of `f.torrent`,
/// `PEER` a seed of it, `LINK` its link, `TRACKED` its link with a tracker in it, `NODE` a node of
/// the DHT, and `FRESH` a new directory; `right` is one in which its data lies.
const MISTAKES: &[Mistake] = &[
    // Where to
    (
        "get f.torrent -d afile",
        6,
        &["afile is a file, not a directory", "name a directory with -d"],
        &["get f.torrent -d right"],
    ),
    (
        "get f.torrent -d afile/x",
        6,
        &["cannot create the directory afile/x", "Not a directory", "-d"],
        &["get f.torrent -d right"],
    ),
    (
        "get f.torrent -d /proc/x",
        6,
        &["cannot create the directory /proc/x", "name another one with -d"],
        &["get f.torrent -d right"],
    ),
    (
        "get magnet:?xt=urn:btih:HASH&dn=x -d afile",
        6,
        &["afile is a file", "-d"],
        &["get LINK --peer PEER -d FRESH"],
    ),
    (
        "get f.torrent --state afile",
        6,
        &["cannot keep state in afile", "it is a file", "--state DIR", "--no-resume"],
        &["get f.torrent -d right --state FRESH", "get f.torrent -d right --no-resume"],
    ),
    (
        "get f.torrent --state /proc/x",
        6,
        &["cannot keep state in /proc/x", "--state DIR"],
        &["get f.torrent -d right --state FRESH"],
    ),
    (
        "create f.bin",
        1,
        &["f.bin.torrent exists", "-o", "--force"],
        &["create f.bin -o FRESH/x.torrent", "create f.bin --force"],
    ),
    (
        "create f.bin -o nodir/x.torrent",
        6,
        &["the directory nodir does not exist", "make it"],
        &["create f.bin -o FRESH/x.torrent"],
    ),
    (
        "create f.bin -o /proc/x.torrent",
        6,
        &["cannot write /proc/x.torrent", "name another file with -o"],
        &["create f.bin -o FRESH/x.torrent"],
    ),
    ("create f.bin -o folder", 1, &["folder exists", "-o"], &["create f.bin -o FRESH/x.torrent"]),
    (
        "get --metadata-only f.torrent -o afile",
        1,
        &["afile exists and is not this torrent", "-o"],
        &["get --metadata-only f.torrent -o FRESH/y.torrent"],
    ),
    (
        "get --metadata-only f.torrent folder.torrent -o x",
        2,
        &["-o names one file", "one source"],
        &["get --metadata-only f.torrent -o FRESH/y.torrent"],
    ),
    // What
    (
        "get nothing",
        3,
        &["nothing does not exist", "SOURCE is a .torrent file"],
        &["get f.torrent -d right"],
    ),
    (
        "get nothing.torrent",
        3,
        &["nothing.torrent does not exist", "magnet link"],
        &["get LINK --peer PEER -d FRESH"],
    ),
    (
        "get HASH0",
        3,
        &["41 hex digits", "40 hex digits", "copy it again"],
        &["get RIGHT --peer PEER -d FRESH"],
    ),
    (
        "get c12fe1c06bba254a9dc9f519b335aa7c1367a8",
        3,
        &["38 hex digits", "copy it again"],
        &["get RIGHT --peer PEER -d FRESH"],
    ),
    (
        "get ftp://host/x.torrent",
        3,
        &["ftp is not spoken here", "http(s) URL"],
        &["get LINK --peer PEER -d FRESH"],
    ),
    (
        "get http://127.0.0.1:9/x.torrent",
        5,
        &["cannot fetch http://127.0.0.1:9/x.torrent", "refused", "elsewhere"],
        &["get f.torrent -d right"],
    ),
    (
        "get http://user:secret@127.0.0.1:9/x",
        5,
        &["cannot fetch http://127.0.0.1:9/x", "refused"],
        &["get f.torrent -d right"],
    ),
    (
        "get magnet:?dn=x",
        3,
        &["the magnet link is refused", "xt"],
        &["get LINK --peer PEER -d FRESH"],
    ),
    (
        "get magnet:?xt=urn:btih:12",
        3,
        &["the magnet link is refused"],
        &["get LINK --peer PEER -d FRESH"],
    ),
    (
        "get folder",
        3,
        &["folder is a directory", "bt create folder", "bt seed folder"],
        &["create folder -o FRESH/x.torrent", "&seed folder"],
    ),
    ("get f.bin", 3, &["f.bin is not a valid torrent", "bt seed"], &["&seed f.bin"]),
    (
        "get empty",
        3,
        &["empty is not a valid torrent: it is empty", "fetch it again"],
        &["get f.torrent -d right"],
    ),
    ("get page.torrent", 3, &["a web page", "log in"], &["get f.torrent -d right"]),
    ("get packed.torrent", 3, &["gzip", "gunzip"], &["get f.torrent -d right"]),
    (
        "get cut.torrent",
        3,
        &["cut.torrent is not a valid torrent", "fetch it again"],
        &["get f.torrent -d right"],
    ),
    (
        "get -",
        3,
        &["standard input is not a valid torrent: it is empty"],
        &["get f.torrent -d right"],
    ),
    (
        "get f.torrent f.torrent -d out --timeout 1s",
        2,
        &["f.bin: this torrent was added already", "name it once"],
        &["get f.torrent -d right"],
    ),
    ("show f.bin", 3, &["f.bin is not a valid torrent"], &["show f.torrent"]),
    (
        "show folder",
        3,
        &["folder is a directory", "bt create folder"],
        &["create folder -o FRESH/x.torrent"],
    ),
    ("magnet folder", 3, &["folder is a directory"], &["magnet f.torrent"]),
    (
        "verify magnet:?xt=urn:btih:HASH .",
        2,
        &["a magnet link does not say enough", "bt get --metadata-only"],
        &[
            "get --metadata-only LINK --peer PEER -o FRESH/z.torrent",
            "verify FRESH/z.torrent right",
        ],
    ),
    (
        "verify f.torrent nowhere",
        3,
        &["nowhere does not exist", "the directory that holds the data"],
        &["verify f.torrent right"],
    ),
    (
        "verify f.torrent folder",
        4,
        &["0 of 1 pieces are right", "bt get"],
        &["get f.torrent --peer PEER -d FRESH", "verify f.torrent FRESH"],
    ),
    (
        "seed nothing",
        3,
        &["nothing does not exist", "files, folders and torrents"],
        &["&seed f.bin", "&seed folder", "&seed f.torrent"],
    ),
    (
        "seed f.torrent -d folder",
        4,
        &["f.bin: none of its data is here", "--dir"],
        &["&seed f.torrent -d right"],
    ),
    (
        "create nothing",
        3,
        &["nothing does not exist", "a file or a folder"],
        &["create f.bin -o FRESH/x.torrent", "create folder -o FRESH/y.torrent"],
    ),
    (
        "create void",
        3,
        &["cannot make a torrent of void", "holds no data", "at least one byte"],
        &["create f.bin -o FRESH/x.torrent"],
    ),
    (
        "create f.bin --name  -o x",
        2,
        &["--name is empty"],
        &["create f.bin --name b -o FRESH/x.torrent"],
    ),
    ("create f.bin --name a/b -o x", 3, &["a/b"], &["create f.bin --name b -o FRESH/x.torrent"]),
    (
        "create f.bin --piece-length 1000 -o x",
        2,
        &["1000 bytes is not possible", "a power of two", "1MiB"],
        &["create f.bin --piece-length 1MiB -o FRESH/x.torrent"],
    ),
    (
        "create f.bin --piece-length much -o x",
        2,
        &["much", "64MiB"],
        &["create f.bin --piece-length 64MiB -o FRESH/x.torrent"],
    ),
    (
        "create f.bin -a http:// -o x",
        2,
        &["http://", "host", "as in udp://tracker.example:6969/announce"],
        &["create f.bin -a udp://tracker.example:6969/announce -o FRESH/x.torrent"],
    ),
    (
        "create f.bin -a udp://tracker.example -o x",
        2,
        &["names a port", "6969"],
        &["create f.bin -a udp://tracker.example:6969/announce -o FRESH/x.torrent"],
    ),
    (
        "create f.bin -a tracker.example -o x",
        2,
        &["tracker.example", "as in udp://"],
        &["create f.bin -a udp://tracker.example:6969/announce -o FRESH/x.torrent"],
    ),
    (
        "create f.bin --web-seed udp://host:1 -o x",
        2,
        &["begins with http://", "as in https://"],
        &["create f.bin --web-seed https://host/f.bin -o FRESH/x.torrent"],
    ),
    (
        "create folder --exclude [ -o x",
        2,
        &["["],
        &["create folder --exclude *.tmp -o FRESH/x.torrent"],
    ),
    (
        "forget nothing",
        3,
        &["nothing is remembered of nothing", "bt list --state"],
        &["list --state"],
    ),
    (
        "scrape f.torrent",
        3,
        &["it names no tracker", "bt dht get-peers", "&tr=URL"],
        &["scrape TRACKED"],
    ),
    ("announce f.torrent", 3, &["it names no tracker", "&tr=URL"], &["announce TRACKED"]),
    // How
    (
        "get f.torrent --select zzz -d out",
        2,
        &["--select \"zzz\" matches no file", "there are: f.bin"],
        &["get f.torrent --select f.bin -d right"],
    ),
    (
        "get f.torrent --up 0",
        2,
        &["a rate of zero", "leave the option out"],
        &["get f.torrent -d right"],
    ),
    (
        "get f.torrent --down fast",
        2,
        &["\"fast\" is not a rate like 500KiB/s"],
        &["get f.torrent --down 500KiB/s -d right"],
    ),
    (
        "get f.torrent --timeout 5x",
        2,
        &["\"5x\" is not a time like 5s"],
        &["get f.torrent --timeout 5s -d right", "get f.torrent --timeout 5 -d right"],
    ),
    (
        "get f.torrent --seed-ratio x",
        2,
        &["a ratio is a number like 1.5"],
        &["&get f.torrent --seed-ratio 1.5 -d right"],
    ),
    (
        "get f.torrent --listen 127.0.0.1:80x",
        2,
        &["it has the form ADDR:PORT", "0.0.0.0:6881"],
        &["get f.torrent --listen 127.0.0.1:0 -d right", "get f.torrent --listen 0 -d right"],
    ),
    (
        "get f.torrent --listen 203.0.113.1:5 -d out",
        1,
        &["cannot listen at 203.0.113.1:5", "an address of this machine", "leave --listen out"],
        &["get f.torrent -d right"],
    ),
    (
        "get f.torrent --peer no..such.host:1 -d out",
        5,
        &["cannot resolve no..such.host", "check the name, or give an IP address"],
        &["get f.torrent --peer PEER -d FRESH"],
    ),
    (
        "get f.torrent --peer localhost",
        2,
        &["it has the form HOST:PORT", "localhost:6881", "Example: bt get "],
        &["get f.torrent --peer PEER -d FRESH"],
    ),
    (
        "get f.torrent --ca afile -d out",
        3,
        &["cannot trust afile", "-----BEGIN CERTIFICATE-----"],
        &["get f.torrent -d right"],
    ),
    (
        "get f.torrent --ca nowhere -d out",
        3,
        &["cannot trust nowhere", "No such file"],
        &["get f.torrent -d right"],
    ),
    (
        "get f.torrent --dht-bootstrap host",
        2,
        &["HOST:PORT"],
        &["dht get-peers RIGHT --dht-bootstrap NODE"],
    ),
    (
        "get f.torrent -d out --timeout 1s",
        5,
        &["f.bin: no progress for", "no peers are connected", "--peer"],
        &["get f.torrent --peer PEER -d FRESH"],
    ),
    (
        "get HASH -d out --timeout 1s",
        5,
        &["no metadata for", "no peers were found", "--peer"],
        &["get RIGHT --peer PEER -d FRESH"],
    ),
    (
        "tracker --udp 203.0.113.1:5",
        1,
        &["203.0.113.1:5", "an address of this machine"],
        &["&tracker --udp 127.0.0.1:0"],
    ),
    (
        "tracker --http nonsense",
        2,
        &["it has the form ADDR:PORT"],
        &["&tracker --http 127.0.0.1:0"],
    ),
    (
        "tracker --interval 0s",
        2,
        &["an interval is 1s at least"],
        &["&tracker --interval 1s --udp 127.0.0.1:0"],
    ),
    ("dht ping 1.2.3.4", 2, &["it has the form HOST:PORT"], &["dht ping NODE"]),
    (
        "dht node --listen 203.0.113.1:5",
        1,
        &["cannot listen at 203.0.113.1:5", "an address of this machine", "--listen"],
        &["&dht node --listen 127.0.0.1:0"],
    ),
    (
        "dht get-peers zz",
        2,
        &["it has 40 hex digits"],
        &["dht get-peers RIGHT --dht-bootstrap NODE"],
    ),
    ("help nothing", 2, &["there is no command nothing", "bt --help"], &["--help"]),
];

#[test]
fn mistakes_get_an_error_with_its_reason_and_advice() -> Test {
    let stage = Stage::new()?;
    let write = |name: &str, bytes: &[u8]| std::fs::write(stage.path(name), bytes);
    write("f.bin", &[7; 1000])?;
    write("afile", b"text")?;
    write("empty", b"")?;
    write("page.torrent", b"<!DOCTYPE html><html>")?;
    write("packed.torrent", b"\x1f\x8b\x08\0")?;
    for folder in ["folder", "void"] {
        std::fs::create_dir(stage.path(folder))?;
    }
    write("folder/notes.txt", b"notes")?;
    for (source, torrent) in
        [("f.bin", "f.torrent"), ("f.bin", "f.bin.torrent"), ("folder", "folder.torrent")]
    {
        Process::run("create", stage.bt("c").args(["create", source, "-o", torrent]), PATIENCE)?
            .expect_code(0)?;
    }
    write("cut.torrent", &std::fs::read(stage.path("f.torrent"))?[..40])?;
    std::fs::create_dir(stage.path("right"))?;
    write("right/f.bin", &[7; 1000])?;
    let torrent = stage.path("f.torrent");
    let (_tracker, url) = stage.tracker(Protocol::Http, LOOPBACK, None)?;
    let node =
        Process::start("node", stage.bt("node").args(["dht", "node", "--listen", "127.0.0.1:0"]))?;
    let node_at = listening(&node)?;
    let seed =
        Process::start("seed", &mut stage.seed("seed", &torrent, &stage.path("right"), LOOPBACK))?;
    let peer = listening(&seed)?;
    let right = stage.info_hash(&torrent)?;
    // From here on the node knows the peer of the torrent.
    let announce =
        ["dht", "get-peers", &right.to_string(), "--announce", "7777", "--dht-bootstrap", &node_at];
    Process::run("announce", stage.bt("person").args(announce), PATIENCE)?.expect_code(0)?;
    let words = [
        ("LINK", format!("magnet:?xt=urn:btih:{right}")),
        ("TRACKED", format!("magnet:?xt=urn:btih:{right}&tr={url}")),
        ("RIGHT", right.to_string()),
        ("PEER", peer),
        ("NODE", node_at),
    ];
    let mut wrong = Vec::new();
    for (number, mistake) in MISTAKES.iter().enumerate() {
        let fresh = format!("fresh-{number}");
        std::fs::create_dir(stage.path(&fresh))?;
        let followed = || {
            let steps = mistake.3.iter().map(|step| {
                words.iter().fold((*step).to_owned(), |step, (word, is)| step.replace(word, is))
            });
            steps
                .map(|step| step.replace("FRESH", &fresh))
                .try_for_each(|step| follow(&stage, mistake.0, &step))
        };
        if let Err(error) = make(&stage, mistake).and_then(|()| followed()) {
            wrong.push(format!("{error:#}"));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {} mistakes:\n{}",
        wrong.len(),
        MISTAKES.len(),
        wrong.join("\n")
    );
    println!("{} mistakes", MISTAKES.len());
    Ok(())
}

/// Runs the step that a message names.
fn follow(stage: &Stage, mistake: &str, step: &str) -> Result<()> {
    if let Some(line) = step.strip_prefix('&') {
        let process = Process::start("step", stage.bt("person").args(line.split(' ')))?;
        process
            .wait_event("ready", PATIENCE)
            .with_context(|| format!("`bt {mistake}`, then `bt {line}`"))?;
        process.stop(PATIENCE)?;
        return Ok(());
    }
    let done = Process::run("step", stage.bt_for_people("person").args(step.split(' ')), PATIENCE)?;
    ensure!(
        done.code == Some(0),
        "`bt {mistake}`, then `bt {step}` ended with {:?}: {}{}",
        done.code,
        done.out,
        done.err
    );
    Ok(())
}

fn make(stage: &Stage, (line, code, said, _): &Mistake) -> Result<()> {
    let line = line.replace("HASH", HASH);
    let mut command = stage.bt_for_people("person");
    command.args(line.split(' '));
    let finished = Process::run("mistake", &mut command, PATIENCE)?;
    let text = format!("{}{}", finished.out, finished.err);
    ensure!(
        finished.code == Some(*code),
        "`bt {line}` ended with {:?}, not {code}: {text}",
        finished.code
    );
    for words in *said {
        ensure!(finished.err.contains(words), "`bt {line}` does not say {words:?}: {text}");
    }
    for noise in
        ["os error", ".bt-create-", ".probe-", "0 B uploaded", "panicked", "secret", "\x1b"]
    {
        ensure!(!text.contains(noise), "`bt {line}` says {noise:?}: {text}");
    }
    Ok(())
}

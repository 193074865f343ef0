//! The journal of a `bt get`, spoilt while the download does not run.
//!
//! Decides: how the journal is spoilt, and the outcome. Must not know: how `bt` reads a journal;
//! records are written by hand here.
//! Invariant: `bt` claims no piece that is not on the disk and fetches no right piece again; the
//! copy is right in the end.

use super::scene::{clean, settled, sound};
use super::{Figures, Outcome, Report, Row, Scale};
use crate::{Fixture, PATIENCE, Process, ensure_same, journal_record as record, random_bytes};
use Outcome::{Ignored, Rechecked, Refused};
use anyhow::{Context as _, Result, ensure};
use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The exit code of a command that cannot use the disk.
const DISK: i32 = 6;
/// The length of a record's head in bytes: body length and body checksum.
const HEAD: usize = 8;

pub(super) struct Case {
    name: &'static str,
    outcome: Outcome,
    /// The download was killed, so that the journal records no clean end.
    killed: bool,
    harm: fn(&Spoilt) -> Result<()>,
}

const fn stopped(name: &'static str, outcome: Outcome, harm: fn(&Spoilt) -> Result<()>) -> Case {
    Case { name, outcome, killed: false, harm }
}

const fn killed(name: &'static str, outcome: Outcome, harm: fn(&Spoilt) -> Result<()>) -> Case {
    Case { name, outcome, killed: true, harm }
}

/// The files of a download that does not run.
pub(super) struct Spoilt {
    journal: PathBuf,
    /// The journal of a complete copy of the same torrent elsewhere.
    complete: Vec<u8>,
    /// A file that must stay as it is.
    precious: PathBuf,
}

pub(super) const CASES: &[Case] = &[
    // ---- bytes ----
    stopped("empty", Rechecked, |it| it.edit(Vec::clear)),
    killed("empty, after a kill", Rechecked, |it| it.edit(Vec::clear)),
    stopped("cut to its half", Rechecked, |it| it.edit(|bytes| bytes.truncate(bytes.len() / 2))),
    killed("cut to its half, after a kill", Rechecked, |it| {
        it.edit(|bytes| bytes.truncate(bytes.len() / 2))
    }),
    stopped("a byte short", Rechecked, |it| it.edit(|bytes| bytes.truncate(bytes.len() - 1))),
    stopped("its first bit flipped", Rechecked, |it| it.edit(|bytes| bytes[0] ^= 1)),
    stopped("a bit of its version flipped", Rechecked, |it| it.edit(|bytes| bytes[HEAD + 1] ^= 2)),
    stopped("a bit in its middle flipped", Rechecked, |it| {
        it.edit(|bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        })
    }),
    killed("a bit in its middle flipped, after a kill", Rechecked, |it| {
        it.edit(|bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        })
    }),
    stopped("its last bit flipped", Rechecked, |it| {
        it.edit(|bytes| *bytes.last_mut().unwrap_or(&mut 0) ^= 0x80)
    }),
    stopped("all zeros", Rechecked, |it| it.edit(|bytes| bytes.fill(0))),
    stopped("all ones", Rechecked, |it| it.edit(|bytes| bytes.fill(0xff))),
    stopped("noise", Rechecked, |it| it.edit(|bytes| *bytes = random_bytes(1, 100_000))),
    stopped("4 KiB of zeros behind it", Rechecked, |it| it.edit(|bytes| bytes.extend([0; 4096]))),
    killed("4 KiB of zeros behind it, after a kill", Rechecked, |it| {
        it.edit(|bytes| bytes.extend([0; 4096]))
    }),
    stopped("100 KB of noise behind it", Rechecked, |it| {
        it.edit(|bytes| bytes.extend(random_bytes(2, 100_000)))
    }),
    stopped("itself once more behind it", Rechecked, |it| {
        it.edit(|bytes| bytes.extend_from_within(..))
    }),
    stopped("a gibibyte of nothing behind it", Rechecked, |it| {
        Ok(OpenOptions::new().write(true).open(&it.journal)?.set_len(1 << 30)?)
    }),
    // ---- records whose checksum is right ----
    stopped("of a newer version", Refused(DISK), |it| it.edit_header(|header| header[1] = 99)),
    stopped("of another torrent", Rechecked, |it| it.edit_header(|header| header[2] ^= 1)),
    stopped("of other pieces", Rechecked, |it| it.edit_header(|header| header[22] ^= 1)),
    stopped("of another size", Rechecked, |it| {
        it.edit_header(|header| *header.last_mut().unwrap_or(&mut 0) ^= 0x40)
    }),
    stopped("of a complete copy elsewhere", Rechecked, |it| {
        it.edit(|bytes| bytes.clone_from(&it.complete))
    }),
    stopped("a record of 4 GiB", Rechecked, |it| {
        it.edit(|bytes| bytes.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, b'G']))
    }),
    stopped("a record of nothing", Rechecked, |it| it.edit(|bytes| bytes.extend(record(b"")))),
    stopped("a record that no version knows", Rechecked, |it| {
        it.edit(|bytes| bytes.extend(record(b"Zzz")))
    }),
    stopped("a piece that there is not", Rechecked, |it| {
        it.edit(|bytes| bytes.extend(record(b"G\xff\xff\xff\xff")))
    }),
    stopped("a piece and a half", Rechecked, |it| {
        it.edit(|bytes| bytes.extend(record(b"G\x01\x00\x00\x00\x02\x00")))
    }),
    stopped("pieces in a bitfield that is too long", Rechecked, |it| {
        it.edit(|bytes| bytes.extend(record(&[&b"P"[..], &[0xff; 1000]].concat())))
    }),
    stopped("pieces in a bitfield that is too short", Rechecked, |it| {
        it.edit(|bytes| bytes.extend(record(b"P\xff")))
    }),
    stopped("a clean end with half a file", Rechecked, |it| {
        it.edit(|bytes| bytes.extend(record(b"C\x01\x02\x03")))
    }),
    stopped("a clean end with 500,000 files", Rechecked, |it| {
        it.edit(|bytes| bytes.extend(record(&[&b"C"[..], &vec![1; 500_000 * 25]].concat())))
    }),
    stopped("a million records of one piece", Rechecked, |it| {
        it.edit(|bytes| bytes.extend(record(b"D\x00\x00\x00\x00").repeat(1_000_000)))
    }),
    // ---- other files beside the journal ----
    stopped("taken away", Rechecked, |it| Ok(fs::remove_file(&it.journal)?)),
    stopped("with another name too", Ignored, |it| {
        Ok(fs::hard_link(&it.journal, it.journal.with_extension("kept"))?)
    }),
    stopped("a draft of noise beside it", Ignored, |it| {
        Ok(fs::write(it.journal.with_extension("new"), random_bytes(1, 1000))?)
    }),
    stopped("a lock of noise beside it", Ignored, |it| {
        Ok(fs::write(it.journal.with_extension("lock"), random_bytes(1, 1000))?)
    }),
    stopped("a lock that is a link to a precious file", Ignored, |it| {
        let lock = it.journal.with_extension("lock");
        fs::remove_file(&lock)?;
        Ok(std::os::unix::fs::symlink(&it.precious, lock)?)
    }),
    stopped("a directory in its place", Refused(DISK), |it| {
        fs::remove_file(&it.journal)?;
        Ok(fs::create_dir(&it.journal)?)
    }),
    stopped("a link to a precious file in its place", Refused(DISK), |it| {
        fs::remove_file(&it.journal)?;
        Ok(std::os::unix::fs::symlink(&it.precious, &it.journal)?)
    }),
    stopped("a pipe in its place", Refused(DISK), |it| {
        fs::remove_file(&it.journal)?;
        Ok(rustix::fs::mknodat(
            rustix::fs::CWD,
            &it.journal,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )?)
    }),
    stopped("a directory in the place of its lock", Refused(DISK), |it| {
        let lock = it.journal.with_extension("lock");
        fs::remove_file(&lock)?;
        Ok(fs::create_dir(lock)?)
    }),
    stopped("a file in the place of the state directory", Refused(DISK), |it| {
        let home = it.journal.parent().context("it lies in a directory")?;
        fs::remove_dir_all(home)?;
        Ok(fs::write(home, "no directory")?)
    }),
];

impl Spoilt {
    fn edit(&self, change: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let mut bytes = fs::read(&self.journal)?;
        change(&mut bytes);
        Ok(fs::write(&self.journal, bytes)?)
    }

    /// Changes the body of the first record and corrects its checksum.
    fn edit_header(&self, change: impl FnOnce(&mut [u8])) -> Result<()> {
        self.edit(|bytes| {
            let end = HEAD + usize::from(bytes[0]);
            change(&mut bytes[HEAD..end]);
            let header = record(&bytes[HEAD..end]);
            bytes.splice(..end, header);
        })
    }
}

/// Plays all cases.
pub(super) fn run(scale: &Scale) -> Result<Vec<Row>> {
    // The rate is low enough to stop a download in the middle.
    let fixture = Fixture::new(scale.mib as usize, scale.up.unwrap_or("8MiB/s"))?;
    let seed = fixture.seed()?;
    let precious = fixture.stage.path("precious");
    fs::write(&precious, "untouched")?;
    let (mut complete, mut before, mut number) = (Vec::new(), 0, 0);
    let mut place = || {
        number += 1;
        Place {
            home: fixture.stage.path(format!("home {number}")),
            dir: fixture.stage.path(format!("copy {number}")),
        }
    };
    // A clean download was stopped, too.
    let alone = clean(|| {
        let place = place();
        place.stop(&fixture, false)?;
        let resumed = place.go_on(&fixture)?;
        let took = resumed.took;
        before = resumed.get.memory()?.max(before);
        place.end(&fixture, resumed)?;
        complete = fs::read(place.journal()?)?;
        Ok(took)
    })?;
    let mut report = Report::new("journal");
    for case in CASES {
        let place = place();
        let play = || {
            place.stop(&fixture, case.killed)?;
            (case.harm)(&Spoilt {
                journal: place.journal()?,
                complete: complete.clone(),
                precious: precious.clone(),
            })?;
            if let Refused(code) = case.outcome {
                place.refuse(&fixture, code)?;
            }
            let resumed = place.go_on(&fixture)?;
            let (took, held) = (resumed.took, settled(&resumed.get, before)?);
            place.end(&fixture, resumed)?;
            ensure!(fs::read(&precious)? == b"untouched", "another file was written to");
            Ok(Figures { held, took, clean: alone })
        };
        report.add(case.name, case.outcome, play());
        fs::remove_dir_all(&place.dir)?;
    }
    sound(seed.stop(PATIENCE)?.expect_code(0)?)?;
    report.end()
}

/// The folders of a download: its data and its state.
struct Place {
    home: PathBuf,
    dir: PathBuf,
}

/// A download that resumed, completed and seeds.
struct Resumed {
    get: Process,
    /// The time from its start until it was complete.
    took: Duration,
    /// The bytes that were right on the disk before.
    right: u64,
}

impl Place {
    fn journal(&self) -> Result<PathBuf> {
        let mut names = fs::read_dir(&self.home)?.filter_map(|entry| Some(entry.ok()?.path()));
        names
            .find(|path| path.extension().is_some_and(|extension| extension == "journal"))
            .context("there is a journal")
    }

    /// Runs a download and ends it in its first half.
    fn stop(&self, fixture: &Fixture, killed: bool) -> Result<()> {
        let get = Process::start("get", &mut fixture.get(&self.home, &self.dir))?;
        get.wait_for("a beginning", PATIENCE, |event| {
            event["bytes_down"].as_u64() >= Some(fixture.total() / 4)
        })?;
        if killed {
            get.kill()?;
            get.finish(PATIENCE)?;
        } else {
            sound(get.stop(PATIENCE)?.expect_code(7)?)?;
        }
        Ok(())
    }

    /// Runs the same command again and waits until the download is complete.
    fn go_on(&self, fixture: &Fixture) -> Result<Resumed> {
        let right = fixture.right_bytes(&self.dir);
        let began = Instant::now();
        let get = Process::start("get", fixture.get(&self.home, &self.dir).arg("--seed"))?;
        get.wait_event("ready", PATIENCE)?;
        fixture.ensure_claims(&get, &self.dir)?;
        get.wait_event("complete", PATIENCE)?;
        let took = began.elapsed();
        Ok(Resumed { get, took, right })
    }

    /// Ends the download. Fails unless it found all right pieces and its copy is right.
    fn end(&self, fixture: &Fixture, Resumed { get, right, .. }: Resumed) -> Result<()> {
        let summary = sound(get.stop(PATIENCE)?.expect_code(0)?)?.event("summary")?;
        let there = summary["bytes_there"]
            .as_u64()
            .with_context(|| format!("it says what was there: {summary}"))?;
        ensure!(
            there >= right,
            "{right} bytes were right on the disk, and {there} of them were found"
        );
        ensure_same(&fixture.stage.path("data.bin"), &Fixture::copy(&self.dir))
    }

    /// Runs the same command again, which must state why it cannot resume. Then removes the
    /// obstacle and the whole journal.
    fn refuse(&self, fixture: &Fixture, code: i32) -> Result<()> {
        let right = fixture.right_bytes(&self.dir);
        let refusal = sound(
            Process::run("get", &mut fixture.get(&self.home, &self.dir), PATIENCE)?
                .expect_code(code)?,
        )?;
        let error = refusal.event("error").or_else(|_| refusal.last())?;
        ensure!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{error}");
        ensure!(fixture.right_bytes(&self.dir) == right, "data was touched");
        if self.home.is_dir() {
            fs::remove_dir_all(&self.home)?
        } else {
            fs::remove_file(&self.home)?
        }
        Ok(())
    }
}

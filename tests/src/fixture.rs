//! A torrent with its original: it shows at any moment which pieces of a copy are right, and which
//! a program claims.
//!
//! Decides: how a copy is compared. Must not know: what happens to the copy.
//! Invariant: every byte of a piece is compared; no size, time or word of a program is trusted.

use crate::{Asker, LOOPBACK, PATIENCE, Part, Process, Stage, listening, random_bytes};
use anyhow::{Result, ensure};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The piece length of a file, in bytes.
const PIECE: usize = 256 << 10;
/// The piece length of a tree of small files, in bytes.
const SMALL_PIECE: usize = 16 << 10;
/// The number of files in one directory of a tree.
const FILES: usize = 1000;
/// The name of the file, or of the tree.
const NAME: &str = "data.bin";
/// The wait for an answer of a program that may send none.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// A file of random bytes or a tree of one-byte files, its torrent, and the fixed address of its
/// seed.
#[derive(Debug)]
pub struct Fixture {
    /// The folder of all files.
    pub stage: Stage,
    /// The torrent's file.
    pub torrent: PathBuf,
    original: Vec<u8>,
    piece: usize,
    /// The paths below the copy, in the torrent's order; empty for a single file.
    files: Vec<PathBuf>,
    info_hash: [u8; 20],
    seed_at: SocketAddr,
    up: String,
}

impl Fixture {
    /// Makes a file of `mib` MiB; the seed sends at most `up` (as `--up` takes it).
    pub fn new(mib: usize, up: &str) -> Result<Fixture> {
        let stage = Stage::new()?;
        let original = random_bytes(mib as u64, mib << 20);
        let source = stage.path(NAME);
        fs::write(&source, &original)?;
        Fixture::of(stage, original, Vec::new(), PIECE, up)
    }

    /// Makes a tree with this number of files of one byte each.
    pub fn tree(files: usize, up: &str) -> Result<Fixture> {
        let stage = Stage::new()?;
        let original = random_bytes(files as u64, files);
        let files: Vec<PathBuf> =
            (0..files).map(|n| format!("{:04}/{:04}", n / FILES, n % FILES).into()).collect();
        for (path, byte) in files.iter().map(|path| stage.path(NAME).join(path)).zip(&original) {
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, [*byte])?;
        }
        Fixture::of(stage, original, files, SMALL_PIECE, up)
    }

    fn of(
        stage: Stage,
        original: Vec<u8>,
        files: Vec<PathBuf>,
        piece: usize,
        up: &str,
    ) -> Result<Fixture> {
        let torrent = stage.create(&stage.path(NAME), &["--piece-length", &piece.to_string()])?;
        let info_hash = stage.info_hash(&torrent)?.0;
        // The port was free a moment ago.
        let seed_at = TcpListener::bind(LOOPBACK)?.local_addr()?;
        Ok(Fixture { stage, torrent, original, piece, files, info_hash, seed_at, up: up.into() })
    }

    /// Returns the length of the content in bytes.
    pub fn total(&self) -> u64 {
        self.original.len() as u64
    }

    /// Starts a seed of the original.
    pub fn seed(&self) -> Result<Process> {
        let mut command =
            self.stage.seed("seed", &self.torrent, &self.stage.path(""), self.seed_at);
        let seed = Process::start("seed", command.args(["--up", &self.up]))?;
        seed.wait_event("ready", PATIENCE)?;
        Ok(seed)
    }

    /// Returns the command of a download from the seed into `dir`, with its state in `home`.
    pub fn get(&self, home: &Path, dir: &Path) -> Command {
        let mut command = crate::bt(home);
        command
            .arg("get")
            .arg(&self.torrent)
            .arg("-d")
            .arg(dir)
            .args(["--listen", &LOOPBACK.to_string()]);
        command.args(["--peer", &self.seed_at.to_string()]);
        command
    }

    /// Returns the path of the copy in `dir`.
    pub fn copy(dir: &Path) -> PathBuf {
        dir.join(NAME)
    }

    /// Tells which pieces of the copy in `dir` are right.
    pub fn right(&self, dir: &Path) -> Vec<bool> {
        (0..self.pieces()).map(|number| self.is_right(dir, number)).collect()
    }

    fn pieces(&self) -> usize {
        self.original.len().div_ceil(self.piece)
    }

    fn is_right(&self, dir: &Path, number: usize) -> bool {
        let (path, from) = (Fixture::copy(dir), number * self.piece);
        let Some(piece) = self.original.chunks(self.piece).nth(number) else { return false };
        if self.files.is_empty() {
            let mut bytes = vec![0; piece.len()];
            let read =
                fs::File::open(path).and_then(|file| file.read_exact_at(&mut bytes, from as u64));
            return read.is_ok() && bytes == piece;
        }
        let holds = |(file, byte): (&PathBuf, &u8)| {
            fs::read(path.join(file)).is_ok_and(|bytes| bytes == [*byte])
        };
        self.files.iter().skip(from).zip(piece).all(holds)
    }

    /// Returns the number of bytes in right pieces.
    pub fn right_bytes(&self, dir: &Path) -> u64 {
        let lengths = self.original.chunks(self.piece).map(|piece| piece.len() as u64);
        lengths.zip(self.right(dir)).filter(|(_, right)| *right).map(|(len, _)| len).sum()
    }

    /// Asks a program over the wire, and fails if it claims a piece that the copy in `dir` does not
    /// have.
    pub fn ensure_claims(&self, process: &Process, dir: &Path) -> Result<()> {
        let asker = Asker::meet(&listening(process)?, self.info_hash, self.pieces())?;
        // Only claimed pieces are read: to read many small files takes as long as a download.
        let false_claim = asker
            .claims()
            .iter()
            .enumerate()
            .position(|(number, claims)| *claims && !self.is_right(dir, number));
        ensure!(false_claim.is_none(), "it claims piece {false_claim:?}, which is not on the disk");
        Ok(())
    }

    /// Requests what a program claims; returns the numbers of right and of wrong blocks.
    pub fn served(&self, at: &str) -> Result<(usize, usize)> {
        let mut asker = Asker::meet(at, self.info_hash, self.pieces())?;
        let (mut asked, mut right, mut wrong) = (vec![false; asker.claims().len()], 0, 0);
        loop {
            let fresh: Vec<usize> =
                (0..asked.len()).filter(|&n| asker.claims()[n] && !asked[n]).collect();
            let parts: Vec<Part> = fresh.iter().flat_map(|&n| self.parts(n)).collect();
            for (part, data) in asker.ask(&parts, ANSWER_WITHIN)? {
                let from = part.piece as usize * self.piece + part.begin as usize;
                let is_right = self.original.get(from..from + data.len()) == Some(&data[..]);
                *(if is_right { &mut right } else { &mut wrong }) += 1;
            }
            fresh.iter().for_each(|&n| asked[n] = true);
            let is_new = asker.claims().iter().zip(&asked).any(|(claims, asked)| *claims && !asked);
            if !is_new && !asker.hear_more(ANSWER_WITHIN)? {
                return Ok((right, wrong));
            }
        }
    }

    /// Returns the first and the last block of a piece.
    fn parts(&self, piece: usize) -> impl Iterator<Item = Part> + use<> {
        const BLOCK: u32 = 16 << 10;
        let len = self.original.len().saturating_sub(piece * self.piece).min(self.piece) as u32;
        let last = len.saturating_sub(1) / BLOCK * BLOCK;
        let part =
            move |begin: u32| Part { piece: piece as u32, begin, len: BLOCK.min(len - begin) };
        [0, last].into_iter().take(if last == 0 { 1 } else { 2 }).map(part)
    }
}

//! Data to share: files and trees that are the same for the same seed.
//!
//! Decides: which awkward names and sizes a tree has. Must not know: which program shares it.
//! Invariant: no file of a tree is a sibling of a directory whose name it begins with, where
//! mktorrent's order differs from ours.

use bt_types::Rng;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// Names that file systems allow and programs get wrong.
const AWKWARD: [&str; 8] = [
    ".hidden",
    "with space.txt",
    "ünïcödé.bin",
    "日本語.dat",
    "Ω≈ç√",
    "emoji🎈.png",
    "semi;colon&amp",
    "-dash",
];

/// Returns random bytes, which no program can compress.
pub fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Rng::from_seed(seed).fill(&mut bytes);
    bytes
}

/// Writes a file of random bytes.
pub fn random_file(path: &Path, seed: u64, len: u64) -> io::Result<()> {
    let mut rng = Rng::from_seed(seed);
    let mut file = fs::File::create(path)?;
    let mut chunk = [0; 1 << 14];
    let mut left = len;
    while left > 0 {
        let count = left.min(chunk.len() as u64) as usize;
        rng.fill(&mut chunk[..count]);
        file.write_all(&chunk[..count])?;
        left -= count as u64;
    }
    Ok(())
}

/// Makes a tree of `files` files with `total` bytes together. One file in ten is empty, one in ten
/// has a few bytes, and the rest differ in size. Some have awkward names or lie in hidden
/// directories.
pub fn tree(root: &Path, seed: u64, files: u32, total: u64) -> io::Result<()> {
    let mut rng = Rng::from_seed(seed);
    let mut left = total;
    for index in 0..files {
        let dir = root
            .join(format!("{}dir {}", if index % 7 == 3 { "." } else { "" }, index % 23))
            .join(format!("sub{}", index % 3));
        fs::create_dir_all(&dir)?;
        let awkward = AWKWARD.get(index as usize % 40).copied().unwrap_or_default();
        let mean = left / u64::from(files - index);
        let len = match index % 10 {
            _ if index + 1 == files => left,
            0 => 0,
            1 => rng.below(9) + 1,
            _ => rng.below(2 * mean + 1) + mean / 4,
        };
        let len = len.min(left);
        random_file(&dir.join(format!("{awkward}{index:06}")), seed ^ u64::from(index), len)?;
        left -= len;
    }
    Ok(())
}

/// Converts bytes to MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

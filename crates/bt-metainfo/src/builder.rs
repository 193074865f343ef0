//! Makes the bytes of a `.torrent` file from files and digests.
//!
//! Decides: which keys are written, and the default piece length.
//! Must not know: where the files are.
//! Invariant: the output is canonical, and equal input gives equal bytes.

use alloc::{string::String, vec::Vec};
use bt_bencoding::{DictWriter, ListWriter, Writer, write};
use bt_hash::Sha1Digest;

/// The parts of a v1 torrent. Start from [`Builder::new`] and set what differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Builder {
    /// Name of the file, or of the directory that holds the files.
    pub name: String,
    /// Piece length in bytes.
    pub piece_length: u32,
    /// Peers may come from the trackers only (BEP 27).
    pub private: bool,
    /// Written into `info`, so that the info-hash differs from that of an equal torrent elsewhere.
    pub source: Option<String>,
    /// Free text.
    pub comment: Option<String>,
    /// The program that makes it.
    pub created_by: Option<String>,
    /// Seconds since 1970.
    pub creation_date: Option<i64>,
    /// Announce URLs in tiers (BEP 12).
    pub trackers: Vec<Vec<String>>,
    /// URLs of web seeds (BEP 19).
    pub web_seeds: Vec<String>,
    /// Path below `name` (empty in a single-file torrent) and length in bytes of each file, in the
    /// order of the torrent.
    pub files: Vec<(Vec<String>, u64)>,
    /// Whether `name` is the one file itself.
    pub single_file: bool,
}

impl Builder {
    /// Starts a torrent of these files in a directory `name`, with the piece length of
    /// [`auto_piece_length`] and nothing optional.
    pub fn new(name: &str, files: Vec<(Vec<String>, u64)>) -> Builder {
        Builder {
            name: name.into(),
            piece_length: auto_piece_length(total(&files)),
            private: false,
            source: None,
            comment: None,
            created_by: None,
            creation_date: None,
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            files,
            single_file: false,
        }
    }

    /// Builds the bytes of the `.torrent`, given the SHA-1 of each piece in order.
    pub fn build(&self, digests: &[Sha1Digest]) -> Vec<u8> {
        let outside = Outside {
            trackers: &self.trackers,
            comment: self.comment.as_ref(),
            created_by: self.created_by.as_ref(),
            creation_date: self.creation_date,
            nodes: &[],
            web_seeds: &self.web_seeds,
        };
        outside.around(|info| info.dict(|info| self.info(info, digests)))
    }

    /// Writes exactly the keys that other programs write too, so that the info-hash is the same as
    /// theirs.
    fn info(&self, info: &mut DictWriter<'_>, digests: &[Sha1Digest]) {
        if self.single_file {
            info.key(b"length").int(size(total(&self.files)));
        } else {
            info.key(b"files").list(|list| {
                for (path, length) in &self.files {
                    list.item().dict(|file| {
                        file.key(b"length").int(size(*length));
                        file.key(b"path").list(|l| strings(l, path));
                    });
                }
            });
        }
        info.key(b"name").bytes(self.name.as_bytes());
        info.key(b"piece length").int(i64::from(self.piece_length));
        info.key(b"pieces").bytes(digests.as_flattened());
        if self.private {
            info.key(b"private").int(1);
        }
        text(info, b"source", self.source.as_ref());
    }
}

/// The keys around the `info` of a `.torrent` file.
pub(crate) struct Outside<'a> {
    pub(crate) trackers: &'a [Vec<String>],
    pub(crate) comment: Option<&'a String>,
    pub(crate) created_by: Option<&'a String>,
    pub(crate) creation_date: Option<i64>,
    pub(crate) nodes: &'a [(String, u16)],
    pub(crate) web_seeds: &'a [String],
}

impl Outside<'_> {
    /// Builds the bytes of the file, with the `info` that the function writes.
    pub(crate) fn around(&self, info: impl FnOnce(Writer<'_>)) -> Vec<u8> {
        write(|w| {
            w.dict(|d| {
                let mut urls = self.trackers.iter().flatten();
                text(d, b"announce", urls.next());
                if urls.next().is_some() {
                    d.key(b"announce-list").list(|tiers| {
                        self.trackers
                            .iter()
                            .for_each(|tier| tiers.item().list(|l| strings(l, tier)))
                    });
                }
                text(d, b"comment", self.comment);
                text(d, b"created by", self.created_by);
                if let Some(date) = self.creation_date {
                    d.key(b"creation date").int(date);
                }
                info(d.key(b"info"));
                if !self.nodes.is_empty() {
                    d.key(b"nodes").list(|l| {
                        self.nodes.iter().for_each(|node| l.item().list(|pair| pair_of(pair, node)))
                    });
                }
                if !self.web_seeds.is_empty() {
                    d.key(b"url-list").list(|l| strings(l, self.web_seeds));
                }
            })
        })
    }
}

fn pair_of(pair: &mut ListWriter<'_>, (host, port): &(String, u16)) {
    pair.item().bytes(host.as_bytes());
    pair.item().int(i64::from(*port));
}

/// Chooses a piece length in bytes that gives 1,000 to 2,000 pieces: a power of two from 16 KiB to
/// 16 MiB.
pub fn auto_piece_length(total: u64) -> u32 {
    const MIN: u64 = 16 << 10;
    const MAX: u64 = 16 << 20;
    let wanted = total.div_ceil(2000).clamp(MIN, MAX).next_power_of_two();
    u32::try_from(wanted).unwrap_or(u32::MAX)
}

fn total(files: &[(Vec<String>, u64)]) -> u64 {
    files.iter().fold(0, |sum, (_, length)| sum.saturating_add(*length))
}

fn text(dict: &mut DictWriter<'_>, key: &[u8], value: Option<&String>) {
    if let Some(value) = value {
        dict.key(key).bytes(value.as_bytes());
    }
}

fn strings(list: &mut ListWriter<'_>, values: &[String]) {
    values.iter().for_each(|value| list.item().bytes(value.as_bytes()));
}

/// Returns a file size as bencode holds it; no file system holds a larger one.
fn size(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

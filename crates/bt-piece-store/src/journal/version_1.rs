//! Takes over a journal of version 1.
//!
//! Decides: what such a journal still proves.
//! Must not know: file contents, how a journal is written.
//! Invariant: its pieces count only after a clean stop, and only in files of the same length and
//! times as then.
//!
//! Version 1 knew neither the inode of a file nor when it was made. It had two more records:
//! - `O` the torrent was opened: files may be written from here on.
//! - `C` a clean stop, with each file as it looked: whether it was there, its length, when its
//!   content and its inode last changed. It holds only as the last record.
//!
//! After a kill the journal says nothing of files, so all data is hashed.

use super::Journal;
use super::records::take_record;
use crate::identity::{Noted, Stat};

/// A file as a clean stop left it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Look {
    len: u64,
    mtime_ns: i64,
    ctime_ns: i64,
}

impl Look {
    /// Returns whether the file looks the same now. No program can set the time of its inode.
    fn is(&self, now: &Stat) -> bool {
        (self.len, self.mtime_ns, self.ctime_ns) == (now.len, now.mtime_ns, now.ctime_ns)
    }
}

impl Journal {
    /// Returns whether the journal's file still has version 1.
    pub(crate) fn is_of_version_1(&self) -> bool {
        !self.left.is_empty()
    }

    /// Replays the records after the header of version 1.
    pub(super) fn replay_version_1(&mut self, records: &[u8]) {
        let mut rest = records;
        let mut left = None;
        while !rest.is_empty() {
            let Some(record) = take_record(&mut rest).and_then(|body| self.replay_one(body)) else {
                left = None;
                break;
            };
            left = record;
        }
        match left {
            Some(left) => self.left = left,
            None => self.known = Journal::in_memory(self.id, &self.geometry).known,
        }
    }

    /// Replays one record: what a clean stop left, if it is one. `None` when it makes no sense.
    fn replay_one(&mut self, record: &[u8]) -> Option<Option<Vec<Option<Look>>>> {
        match record.split_first()? {
            (b'C', body) => read_stop(body).map(Some),
            (b'O', []) => Some(None),
            (b'P' | b'D' | b'G', _) => self.replay(record).map(|()| None),
            _ => None,
        }
    }

    /// Notes the files that look as they were left. `now` are all files in torrent order.
    pub(crate) fn take_over(&mut self, now: &[Option<Stat>]) {
        for (index, (left, now)) in self.left.iter().zip(now).enumerate() {
            let same = left.zip(*now).filter(|(left, now)| left.is(now));
            if let Some((_, stat)) = same {
                // Version 1 did not say which files we made.
                self.known.note(index, Noted { stat, made: false });
            }
        }
    }
}

fn read_stop(body: &[u8]) -> Option<Vec<Option<Look>>> {
    let (files, []) = body.as_chunks::<25>() else { return None };
    files.iter().map(read_look).collect()
}

fn read_look(&[is_there, ref rest @ ..]: &[u8; 25]) -> Option<Option<Look>> {
    let (words, []) = rest.as_chunks::<8>() else { return None };
    let &[len, mtime, ctime] = words else { return None };
    let look = Look {
        len: u64::from_le_bytes(len),
        mtime_ns: i64::from_le_bytes(mtime),
        ctime_ns: i64::from_le_bytes(ctime),
    };
    Some((is_there == 1).then_some(look))
}

//! Any storage, with errors put in by a rule.
//!
//! Decides: nothing; the rule does.
//! Must not know: what is stored.
//! Invariant: an operation that the rule fails does not reach the storage below.

use super::{Identity, Storage};
use crate::identity::{Change, FolderId, Stat};
use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;

/// The operation that is about to happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// [`Storage::read_at`], [`Storage::try_read_at`] and [`Identity::read_raw`].
    Read,
    /// [`Storage::write_at`].
    Write,
    /// [`Storage::set_len`].
    SetLen,
    /// [`Storage::len`] and [`Identity::stat`].
    Stat,
    /// [`Storage::sync`].
    Sync,
    /// [`Storage::sync_names`].
    SyncNames,
    /// [`Storage::create_new`].
    Create,
    /// [`Storage::rename`], with the path it goes to.
    Rename,
    /// [`Storage::remove`].
    Remove,
}

type Rule = dyn Fn(Op, &Path) -> Option<io::Error> + Send + Sync;

/// A storage whose operations fail when a rule says so.
pub struct FaultyStorage<S> {
    inner: S,
    rule: Box<Rule>,
}

impl<S> FaultyStorage<S> {
    /// Makes a storage that asks `rule` before each operation; an error of the rule is the
    /// operation's.
    pub fn new(
        inner: S,
        rule: impl Fn(Op, &Path) -> Option<io::Error> + Send + Sync + 'static,
    ) -> FaultyStorage<S> {
        FaultyStorage { inner, rule: Box::new(rule) }
    }

    /// Returns the storage below.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn ask(&self, op: Op, path: &Path) -> io::Result<&S> {
        (self.rule)(op, path).map_or(Ok(&self.inner), Err)
    }
}

impl<S: Storage> FaultyStorage<S> {
    fn below(&self, op: Op, path: &Path) -> io::Result<&dyn Storage> {
        self.ask(op, path).map(|below| below as &dyn Storage)
    }
}

impl<S: fmt::Debug> fmt::Debug for FaultyStorage<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyStorage").field(&self.inner).finish()
    }
}

impl<S: Storage> Storage for FaultyStorage<S> {
    fn read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.ask(Op::Read, path)?.read_at(path, offset, buf)
    }

    fn try_read_at(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<Option<usize>> {
        self.ask(Op::Read, path)?.try_read_at(path, offset, buf)
    }

    fn write_at(&self, path: &Path, offset: u64, data: &[IoSlice<'_>]) -> io::Result<()> {
        self.ask(Op::Write, path)?.write_at(path, offset, data)
    }

    fn set_len(&self, path: &Path, len: u64) -> io::Result<()> {
        self.ask(Op::SetLen, path)?.set_len(path, len)
    }

    fn next_data(&self, path: &Path, offset: u64) -> io::Result<Option<u64>> {
        self.inner.next_data(path, offset)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.ask(Op::SyncNames, Path::new(""))?.sync_names()
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.ask(Op::Sync, path)?.sync(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<()> {
        self.ask(Op::Create, path)?.create_new(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.ask(Op::Rename, to)?.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.ask(Op::Remove, path)?.remove(path)
    }

    fn len(&self, path: &Path) -> io::Result<Option<u64>> {
        self.ask(Op::Stat, path)?.len(path)
    }

    fn identity(&self) -> Option<&dyn Identity> {
        Some(self)
    }
}

impl<S: Storage> Identity for FaultyStorage<S> {
    fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        self.below(Op::Stat, path)?.stat(path)
    }

    fn read_raw(&self, path: &Path, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.below(Op::Read, path)?.read_raw(path, offset, buf)
    }

    fn change(&self, path: &Path) -> io::Result<Change> {
        (&self.inner as &dyn Storage).change(path)
    }

    fn folder(&self) -> io::Result<Option<FolderId>> {
        (&self.inner as &dyn Storage).folder()
    }

    fn noted(&self, path: &Path) -> io::Result<Option<Stat>> {
        (&self.inner as &dyn Storage).noted(path)
    }

    fn trust(&self, path: &Path, stat: &Stat) -> io::Result<bool> {
        (&self.inner as &dyn Storage).trust(path, stat)
    }
}

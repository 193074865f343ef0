//! Files that somebody else changed: their pieces are hashed again, and if all are right, the files are believed again.
//!
//! Decides: when a file is looked at again, how much is hashed at once. Must not know: who noticed the change.
//! Invariant: a file is believed again only if every piece of it that we have was hashed, and it did not change meanwhile.

use crate::hashing::hash_pieces;
use crate::storage::{Stat, Storage, StoreError};
use crate::{Layout, Progress};
use bt_metainfo::PieceDigests;
use bt_types::Piece;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::sync::Arc;

/// Bytes hashed at once: other torrents of the same thread wait so long.
const STEP: u64 = 16 << 20;

/// The files in doubt, by their numbers.
#[derive(Default)]
pub(crate) struct Doubts(BTreeMap<usize, Doubt>);

#[derive(Default)]
struct Doubt {
    look: Option<Look>,
    /// It was found wrong while it, and the files that it shares pieces with, looked so.
    wrong: Option<View>,
}

/// What a file looks like, and a hash of what the files of its first and of its last piece do: whether those are right is up to all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct View {
    stat: Stat,
    edges: [u64; 2],
}

/// A look that is under way.
struct Look {
    view: View,
    storage: Arc<dyn Storage>,
    /// Pieces to hash, the next one last.
    left: Vec<Piece>,
}

impl Doubts {
    /// A file is in doubt.
    pub(crate) fn add(&mut self, index: usize) {
        self.0.entry(index).or_default();
    }

    /// Whether any file is.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether pieces are being hashed: [`Doubts::step`] shall be called.
    pub(crate) fn is_looking(&self) -> bool {
        self.0.values().any(|doubt| doubt.look.is_some())
    }

    /// Begins to look at each file that differs from what was found wrong, or that shares a piece with one that does. `had` says which
    /// pieces we have. Returns what stands against the first file that is not being looked at.
    pub(crate) fn retry(&mut self, layout: &Layout, storage: &dyn Storage, had: impl Fn(Piece) -> bool) -> Option<StoreError> {
        let mut against = None;
        // Thousands of files may share a piece.
        let mut pieces = BTreeMap::new();
        let mut edge = |number| *pieces.entry(number).or_insert_with(|| look_of_piece(layout, number, storage));
        for (&index, doubt) in self.0.iter_mut().filter(|(_, doubt)| doubt.look.is_none()) {
            let file = &layout.files()[index];
            let numbers = layout.numbers_of(file);
            let edges = [edge(numbers.start), edge(numbers.end.saturating_sub(1))];
            match doubt.begin(storage.stat(&file.path), file.length, edges, storage) {
                Ok((view, storage)) => {
                    let left = layout.pieces_of(file).filter(|&piece| had(piece)).collect();
                    doubt.look = Some(Look { view, storage, left });
                }
                Err(source) => {
                    against.get_or_insert(StoreError { path: file.path.clone(), source });
                }
            }
        }
        against
    }

    /// Hashes some pieces.
    pub(crate) fn step(&mut self, layout: &Layout, digests: &PieceDigests, storage: &dyn Storage) {
        let Some((&index, doubt)) = self.0.iter_mut().find(|(_, doubt)| doubt.look.is_some()) else { return };
        let Some(mut look) = doubt.look.take() else { return };
        let count = usize::try_from(STEP / u64::from(layout.geometry().piece_length())).unwrap_or(1).max(1);
        let pieces = look.left.split_off(look.left.len().saturating_sub(count));
        let found = hash_pieces(layout, digests.algorithm(), look.storage.as_ref(), &pieces, &Progress::default());
        let right = |(&piece, digest): (&Piece, &Option<_>)| digest.as_ref().is_some_and(|digest| digests.matches(piece, digest));
        // What cannot be read now is neither right nor wrong.
        let Ok(found) = found else { return };
        if !pieces.iter().zip(&found).all(right) {
            doubt.wrong = Some(look.view);
        } else if !look.left.is_empty() {
            doubt.look = Some(look);
        } else if storage.trust(&layout.files()[index].path, &look.view.stat).is_ok_and(|believed| believed) {
            self.0.remove(&index);
        }
    }
}

impl Doubt {
    fn begin(
        &self,
        stat: io::Result<Option<Stat>>,
        length: u64,
        edges: [u64; 2],
        storage: &dyn Storage,
    ) -> io::Result<(View, Arc<dyn Storage>)> {
        let view = View { stat: stat?.ok_or(io::ErrorKind::NotFound)?, edges };
        if view.stat.len != length || self.wrong == Some(view) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "somebody else changed it, and its pieces are wrong"));
        }
        Ok((view, storage.afresh()?))
    }
}

/// A hash of what the files of a piece look like.
fn look_of_piece(layout: &Layout, number: u32, storage: &dyn Storage) -> u64 {
    let mut hasher = DefaultHasher::new();
    let spans = layout.geometry().piece(number).into_iter().flat_map(|piece| layout.piece_spans(piece));
    for span in spans.filter(|span| span.file.is_stored) {
        let stat = storage.stat(&span.file.path).ok().flatten();
        stat.map(|stat| (stat.len, stat.mtime_ns, stat.ctime_ns)).hash(&mut hasher);
    }
    hasher.finish()
}

impl std::fmt::Debug for Doubts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

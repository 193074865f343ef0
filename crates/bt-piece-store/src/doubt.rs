//! Files that another program touched: their pieces are hashed again, and right ones are trusted
//! again.
//!
//! Decides: which pieces of such a file are hashed, when it is looked at again, how much is hashed
//! at once.
//! Must not know: how the change was noticed.
//! Invariant: a file is trusted again only if its hashed pieces are right or given up, and its
//! content did not change meanwhile.

use crate::hashing::{HashError, hash_pieces};
use crate::identity::{Change, Stat, sample};
use crate::storage::{Storage, StoreError};
use crate::{Layout, Progress};
use bt_metainfo::PieceDigests;
use bt_types::{Piece, Rng};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;

/// Bytes hashed at once: other torrents of the same disk thread wait for that time.
const STEP: u64 = 16 << 20;

/// The files in doubt, by their numbers.
#[derive(Default)]
pub(crate) struct Doubts(BTreeMap<usize, Doubt>);

#[derive(Default)]
struct Doubt {
    look: Option<Look>,
    /// The view at which the file was last found wrong: with the same view it is not hashed again.
    wrong: Option<View>,
}

/// The stat of a file, and hashes over the files of its first and of its last piece. These pieces
/// depend on all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
struct View {
    stat: Stat,
    edges: [u64; 2],
}

/// A look that is under way.
struct Look {
    view: View,
    /// Pieces to hash, the next one last.
    left: Vec<Piece>,
    /// Pieces that are not right.
    wrong: Vec<Piece>,
    right: u32,
    /// All pieces of the file that we have, while only a sample is hashed.
    all: Option<Vec<Piece>>,
}

/// A look at a file that has ended.
pub(crate) struct Looked {
    pub(crate) index: usize,
    /// Its stat at the start of the look.
    pub(crate) stat: Stat,
    /// Pieces of it that we had and that are no longer right.
    pub(crate) wrong: Vec<Piece>,
    /// Pieces that are right.
    pub(crate) right: u32,
}

impl Doubts {
    /// Adds a file to those in doubt.
    pub(crate) fn add(&mut self, index: usize) {
        self.0.entry(index).or_default();
    }

    /// Discards the look at a file: it is looked at again, even if it looks the same.
    pub(crate) fn forget_look(&mut self, index: usize) {
        self.0.insert(index, Doubt::default());
    }

    /// Returns whether no file is in doubt.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether pieces are being hashed: the caller must call [`Doubts::step`].
    pub(crate) fn is_looking(&self) -> bool {
        self.0.values().any(|doubt| doubt.look.is_some())
    }

    /// Starts a look at each file that differs from the view that was found wrong. Its view
    /// includes the files that it shares pieces with.
    ///
    /// `only` is the worst change that is looked at. `had` says which pieces we have. Returns the
    /// error of the first file that cannot be looked at.
    pub(crate) fn look(
        &mut self,
        layout: &Layout,
        storage: &dyn Storage,
        rng: &mut Rng,
        only: Change,
        had: impl Fn(Piece) -> bool,
    ) -> Option<StoreError> {
        let mut against = None;
        // Thousands of files may share a piece.
        let mut pieces = BTreeMap::new();
        let mut edge = |number| {
            *pieces.entry(number).or_insert_with(|| look_of_piece(layout, number, storage))
        };
        for (&index, doubt) in self.0.iter_mut().filter(|(_, doubt)| doubt.look.is_none()) {
            let file = &layout.files()[index];
            let change = storage.change(&file.path).unwrap_or(Change::Content);
            if change > only {
                continue;
            }
            let numbers = layout.numbers_of(file);
            let edges = [edge(numbers.start), edge(numbers.end.saturating_sub(1))];
            match doubt.begin(storage.stat(&file.path), edges) {
                Ok(view) => {
                    let had: Vec<Piece> =
                        layout.pieces_of(file).filter(|&piece| had(piece)).collect();
                    let some = (change < Change::Content)
                        .then(|| sample(&had, layout.geometry().piece_length(), rng));
                    let (left, all) =
                        some.map_or_else(|| (had.clone(), None), |some| (some, Some(had.clone())));
                    doubt.look = Some(Look { view, left, wrong: Vec::new(), right: 0, all });
                }
                Err(source) => {
                    against.get_or_insert(StoreError { path: file.path.clone(), source });
                }
            }
        }
        against
    }

    /// Hashes some pieces. Returns a look that ended; its file stays in doubt until
    /// [`Doubts::believe`].
    pub(crate) fn step(
        &mut self,
        layout: &Layout,
        digests: &PieceDigests,
        storage: &dyn Storage,
    ) -> Result<Option<Looked>, StoreError> {
        let under_way =
            self.0.iter_mut().find_map(|(&index, doubt)| Some((index, doubt.look.take()?, doubt)));
        let Some((index, mut look, doubt)) = under_way else { return Ok(None) };
        let count =
            usize::try_from(STEP / u64::from(layout.geometry().piece_length())).unwrap_or(1).max(1);
        let pieces = look.left.split_off(look.left.len().saturating_sub(count));
        // A piece that cannot be read now is neither right nor wrong.
        let found = match hash_pieces(
            layout,
            digests.algorithm(),
            storage,
            &pieces,
            &Progress::default(),
        ) {
            Ok(found) => found,
            Err(HashError::Store(error)) => return Err(error),
            Err(HashError::Cancelled) => return Ok(None),
        };
        for (piece, digest) in pieces.into_iter().zip(found) {
            match digest.is_some_and(|digest| digests.matches(piece, &digest)) {
                true => look.right += 1,
                false => look.wrong.push(piece),
            }
        }
        if let Some(all) = look.all.take_if(|_| !look.wrong.is_empty()) {
            look = Look { left: all, wrong: Vec::new(), right: 0, ..look };
        }
        if !look.left.is_empty() {
            doubt.look = Some(look);
            return Ok(None);
        }
        let Look { view, wrong, right, .. } = look;
        // Until it is trusted, the file need not be hashed again while it looks the same.
        doubt.wrong = Some(view);
        Ok(Some(Looked { index, stat: view.stat, wrong, right }))
    }

    /// Trusts a file that was looked at, unless its content changed meanwhile.
    pub(crate) fn believe(
        &mut self,
        layout: &Layout,
        storage: &dyn Storage,
        index: usize,
        stat: &Stat,
    ) -> bool {
        let believed = layout
            .files()
            .get(index)
            .is_some_and(|file| storage.trust(&file.path, stat).unwrap_or(false));
        if believed {
            self.0.remove(&index);
        }
        believed
    }
}

impl Doubt {
    fn begin(&self, stat: io::Result<Option<Stat>>, edges: [u64; 2]) -> io::Result<View> {
        let view = View { stat: stat?.ok_or(io::ErrorKind::NotFound)?, edges };
        if self.wrong == Some(view) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "another program changed it, and it is not what it was: bring back what was there, or move it away and start again",
            ));
        }
        Ok(view)
    }
}

/// Hashes the stats of the files of a piece.
fn look_of_piece(layout: &Layout, number: u32, storage: &dyn Storage) -> u64 {
    let mut hasher = DefaultHasher::new();
    let spans =
        layout.geometry().piece(number).into_iter().flat_map(|piece| layout.piece_spans(piece));
    for span in spans.filter(|span| span.file.is_stored) {
        storage.stat(&span.file.path).ok().flatten().hash(&mut hasher);
    }
    hasher.finish()
}

impl std::fmt::Debug for Doubts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

//! Answers what a user asks of a torrent, and tells its engine what the user wants.
//!
//! Decides: nothing.
//! Must not know: how answers are shown.
//! Invariant: an answer that is not awaited any more is dropped. A question about a torrent that no
//! engine has is dropped too: the wait for its answer ends.

use super::Shard;
use crate::mail::to_shard::View;
use bt_engine::{Input, TorrentKey};
use bt_model::SessionView;
use bt_types::Piece;

impl Shard {
    /// Tells the engine what the user wants of a torrent now.
    pub(super) fn set(&mut self, key: TorrentKey) {
        if let Some(settings) = self.torrents.get(&key).map(|entry| entry.settings()) {
            self.engine.handle(self.clock.now(), Input::Set(key, Box::new(settings)));
            self.publish_one(key);
        }
    }

    /// Reports what is known of a torrent.
    pub(super) fn view(&mut self, key: TorrentKey, view: View) {
        let now = self.clock.now();
        match view {
            View::Torrent(done) => {
                self.status(key).map(|view| done.send(Box::new(view)));
            }
            View::Peers(done) => drop(done.send(self.engine.peers(now, key))),
            View::Trackers(done) => drop(done.send(self.engine.trackers(now, key))),
            View::Piece(piece, done) => match self.engine.have(key) {
                Some(have) if have.has(piece) => {
                    let _ = done.send(());
                }
                Some(_) => {
                    if let Some(entry) = self.torrents.get_mut(&key) {
                        let readers = &mut entry.kept().readers;
                        readers.retain(|(_, done)| !done.is_closed());
                        readers.push((piece, done));
                    }
                }
                None => {}
            },
            View::Pieces(done) => {
                self.engine.have(key).map(|have| done.send(have.clone()));
            }
        }
    }

    /// Returns what is known of all torrents of this shard together, with the bytes of earlier
    /// engines.
    pub(super) fn session_view(&self) -> SessionView {
        self.engine.session_view(self.clock.now()).with(self.earlier.clone())
    }

    /// Tells an engine that was given a torrent which pieces a reader needs.
    pub(super) fn set_deadlines(&mut self, key: TorrentKey) {
        let kept = self.torrents.get(&key).and_then(|entry| entry.kept.as_ref());
        let deadlines = kept.map(|kept| kept.deadlines.clone()).unwrap_or_default();
        for (pieces, by) in deadlines {
            self.engine.handle(self.clock.now(), Input::Deadline(key, pieces, Some(by)));
        }
    }

    /// Answers the readers that wait for this piece.
    pub(super) fn tell_readers(&mut self, key: TorrentKey, piece: Piece) {
        let Some(kept) = self.torrents.get_mut(&key).and_then(|entry| entry.kept.as_mut()) else {
            return;
        };
        for (_, done) in kept.readers.extract_if(.., |(of, _)| *of == piece) {
            // The reader may have moved on.
            let _ = done.send(());
        }
    }
}

//! Reads a file of a torrent while it downloads: what is read next is fetched first.
//!
//! Decides: how far ahead pieces have a deadline, and which.
//! Must not know: peers, how pieces are fetched.
//! Invariant: only bytes of verified pieces are read.

use crate::client::inner::{Inner, Known};
use crate::mail::disk_order::DiskOrder;
use crate::mail::events::TorrentState;
use crate::mail::to_shard::{ToShard, View};
use bt_engine::Input;
use bt_types::{BLOCK_LEN_MAX, Piece, RawBlock};
use bytes::Bytes;
use std::io::{self, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio::sync::oneshot;

/// Bytes ahead of a reader that have a deadline: some seconds of a film, and enough to keep several
/// peers busy.
const AHEAD: u64 = 16 << 20;
/// Most pieces ahead of a reader that have a deadline: what the block picker looks at for a peer.
const PIECES_AHEAD: u32 = 64;
/// Time until a reader's pieces are due. Of pieces that are due at the same time the first comes
/// first, so only the order of readers counts.
const SOON: Duration = Duration::from_secs(60);
/// Time after which a torrent that no engine has is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Reads a file of a torrent, from any place on. A read waits for the pieces that it needs; these
/// and those behind them are fetched before all others. [`Reader::len`] is the length of the file.
///
/// It can be used as long as the session runs. Several readers may read one torrent.
#[must_use]
pub struct Reader {
    inner: Arc<Inner>,
    known: Arc<Known>,
    /// The file's bytes in the torrent.
    bytes: Range<u64>,
    /// The place in the file that is read next.
    at: u64,
    /// The pieces that have a deadline.
    ahead: Range<u32>,
    /// What was read and not taken.
    left: Bytes,
    under_way: Option<Reading>,
}

/// A read that waits for its piece or for the disk.
type Reading = Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>;

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("at", &self.at).field("len", &self.len()).finish()
    }
}

impl Reader {
    /// Makes a reader of the file with this number in the torrent's list; `None` if there is no
    /// such file, or nothing is known of the torrent yet.
    pub(crate) fn new(inner: Arc<Inner>, number: usize) -> Option<Reader> {
        let known = inner.known()?;
        let file = known.layout.files().get(number).filter(|file| file.is_stored)?;
        let bytes = file.offset..file.offset + file.length;
        Some(Reader {
            inner,
            bytes,
            at: 0,
            ahead: 0..0,
            left: Bytes::new(),
            under_way: None,
            known,
        })
    }

    /// Returns the length of the file in bytes.
    #[expect(clippy::len_without_is_empty, reason = "the length of a file, not of a collection")]
    pub fn len(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }

    /// Begins to read at the present place. The pieces from there on get deadlines.
    fn begin(&mut self) -> Option<Reading> {
        let geometry = *self.known.layout.geometry();
        let at = self.bytes.start.checked_add(self.at)?;
        if at >= self.bytes.end {
            return None;
        }
        let length = u64::from(geometry.piece_length());
        let ahead = pieces_ahead(length, at, self.bytes.end);
        let piece = geometry.piece(ahead.start)?;
        let deadlines = self.move_to(ahead);
        let begin = u32::try_from(at % length).ok()?;
        let in_piece = u64::from(geometry.piece_len(piece) - begin);
        let len = in_piece.min(self.bytes.end - at).min(u64::from(BLOCK_LEN_MAX));
        let raw = RawBlock { piece: piece.number(), begin, len: u32::try_from(len).unwrap_or(0) };
        let inner = Arc::clone(&self.inner);
        Some(Box::pin(async move {
            for input in deadlines {
                let _ = inner.shard.send(ToShard::Input(input)).await;
            }
            read(&inner, piece, raw, &geometry).await
        }))
    }

    /// Moves the deadlines. Returns what the engine must be told: nothing while the reader is in
    /// the same piece.
    fn move_to(&mut self, ahead: Range<u32>) -> Vec<Input> {
        if self.ahead == ahead {
            return Vec::new();
        }
        let (key, now) = (self.inner.shared.key, self.inner.session.clock.now());
        let before = std::mem::replace(&mut self.ahead, ahead.clone());
        // All of them anew: another reader of these pieces may have taken deadlines back.
        let taken_back = (!before.is_empty()).then_some((before, None));
        let set = [taken_back, Some((ahead, Some(now + SOON)))];
        let input = |(pieces, by)| Input::Deadline(key, pieces, by);
        set.into_iter().flatten().map(input).collect()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let pieces = std::mem::replace(&mut self.ahead, 0..0);
        if !pieces.is_empty() {
            // A full inbox: the deadlines stay, and pass.
            let take_back = Input::Deadline(self.inner.shared.key, pieces, None);
            let _ = self.inner.shard.try_send(ToShard::Input(take_back));
        }
    }
}

/// Waits for a piece, and reads a part of it.
async fn read(
    inner: &Inner,
    piece: Piece,
    raw: RawBlock,
    geometry: &bt_types::Geometry,
) -> io::Result<Bytes> {
    let block = geometry.block(raw).ok_or(io::ErrorKind::UnexpectedEof)?;
    loop {
        wait_for(inner, piece).await?;
        let (done, answer) = oneshot::channel();
        let fetch = DiskOrder::Fetch { blocks: vec![block], done };
        inner.session.disks.submit([(inner.shared.key, fetch)].into_iter());
        match answer.await {
            Ok(Ok(mut blocks)) => return Ok(blocks.pop().unwrap_or_default()),
            Ok(Err(error)) => return Err(error),
            // The torrent is opened again, or it is over.
            Err(_) => {}
        }
    }
}

/// Returns the pieces that have a deadline while a reader is at this byte of the torrent, in a file
/// that ends before `end`.
fn pieces_ahead(piece_length: u64, at: u64, end: u64) -> Range<u32> {
    let number = |offset: u64| u32::try_from(offset / piece_length).unwrap_or(u32::MAX);
    let end = at.saturating_add(AHEAD).min(end);
    let (first, last) = (number(at), number(end.saturating_sub(1)));
    first..last.min(first.saturating_add(PIECES_AHEAD - 1)).saturating_add(1)
}

/// Waits until a piece is verified and written.
async fn wait_for(inner: &Inner, piece: Piece) -> io::Result<()> {
    let mut state = inner.shared.state.subscribe();
    loop {
        let is_over = match &*state.borrow_and_update() {
            TorrentState::Failed(error) => Some(error.to_string()),
            TorrentState::Stopped | TorrentState::Known => {
                Some("the torrent was stopped".to_owned())
            }
            TorrentState::Checking | TorrentState::Finding(_) | TorrentState::Active(_) => None,
        };
        if let Some(why) = is_over {
            return Err(io::Error::new(io::ErrorKind::NotConnected, why));
        }
        if inner.ask(|done| View::Piece(piece, done)).await.is_some() {
            return Ok(());
        }
        // It is being checked, or another engine gets it.
        let _ = tokio::time::timeout(AGAIN, state.changed()).await;
    }
}

impl AsyncRead for Reader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let reader = self.get_mut();
        if reader.left.is_empty() {
            if reader.under_way.is_none() {
                reader.under_way = reader.begin();
            }
            let Some(reading) = &mut reader.under_way else { return Poll::Ready(Ok(())) };
            let read = ready!(reading.as_mut().poll(context));
            reader.under_way = None;
            reader.left = read?;
        }
        let part = reader.left.split_to(reader.left.len().min(buf.remaining()));
        buf.put_slice(&part);
        reader.at += part.len() as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for Reader {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let reader = self.get_mut();
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => reader.len().checked_add_signed(by),
            SeekFrom::Current(by) => reader.at.checked_add_signed(by),
        };
        let at = at.ok_or(io::ErrorKind::InvalidInput)?;
        if at != reader.at {
            reader.at = at;
            reader.left = Bytes::new();
            reader.under_way = None;
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_has_few_pieces_ahead() {
        const MIB: u64 = 1 << 20;
        let table = [
            ("16 MiB of large pieces", MIB, 5 * MIB, 100 * MIB, 5..21),
            ("64 small pieces", 16 << 10, 0, 100 * MIB, 0..64),
            ("up to the end of the file", MIB, 95 * MIB + 1, 100 * MIB - 5, 95..100),
            ("a file inside a piece", MIB, 7 * MIB + 1, 7 * MIB + 2, 7..8),
        ];
        for (what, length, at, end, expected) in table {
            assert_eq!(pieces_ahead(length, at, end), expected, "{what}");
        }
    }
}

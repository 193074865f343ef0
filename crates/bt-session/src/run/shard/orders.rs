//! Carries out the orders of a shard's engine.
//!
//! Decides: nothing.
//! Must not know: why something is ordered.
//! Invariant: nothing here blocks, except opening a file. An order that finds no room elsewhere is
//! answered as failed; only `stopped` waits.

use super::{Shard, Stage};
use crate::mail::disk_order::DiskOrder;
use crate::mail::to_control::ToControl;
use crate::net::splice::{self, Sendable};
use bt_engine::{CloseReason, Discovery, Input, Output, PeerKey, TorrentKey};
use bt_tracker_wire::{Event, Failure};
use bt_types::Block;
use bytes::Bytes;
use tokio::sync::mpsc;

impl Shard {
    pub(super) fn carry_out(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send(peer, messages) => {
                    if let Some(mailbox) = self.peers.get(&peer) {
                        mailbox.send(messages);
                    }
                }
                Output::Serve { peer, torrent, blocks, at_once } => {
                    self.serve(peer, torrent, blocks, at_once)
                }
                Output::Store(key, block, data) => {
                    self.to_disk.push((key, DiskOrder::store(block, data)))
                }
                Output::Check { torrent, piece, urgent } => {
                    self.to_disk.push((torrent, DiskOrder::check(piece, urgent)))
                }
                Output::Forget(key, piece) => self.to_disk.push((key, DiskOrder::forget(piece))),
                Output::Dial(key, addr, source, patience) => self.dial(key, addr, source, patience),
                Output::HangUp(peer, why) => {
                    tracing::debug!(?peer, %why, "hanging up");
                    if let Some(mailbox) = self.peers.remove(&peer) {
                        // A banned peer that dials again and again costs a handshake a second, not
                        // thousands. A second connection to one peer ends a moment later too. By
                        // then the peer has seen the first one, and our id tells it that both are
                        // ours.
                        let is_late = why == CloseReason::Banned
                            || (why == CloseReason::Duplicate && mailbox.hold_handshake());
                        if is_late { self.held.hang_up_later(mailbox) } else { mailbox.hang_up() }
                    }
                }
                Output::Announce(key, order) => {
                    let Some(entry) = self.torrents.get(&key) else { continue };
                    let tracker = order.tracker;
                    let leaves = order.event == Event::Stopped;
                    let refused = self
                        .control
                        .try_send(ToControl::Announce(key, entry.torrent.info_hash, order))
                        .err();
                    if leaves {
                        self.stopped_announces
                            .extend(refused.map(mpsc::error::TrySendError::into_inner));
                    } else if refused.is_some() {
                        let busy = Err(Failure::new("too many announces are waiting"));
                        self.engine.handle(self.clock.now(), Input::Announced(key, tracker, busy));
                    }
                }
                Output::FindPeers(key, via) => self.find_peers(key, via),
                Output::DhtNode(addr) => {
                    if let Some(dht) = &self.dht {
                        dht.add_port(addr);
                    }
                }
                Output::Metadata(key, metadata) => self.metadata(key, metadata),
                Output::Event(key, event) => self.event(key, event),
            }
        }
        self.disks.submit(self.to_disk.drain(..));
    }

    /// Runs `act` after the waiting `stopped` announces were passed on: each is ordered only once.
    pub(super) fn after_stopped_announces(&mut self, act: impl FnOnce() + 'static) {
        let stopped_announces = std::mem::take(&mut self.stopped_announces);
        if stopped_announces.is_empty() {
            return act();
        }
        let control = self.control.clone();
        tokio::task::spawn_local(async move {
            for stopped_announce in stopped_announces {
                let _ = control.send(stopped_announce).await;
            }
            act();
        });
    }

    fn find_peers(&mut self, key: TorrentKey, via: Discovery) {
        let Some(entry) = self.torrents.get(&key) else { return };
        // Once the metadata of a magnet link has arrived, it may be that of a private torrent.
        let may_ask = !matches!(entry.stage, Stage::Magnet { on_metadata: None, .. });
        if !may_ask
            || self
                .control
                .try_send(ToControl::FindPeers(key, entry.torrent.info_hash, via))
                .is_err()
        {
            self.engine.handle(self.clock.now(), Input::FindPeersDone(key, via, 0));
        }
    }

    /// Hands blocks to the peer's task, in a pipe or read. At once if nothing has to be waited for,
    /// else by a disk thread.
    fn serve(&mut self, peer: PeerKey, key: TorrentKey, blocks: Vec<Block>, at_once: bool) {
        let Some(Stage::Whole { layout, storage, .. }) =
            self.torrents.get(&key).map(|entry| &entry.stage)
        else {
            return;
        };
        let Some(mailbox) = self.peers.get(&peer) else { return };
        let method = splice::send_method(at_once, mailbox.takes_pipes());
        let only_reads = || self.disks.only_reads(key);
        let (pipes, storage) = (self.disks.pipes(), storage.as_ref());
        match splice::read_cached(pipes, layout, storage, &blocks, method, only_reads) {
            Ok(Some(Sendable::Piped(pipe))) => mailbox.serve_piped(pipe),
            Ok(Some(Sendable::Copied(data))) => {
                self.deliver(peer, blocks.into_iter().zip(data.into_iter().map(Some)).collect())
            }
            // A cache miss, or an error. The disk thread finds the error again: it stops the
            // torrent, and these blocks count as not read.
            Ok(None) | Err(_) => self.to_disk.push((key, DiskOrder::Read { peer, blocks, method })),
        }
    }

    pub(super) fn deliver(&mut self, peer: PeerKey, blocks: Vec<(Block, Option<Bytes>)>) {
        let Some(mailbox) = self.peers.get(&peer) else { return };
        for (block, data) in blocks {
            match data {
                Some(data) => mailbox.serve(block.raw(), data),
                None => self.engine.handle(self.clock.now(), Input::ReadFailed(peer, block)),
            }
        }
    }
}

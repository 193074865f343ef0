//! A torrent's side of the extension protocol (BEP 10): handshakes, metadata for peers (BEP 9), PEX
//! (BEP 11).
//!
//! Decides: what each message leads to. Must not know: how messages are encoded.
//! Invariant: only peers' extension messages come here; none of this work is done for each block.

use crate::close_reason::CloseReason;
use crate::config::Config;
use crate::ctx::Ctx;
use crate::io::PeerKey;
use crate::metadata_upload::Answer;
use crate::torrent::Torrent;
use alloc::vec::Vec;
use bt_peer_wire::{
    ExtendedHandshake, ExtensionIds, METADATA_PART, Message, MetadataMessage, REQUESTS_QUEUED_MAX,
};
use bytes::Bytes;

impl Torrent {
    /// Makes our extension handshake for a peer.
    pub(crate) fn hello(&self, peer: PeerKey, config: &Config) -> ExtendedHandshake {
        let metadata_size = u32::try_from(self.metadata.len()).ok().filter(|size| *size != 0);
        let upload_only = self.is_upload_only().then_some(true);
        ExtendedHandshake { metadata_size, upload_only, ..self.swarm.hello(peer, config) }
    }

    /// Takes an extension message of a peer.
    pub(crate) fn extended(
        &mut self,
        ctx: &mut Ctx<'_>,
        peer: PeerKey,
        id: u8,
        payload: &Bytes,
    ) -> Result<(), CloseReason> {
        match id {
            // A peer whose handshake cannot be parsed still transfers well without extensions.
            0 => ExtendedHandshake::parse(payload)
                .map_or(Ok(()), |hello| self.greeted(ctx, peer, hello)),
            ExtensionIds::METADATA => {
                self.metadata_wanted(ctx, peer, payload);
                Ok(())
            }
            ExtensionIds::PEX => self.swarm.on_pex(ctx, peer, payload),
            _ => Ok(()),
        }
    }

    /// Takes a peer's extension handshake; a later one says only what has changed.
    fn greeted(
        &mut self,
        ctx: &Ctx<'_>,
        key: PeerKey,
        hello: ExtendedHandshake,
    ) -> Result<(), CloseReason> {
        let Some(peer) = self.peers.get_mut(&key) else { return Ok(()) };
        self.swarm.greeted(ctx, key, &hello);
        if let Some(max) = hello.requests_max {
            peer.requests.pipeline.set_window_max(max.min(REQUESTS_QUEUED_MAX));
        }
        if hello.client.is_some() {
            self.sources.set_client(peer.source, hello.client);
        }
        peer.upload_only = hello.upload_only.unwrap_or(peer.upload_only);
        self.refuse_idle(key)
    }

    /// Answers a peer's request for a part of the metadata. We have the metadata: other messages,
    /// and unreadable ones, are ignored.
    fn metadata_wanted(&mut self, ctx: &mut Ctx<'_>, key: PeerKey, payload: &Bytes) {
        let Ok(Some(MetadataMessage::Request(part))) = MetadataMessage::parse(payload) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&key) else { return };
        match peer.metadata_upload.ask(part) {
            Answer::Send => self.send_metadata(ctx, key, &[part]),
            Answer::Later => {}
            Answer::Reject => {
                if let Some(id) = self.swarm.metadata_id(key) {
                    let payload = MetadataMessage::Reject(part).to_bytes().into();
                    ctx.send(peer.outbox, Message::Extended { id, payload });
                }
            }
        }
    }

    fn send_metadata(&mut self, ctx: &mut Ctx<'_>, key: PeerKey, parts: &[u32]) {
        let (Some(peer), Some(id)) = (self.peers.get_mut(&key), self.swarm.metadata_id(key)) else {
            return;
        };
        for &part in parts {
            // The supply lets only existing parts pass.
            let start = part.saturating_mul(METADATA_PART) as usize;
            let end = self.metadata.len().min(start.saturating_add(METADATA_PART as usize));
            let total = u32::try_from(self.metadata.len()).unwrap_or(0);
            let data = self.metadata.slice(start.min(end)..end);
            let payload = MetadataMessage::Data { part, total, data }.to_bytes().into();
            ctx.send(peer.outbox, Message::Extended { id, payload });
        }
    }

    /// Sends metadata that waited and PEX messages, once a second.
    pub(crate) fn send_extensions(&mut self, ctx: &mut Ctx<'_>) {
        let waiting = self.peers.values_mut().filter_map(|peer| {
            let parts: Vec<u32> = peer.metadata_upload.refill().collect();
            (!parts.is_empty()).then_some((peer.key, parts))
        });
        for (key, parts) in waiting.collect::<Vec<_>>() {
            self.send_metadata(ctx, key, &parts);
        }
        let peers = &self.peers;
        let is_seed = |key| peers.get(&key).is_some_and(|peer| peer.wants_nothing());
        self.swarm.send_pex(ctx, is_seed);
    }
}

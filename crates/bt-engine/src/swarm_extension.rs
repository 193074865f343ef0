//! A swarm's side of the extension protocol: extension handshakes (BEP 10), ports of DHT nodes (BEP
//! 5), and PEX (BEP 11).
//!
//! Decides: what each peer is told, and what a private torrent keeps to itself. Must not know:
//! pieces, how an output is carried out.
//! Invariant: an extension message is sent only with the id that its receiver chose.

use crate::close_reason::CloseReason;
use crate::config::Config;
use crate::ctx::Ctx;
use crate::io::{Output, PeerKey};
use crate::peer_link::PeerLink;
use crate::pex::{self, Roster};
use crate::swarm::Swarm;
use alloc::vec;
use alloc::vec::Vec;
use bt_peer_wire::{ExtendedHandshake, ExtensionIds, Message, PexMessage};
use bt_types::Source;
use core::net::{IpAddr, SocketAddr};

impl Swarm {
    /// Wraps our extension handshake in a message, if the peer supports the extension protocol.
    pub(crate) fn hello_message(
        &self,
        peer: PeerKey,
        hello: &ExtendedHandshake,
    ) -> Option<Message> {
        let speaks = self.links.by_key.get(&peer).is_some_and(|link| link.extended);
        speaks.then(|| Message::Extended { id: 0, payload: hello.to_bytes().into() })
    }

    /// Makes a `port` message with the port of our DHT node, for a peer that has a node too.
    pub(crate) fn port_message(&self, peer: PeerKey, config: &Config) -> Option<Message> {
        let has_one = self.links.by_key.get(&peer).is_some_and(|link| link.dht);
        config.dht_port.filter(|_| has_one && !self.private).map(Message::Port)
    }

    /// Makes our extension handshake for a peer, with what the swarm knows of it.
    pub(crate) fn hello(&self, peer: PeerKey, config: &Config) -> ExtendedHandshake {
        let ip = self.links.by_key.get(&peer).map(|link| link.addr.ip());
        let pex = self.speaks_pex(config).then_some(ExtensionIds::PEX);
        let ids = ExtensionIds { metadata: Some(ExtensionIds::METADATA), pex, holepunch: None };
        ExtendedHandshake {
            ids,
            ..ExtendedHandshake::ours(ip.unwrap_or(IpAddr::from([0; 4])), config.listen_port)
        }
    }

    /// Takes a peer's extension handshake, or a later one, which says only what has changed.
    pub(crate) fn greeted(&mut self, ctx: &Ctx<'_>, peer: PeerKey, hello: &ExtendedHandshake) {
        let speaks_pex = self.speaks_pex(ctx.config);
        let Some(link) = self.links.by_key.get_mut(&peer) else { return };
        link.ids.learn(hello.ids);
        link.exchange.set_open(ctx.now, speaks_pex && link.ids.pex.is_some_and(|id| id != 0));
        let from = link.addr.ip();
        // Only the first `yourip` of a peer counts: each change may rank the whole list anew.
        let your_ip = hello.your_ip.filter(|_| !core::mem::replace(&mut link.sees_us, true));
        if let Some(port) = hello.port.filter(|_| !link.outbound && link.listens.is_none()) {
            // A copy of the address, because it keeps the scope of a link-local address.
            let mut addr = link.addr;
            addr.set_port(port);
            link.listens = Some(addr);
            self.pex_version += 1;
            self.found(ctx.now, Source::Host(from), &[addr]);
            self.peer_list.connected(addr);
        }
        self.seen_at(from, your_ip);
    }

    /// Tells connected peers whether we exchange peers with them from now on.
    pub(crate) fn set_pex(&mut self, ctx: &mut Ctx<'_>) {
        if self.private {
            return;
        }
        let id = if ctx.config.pex { ExtensionIds::PEX } else { 0 };
        let ids = ExtensionIds { pex: Some(id), ..ExtensionIds::default() };
        let change = ExtendedHandshake { ids, ..ExtendedHandshake::default() }.to_bytes();
        for (peer, link) in self.links.by_key.iter_mut().filter(|(_, link)| link.extended) {
            link.exchange
                .set_open(ctx.now, ctx.config.pex && link.ids.pex.is_some_and(|id| id != 0));
            let message = Message::Extended { id: 0, payload: change.clone().into() };
            ctx.out.push_back(Output::Send(*peer, vec![message]));
        }
    }

    /// Returns the id by which a peer wants to be sent `ut_metadata` messages, if it wants them.
    pub(crate) fn metadata_id(&self, peer: PeerKey) -> Option<u8> {
        self.links.by_key.get(&peer)?.ids.metadata.filter(|id| *id != 0)
    }

    /// Takes the port of a peer's DHT node. Only the first counts: a node has one port.
    pub(crate) fn dht_node(&mut self, ctx: &mut Ctx<'_>, peer: PeerKey, port: u16) {
        let asks = ctx.config.dht_port.is_some() && !self.private && port != 0;
        if let Some(link) = self.links.by_key.get_mut(&peer).filter(|link| asks && !link.dht_named)
        {
            link.dht_named = true;
            let mut node = link.addr;
            node.set_port(port);
            ctx.out.push_back(Output::DhtNode(node));
        }
    }

    /// Takes a PEX message of a peer (BEP 11).
    pub(crate) fn on_pex(
        &mut self,
        ctx: &Ctx<'_>,
        peer: PeerKey,
        payload: &[u8],
    ) -> Result<(), CloseReason> {
        let speaks_pex = self.speaks_pex(ctx.config);
        let Some(link) = self.links.by_key.get_mut(&peer).filter(|_| speaks_pex) else {
            return Ok(());
        };
        // A message that cannot be parsed names no peers, but counts as a message: a flood of them
        // is a flood too.
        let message = PexMessage::parse(payload).unwrap_or_default();
        let addrs: Vec<SocketAddr> = link.exchange.on_message(ctx.now, message)?.collect();
        let from = link.addr.ip();
        self.found(ctx.now, Source::Host(from), &addrs);
        Ok(())
    }

    /// Sends PEX messages to the peers for which there is news.
    pub(crate) fn send_pex(&mut self, ctx: &mut Ctx<'_>, is_seed: impl Fn(PeerKey) -> bool) {
        if !self.links.by_key.values().any(|link| link.exchange.is_due(ctx.now, self.pex_version)) {
            return;
        }
        let listed = |(peer, link): (&PeerKey, &PeerLink)| {
            Some((link.listens?, pex::flags(is_seed(*peer), link.outbound)))
        };
        let roster: Roster = self.links.by_key.iter().filter_map(listed).collect();
        for (peer, link) in &mut self.links.by_key {
            if link.exchange.is_due(ctx.now, self.pex_version)
                && let Some(id) = link.ids.pex
                && let Some(message) =
                    link.exchange.next_message(ctx.now, self.pex_version, &roster, link.address())
            {
                let message = Message::Extended { id, payload: message.to_bytes().into() };
                ctx.out.push_back(Output::Send(*peer, vec![message]));
            }
        }
    }

    fn speaks_pex(&self, config: &Config) -> bool {
        config.pex && !self.private
    }

    pub(crate) fn seen_at(&mut self, by: IpAddr, ours: Option<IpAddr>) {
        if let Some(ours) = ours.and_then(|ours| self.external_ip.on_vote(by, ours)) {
            self.peer_list.set_ours(ours);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctx::with_ctx;
    use crate::peer::NewConnection;
    use bt_peer_wire::{Handshake, Reserved};
    use bt_types::{InfoHash, PeerId, Rng, Time};

    #[test]
    fn only_the_first_yourip_of_a_peer_counts() {
        let config = Config::new(PeerId([0; 20]));
        let (key, info_hash) = (PeerKey(1), InfoHash([7; 20]));
        let torrent = crate::io::TorrentKey(0);
        let mut swarm = Swarm::new(
            Time::ZERO,
            torrent,
            info_hash,
            Vec::new(),
            false,
            &config,
            Rng::from_seed(1),
        );
        let handshake = Handshake { reserved: Reserved::OURS, info_hash, peer_id: PeerId([1; 20]) };
        let addr = SocketAddr::from(([9, 0, 0, 1], 1));
        swarm.join(Time::ZERO, &NewConnection { key, addr, outbound: false, handshake });
        let (first, later) = (IpAddr::from([5, 0, 0, 1]), IpAddr::from([5, 0, 0, 2]));
        for ours in [first, later] {
            let hello = ExtendedHandshake { your_ip: Some(ours), ..ExtendedHandshake::default() };
            with_ctx(&config, |ctx| swarm.greeted(ctx, key, &hello));
        }
        assert_eq!(swarm.external_ip.on_vote([9, 0, 0, 2].into(), first), Some(first));
    }
}

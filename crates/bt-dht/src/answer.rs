//! Answers queries of other nodes (BEP 5, 32, 33, 42, 43, 44, 51).
//!
//! Decides: the fields of an answer, and how much of it fits.
//! Must not know: our own searches.
//! Invariant: every datagram that a query causes is within what the guard allows its sender.

use crate::contact::{Contact, Family};
use crate::id::Id;
use crate::item::Item;
use crate::items::Refused;
use crate::lookup::Asking;
use crate::message::{Body, KrpcError, KrpcMessage, Query, Response, Stored, Want};
use crate::node::{Node, VERSION};
use crate::read::refusal;
use crate::table::K;
use alloc::boxed::Box;
use alloc::vec::Vec;
use bt_types::{InfoHash, Source, Time};
use core::net::SocketAddr;

/// The longest answer in bytes (BEP 32). With an item it may be longer, and still travels in one
/// packet.
const ANSWER_MAX: usize = 1024;
const ITEM_ANSWER_MAX: usize = 1400;
/// Bytes of our ping.
const PING_LEN: usize = 67;

impl Node {
    /// Answers a query of `len` bytes.
    pub(crate) fn answer(
        &mut self,
        now: Time,
        from: Contact,
        len: usize,
        transaction: Vec<u8>,
        query: Query,
        read_only: bool,
    ) {
        let Some(own) = self.overlay(from.addr).map(|overlay| overlay.own()) else { return };
        if self.read_only || from.id == own || !self.guard.admit(now, from.addr, len) {
            return;
        }
        if !read_only {
            self.meet(now, from);
        }
        let body = match self.respond(now, own, from, query) {
            Ok(response) => Body::Response(Box::new(response)),
            Err(error) => Body::Error(error),
        };
        self.reply(now, from.addr, transaction, body);
    }

    /// Sends an error to the sender of a malformed query of `len` bytes.
    pub(crate) fn refuse(
        &mut self,
        now: Time,
        from: SocketAddr,
        len: usize,
        transaction: Vec<u8>,
        error: KrpcError,
    ) {
        if !self.read_only && self.overlay(from).is_some() && self.guard.admit(now, from, len) {
            self.reply(now, from, transaction, Body::Error(error));
        }
    }

    /// Learns of a node that queried us. A node in the table is alive. A node that we would take is
    /// pinged: only an answer proves an address.
    fn meet(&mut self, now: Time, from: Contact) {
        let Some(overlay) = self.overlay(from.addr) else { return };
        if overlay.table.asked(now, from)
            || !overlay.table.would_take(now, from)
            || self.is_asking(from.addr)
        {
            return;
        }
        if self.guard.allowance(now, from.addr, PING_LEN) >= PING_LEN
            && self.guard.spend(now, from.addr, PING_LEN)
        {
            self.ping(now, Asking::known(from));
        }
    }

    fn respond(
        &mut self,
        now: Time,
        own: Id,
        from: Contact,
        query: Query,
    ) -> Result<Response, KrpcError> {
        let mut response = Response::new(own);
        let ip = from.addr.ip();
        let family = Family::of(from.addr);
        match query {
            Query::Ping => {}
            Query::FindNode { target, want } => self.add_nodes(&mut response, target, want, family),
            Query::GetPeers { info_hash, want, no_seed, scrape } => {
                self.add_nodes(&mut response, info_hash.into(), want, family);
                let peers = self.peers.peers(info_hash, family, no_seed, &mut self.rng);
                response.values = (!peers.is_empty()).then_some(peers);
                response.blooms = if scrape { self.peers.blooms(info_hash) } else { None };
                response.token = Some(self.tokens.make(now, ip, info_hash.into()));
            }
            Query::AnnouncePeer { info_hash, port, token, seed } => {
                self.check_token(now, from, info_hash.into(), &token)?;
                let port = port.unwrap_or(from.addr.port());
                self.peers.announce(now, InfoHash(info_hash.0), SocketAddr::new(ip, port), seed);
            }
            Query::Get { target, newer_than, want } => {
                self.add_nodes(&mut response, target, want, family);
                response.token = Some(self.tokens.make(now, ip, target));
                response.item = self.items.get(target).map(|item| stored(item, newer_than));
            }
            Query::Put { item, cas, token } => {
                self.check_token(now, from, item.target(), &token)?;
                self.items.put(now, ip, *item, cas).map_err(|refused| match refused {
                    Refused::Fault(fault) => refusal(fault),
                    Refused::CasMismatch => {
                        KrpcError::new(KrpcError::CAS_MISMATCH, "another version is stored")
                    }
                    Refused::OldSeq => {
                        KrpcError::new(KrpcError::OLD_SEQ, "a newer version is stored")
                    }
                })?;
            }
            Query::SampleInfohashes { target, want } => {
                self.add_nodes(&mut response, target, want, family);
                response.samples = Some(self.peers.sample(now, &mut self.rng));
            }
            Query::Unknown { target: Some(target) } => {
                self.add_nodes(&mut response, target, None, family)
            }
            Query::Unknown { target: None } => {
                return Err(KrpcError::new(KrpcError::METHOD, "unknown method"));
            }
        }
        Ok(response)
    }

    fn check_token(
        &mut self,
        now: Time,
        from: Contact,
        target: Id,
        token: &[u8],
    ) -> Result<(), KrpcError> {
        if self.tokens.accepts(now, from.addr.ip(), target, token) {
            Ok(())
        } else {
            Err(KrpcError::new(KrpcError::PROTOCOL, "bad token"))
        }
    }

    /// Adds the closest nodes of the wanted families, of those that we are in.
    fn add_nodes(&self, response: &mut Response, target: Id, want: Option<Want>, asker: Family) {
        let want = want.unwrap_or(Want::only(asker));
        for overlay in &self.overlays {
            let closest = || Some(overlay.table.closest(target, K));
            match overlay.family {
                Family::V4 if want.v4 => response.nodes = closest(),
                Family::V6 if want.v6 => response.nodes6 = closest(),
                _ => {}
            }
        }
    }

    /// Sends as much of an answer as the guard allows.
    fn reply(&mut self, now: Time, to: SocketAddr, transaction: Vec<u8>, body: Body) {
        let max = match &body {
            Body::Response(response) if response.item.is_some() => ITEM_ANSWER_MAX,
            _ => ANSWER_MAX,
        };
        let allowed = self.guard.allowance(now, to, max);
        let mut message = KrpcMessage {
            transaction,
            version: Some(VERSION),
            seen_as: Some(to),
            read_only: false,
            body,
        };
        let mut bytes = message.write();
        while bytes.len() > allowed {
            let Body::Response(response) = &mut message.body else { return };
            if !response.shorten() {
                return;
            }
            bytes = message.write();
        }
        if self.guard.spend(now, to, bytes.len()) {
            self.send(to, Source::Host(to.ip()), bytes);
        }
    }
}

/// Prepares an item for an answer, without the value when the asking node has this version (BEP
/// 44).
fn stored(item: &Item, newer_than: Option<i64>) -> Stored {
    match item {
        Item::Immutable(value) => Stored { value: Some(value.clone()), ..Stored::default() },
        Item::Mutable(mutable) if newer_than.is_some_and(|seq| mutable.seq() <= seq) => {
            Stored { seq: Some(mutable.seq()), ..Stored::default() }
        }
        Item::Mutable(mutable) => Stored {
            value: Some(mutable.value().clone()),
            signed: Some((*mutable.key(), *mutable.signature())),
            seq: Some(mutable.seq()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_is_as_long_as_the_guard_is_told() {
        let body = Body::Query { id: Id([0; 20]), query: Query::Ping };
        let ping = KrpcMessage {
            transaction: [0; 4].into(),
            version: Some(VERSION),
            seen_as: None,
            read_only: false,
            body,
        };
        assert_eq!(ping.write().len(), PING_LEN);
    }
}

//! Writes messages as canonical bencode (BEP 5, 32, 33, 42, 43, 44, 51).
//!
//! Decides: nothing.
//! Must not know: limits, which node gets it.
//! Invariant: [`KrpcMessage::parse`] reads back every written message.

use crate::contact::{Family, compact};
use crate::item::Item;
use crate::message::{Body, KrpcMessage, Query, Response, Want};
use alloc::vec::Vec;
use bt_bencoding::{DictWriter, write};
use bt_types::push_compact;
use core::net::SocketAddr;

impl KrpcMessage {
    /// Writes the datagram.
    pub fn write(&self) -> Vec<u8> {
        write(|w| {
            w.dict(|d| {
                match &self.body {
                    Body::Query { id, query } => {
                        d.key(b"a").dict(|a| query.write_arguments(&id.0, a))
                    }
                    Body::Error(error) => d.key(b"e").list(|e| {
                        e.item().int(error.code);
                        e.item().bytes(error.message.as_bytes());
                    }),
                    Body::Response(_) => {}
                }
                if let Some(addr) = self.seen_as {
                    d.key(b"ip").bytes(&compact_addr(addr));
                }
                match &self.body {
                    Body::Query { query, .. } => d.key(b"q").bytes(query.method()),
                    Body::Response(response) => d.key(b"r").dict(|r| response.write_fields(r)),
                    Body::Error(_) => {}
                }
                if self.read_only {
                    d.key(b"ro").int(1);
                }
                d.key(b"t").bytes(&self.transaction);
                if let Some(version) = &self.version {
                    d.key(b"v").bytes(version);
                }
                d.key(b"y").bytes(match &self.body {
                    Body::Query { .. } => b"q",
                    Body::Response(_) => b"r",
                    Body::Error(_) => b"e",
                });
            })
        })
    }
}

impl Query {
    /// Returns the method's name; empty for an unknown method.
    pub fn method(&self) -> &'static [u8] {
        match self {
            Query::Ping => b"ping",
            Query::FindNode { .. } => b"find_node",
            Query::GetPeers { .. } => b"get_peers",
            Query::AnnouncePeer { .. } => b"announce_peer",
            Query::Get { .. } => b"get",
            Query::Put { .. } => b"put",
            Query::SampleInfohashes { .. } => b"sample_infohashes",
            Query::Unknown { .. } => b"",
        }
    }

    fn write_arguments(&self, id: &[u8; 20], a: &mut DictWriter<'_>) {
        if let Query::Put { item, cas: Some(cas), .. } = self
            && matches!(**item, Item::Mutable(_))
        {
            a.key(b"cas").int(*cas);
        }
        a.key(b"id").bytes(id);
        match self {
            Query::Ping => {}
            Query::FindNode { target, want } | Query::SampleInfohashes { target, want } => {
                a.key(b"target").bytes(&target.0);
                write_want(*want, a);
            }
            Query::GetPeers { info_hash, want, no_seed, scrape } => {
                a.key(b"info_hash").bytes(&info_hash.0);
                write_flag(b"noseed", *no_seed, a);
                write_flag(b"scrape", *scrape, a);
                write_want(*want, a);
            }
            Query::AnnouncePeer { info_hash, port, token, seed } => {
                write_flag(b"implied_port", port.is_none(), a);
                a.key(b"info_hash").bytes(&info_hash.0);
                a.key(b"port").int(port.unwrap_or(0).into());
                write_flag(b"seed", *seed, a);
                a.key(b"token").bytes(token);
            }
            Query::Get { target, newer_than, want } => {
                if let Some(seq) = newer_than {
                    a.key(b"seq").int(*seq);
                }
                a.key(b"target").bytes(&target.0);
                write_want(*want, a);
            }
            Query::Put { item, token, .. } => {
                if let Item::Mutable(mutable) = &**item {
                    a.key(b"k").bytes(mutable.key());
                    if !mutable.salt().is_empty() {
                        a.key(b"salt").bytes(mutable.salt());
                    }
                    a.key(b"seq").int(mutable.seq());
                    a.key(b"sig").bytes(mutable.signature());
                }
                a.key(b"token").bytes(token);
                a.key(b"v").encoded(item.value().encoded());
            }
            Query::Unknown { target } => {
                if let Some(target) = target {
                    a.key(b"target").bytes(&target.0);
                }
            }
        }
    }
}

impl Response {
    fn write_fields(&self, r: &mut DictWriter<'_>) {
        if let Some((seeds, peers)) = &self.blooms {
            r.key(b"BFpe").bytes(peers.bytes());
            r.key(b"BFsd").bytes(seeds.bytes());
        }
        r.key(b"id").bytes(&self.id.0);
        if let Some(samples) = &self.samples {
            r.key(b"interval").int(samples.interval_secs.into());
        }
        let signed = self.item.as_ref().and_then(|item| item.signed.as_ref());
        if let Some((key, _)) = signed {
            r.key(b"k").bytes(key);
        }
        if let Some(nodes) = &self.nodes {
            r.key(b"nodes").bytes(&compact(nodes, Family::V4));
        }
        if let Some(nodes) = &self.nodes6 {
            r.key(b"nodes6").bytes(&compact(nodes, Family::V6));
        }
        if let Some(samples) = &self.samples {
            r.key(b"num").int(samples.total.into());
            let hashes: Vec<u8> = samples.hashes.iter().flat_map(|hash| hash.0).collect();
            r.key(b"samples").bytes(&hashes);
        }
        if let Some(seq) = self.item.as_ref().and_then(|item| item.seq) {
            r.key(b"seq").int(seq);
        }
        if let Some((_, signature)) = signed {
            r.key(b"sig").bytes(signature);
        }
        if let Some(token) = &self.token {
            r.key(b"token").bytes(token);
        }
        if let Some(value) = self.item.as_ref().and_then(|item| item.value.as_ref()) {
            r.key(b"v").encoded(value.encoded());
        }
        if let Some(values) = &self.values {
            r.key(b"values").list(|list| {
                values.iter().for_each(|value| list.item().bytes(&compact_addr(*value)))
            });
        }
    }
}

fn write_flag(key: &[u8], value: bool, d: &mut DictWriter<'_>) {
    if value {
        d.key(key).int(1);
    }
}

fn write_want(want: Option<Want>, d: &mut DictWriter<'_>) {
    let Some(want) = want else { return };
    d.key(b"want").list(|list| {
        if want.v4 {
            list.item().bytes(b"n4");
        }
        if want.v6 {
            list.item().bytes(b"n6");
        }
    });
}

fn compact_addr(addr: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(18);
    push_compact(&mut bytes, addr);
    bytes
}

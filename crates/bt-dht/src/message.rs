//! KRPC messages as values (BEP 5, 32, 33, 42, 43, 44, 51).
//!
//! Decides: which fields a message has.
//! Must not know: how it is written, which node sent it.
//! Invariant: a value holds only what fits into one datagram.

use crate::bloom::Bloom;
use crate::contact::{Contact, Family};
use crate::id::Id;
use crate::item::{Item, Value};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use bt_types::InfoHash;
use core::net::SocketAddr;

/// The longest datagram that is read, in bytes of payload.
pub const DATAGRAM_MAX: usize = 2048;
/// The longest transaction id that is answered, in bytes.
pub const TRANSACTION_MAX: usize = 32;
/// The longest token that is kept, in bytes.
pub const TOKEN_MAX: usize = 64;

/// Least peers for each node in an answer that is too long: with fewer, a node is left out first.
const NODE_WORTH: usize = 3;

/// One datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KrpcMessage {
    /// Chosen by the asking node, echoed by the answering node.
    pub transaction: Vec<u8>,
    /// The client that sent it: two letters and two bytes of version.
    pub version: Option<[u8; 4]>,
    /// In answers: the asking node's address, as the answering node sees it (BEP 42).
    pub seen_as: Option<SocketAddr>,
    /// The asking node does not answer queries and wants to be in no table (BEP 43).
    pub read_only: bool,
    /// The query, response or error.
    pub body: Body,
}

/// The content of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// A question.
    Query {
        /// The asking node's id.
        id: Id,
        /// The question.
        query: Query,
    },
    /// An answer.
    Response(Box<Response>),
    /// A refusal.
    Error(KrpcError),
}

/// A question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Query {
    /// Are you there?
    Ping,
    /// Which nodes are close to a point?
    FindNode {
        /// The point.
        target: Id,
        /// Nodes of which families.
        want: Option<Want>,
    },
    /// Which peers has a torrent?
    GetPeers {
        /// The torrent.
        info_hash: InfoHash,
        /// Nodes of which families.
        want: Option<Want>,
        /// Rather peers that are not seeds (BEP 33).
        no_seed: bool,
        /// With Bloom filters of all peers (BEP 33).
        scrape: bool,
    },
    /// I am a peer of a torrent.
    AnnouncePeer {
        /// The torrent.
        info_hash: InfoHash,
        /// Where peers connect to; `None` is the port that the query comes from.
        port: Option<u16>,
        /// From the answer to `get_peers`.
        token: Vec<u8>,
        /// The peer has everything (BEP 33).
        seed: bool,
    },
    /// What is stored here (BEP 44)?
    Get {
        /// The hash of the item, or of its key and salt.
        target: Id,
        /// Only if its sequence number is above this.
        newer_than: Option<i64>,
        /// Nodes of which families.
        want: Option<Want>,
    },
    /// Store this (BEP 44).
    Put {
        /// The item, its signature not yet checked.
        item: Box<Item>,
        /// Only over this sequence number.
        cas: Option<i64>,
        /// From the answer to `get`.
        token: Vec<u8>,
    },
    /// Which torrents do you know (BEP 51)?
    SampleInfohashes {
        /// Nodes close to this point are named as well.
        target: Id,
        /// Nodes of which families.
        want: Option<Want>,
    },
    /// A method that we do not know.
    Unknown {
        /// Its `target` or `info_hash`: such a question is answered as `find_node`.
        target: Option<Id>,
    },
}

/// Nodes of which families (BEP 32).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// `n4`
    pub v4: bool,
    /// `n6`
    pub v6: bool,
}

/// An answer. Its fields depend on the question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The answering node's id.
    pub id: Id,
    /// IPv4 nodes close to the target.
    pub nodes: Option<Vec<Contact>>,
    /// IPv6 nodes close to the target (BEP 32).
    pub nodes6: Option<Vec<Contact>>,
    /// The token to store something here.
    pub token: Option<Vec<u8>>,
    /// Peers of the torrent.
    pub values: Option<Vec<SocketAddr>>,
    /// All seeds and all other peers of the torrent (BEP 33).
    pub blooms: Option<(Bloom, Bloom)>,
    /// The stored item (BEP 44).
    pub item: Option<Stored>,
    /// A sample of the torrents that are known (BEP 51).
    pub samples: Option<Samples>,
}

/// A stored item as `get` returns it; none of it is checked (BEP 44).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stored {
    /// The value.
    pub value: Option<Value>,
    /// Key and signature of a mutable item.
    pub signed: Option<([u8; 32], [u8; 64])>,
    /// The sequence number of a mutable item; alone when the asking node has that version already.
    pub seq: Option<i64>,
}

/// A sample of torrents (BEP 51).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Samples {
    /// The sample.
    pub hashes: Vec<InfoHash>,
    /// Number of all torrents.
    pub total: u32,
    /// Seconds until another sample is taken.
    pub interval_secs: u32,
}

/// A refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KrpcError {
    /// One of the codes below, or another.
    pub code: i64,
    /// For people.
    pub message: String,
}

impl KrpcError {
    /// A bad message, bad arguments, a bad token.
    pub const PROTOCOL: i64 = 203;
    /// An unknown method.
    pub const METHOD: i64 = 204;
    /// The value of an item is too long (BEP 44).
    pub const TOO_BIG: i64 = 205;
    /// The signature of an item is wrong (BEP 44).
    pub const SIGNATURE: i64 = 206;
    /// The salt of an item is too long (BEP 44).
    pub const SALT_TOO_BIG: i64 = 207;
    /// The stored version is not the one to replace (BEP 44).
    pub const CAS_MISMATCH: i64 = 301;
    /// A newer version is stored (BEP 44).
    pub const OLD_SEQ: i64 = 302;

    /// Makes a refusal with a code and words.
    pub fn new(code: i64, message: &str) -> KrpcError {
        KrpcError { code, message: message.into() }
    }
}

impl Want {
    /// Wants nodes of one family: the default when a query does not say.
    pub fn only(family: Family) -> Want {
        Want { v4: family == Family::V4, v6: family == Family::V6 }
    }
}

impl Response {
    /// Makes an answer without fields.
    pub fn new(id: Id) -> Response {
        Response {
            id,
            nodes: None,
            nodes6: None,
            token: None,
            values: None,
            blooms: None,
            item: None,
            samples: None,
        }
    }

    /// Leaves something out, so that it becomes shorter; false when nothing is left that can go.
    pub(crate) fn shorten(&mut self) -> bool {
        if self.blooms.take().is_some() {
            return true;
        }
        let values = self.values.as_ref().map_or(0, Vec::len);
        let nodes = [&mut self.nodes6, &mut self.nodes]
            .into_iter()
            .flatten()
            .max_by_key(|nodes| nodes.len());
        match nodes {
            // Nodes are longer than peers, and worth less.
            Some(nodes) if !nodes.is_empty() && values < NODE_WORTH * nodes.len() => {
                nodes.pop();
            }
            _ if values > 0 => {
                self.values = self.values.take().map(|mut values| {
                    values.truncate(values.len() * 3 / 4);
                    values
                })
            }
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests;

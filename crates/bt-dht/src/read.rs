//! Reads messages: strict in structure, lenient in the order of keys (BEP 5, 32, 33, 42, 43, 44,
//! 51).
//!
//! Decides: which datagrams are malformed.
//! Must not know: which node sent it, what is done with it.
//! Invariant: no value is longer than the datagram that it came in.

use crate::bloom::Bloom;
use crate::contact::{Contact, Family, read_compact};
use crate::id::Id;
use crate::item::{Item, ItemFault, Mutable, Value};
use crate::message::{
    Body, DATAGRAM_MAX, KrpcError, KrpcMessage, Query, Response, Samples, Stored, TOKEN_MAX,
    TRANSACTION_MAX, Want,
};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bt_bencoding::{Cursor, Kind, Limits};
use bt_types::{InfoHash, compact_v4, compact_v6, printable};
use core::net::SocketAddr;

/// Limits of a datagram. An item of BEP 44 may nest lists within it.
const LIMITS: Limits = Limits { depth: 32, tokens: 1024, bytes: DATAGRAM_MAX, odd_numbers: false };
/// The longest text of an error that is kept, in bytes.
const ERROR_TEXT_MAX: usize = 200;

/// Why a datagram is not read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// It is no message.
    NoMessage,
    /// It is a query with wrong arguments: its sender may be sent an error.
    Query {
        /// The query's transaction id.
        transaction: Vec<u8>,
        /// The error to send.
        error: KrpcError,
    },
}

impl KrpcMessage {
    /// Reads a datagram.
    pub fn parse(datagram: &[u8]) -> Result<KrpcMessage, Malformed> {
        let root = Cursor::parse(datagram, LIMITS).map_err(|_| Malformed::NoMessage)?;
        let transaction = bytes(root, b"t")
            .filter(|t| t.len() <= TRANSACTION_MAX)
            .ok_or(Malformed::NoMessage)?
            .to_vec();
        let body = match bytes(root, b"y") {
            Some(b"q") => read_query(root)
                .map_err(|error| Malformed::Query { transaction: transaction.clone(), error })?,
            Some(b"r") => Body::Response(Box::new(
                root.get(b"r").and_then(read_response).ok_or(Malformed::NoMessage)?,
            )),
            Some(b"e") => {
                Body::Error(root.get(b"e").and_then(read_error).ok_or(Malformed::NoMessage)?)
            }
            _ => return Err(Malformed::NoMessage),
        };
        Ok(KrpcMessage {
            transaction,
            version: bytes(root, b"v").and_then(|v| v.try_into().ok()),
            seen_as: bytes(root, b"ip").and_then(read_addr),
            read_only: flag(root, b"ro"),
            body,
        })
    }
}

fn read_query(root: Cursor<'_>) -> Result<Body, KrpcError> {
    let malformed = || KrpcError::new(KrpcError::PROTOCOL, "bad arguments");
    let method = bytes(root, b"q").ok_or_else(malformed)?;
    let arguments = root.get(b"a").filter(|a| a.kind() == Kind::Dict).ok_or_else(malformed)?;
    let id = id(arguments, b"id").ok_or_else(malformed)?;
    let query = match method {
        b"put" => read_put(arguments)?,
        _ => read_arguments(method, arguments).ok_or_else(malformed)?,
    };
    Ok(Body::Query { id, query })
}

fn read_arguments(method: &[u8], a: Cursor<'_>) -> Option<Query> {
    let target = || id(a, b"target");
    let info_hash = || id(a, b"info_hash").map(InfoHash::from);
    Some(match method {
        b"ping" => Query::Ping,
        b"find_node" => Query::FindNode { target: target()?, want: read_want(a) },
        b"get_peers" => Query::GetPeers {
            info_hash: info_hash()?,
            want: read_want(a),
            no_seed: flag(a, b"noseed"),
            scrape: flag(a, b"scrape"),
        },
        b"announce_peer" => {
            let port = if flag(a, b"implied_port") {
                None
            } else {
                Some(u16::try_from(int(a, b"port")?).ok()?)
            };
            Query::AnnouncePeer {
                info_hash: info_hash()?,
                port: port.map_or(Some(None), |port| (port != 0).then_some(Some(port)))?,
                token: token(a)?,
                seed: flag(a, b"seed"),
            }
        }
        b"get" => Query::Get { target: target()?, newer_than: int(a, b"seq"), want: read_want(a) },
        b"sample_infohashes" => Query::SampleInfohashes { target: target()?, want: read_want(a) },
        _ => Query::Unknown { target: target().or_else(|| info_hash().map(Id::from)) },
    })
}

/// Reads a `put`. An item with any field of a mutable item must have all of them, or it is refused.
fn read_put(a: Cursor<'_>) -> Result<Query, KrpcError> {
    let malformed = || KrpcError::new(KrpcError::PROTOCOL, "bad arguments");
    let value = a.get(b"v").ok_or_else(malformed)?;
    let value = Value::of(value.span()).map_err(refusal)?;
    let is_mutable =
        [b"k".as_slice(), b"sig", b"seq", b"salt", b"cas"].iter().any(|key| a.get(key).is_some());
    let item = if is_mutable {
        let salt = match a.get(b"salt") {
            Some(salt) => salt.as_bytes().ok_or_else(malformed)?,
            None => &[],
        };
        let key = array(a, b"k").ok_or_else(malformed)?;
        let signature = array(a, b"sig").ok_or_else(malformed)?;
        let seq = int(a, b"seq").ok_or_else(malformed)?;
        Item::Mutable(Mutable::new(key, salt.to_vec(), seq, value, signature).map_err(refusal)?)
    } else {
        Item::Immutable(value)
    };
    let cas = match a.get(b"cas") {
        Some(cas) => Some(cas.as_int().ok_or_else(malformed)?),
        None => None,
    };
    Ok(Query::Put { item: Box::new(item), cas, token: token(a).ok_or_else(malformed)? })
}

pub(crate) fn refusal(fault: ItemFault) -> KrpcError {
    match fault {
        ItemFault::NotBencoded => KrpcError::new(KrpcError::PROTOCOL, "bad value"),
        ItemFault::NegativeSeq => KrpcError::new(KrpcError::PROTOCOL, "bad sequence number"),
        ItemFault::ValueTooLong => KrpcError::new(KrpcError::TOO_BIG, "value too big"),
        ItemFault::SaltTooLong => KrpcError::new(KrpcError::SALT_TOO_BIG, "salt too big"),
        ItemFault::Signature => KrpcError::new(KrpcError::SIGNATURE, "invalid signature"),
    }
}

fn read_response(r: Cursor<'_>) -> Option<Response> {
    let nodes = |key: &[u8], family| match r.get(key) {
        Some(nodes) => read_compact(nodes.as_bytes()?, family).map(Some),
        None => Some(None),
    };
    let values = match r.get(b"values") {
        Some(values) => Some(
            values
                .list()
                .map(|value| read_addr(value.as_bytes()?))
                .collect::<Option<Vec<SocketAddr>>>()?,
        ),
        None => None,
    };
    let bloom = |key| bytes(r, key).and_then(|bits| bits.try_into().ok()).map(Bloom::from_bytes);
    Some(Response {
        id: id(r, b"id")?,
        nodes: nodes(b"nodes", Family::V4)?,
        nodes6: nodes(b"nodes6", Family::V6)?,
        token: token(r),
        values,
        blooms: bloom(b"BFsd").zip(bloom(b"BFpe")),
        item: read_stored(r),
        samples: read_samples(r),
    })
}

fn read_stored(r: Cursor<'_>) -> Option<Stored> {
    let stored = Stored {
        value: r.get(b"v").and_then(|value| Value::of(value.span()).ok()),
        signed: array(r, b"k").zip(array(r, b"sig")),
        seq: int(r, b"seq"),
    };
    (stored != Stored::default()).then_some(stored)
}

fn read_samples(r: Cursor<'_>) -> Option<Samples> {
    let (hashes, rest) = bytes(r, b"samples")?.as_chunks::<20>();
    let count = |key| int(r, key).and_then(|count| u32::try_from(count).ok());
    rest.is_empty().then_some(())?;
    Some(Samples {
        hashes: hashes.iter().copied().map(InfoHash).collect(),
        total: count(b"num").unwrap_or(0),
        interval_secs: count(b"interval").unwrap_or(0),
    })
}

fn read_error(e: Cursor<'_>) -> Option<KrpcError> {
    let mut items = e.list();
    let code = items.next()?.as_int()?;
    let message = items.next().and_then(|item| item.as_bytes()).unwrap_or_default();
    let message = message.get(..ERROR_TEXT_MAX).unwrap_or(message);
    Some(KrpcError { code, message: printable(message) })
}

fn read_want(a: Cursor<'_>) -> Option<Want> {
    let wanted = |what: &[u8]| {
        a.get(b"want").is_some_and(|want| want.list().any(|item| item.as_bytes() == Some(what)))
    };
    let want = Want { v4: wanted(b"n4"), v6: wanted(b"n6") };
    (want.v4 || want.v6).then_some(want)
}

/// Reads a compact address of either family.
fn read_addr(bytes: &[u8]) -> Option<SocketAddr> {
    match bytes.len() {
        6 => compact_v4(bytes).next(),
        18 => compact_v6(bytes).next(),
        _ => None,
    }
}

fn bytes<'a>(dict: Cursor<'a>, key: &[u8]) -> Option<&'a [u8]> {
    dict.get(key)?.as_bytes()
}

fn int(dict: Cursor<'_>, key: &[u8]) -> Option<i64> {
    dict.get(key)?.as_int()
}

fn flag(dict: Cursor<'_>, key: &[u8]) -> bool {
    int(dict, key).is_some_and(|value| value != 0)
}

fn array<const N: usize>(dict: Cursor<'_>, key: &[u8]) -> Option<[u8; N]> {
    bytes(dict, key)?.try_into().ok()
}

fn id(dict: Cursor<'_>, key: &[u8]) -> Option<Id> {
    array(dict, key).map(Id)
}

fn token(dict: Cursor<'_>) -> Option<Vec<u8>> {
    bytes(dict, b"token").filter(|token| token.len() <= TOKEN_MAX).map(<[u8]>::to_vec)
}

/// Returns the contacts of either family that a response names.
pub(crate) fn named(response: &Response) -> impl Iterator<Item = Contact> + '_ {
    response.nodes.iter().chain(&response.nodes6).flatten().copied()
}

//! Messages as bytes: the examples of the BEPs, and every value back again.
//!
//! Decides: the cases.
//! Must not know: nodes.
//! Invariant: every written message is read back as the same value.

use crate::item::{Item, Mutable, Value};
use crate::{
    Bloom, Body, Contact, Id, KrpcError, KrpcMessage, Malformed, Query, Response, Samples, Stored,
    Want,
};
use bt_types::InfoHash;
use proptest::prelude::*;
use std::boxed::Box;
use std::vec;
use std::vec::Vec;

fn query(query: Query) -> KrpcMessage {
    let body = Body::Query { id: Id(*b"abcdefghij0123456789"), query };
    KrpcMessage {
        transaction: b"aa".to_vec(),
        version: None,
        seen_as: None,
        read_only: false,
        body,
    }
}

fn response(fill: impl FnOnce(&mut Response)) -> KrpcMessage {
    let mut response = Response::new(Id(*b"abcdefghij0123456789"));
    fill(&mut response);
    KrpcMessage { body: Body::Response(Box::new(response)), ..query(Query::Ping) }
}

/// The examples of BEP 5, byte for byte.
#[test]
fn the_examples_of_the_proposal() {
    let info_hash = InfoHash(*b"mnopqrstuvwxyz123456");
    let token = || b"aoeusnth".to_vec();
    let cases: Vec<(&[u8], KrpcMessage)> = vec![
        (
            b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
            KrpcMessage {
                body: Body::Error(KrpcError { code: 201, message: "A Generic Error Ocurred".into() }),
                ..query(Query::Ping)
            },
        ),
        (b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", query(Query::Ping)),
        (
            b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
            query(Query::FindNode { target: info_hash.into(), want: None }),
        ),
        (
            b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
            query(Query::GetPeers { info_hash, want: None, no_seed: false, scrape: false }),
        ),
        (
            b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
            response(|r| {
                r.token = Some(token());
                r.values = Some(vec!["97.120.106.101:11893".parse().unwrap(), "105.100.104.116:28269".parse().unwrap()]);
            }),
        ),
        (b"d1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:re", response(|_| {})),
    ];
    for (bytes, message) in cases {
        assert_eq!(KrpcMessage::parse(bytes).as_ref(), Ok(&message), "{}", bytes.escape_ascii());
        assert_eq!(message.write(), bytes);
    }
    let announce = b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe";
    assert_eq!(
        KrpcMessage::parse(announce),
        Ok(query(Query::AnnouncePeer { info_hash, port: None, token: token(), seed: false }))
    );
}

#[test]
fn every_value_is_read_back() {
    let target = Id([9; 20]);
    let contact = |addr: &str| Contact { id: Id([5; 20]), addr: addr.parse().unwrap() };
    let want = Some(Want { v4: true, v6: true });
    let value = Value::of(b"d1:ali1eee").unwrap();
    let mutable = Mutable::sign(&[1; 32], b"salt".to_vec(), 7, value.clone()).unwrap();
    let (mut seeds, mut peers) = (Bloom::default(), Bloom::default());
    seeds.insert("1.2.3.4".parse().unwrap());
    peers.insert("2a00::1".parse().unwrap());
    let info_hash = InfoHash([3; 20]);
    let messages = [
        query(Query::FindNode { target, want }),
        query(Query::GetPeers { info_hash, want, no_seed: true, scrape: true }),
        query(Query::AnnouncePeer { info_hash, port: Some(6881), token: vec![1; 8], seed: true }),
        query(Query::Get { target, newer_than: Some(4), want }),
        query(Query::Put {
            item: Box::new(Item::Immutable(value.clone())),
            cas: None,
            token: vec![1],
        }),
        query(Query::Put {
            item: Box::new(Item::Mutable(mutable.clone())),
            cas: Some(6),
            token: vec![1],
        }),
        query(Query::SampleInfohashes { target, want: None }),
        KrpcMessage { read_only: true, version: Some(*b"bt\x01\x00"), ..query(Query::Ping) },
        KrpcMessage { seen_as: Some("1.2.3.4:5".parse().unwrap()), ..response(|_| {}) },
        KrpcMessage { seen_as: Some("[2a00::1]:5".parse().unwrap()), ..response(|_| {}) },
        response(|r| {
            r.nodes = Some(vec![contact("1.2.3.4:5"), contact("1.2.3.5:5")]);
            r.nodes6 = Some(vec![contact("[2a00::1]:5")]);
            r.values = Some(vec!["1.2.3.4:5".parse().unwrap(), "[2a00::1]:5".parse().unwrap()]);
            r.blooms = Some((seeds, peers));
            r.token = Some(vec![0; 8]);
        }),
        response(|r| {
            r.item = Some(Stored {
                value: Some(value),
                signed: Some((*mutable.key(), *mutable.signature())),
                seq: Some(7),
            });
        }),
        response(|r| r.item = Some(Stored { seq: Some(7), ..Stored::default() })),
        response(|r| {
            r.samples = Some(Samples { hashes: vec![info_hash], total: 30, interval_secs: 21600 })
        }),
    ];
    for message in messages {
        assert_eq!(KrpcMessage::parse(&message.write()), Ok(message));
    }
}

/// Makes a query with these arguments after the id.
fn bad(method: &str, arguments: &[u8]) -> Result<KrpcMessage, Malformed> {
    let head = b"d1:ad2:id20:abcdefghij0123456789";
    let tail = std::format!("e1:q{}:{method}1:t2:aa1:y1:qe", method.len());
    KrpcMessage::parse(&[head, arguments, tail.as_bytes()].concat())
}

#[test]
fn a_query_with_bad_arguments_is_told_so_and_nothing_else_is() {
    let long =
        [b"4:salt65:".as_slice(), &[b's'; 65], b"3:seqi1e3:sig64:", &[0; 64], b"5:token1:a1:v1:x"]
            .concat();
    let long = [b"1:k32:".as_slice(), &[0; 32], &long].concat();
    let cases: [(&str, &[u8], i64); 10] = [
        ("find_node", b"", 203),
        ("find_node", b"6:target3:abc", 203),
        ("get_peers", b"9:info_hashi1e", 203),
        ("announce_peer", b"9:info_hash20:mnopqrstuvwxyz1234564:porti0e5:token1:a", 203),
        ("announce_peer", b"9:info_hash20:mnopqrstuvwxyz1234564:porti65536e5:token1:a", 203),
        ("announce_peer", b"9:info_hash20:mnopqrstuvwxyz1234564:porti-1e5:token1:a", 203),
        // An item with only some fields of a mutable item is no immutable item.
        ("put", b"3:seqi1e5:token1:a1:v1:x", 203),
        ("put", b"4:salt1:s5:token1:a1:v1:x", 203),
        ("put", b"5:token1:a", 203),
        ("put", &long, 207),
    ];
    for (method, arguments, code) in cases {
        let refused = bad(method, arguments);
        assert!(
            matches!(&refused, Err(Malformed::Query { transaction, error }) if transaction == b"aa" && error.code == code),
            "{method} {}: {refused:?}",
            arguments.escape_ascii()
        );
    }
    let big = [b"5:token1:a1:v1000:".as_slice(), &[b'x'; 1000]].concat();
    assert!(
        matches!(bad("put", &big), Err(Malformed::Query { error, .. }) if error.code == KrpcError::TOO_BIG)
    );
    assert!(matches!(
        bad("vote", b"6:target20:mnopqrstuvwxyz123456").unwrap().body,
        Body::Query { query: Query::Unknown { target: Some(_) }, .. }
    ));
}

#[test]
fn what_is_no_message_is_nothing() {
    for bytes in [
        b"".as_slice(),
        b"de",
        b"i1e",
        b"d1:t2:aae",
        b"d1:t2:aa1:y1:xe",
        b"d1:t2:aa1:y1:re",
        b"d1:rde1:t2:aa1:y1:re",
        b"d1:rd2:id19:abcdefghij012345678e1:t2:aa1:y1:re",
        b"d1:rd2:id20:abcdefghij01234567895:nodes25:abcdefghijabcdefghijabcdee1:t2:aa1:y1:re",
        b"d1:rd2:id20:abcdefghij01234567896:valuesl5:axje.ee1:t2:aa1:y1:re",
        b"d1:rd2:id20:abcdefghij0123456789e1:t33:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1:y1:re",
        b"d1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:reX",
        b"d1:e1:x1:t2:aa1:y1:ee",
    ] {
        assert_eq!(
            KrpcMessage::parse(bytes),
            Err(Malformed::NoMessage),
            "{}",
            bytes.escape_ascii()
        );
    }
    let long = [
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:v3000:".as_slice(),
        &[0; 3000],
        b"1:y1:qe",
    ]
    .concat();
    assert_eq!(KrpcMessage::parse(&long), Err(Malformed::NoMessage));
}

#[test]
fn the_text_of_an_error_is_short_and_safe_to_show() {
    let long = [b"d1:eli201e1000:\x1b[2J".as_slice(), &[b'x'; 996], b"e1:t2:aa1:y1:ee"].concat();
    let Ok(KrpcMessage { body: Body::Error(error), .. }) = KrpcMessage::parse(&long) else {
        panic!("no error")
    };
    assert!(
        error.message.chars().count() <= 200 && !error.message.chars().any(char::is_control),
        "{}",
        error.message
    );
}

proptest! {
    #[test]
    fn nothing_that_comes_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..80, byte: u8) {
        let _ = KrpcMessage::parse(&bytes);
        let mut message = query(Query::Get { target: Id([9; 20]), newer_than: Some(4), want: None }).write();
        if let Some(place) = message.get_mut(at) {
            *place = byte;
        }
        if let Ok(read) = KrpcMessage::parse(&message) {
            let _ = KrpcMessage::parse(&read.write());
        }
    }
}

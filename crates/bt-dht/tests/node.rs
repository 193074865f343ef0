//! Whole nodes, driven by hand: what other hosts can make them do, and how two families and a saved
//! table work.
//!
//! Decides: the cases.
//! Must not know: the inside of a node.
//! Invariant: datagrams arrive at once and in order; only time passes when a case says so.

use bt_dht::{
    AnnounceOptions, Ask, AskKey, Body, Config, Event, Family, Id, Input, Item, KrpcError,
    KrpcMessage, Mutable, Node, Output, Query, Response, Samples, Value, Want, is_secure,
    secure_id,
};
use bt_types::{InfoHash, Rng, Source, Time};
use std::collections::BTreeMap;
use std::net::SocketAddr;

const HASH: InfoHash = InfoHash([7; 20]);

/// Nodes whose datagrams arrive at once.
struct Net {
    now: Time,
    nodes: BTreeMap<SocketAddr, Node>,
    events: Vec<Event>,
    datagrams: usize,
}

impl Net {
    fn new() -> Net {
        Net { now: Time::ZERO, nodes: BTreeMap::new(), events: Vec::new(), datagrams: 0 }
    }

    fn add(&mut self, at: &str, config: Config, router: Option<&str>) -> SocketAddr {
        let at = addr(at);
        let mut node = Node::new(self.now, config, Rng::from_seed(self.nodes.len() as u64 + 1));
        node.handle(self.now, Input::External(at.ip()));
        self.nodes.insert(at, node);
        if let Some(router) = router {
            self.tell(at, Input::Router(addr(router)));
        }
        at
    }

    /// Makes `count` nodes of a private network that know each other.
    fn of(count: u8) -> (Net, SocketAddr) {
        let mut net = Net::new();
        for number in 1..=count {
            net.add(
                &format!("10.0.0.{number}:1"),
                Config::default(),
                (number > 1).then_some("10.0.0.1:1"),
            );
        }
        (net, addr("10.0.0.1:1"))
    }

    fn tell(&mut self, at: SocketAddr, input: Input<'_>) {
        self.nodes.get_mut(&at).unwrap().handle(self.now, input);
        self.deliver();
    }

    /// Sends a datagram from an address that is no node; returns the datagrams that this address
    /// gets until nothing moves.
    fn say(&mut self, from: &str, to: SocketAddr, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.nodes
            .get_mut(&to)
            .unwrap()
            .handle(self.now, Input::Datagram { from: addr(from), bytes });
        self.deliver()
            .into_iter()
            .filter(|(at, _)| *at == addr(from))
            .map(|(_, bytes)| bytes)
            .collect()
    }

    /// Carries datagrams until none is left; returns those to addresses without a node.
    fn deliver(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut lost = Vec::new();
        loop {
            let mut moving = Vec::new();
            for (from, node) in &mut self.nodes {
                while let Some(output) = node.poll() {
                    match output {
                        Output::Send { to, bytes, .. } => moving.push((*from, to, bytes)),
                        Output::Event(event) => self.events.push(event),
                    }
                }
            }
            if moving.is_empty() {
                return lost;
            }
            for (from, to, bytes) in moving {
                self.datagrams += 1;
                match self.nodes.get_mut(&to) {
                    Some(node) => node.handle(self.now, Input::Datagram { from, bytes: &bytes }),
                    None => lost.push((to, bytes)),
                }
            }
        }
    }

    fn pass(&mut self, secs: u64) {
        let end = self.now + std::time::Duration::from_secs(secs);
        while let Some(at) =
            self.nodes.values().filter_map(Node::deadline).min().filter(|at| *at <= end)
        {
            self.now = at;
            self.nodes
                .values_mut()
                .filter(|node| node.deadline().is_some_and(|deadline| deadline <= at))
                .for_each(|node| node.wake(at));
            self.deliver();
        }
        self.now = end;
    }

    /// Asks, waits, and returns the events of the question.
    fn ask(&mut self, at: SocketAddr, key: u64, ask: Ask) -> Vec<Event> {
        self.events.clear();
        self.tell(at, Input::Ask(AskKey(key), ask));
        self.pass(20);
        let joined = |event: &Event| matches!(event, Event::Joined { .. });
        std::mem::take(&mut self.events).into_iter().filter(|event| !joined(event)).collect()
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn query(transaction: &[u8], id: Id, query: Query) -> Vec<u8> {
    let body = Body::Query { id, query };
    KrpcMessage {
        transaction: transaction.to_vec(),
        version: None,
        seen_as: None,
        read_only: false,
        body,
    }
    .write()
}

fn find_node(target: u8) -> Query {
    Query::FindNode { target: Id([target; 20]), want: None }
}

fn responses(datagrams: &[Vec<u8>]) -> Vec<Response> {
    let read = |bytes: &Vec<u8>| match KrpcMessage::parse(bytes).unwrap().body {
        Body::Response(response) => Some(*response),
        _ => None,
    };
    datagrams.iter().filter_map(read).collect()
}

fn errors(datagrams: &[Vec<u8>]) -> Vec<i64> {
    let read = |bytes: &Vec<u8>| match KrpcMessage::parse(bytes).unwrap().body {
        Body::Error(KrpcError { code, .. }) => Some(code),
        _ => None,
    };
    datagrams.iter().filter_map(read).collect()
}

#[test]
fn who_never_answered_gets_three_times_what_it_sent_and_who_did_gets_all() {
    let (mut net, router) = Net::of(20);
    let (stranger, mut sent, mut received) = ("10.0.1.1:1", 0, 0);
    for number in 0..10 {
        let bytes = query(b"aa", Id([0x55; 20]), find_node(number));
        sent += bytes.len();
        let answers = net.say(stranger, router, &bytes);
        received += answers.iter().map(Vec::len).sum::<usize>();
        assert!(received <= 3 * sent, "{received} > 3 * {sent}");
        assert!(
            responses(&answers)
                .iter()
                .all(|response| response.nodes.as_ref().is_some_and(|nodes| !nodes.is_empty()))
        );
    }
    // A neighbour of the node answers the ping that it gets, and is then sent a whole answer.
    let mut neighbour = net.nodes[&router].id(Family::V4).unwrap();
    neighbour.0[19] ^= 1;
    let bytes = query(b"aa", neighbour, Query::Ping);
    let pings = net.say("10.0.1.2:1", router, &bytes);
    let ping = pings
        .iter()
        .map(|bytes| KrpcMessage::parse(bytes).unwrap())
        .find(|message| matches!(message.body, Body::Query { .. }));
    let transaction = ping.expect("who asks is pinged").transaction;
    let body = Body::Response(Box::new(Response::new(neighbour)));
    let pong = KrpcMessage { transaction, version: None, seen_as: None, read_only: false, body };
    assert!(net.say("10.0.1.2:1", router, &pong.write()).is_empty());
    let answers = net.say("10.0.1.2:1", router, &query(b"aa", neighbour, find_node(1)));
    assert_eq!(responses(&answers)[0].nodes.as_ref().map(Vec::len), Some(8));
}

#[test]
fn rubbish_and_answers_that_nobody_asked_for_are_met_with_silence() {
    let (mut net, router) = Net::of(2);
    let unasked = KrpcMessage {
        transaction: vec![1, 2, 3, 4],
        version: None,
        seen_as: Some(addr("9.9.9.9:9")),
        read_only: false,
        body: Body::Response(Box::new(Response::new(Id([3; 20])))),
    };
    for bytes in
        [b"rubbish".to_vec(), vec![], b"d1:t2:aa1:y1:qe".to_vec()[..10].to_vec(), unasked.write()]
    {
        assert!(net.say("10.0.1.1:1", router, &bytes).is_empty());
    }
    assert_eq!(net.nodes[&router].nodes(), 1);
    assert_eq!(
        errors(&net.say("10.0.1.1:1", router, b"d1:ade1:q4:ping1:t2:aa1:y1:qe")),
        [KrpcError::PROTOCOL]
    );
    assert_eq!(
        errors(&net.say(
            "10.0.1.1:1",
            router,
            &query(b"aa", Id([1; 20]), Query::Unknown { target: None })
        )),
        [KrpcError::METHOD]
    );
}

#[test]
fn nothing_is_stored_without_a_token_for_this_address() {
    let (mut net, router) = Net::of(1);
    let get = query(
        b"aa",
        Id([1; 20]),
        Query::GetPeers { info_hash: HASH, want: None, no_seed: false, scrape: false },
    );
    let token = responses(&net.say("10.0.1.1:5", router, &get))[0].token.clone().expect("a token");
    let announce = |token: &[u8], port| {
        query(
            b"bb",
            Id([1; 20]),
            Query::AnnouncePeer { info_hash: HASH, port, token: token.to_vec(), seed: false },
        )
    };
    assert_eq!(
        errors(&net.say("10.0.1.1:5", router, &announce(b"12345678", Some(6)))),
        [KrpcError::PROTOCOL]
    );
    assert_eq!(
        errors(&net.say("10.0.1.2:5", router, &announce(&token, Some(6)))),
        [KrpcError::PROTOCOL]
    );
    assert_eq!(net.nodes[&router].torrents(), 0);
    assert_eq!(responses(&net.say("10.0.1.1:5", router, &announce(&token, None))).len(), 1);
    let values = responses(&net.say("10.0.1.1:5", router, &get))[0].values.clone();
    assert_eq!(values, Some(vec![addr("10.0.1.1:5")]), "the implied port is that of the datagram");
    net.pass(31 * 60);
    assert_eq!(net.nodes[&router].torrents(), 0);
}

#[test]
fn a_host_that_asks_too_often_is_not_answered() {
    let (mut net, router) = Net::of(1);
    let answered = (0..80).filter(|_| {
        !responses(&net.say("10.0.1.1:1", router, &query(b"aa", Id([1; 20]), Query::Ping)))
            .is_empty()
    });
    assert_eq!(answered.count(), 50);
}

#[test]
fn a_read_only_node_asks_and_never_answers_and_is_in_no_table() {
    let (mut net, router) = Net::of(3);
    let quiet =
        net.add("10.0.0.9:1", Config { read_only: true, ..Config::default() }, Some("10.0.0.1:1"));
    let news = net.ask(quiet, 1, Ask::FindNode(Id([1; 20])));
    assert!(
        matches!(news.last(), Some(Event::Done { report, .. }) if report.closest.len() == 3),
        "{news:?}"
    );
    assert!(net.say("10.0.1.1:1", quiet, &query(b"aa", Id([1; 20]), Query::Ping)).is_empty());
    assert!(net.nodes[&router].contacts().iter().all(|contact| contact.addr != quiet));
}

#[test]
fn an_item_is_found_replaced_and_kept_from_being_replaced_by_an_older_one() {
    let (mut net, router) = Net::of(12);
    let version = |seq, text: &[u8]| {
        Mutable::sign(&[9; 32], b"s".to_vec(), seq, Value::of_bytes(text).unwrap())
            .map(Item::Mutable)
    };
    let other = addr("10.0.0.7:1");
    let report = |news: &[Event]| match news.last() {
        Some(Event::Done { report, .. }) => report.clone(),
        other => panic!("no end but {other:?}"),
    };
    let put = |net: &mut Net, key, item: &Item, cas| {
        report(&net.ask(router, key, Ask::Put { item: item.clone(), cas }))
    };
    let (one, two) = (version(1, b"one").unwrap(), version(2, b"two").unwrap());
    assert_eq!(put(&mut net, 1, &one, None).stored, 8);
    let again = put(&mut net, 2, &two, Some(5));
    assert_eq!(
        (again.stored, again.refused.map(|error| error.code)),
        (0, Some(KrpcError::CAS_MISMATCH))
    );
    assert_eq!(put(&mut net, 3, &two, Some(1)).stored, 8);
    assert_eq!(
        put(&mut net, 4, &one, None).refused.map(|error| error.code),
        Some(KrpcError::OLD_SEQ)
    );
    let news = net.ask(other, 5, Ask::Get { target: two.target(), salt: b"s".to_vec() });
    let found: Vec<&Item> = news
        .iter()
        .filter_map(|event| if let Event::Item { item, .. } = event { Some(item) } else { None })
        .collect();
    assert_eq!(found, [&two]);
    let news = net.ask(other, 6, Ask::Get { target: two.target(), salt: b"other".to_vec() });
    assert!(matches!(news[..], [Event::Done { .. }]), "another salt is another item: {news:?}");
}

#[test]
fn a_scrape_counts_seeds_and_others_and_a_sample_names_torrents() {
    let (mut net, router) = Net::of(12);
    for number in 2..=9_u8 {
        let announce = Some(AnnounceOptions { port: Some(7000), seed: number % 2 == 0 });
        net.ask(
            addr(&format!("10.0.0.{number}:1")),
            number.into(),
            Ask::GetPeers { info_hash: HASH, announce, scrape: false },
        );
    }
    let news = net.ask(
        addr("10.0.0.12:1"),
        1,
        Ask::GetPeers { info_hash: HASH, announce: None, scrape: true },
    );
    let Some(Event::Done { report, .. }) = news.last() else { panic!("{news:?}") };
    let scrape = report.scrape.as_ref().expect("it was asked for");
    assert_eq!((scrape.seeds.estimate(), scrape.peers.estimate()), (4, 4));
    let peers: usize = news
        .iter()
        .map(|event| if let Event::Peers { peers, .. } = event { peers.len() } else { 0 })
        .sum();
    assert_eq!(peers, 8, "each peer is told once");
    let holder = report.closest[0].addr;
    let news = net.ask(
        router,
        2,
        Ask::SampleInfohashes(if holder == router { report.closest[1].addr } else { holder }),
    );
    assert!(
        matches!(&news[0], Event::Samples { samples: Samples { hashes, total: 1, .. }, .. } if hashes == &[HASH]),
        "{news:?}"
    );
}

#[test]
fn both_families_are_searched_and_one_tells_of_the_other() {
    let both = || Config { v4: true, v6: true, ..Config::default() };
    let mut net = Net::new();
    let router = net.add("[fd00::1]:1", Config { v4: false, v6: true, ..Config::default() }, None);
    for number in 2..=4 {
        net.add(&format!("[fd00::{number}]:1"), both(), Some("[fd00::1]:1"));
    }
    assert_eq!(net.nodes[&router].id(Family::V4), None);
    let stranger = "[fd00::9]:1";
    let want = |want| query(b"aa", Id([1; 20]), Query::FindNode { target: Id([2; 20]), want });
    let only = |net: &mut Net, bytes: &[u8]| {
        responses(&net.say(stranger, addr("[fd00::2]:1"), bytes))[0].clone()
    };
    let usual = only(&mut net, &want(None));
    assert!(usual.nodes.is_none() && usual.nodes6.is_some());
    let other = only(&mut net, &want(Some(Want { v4: true, v6: false })));
    assert!(other.nodes.is_some() && other.nodes6.is_none());
    let announce = Some(AnnounceOptions { port: Some(7000), seed: false });
    let news =
        net.ask(addr("[fd00::2]:1"), 1, Ask::GetPeers { info_hash: HASH, announce, scrape: false });
    assert!(
        matches!(&news[..], [Event::Done { report, .. }] if report.stored == 3),
        "one end for both searches: {news:?}"
    );
    let news = net.ask(
        addr("[fd00::4]:1"),
        2,
        Ask::GetPeers { info_hash: HASH, announce: None, scrape: false },
    );
    assert!(
        matches!(&news[0], Event::Peers { peers, .. } if peers == &[addr("[fd00::2]:7000")]),
        "{news:?}"
    );
}

#[test]
fn saved_nodes_and_ports_of_peers_are_a_way_in() {
    let (mut net, router) = Net::of(5);
    let saved = net.nodes[&router].contacts();
    assert_eq!(saved.len(), 4);
    let new = net.add("10.0.0.50:1", Config::default(), None);
    assert_eq!(net.nodes[&new].nodes(), 0);
    net.tell(new, Input::Saved(saved));
    assert_eq!(net.nodes[&new].nodes(), 5);
    let told = net.add("10.0.0.60:1", Config::default(), None);
    net.tell(told, Input::Port(router));
    assert_eq!(net.nodes[&told].nodes(), 1);
    net.pass(10);
    assert_eq!(net.nodes[&told].nodes(), 6, "and from one node the others are found");
}

#[test]
fn our_id_follows_from_the_address_that_others_see() {
    let mut net = Net::new();
    let ip = |number: u8| format!("{}.7.{number}.1:1", 20 + number);
    for number in 1..=12 {
        net.add(&ip(number), Config::default(), (number > 1).then_some("21.7.1.1:1"));
    }
    let at = addr("99.8.7.6:1");
    net.nodes.insert(at, Node::new(net.now, Config::default(), Rng::from_seed(99)));
    assert!(!is_secure(net.nodes[&at].id(Family::V4).unwrap(), at.ip()));
    net.tell(at, Input::Router(addr("21.7.1.1:1")));
    net.pass(30);
    assert!(is_secure(net.nodes[&at].id(Family::V4).unwrap(), at.ip()));
    assert!(net.nodes[&at].nodes() >= 10);
    // After that the other nodes accept the node under its new id.
    net.pass(60);
    assert!(net.nodes[&addr("21.7.1.1:1")].contacts().iter().any(|contact| contact.addr == at));
}

#[test]
fn no_question_goes_to_an_address_that_its_source_may_not_name() {
    let mut rng = Rng::from_seed(1);
    let liar = addr("5.6.7.8:1");
    let mut node = Node::new(Time::ZERO, Config::default(), Rng::from_seed(2));
    node.handle(Time::ZERO, Input::Ask(AskKey(1), Ask::Ping(liar)));
    node.handle(Time::ZERO, Input::Router(liar));
    let mut sent = Vec::new();
    while let Some(output) = node.poll() {
        if let Output::Send { to, bytes, named_by } = output {
            assert_eq!((to, named_by), (liar, Source::User));
            let transaction = KrpcMessage::parse(&bytes).unwrap().transaction;
            let mut response = Response::new(secure_id(liar.ip(), &mut Rng::from_seed(7)));
            let named =
                ["127.0.0.1:22", "10.0.0.1:80", "169.254.169.254:80", "9.8.7.6:1", "9.8.7.6:0"];
            response.nodes = Some(
                named
                    .iter()
                    .map(|text| bt_dht::Contact { id: Id::random(&mut rng), addr: addr(text) })
                    .collect(),
            );
            let body = Body::Response(Box::new(response));
            sent.push(
                KrpcMessage { transaction, version: None, seen_as: None, read_only: false, body }
                    .write(),
            );
        }
    }
    sent.iter().for_each(|bytes| node.handle(Time::ZERO, Input::Datagram { from: liar, bytes }));
    let asked: Vec<SocketAddr> = std::iter::from_fn(|| node.poll())
        .filter_map(|output| if let Output::Send { to, .. } = output { Some(to) } else { None })
        .collect();
    assert_eq!(asked, [addr("9.8.7.6:1")]);
}

#[test]
fn a_question_ends_once_whatever_happens() {
    let (mut net, router) = Net::of(3);
    net.nodes.remove(&addr("10.0.0.2:1"));
    let lost = net.ask(router, 1, Ask::Ping(addr("10.0.0.2:1")));
    assert!(matches!(&lost[..], [Event::Done { report, .. }] if report.answers == 0), "{lost:?}");
    net.events.clear();
    net.nodes
        .get_mut(&router)
        .unwrap()
        .handle(net.now, Input::Ask(AskKey(2), Ask::FindNode(Id([1; 20]))));
    net.tell(router, Input::Cancel(AskKey(2)));
    net.pass(20);
    assert_eq!(net.events.iter().filter(|event| matches!(event, Event::Done { .. })).count(), 1);
    let mut lonely = Node::new(Time::ZERO, Config::default(), Rng::from_seed(1));
    lonely.handle(Time::ZERO, Input::Ask(AskKey(3), Ask::FindNode(Id([1; 20]))));
    assert!(matches!(lonely.poll(), Some(Output::Event(Event::Done { ask: AskKey(3), .. }))));
}

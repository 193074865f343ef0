//! `bt dht`: ask the DHT, or run a node of it.
//!
//! Decides: how answers read.
//! Must not know: the protocol of the DHT.
//! Invariant: only `node` answers other nodes; every other command asks read-only (BEP 43) and
//! ends.

use crate::addresses::{ListenAddr, PeerAddr};
use crate::args::{DhtArgs, DhtVerb};
use crate::exit::{self, Exit, Failure, Outcome};
use crate::json::{self, DhtLookup, DhtPing, Found, Ready, Summary};
use crate::output::Output;
use crate::signals::{Hangup, Stop};
use crate::units;
use bt_session::StartError;
use bt_session::dht::{
    AnnounceOptions, Ask, Dht, DhtConfig, DhtHandle, Event, Id, Item, LookupReport, Mutable, Value,
};
use bt_session::dht::{mutable_target, new_secret, public_key};
use bt_types::InfoHash;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

/// The usual UDP port of nodes.
const PORT: u16 = 6881;
/// Bytes per second of a bootstrap node's replies, above the usual limit, as many new nodes ask it.
const NODE_RATE: u64 = 1_000_000;

pub(crate) async fn run(args: DhtArgs, output: &Output) -> Outcome {
    let is_node = matches!(args.verb, DhtVerb::Node);
    let mut listen: Vec<_> = args.listen.into_iter().flat_map(ListenAddr::all).collect();
    if is_node && listen.is_empty() {
        listen = ListenAddr::Port(PORT).all();
    }
    if args.dht_bootstrap.is_empty() && !matches!(args.verb, DhtVerb::Node | DhtVerb::Ping { .. }) {
        return Err(Failure::usage(
            "no node to begin at: name a node with --dht-bootstrap HOST:PORT",
        ));
    }
    let config =
        DhtConfig { bootstrap: args.dht_bootstrap, read_only: !is_node, ..DhtConfig::default() };
    let dht = Dht::start(
        &listen,
        if is_node { DhtConfig { reply_bytes_per_sec: NODE_RATE, ..config } } else { config },
    );
    let dht = dht.map_err(|error| match &error {
        StartError::Listen { source, .. } => {
            let advice = exit::listen_advice(source);
            Failure::new(Exit::Other, "cannot_listen", format!("{error}; {advice} with --listen"))
        }
        _ => Failure::from(anyhow::Error::from(error)),
    })?;
    let handle = dht.handle();
    match args.verb {
        DhtVerb::Node => return node(dht, output).await,
        DhtVerb::Ping { addr } => ping(&handle, &addr, output).await?,
        DhtVerb::GetPeers { hash, announce, scrape } => {
            join(&handle, args.timeout).await?;
            get_peers(&handle, hash, announce, scrape, output).await?;
        }
        DhtVerb::Get { target, salt } => {
            join(&handle, args.timeout).await?;
            get(&handle, target.into(), salt.unwrap_or_default().into_bytes(), output).await?;
        }
        DhtVerb::Put { value, key, salt, seq } => {
            let value = Value::of_bytes(value.as_bytes()).map_err(Failure::usage)?;
            let secret = key.as_deref().map(secret_in).transpose()?;
            join(&handle, args.timeout).await?;
            put(&handle, value, secret, salt.unwrap_or_default().into_bytes(), seq, output).await?;
        }
    }
    dht.stop().await;
    Ok(())
}

async fn join(handle: &DhtHandle, limit: Duration) -> Outcome {
    if handle.joined(limit).await {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Network,
        "no_node",
        "no node of the DHT answers; check --dht-bootstrap, and run again with -v to see more",
    ))
}

async fn ping(handle: &DhtHandle, node: &PeerAddr, output: &Output) -> Outcome {
    let addrs = node.look_up().await?;
    let unknown = || Failure::new(Exit::Network, "no_such_name", format!("{node} has no address"));
    let addr = *addrs.first().ok_or_else(unknown)?;
    match handle.ask(Ask::Ping(addr)).await.next().await {
        Some(Event::Pong { node, version, round_trip, .. }) => {
            let millis = round_trip.as_micros() as f64 / 1000.0;
            let version = version.map(|version| version.escape_ascii().to_string());
            output.line(format_args!(
                "{addr}: {} in {millis:.1} ms{}",
                node.id,
                version.as_ref().map_or(String::new(), |v| format!(", {v}"))
            ));
            output.object(&DhtPing {
                verb: "ping",
                addr,
                id: node.id.to_string(),
                version,
                ms: millis,
            });
            Ok(())
        }
        _ => Err(Failure::new(Exit::Network, "no_answer", format!("{addr} does not answer"))),
    }
}

async fn get_peers(
    handle: &DhtHandle,
    hash: InfoHash,
    announce: Option<u16>,
    scrape: bool,
    output: &Output,
) -> Outcome {
    let announce = announce.map(|port| AnnounceOptions { port: Some(port), seed: false });
    let mut answers = handle.ask(Ask::GetPeers { info_hash: hash, announce, scrape }).await;
    let mut peers = Vec::new();
    while let Some(event) = answers.next().await {
        if let Event::Peers { peers: found, .. } = event {
            found.iter().for_each(|peer| output.line(peer));
            peers.extend(found);
        }
    }
    let report = answers.report().await;
    let counts =
        report.scrape.as_ref().map(|scrape| (scrape.seeds.estimate(), scrape.peers.estimate()));
    let mut said = format!("{}; {}", units::count(peers.len(), "peer"), account(&report));
    if let Some((seeds, others)) = counts {
        said += &format!("; about {seeds} seeds and {others} others");
    }
    output.note(said);
    let found = Found::GetPeers {
        info_hash: hash.to_string(),
        peers,
        seeds_estimated: counts.map(|(seeds, _)| seeds),
        leechers_estimated: counts.map(|(_, others)| others),
    };
    output.object(&with_cost(&report, found));
    if announce.is_some() && report.stored == 0 {
        return Err(Failure::new(Exit::Network, "not_stored", "no node stored the announce"));
    }
    Ok(())
}

async fn get(handle: &DhtHandle, target: Id, salt: Vec<u8>, output: &Output) -> Outcome {
    let (newest, report) = fetch(handle, target, salt).await;
    let Some(item) = newest else {
        let why = format!("nothing is stored at {target}; {}", account(&report));
        return Err(Failure::new(Exit::Network, "not_found", why));
    };
    let text = text_of(item.value());
    output.line(text.as_deref().unwrap_or(&item.value().encoded().escape_ascii().to_string()));
    let (key, seq) = key_and_seq(&item);
    let found = Found::Get {
        target: target.to_string(),
        value: text,
        encoded: hex(item.value().encoded()),
        seq,
        key,
    };
    output.object(&with_cost(&report, found));
    Ok(())
}

async fn put(
    handle: &DhtHandle,
    value: Value,
    secret: Option<[u8; 32]>,
    salt: Vec<u8>,
    seq: Option<i64>,
    output: &Output,
) -> Outcome {
    let mut cas = None;
    let item = match secret {
        None => Item::Immutable(value),
        Some(secret) => {
            let (newest, _) =
                fetch(handle, mutable_target(&public_key(&secret), &salt), salt.clone()).await;
            if let (None, Some(Item::Mutable(found))) = (seq, newest) {
                cas = Some(found.seq());
            }
            let seq = seq.unwrap_or(cas.map_or(1, |found| found.saturating_add(1)));
            Item::Mutable(Mutable::sign(&secret, salt, seq, value).map_err(Failure::usage)?)
        }
    };
    let target = item.target();
    let (key, seq) = key_and_seq(&item);
    let report = handle.ask(Ask::Put { item, cas }).await.report().await;
    if report.stored == 0 {
        let why = report.refused.as_ref().map_or(account(&report), |error| error.message.clone());
        return Err(Failure::new(Exit::Network, "not_stored", format!("no node stored it: {why}")));
    }
    output.line(target);
    output.note(account(&report));
    output.object(&with_cost(&report, Found::Put { target: target.to_string(), key, seq }));
    Ok(())
}

/// Runs a node until a signal stops it.
async fn node(dht: Dht, output: &Output) -> Outcome {
    tokio::task::LocalSet::new()
        .run_until(async {
            let stop = Stop::listen(Hangup::Stops).map_err(anyhow::Error::from)?;
            let listen = dht.listen();
            let shown: Vec<String> = listen.iter().map(ToString::to_string).collect();
            output.event(&json::Event::Ready(Ready::Node { verb: "node", listen }));
            output.line(format_args!("ready: {}", shown.join(" ")));
            stop.asked().await;
            let status = dht.handle().status();
            dht.stop().await;
            output.event(&json::Event::Stopped { reason: None });
            output.event(&json::Event::Summary(Summary::Node {
                nodes: status.nodes,
                torrents: status.torrents,
                received: status.received,
                sent: status.sent,
            }));
            Ok(())
        })
        .await
}

/// Fetches the newest version of an item, if there is any.
async fn fetch(handle: &DhtHandle, target: Id, salt: Vec<u8>) -> (Option<Item>, LookupReport) {
    let mut answers = handle.ask(Ask::Get { target, salt }).await;
    let mut newest = None;
    while let Some(event) = answers.next().await {
        if let Event::Item { item, .. } = event {
            newest = Some(item);
        }
    }
    (newest, answers.report().await)
}

/// Reads the secret key in a file, which is made if it is missing.
fn secret_in(file: &Path) -> Outcome<[u8; 32]> {
    let invalid = || {
        Failure::new(
            Exit::Input,
            "invalid_key",
            format!("{} does not hold a key of 64 hex digits", file.display()),
        )
    };
    match std::fs::read_to_string(file) {
        Ok(text) => unhex(text.trim()).ok_or_else(invalid),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secret = new_secret().map_err(anyhow::Error::from)?;
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
            made.and_then(|mut made| writeln!(made, "{}", hex(&secret)))
                .map_err(|error| Failure::disk(file, &error))?;
            Ok(secret)
        }
        Err(error) => Err(Failure::disk(file, &error)),
    }
}

fn account(report: &LookupReport) -> String {
    let stored = if report.stored > 0 {
        format!(", {} nodes stored it", report.stored)
    } else {
        String::new()
    };
    format!("{} queries, {} answers{stored}", report.queries, report.answers)
}

fn with_cost(report: &LookupReport, found: Found) -> DhtLookup {
    let LookupReport { queries, answers, stored, .. } = *report;
    DhtLookup { found, queries, answers, stored }
}

/// Returns the key in hex and the version of a mutable item.
fn key_and_seq(item: &Item) -> (Option<String>, Option<i64>) {
    match item {
        Item::Mutable(mutable) => (Some(hex(mutable.key())), Some(mutable.seq())),
        Item::Immutable(_) => (None, None),
    }
}

/// Returns the text of a bencoded string.
fn text_of(value: &Value) -> Option<String> {
    let text = std::str::from_utf8(value.encoded()).ok()?;
    let (len, text) = text.split_once(':')?;
    len.parse::<usize>().is_ok().then(|| text.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    bt_types::push_hex(&mut text, bytes);
    text
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| u8::try_from(digit.to_digit(16)?).ok()).collect();
    let bytes: Vec<u8> = digits?
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    (text.len() == 64).then(|| bytes.try_into().ok()).flatten()
}

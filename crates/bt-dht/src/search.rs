//! A search: a lookup with its purpose, its results, and the stores at its end.
//!
//! Decides: what each node is asked, and which part of an answer counts.
//! Must not know: sockets, the routing table.
//! Invariant: only checked results count: peers by `may_name`, items by hash or signature.

use crate::contact::{Contact, Family};
use crate::id::Id;
use crate::io::{AnnounceOptions, AskKey, Event, LookupReport, Scrape};
use crate::item::{Item, Mutable, mutable_target};
use crate::lookup::Lookup;
use crate::message::{KrpcError, Query, Response, Stored, Want};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use bt_types::{InfoHash, Source, may_name};
use core::net::{IpAddr, SocketAddr};

/// Most peers that a search reports.
const PEERS_MAX: usize = 5000;

/// The purpose of a search.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Nodes.
    Nodes,
    /// Peers.
    Peers { info_hash: InfoHash, announce: Option<AnnounceOptions>, scrape: bool },
    /// An item.
    Get { salt: Vec<u8> },
    /// The nodes that will store an item.
    Put { item: Box<Item>, cas: Option<i64> },
}

#[derive(Debug)]
pub(crate) struct Search {
    /// The caller's question; `None` for searches that maintain the table.
    pub(crate) ask: Option<AskKey>,
    pub(crate) family: Family,
    pub(crate) lookup: Lookup,
    pub(crate) report: LookupReport,
    kind: Kind,
    /// Queries to store something that are under way; `None` while nodes are searched for.
    storing: Option<usize>,
    peers: BTreeSet<SocketAddr>,
    /// Peers that came without counts.
    uncounted: BTreeSet<IpAddr>,
    newest: Option<i64>,
    found_immutable: bool,
}

impl Search {
    pub(crate) fn new(ask: Option<AskKey>, family: Family, target: Id, kind: Kind) -> Search {
        let scrape = matches!(kind, Kind::Peers { scrape: true, .. });
        Search {
            ask,
            family,
            lookup: Lookup::new(target),
            report: LookupReport {
                scrape: scrape.then(Box::<Scrape>::default),
                ..LookupReport::default()
            },
            kind,
            storing: None,
            peers: BTreeSet::new(),
            uncounted: BTreeSet::new(),
            newest: None,
            found_immutable: false,
        }
    }

    /// Returns the question to each node.
    pub(crate) fn query(&self, want: Option<Want>) -> Query {
        let target = self.lookup.target();
        match &self.kind {
            Kind::Nodes => Query::FindNode { target, want },
            Kind::Peers { info_hash, scrape, .. } => {
                Query::GetPeers { info_hash: *info_hash, want, no_seed: false, scrape: *scrape }
            }
            Kind::Get { .. } | Kind::Put { .. } => Query::Get { target, newer_than: None, want },
        }
    }

    /// Takes the fields of an answer besides nodes, and returns the event for the caller.
    pub(crate) fn take(&mut self, from: Contact, response: &Response) -> Option<Event> {
        let ask = self.ask?;
        match &self.kind {
            Kind::Nodes => None,
            Kind::Peers { .. } => {
                if let (Some(scrape), Some((seeds, peers))) =
                    (&mut self.report.scrape, &response.blooms)
                {
                    scrape.seeds.union(seeds);
                    scrape.peers.union(peers);
                }
                self.take_peers(
                    ask,
                    from,
                    response.values.as_deref().unwrap_or_default(),
                    response.blooms.is_some(),
                )
            }
            Kind::Get { salt } => {
                let item = checked(self.lookup.target(), salt, response.item.as_ref()?)?;
                self.take_item(ask, item)
            }
            Kind::Put { .. } => None,
        }
    }

    fn take_peers(
        &mut self,
        ask: AskKey,
        from: Contact,
        values: &[SocketAddr],
        counted: bool,
    ) -> Option<Event> {
        let from = from.addr.ip();
        let source = Source::Host(from);
        let mut new = Vec::new();
        for peer in values.iter().filter(|peer| may_name(source, **peer)) {
            if !counted && self.uncounted.len() < PEERS_MAX {
                self.uncounted.insert(peer.ip());
            }
            if self.peers.len() < PEERS_MAX && self.peers.insert(*peer) {
                new.push(*peer);
            }
        }
        (!new.is_empty()).then_some(Event::Peers { ask, from, peers: new })
    }

    fn take_item(&mut self, ask: AskKey, item: Item) -> Option<Event> {
        match &item {
            Item::Immutable(_) if self.found_immutable => return None,
            Item::Immutable(_) => self.found_immutable = true,
            Item::Mutable(mutable) if self.newest.is_some_and(|newest| newest >= mutable.seq()) => {
                return None;
            }
            Item::Mutable(mutable) => self.newest = Some(mutable.seq()),
        }
        Some(Event::Item { ask, item })
    }

    /// Returns whether more nodes may have to be asked.
    pub(crate) fn is_searching(&self) -> bool {
        self.storing.is_none() && !self.is_found()
    }

    /// Returns whether all useful nodes were asked.
    pub(crate) fn is_found(&self) -> bool {
        self.storing.is_none() && (self.lookup.is_done() || self.found_immutable)
    }

    /// Returns the queries to store at the end of the lookup. After this, [`stored`](Self::stored)
    /// is called for each of them.
    pub(crate) fn stores(&mut self) -> Vec<(Contact, Query)> {
        self.report.closest = self.lookup.closest().collect();
        if let Some(scrape) = &mut self.report.scrape {
            // A peer without counts is no seed, unless another node says so (BEP 33).
            let others = self.uncounted.iter().filter(|ip| !scrape.seeds.contains(**ip));
            others.for_each(|ip| scrape.peers.insert(*ip));
        }
        let query = |token: Vec<u8>| match &self.kind {
            Kind::Peers { info_hash, announce: Some(announce), .. } => Some(Query::AnnouncePeer {
                info_hash: *info_hash,
                port: announce.port,
                token,
                seed: announce.seed,
            }),
            Kind::Put { item, cas } => Some(Query::Put { item: item.clone(), cas: *cas, token }),
            _ => None,
        };
        let holders = self.lookup.holders().into_iter();
        let stores: Vec<_> =
            holders.filter_map(|(contact, token)| Some((contact, query(token)?))).collect();
        self.storing = Some(stores.len());
        stores
    }

    /// Counts the end of a query to store something.
    pub(crate) fn stored(&mut self, result: Option<Result<(), KrpcError>>) {
        self.storing = self.storing.map(|left| left.saturating_sub(1));
        match result {
            Some(Ok(())) => self.report.stored = self.report.stored.saturating_add(1),
            Some(Err(error)) => self.report.refused = Some(error),
            None => {}
        }
    }

    /// Returns whether everything has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.storing == Some(0)
    }
}

/// Checks a stored item of an answer: whether it has the target, and the right hash or signature.
fn checked(target: Id, salt: &[u8], stored: &Stored) -> Option<Item> {
    let value = stored.value.clone()?;
    let item = match (stored.signed, stored.seq) {
        (Some((key, signature)), Some(seq)) if mutable_target(&key, salt) == target => {
            let mutable = Mutable::new(key, salt.to_vec(), seq, value, signature).ok()?;
            mutable.check().ok()?;
            Item::Mutable(mutable)
        }
        _ => Item::Immutable(value),
    };
    (item.target() == target).then_some(item)
}

/// Adds up the reports of two searches of one question.
pub(crate) fn merge(into: &mut LookupReport, other: LookupReport) {
    into.queries = into.queries.saturating_add(other.queries);
    into.answers = into.answers.saturating_add(other.answers);
    into.stored = into.stored.saturating_add(other.stored);
    into.closest.extend(other.closest);
    into.refused = other.refused.or(into.refused.take());
    if let Some(other) = other.scrape {
        let scrape = into.scrape.get_or_insert_default();
        scrape.seeds.union(&other.seeds);
        scrape.peers.union(&other.peers);
    }
}

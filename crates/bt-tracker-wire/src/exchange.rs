//! Runs one question to a UDP tracker, from connect to answer, as a machine (BEP 15).
//!
//! Decides: when to send which datagram again, and which replies count. Must not know: sockets,
//! clocks, other exchanges.
//! Invariant: there is exactly one `Done`, at `give_up_at` at the latest. A datagram with a foreign
//! transaction id changes nothing.

use crate::{AddressFamily, Answer, Failure, ScrapeReply, TrackerRequest, UdpReply, UdpRequest};
use alloc::vec::Vec;
use bt_types::{Rng, Time};
use core::time::Duration;
use thiserror::Error;

/// Seconds of the first wait for a reply; each further wait is twice as long, up to 15 · 2^8 s
/// (BEP 15).
const FIRST_WAIT: Duration = Duration::from_secs(15);
const DOUBLINGS_MAX: u32 = 8;
/// Seconds that a client may use a connection id (BEP 15).
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);

/// A connection id and when it was given. It is worth keeping for a minute, for every exchange with
/// the same tracker address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UdpConnection {
    id: u64,
    since: Time,
}

impl UdpConnection {
    /// Returns whether the id may still be used.
    pub fn is_usable(&self, now: Time) -> bool {
        now.since(self.since) < CONNECTION_AGE_MAX
    }
}

/// An order of the exchange to the shell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this datagram to the tracker.
    Send(Vec<u8>),
    /// The end of the exchange.
    Done(Result<Answer, ExchangeError>),
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ExchangeError {
    /// No reply came before `give_up_at`.
    #[error("no reply in time")]
    TimedOut,
    /// The tracker refused.
    #[error("the tracker refused: {0}")]
    Refused(#[from] Failure),
}

/// One announce or scrape over UDP. The shell sends what [`poll`](Self::poll) returns, feeds
/// received datagrams to [`handle`](Self::handle), and calls [`wake`](Self::wake) at
/// [`deadline`](Self::deadline).
#[derive(Debug)]
pub struct UdpExchange {
    ask: TrackerRequest,
    family: AddressFamily,
    rng: Rng,
    give_up_at: Time,
    connection: Option<UdpConnection>,
    /// The id was given in this exchange; the tracker may have forgotten an earlier id.
    connection_is_ours: bool,
    transaction: u32,
    sent: u32,
    resend_at: Time,
    output: Option<Output>,
    done: bool,
}

impl UdpExchange {
    /// Starts the exchange; the first datagram is ready at once. `known` is a connection id of an
    /// earlier exchange with the same tracker address. A tracker that forgot it is asked for a new
    /// id.
    pub fn new(
        now: Time,
        ask: TrackerRequest,
        family: AddressFamily,
        known: Option<UdpConnection>,
        rng: Rng,
        give_up_at: Time,
    ) -> UdpExchange {
        let mut exchange = UdpExchange {
            ask,
            family,
            rng,
            give_up_at,
            connection: known,
            connection_is_ours: false,
            transaction: 0,
            sent: 0,
            resend_at: now,
            output: None,
            done: false,
        };
        exchange.begin(now);
        exchange
    }

    /// Takes a datagram that came from the tracker's address.
    pub fn handle(&mut self, now: Time, datagram: &[u8]) {
        if self.done {
            return;
        }
        let asking = self.connection.is_some();
        match (UdpReply::parse(datagram, self.family), &self.ask) {
            (Some(UdpReply::Connect { transaction, connection }), _)
                if transaction == self.transaction && !asking =>
            {
                self.connection = Some(UdpConnection { id: connection, since: now });
                self.connection_is_ours = true;
                self.begin(now);
            }
            (Some(UdpReply::Announce { transaction, reply }), TrackerRequest::Announce(_))
                if transaction == self.transaction && asking =>
            {
                self.finish(Ok(Answer::Announce(reply)));
            }
            (Some(UdpReply::Scrape { transaction, counts }), TrackerRequest::Scrape(hashes))
                if transaction == self.transaction && asking =>
            {
                let swarms = hashes.iter().copied().zip(counts).collect();
                self.finish(Ok(Answer::Scrape(ScrapeReply { swarms })));
            }
            (Some(UdpReply::Error { transaction, message }), _)
                if transaction == self.transaction =>
            {
                if asking && !self.connection_is_ours {
                    self.connection = None;
                    self.begin(now);
                } else {
                    self.finish(Err(Failure::new(message).into()));
                }
            }
            _ => {}
        }
    }

    /// Returns the next order, or `None` if none is left.
    pub fn poll(&mut self) -> Option<Output> {
        self.output.take()
    }

    /// Returns when to call [`wake`](Self::wake); `None` if the exchange is over.
    pub fn deadline(&self) -> Option<Time> {
        (!self.done).then(|| self.resend_at.min(self.give_up_at))
    }

    /// Acts on a deadline that has passed.
    pub fn wake(&mut self, now: Time) {
        if self.done {
        } else if now >= self.give_up_at {
            self.finish(Err(ExchangeError::TimedOut));
        } else if now >= self.resend_at {
            self.send_again(now);
        }
    }

    /// Returns the connection id to keep for the next exchange with this tracker address.
    pub fn connection(&self) -> Option<UdpConnection> {
        self.connection
    }

    fn send_again(&mut self, now: Time) {
        // A restarted tracker may not know an id of an earlier exchange that brought no answer.
        let stale =
            self.connection.is_some_and(|known| !known.is_usable(now) || !self.connection_is_ours);
        if stale {
            self.connection = None;
            self.transaction = self.rng.next_u32();
        }
        self.send(now);
    }

    /// Begins a step with a new transaction id and the first wait again.
    fn begin(&mut self, now: Time) {
        self.connection = self.connection.filter(|known| known.is_usable(now));
        self.transaction = self.rng.next_u32();
        self.sent = 0;
        self.send(now);
    }

    fn send(&mut self, now: Time) {
        let transaction = self.transaction;
        let request = match (self.connection, &self.ask) {
            (None, _) => UdpRequest::Connect { transaction },
            (Some(known), TrackerRequest::Announce(announce)) => UdpRequest::Announce {
                connection: known.id,
                transaction,
                announce: announce.clone(),
            },
            (Some(known), TrackerRequest::Scrape(hashes)) => {
                UdpRequest::Scrape { connection: known.id, transaction, hashes: hashes.clone() }
            }
        };
        self.output = Some(Output::Send(request.write()));
        self.resend_at = now + FIRST_WAIT.saturating_mul(1 << self.sent.min(DOUBLINGS_MAX));
        self.sent = self.sent.saturating_add(1);
    }

    fn finish(&mut self, result: Result<Answer, ExchangeError>) {
        self.done = true;
        self.output = Some(Output::Done(result));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Announce, AnnounceReply};
    use bt_types::{InfoHash, PeerId};
    use std::vec;

    fn start(known: Option<UdpConnection>, now: Time, give_up_at: Time) -> UdpExchange {
        let announce = Announce::new(InfoHash([1; 20]), PeerId([2; 20]), 6881);
        UdpExchange::new(
            now,
            TrackerRequest::Announce(announce),
            AddressFamily::V4,
            known,
            Rng::from_seed(1),
            give_up_at,
        )
    }

    /// Returns the next datagram that the exchange sends, parsed.
    fn sent(exchange: &mut UdpExchange) -> UdpRequest {
        match exchange.poll() {
            Some(Output::Send(datagram)) => UdpRequest::parse(&datagram).expect("a valid request"),
            other => panic!("no datagram but {other:?}"),
        }
    }

    fn connect_transaction(request: UdpRequest) -> u32 {
        match request {
            UdpRequest::Connect { transaction } => transaction,
            other => panic!("no connect but {other:?}"),
        }
    }

    fn announce_ids(request: UdpRequest) -> (u64, u32) {
        match request {
            UdpRequest::Announce { connection, transaction, .. } => (connection, transaction),
            other => panic!("no announce but {other:?}"),
        }
    }

    fn reply(exchange: &mut UdpExchange, now: Time, reply: UdpReply) {
        exchange.handle(now, &reply.write(AddressFamily::V4));
    }

    fn announce_reply(transaction: u32) -> UdpReply {
        UdpReply::Announce {
            transaction,
            reply: AnnounceReply { interval: 60, ..AnnounceReply::default() },
        }
    }

    /// Makes an exchange that has its id and has just sent the announce.
    fn connected(now: Time, give_up_at: Time) -> (UdpExchange, u32) {
        let mut exchange = start(None, now, give_up_at);
        let transaction = connect_transaction(sent(&mut exchange));
        reply(&mut exchange, now, UdpReply::Connect { transaction, connection: 77 });
        let (connection, transaction) = announce_ids(sent(&mut exchange));
        assert_eq!(connection, 77);
        (exchange, transaction)
    }

    #[test]
    fn connect_then_announce_then_done_once() {
        let (mut exchange, transaction) = connected(Time::ZERO, Time::from_secs(60));
        reply(&mut exchange, Time::ZERO, announce_reply(transaction));
        assert!(
            matches!(exchange.poll(), Some(Output::Done(Ok(Answer::Announce(reply)))) if reply.interval == 60)
        );
        reply(&mut exchange, Time::ZERO, announce_reply(transaction));
        exchange.wake(Time::from_secs(100));
        assert_eq!((exchange.poll(), exchange.deadline()), (None, None));
    }

    #[test]
    fn what_does_not_match_is_ignored() {
        let (mut exchange, transaction) = connected(Time::ZERO, Time::from_secs(60));
        let before = exchange.deadline();
        for foreign in [
            announce_reply(transaction ^ 1),
            UdpReply::Error { transaction: transaction ^ 1, message: "no".into() },
            UdpReply::Connect { transaction, connection: 5 },
            UdpReply::Scrape { transaction, counts: vec![] },
        ] {
            reply(&mut exchange, Time::from_secs(1), foreign.clone());
            assert_eq!((exchange.poll(), exchange.deadline()), (None, before), "{foreign:?}");
        }
        exchange.handle(Time::ZERO, b"rubbish");
        assert_eq!(exchange.poll(), None);
    }

    #[test]
    fn waits_double_and_the_end_is_kept() {
        let mut exchange = start(None, Time::ZERO, Time::from_secs(120));
        let first = connect_transaction(sent(&mut exchange));
        let mut at = Vec::new();
        while let Some(deadline) = exchange.deadline() {
            at.push(deadline.as_micros() / 1_000_000);
            exchange.wake(deadline);
            match exchange.poll() {
                Some(Output::Send(datagram)) => {
                    let again = connect_transaction(UdpRequest::parse(&datagram).unwrap());
                    assert_eq!(again, first, "a late reply to the first datagram still counts");
                }
                Some(Output::Done(result)) => assert_eq!(result, Err(ExchangeError::TimedOut)),
                None => panic!("a wake without an order"),
            }
        }
        assert_eq!(at, [15, 45, 105, 120]);
    }

    #[test]
    fn a_connection_id_is_renewed_after_a_minute() {
        let (mut exchange, _) = connected(Time::ZERO, Time::from_secs(600));
        for (at, connects) in [(15, false), (45, false), (105, true)] {
            exchange.wake(Time::from_secs(at));
            assert_eq!(
                matches!(sent(&mut exchange), UdpRequest::Connect { .. }),
                connects,
                "at {at} s"
            );
        }
    }

    #[test]
    fn a_known_id_saves_the_connect_while_it_is_fresh() {
        let known = UdpConnection { id: 77, since: Time::ZERO };
        for (at, saves) in [(0, true), (59, true), (60, false), (61, false)] {
            let mut exchange = start(Some(known), Time::from_secs(at), Time::from_secs(600));
            assert_eq!(
                matches!(sent(&mut exchange), UdpRequest::Announce { .. }),
                saves,
                "at {at} s"
            );
        }
    }

    #[test]
    fn a_tracker_that_forgot_the_id_is_asked_again() {
        let known = Some(UdpConnection { id: 77, since: Time::ZERO });
        let mut refused = start(known, Time::ZERO, Time::from_secs(60));
        let (_, transaction) = announce_ids(sent(&mut refused));
        reply(
            &mut refused,
            Time::ZERO,
            UdpReply::Error { transaction, message: "bad connection id".into() },
        );
        connect_transaction(sent(&mut refused));

        let mut silent = start(known, Time::ZERO, Time::from_secs(60));
        sent(&mut silent);
        silent.wake(Time::from_secs(15));
        connect_transaction(sent(&mut silent));
    }

    #[test]
    fn a_refusal_carries_the_words_of_the_tracker() {
        let (mut exchange, transaction) = connected(Time::ZERO, Time::from_secs(60));
        reply(
            &mut exchange,
            Time::ZERO,
            UdpReply::Error { transaction, message: "not registered".into() },
        );
        let refused = Err(ExchangeError::Refused(Failure::new("not registered")));
        assert_eq!(exchange.poll(), Some(Output::Done(refused)));
    }
}

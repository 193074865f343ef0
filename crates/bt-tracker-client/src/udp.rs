//! Carries UDP exchanges over sockets, and remembers connection ids.
//!
//! Decides: nothing that the exchange decides.
//! Must not know: HTTP, other addresses of the tracker.
//! Invariant: one connected socket per exchange, so only datagrams from the tracker's address are
//! read.

use crate::{Answered, TrackerError};
use bt_net::{Egress, NetError};
use bt_tracker_wire::{AddressFamily, Output, TrackerRequest, UdpConnection, UdpExchange};
use bt_types::{Rng, Source, Time};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Bytes read of a datagram: more than any reply of a tracker that avoids fragmented datagrams.
const DATAGRAM_MAX: usize = 4_096;

/// What all UDP exchanges share.
#[derive(Debug)]
pub(crate) struct UdpTrackers {
    start: Instant,
    shared: Mutex<Shared>,
}

#[derive(Debug)]
struct Shared {
    rng: Rng,
    connections: HashMap<SocketAddr, UdpConnection>,
}

impl UdpTrackers {
    pub(crate) fn new(rng: Rng) -> UdpTrackers {
        UdpTrackers {
            start: Instant::now(),
            shared: Mutex::new(Shared { rng, connections: HashMap::new() }),
        }
    }

    /// Asks the tracker at `addr`.
    pub(crate) async fn ask(
        &self,
        egress: &Egress,
        addr: SocketAddr,
        ask: &TrackerRequest,
        deadline: Instant,
    ) -> Result<Answered, TrackerError> {
        let socket = egress.udp(Source::User, addr).await?;
        let fail = |source| NetError::Connect { addr, source };
        let mut exchange = self.begin(addr, ask, deadline);
        let mut buffer = [0; DATAGRAM_MAX];
        let result = loop {
            match exchange.poll() {
                Some(Output::Send(datagram)) => {
                    socket.send(&datagram).await.map_err(fail)?;
                }
                Some(Output::Done(result)) => break result,
                None => {
                    let wake_at =
                        exchange.deadline().map_or(deadline, |deadline| self.instant(deadline));
                    tokio::select! {
                        // An error means that no tracker listens there: waiting longer would not
                        // help.
                        received = socket.recv(&mut buffer) => {
                            let datagram = buffer.get(..received.map_err(fail)?).unwrap_or_default();
                            exchange.handle(self.now(), datagram);
                        }
                        () = sleep_until(wake_at) => exchange.wake(self.now()),
                    }
                }
            }
        };
        self.remember(addr, exchange.connection());
        Ok(Answered { answer: result?, from: addr.ip() })
    }

    fn begin(&self, addr: SocketAddr, ask: &TrackerRequest, deadline: Instant) -> UdpExchange {
        let family = if addr.is_ipv4() { AddressFamily::V4 } else { AddressFamily::V6 };
        let mut shared = self.lock();
        let known = shared.connections.get(&addr).copied();
        UdpExchange::new(
            self.now(),
            ask.clone(),
            family,
            known,
            shared.rng.fork(),
            self.time(deadline),
        )
    }

    /// Keeps the connection id for the next exchange, and drops every id that is too old.
    fn remember(&self, addr: SocketAddr, connection: Option<UdpConnection>) {
        let now = self.now();
        let connections = &mut self.lock().connections;
        connections.retain(|_, known| known.is_usable(now));
        match connection {
            Some(connection) => connections.insert(addr, connection),
            None => connections.remove(&addr),
        };
    }

    fn now(&self) -> Time {
        self.time(Instant::now())
    }

    fn time(&self, instant: Instant) -> Time {
        Time::ZERO + instant.saturating_duration_since(self.start)
    }

    /// Converts a time, plus a microsecond, as the clock may count finer: the exchange must find
    /// its deadline passed.
    fn instant(&self, time: Time) -> Instant {
        self.start + time.since(Time::ZERO) + Duration::from_micros(1)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

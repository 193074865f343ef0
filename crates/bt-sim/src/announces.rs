//! A program's announces on their way: over UDP by the real exchange, over HTTP by the real query
//! and body.
//!
//! Decides: which answer belongs to which announce. Must not know: torrents' contents, when to
//! announce.
//! Invariant: every announce that is not a farewell is answered once, by the tracker or by a
//! reason.

use crate::network::{HostId, HttpId, Network};
use bt_engine::{AnnounceOrder, TrackerKey};
use bt_tracker_wire::{
    AddressFamily, Announce, AnnounceReply, Answer, Event, ExchangeError, Failure, Output,
    ReplyError, TrackerRequest, UdpConnection, UdpExchange, announce_url, read_announce_body,
};
use bt_types::{InfoHash, PeerId, Rng, Time};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A tracker must answer within this time; a farewell has less. The same as in a session.
const TIMEOUT: Duration = Duration::from_secs(30);
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(4);

/// What a program says of itself in every announce.
#[derive(Debug)]
pub(crate) struct Announces {
    host: HostId,
    info_hash: InfoHash,
    peer_id: PeerId,
    port: u16,
    key: u32,
    rng: Rng,
    asking: Vec<Asking>,
    /// The last connection id of the UDP tracker, with its address.
    known: Option<(SocketAddr, UdpConnection)>,
}

#[derive(Debug)]
struct Asking {
    tracker: TrackerKey,
    server: SocketAddr,
    give_up_at: Time,
    by: Means,
}

#[derive(Debug)]
enum Means {
    Udp(Box<UdpExchange>),
    Http(HttpId),
}

/// What an announce led to: the words of `Input::Announced`.
pub(crate) type Announced = (TrackerKey, Result<(IpAddr, AnnounceReply), Failure>);

impl Announces {
    pub(crate) fn new(
        host: HostId,
        info_hash: InfoHash,
        peer_id: PeerId,
        port: u16,
        mut rng: Rng,
    ) -> Announces {
        let key = rng.next_u32();
        Announces { host, info_hash, peer_id, port, key, rng, asking: Vec::new(), known: None }
    }

    /// Whether nothing is on its way.
    pub(crate) fn are_done(&self) -> bool {
        self.asking.is_empty()
    }

    /// Sends an announce. A URL that leads nowhere is answered at once.
    pub(crate) fn start(
        &mut self,
        now: Time,
        order: AnnounceOrder,
        net: &mut Network,
    ) -> Option<Announced> {
        let announce = Announce {
            uploaded: order.uploaded,
            downloaded: order.downloaded,
            left: order.left,
            event: order.event,
            key: self.key,
            num_want: Some(order.num_want),
            tracker_id: order.tracker_id,
            ..Announce::new(self.info_hash, self.peer_id, self.port)
        };
        let give_up_at =
            now + if order.event == Event::Stopped { FAREWELL_TIMEOUT } else { TIMEOUT };
        let Some((is_udp, server)) = server(&order.url) else {
            return Some((
                order.tracker,
                Err(Failure::new(format!("{} names no address", order.url))),
            ));
        };
        let by = if is_udp {
            let known = self.known.filter(|(addr, _)| *addr == server).map(|(_, known)| known);
            let ask = TrackerRequest::Announce(announce);
            Means::Udp(Box::new(UdpExchange::new(
                now,
                ask,
                AddressFamily::V4,
                known,
                self.rng.fork(),
                give_up_at,
            )))
        } else {
            let url = announce_url(&order.url, &announce);
            let target = url.splitn(4, '/').nth(3).unwrap_or_default();
            Means::Http(net.get(now, self.host, server.ip(), format!("/{target}")))
        };
        self.asking.push(Asking { tracker: order.tracker, server, give_up_at, by });
        self.finished(now, net).pop()
    }

    /// A datagram came.
    pub(crate) fn datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        datagram: &[u8],
        net: &mut Network,
    ) -> Vec<Announced> {
        for asking in self.asking.iter_mut().filter(|asking| asking.server == from) {
            if let Means::Udp(exchange) = &mut asking.by {
                exchange.handle(now, datagram);
            }
        }
        self.finished(now, net)
    }

    /// A web server answered, or could not be reached.
    pub(crate) fn body(&mut self, id: HttpId, body: Option<&[u8]>) -> Option<Announced> {
        let index = self
            .asking
            .iter()
            .position(|asking| matches!(asking.by, Means::Http(at) if at == id))?;
        let Asking { tracker, server, .. } = self.asking.remove(index);
        let reply = match body {
            Some(body) => {
                read_announce_body(body).map(|reply| (server.ip(), reply)).map_err(|error| {
                    match error {
                        ReplyError::Refused(failure) => failure,
                        error => Failure::new(error.to_string()),
                    }
                })
            }
            None => Err(Failure::new("connection refused")),
        };
        Some((tracker, reply))
    }

    /// When [`Announces::wake`] must be called.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let due = |asking: &Asking| match &asking.by {
            Means::Udp(exchange) => exchange.deadline(),
            Means::Http(_) => Some(asking.give_up_at),
        };
        self.asking.iter().filter_map(due).min()
    }

    /// Acts on what has become due.
    pub(crate) fn wake(&mut self, now: Time, net: &mut Network) -> Vec<Announced> {
        for asking in &mut self.asking {
            if let Means::Udp(exchange) = &mut asking.by {
                exchange.wake(now);
            }
        }
        self.finished(now, net)
    }

    /// Sends what the exchanges want sent, and takes out those that are over.
    fn finished(&mut self, now: Time, net: &mut Network) -> Vec<Announced> {
        let mut over = Vec::new();
        for mut asking in std::mem::take(&mut self.asking) {
            let mut answer = None;
            match &mut asking.by {
                Means::Http(_) => {
                    answer =
                        (now >= asking.give_up_at).then(|| Err(Failure::new("no answer in time")))
                }
                Means::Udp(exchange) => {
                    while let Some(output) = exchange.poll() {
                        match output {
                            Output::Send(datagram) => {
                                net.datagram(now, self.host, asking.server, datagram)
                            }
                            Output::Done(Ok(Answer::Announce(reply))) => {
                                answer = Some(Ok((asking.server.ip(), reply)))
                            }
                            Output::Done(Ok(Answer::Scrape(_))) => {
                                answer = Some(Err(Failure::new("another answer")))
                            }
                            Output::Done(Err(ExchangeError::Refused(failure))) => {
                                answer = Some(Err(failure))
                            }
                            Output::Done(Err(error)) => {
                                answer = Some(Err(Failure::new(error.to_string())))
                            }
                        }
                    }
                    if answer.is_some() {
                        self.known = exchange.connection().map(|known| (asking.server, known));
                    }
                }
            }
            match answer {
                Some(answer) => over.push((asking.tracker, answer)),
                None => self.asking.push(asking),
            }
        }
        over
    }
}

/// Whether a tracker's URL is one of UDP, and its address: this world has no names.
fn server(url: &str) -> Option<(bool, SocketAddr)> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split('/').next()?;
    Some((scheme == "udp", host.parse().ok()?))
}

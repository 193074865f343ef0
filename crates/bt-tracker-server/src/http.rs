//! The HTTP front: hyper connections under caps and deadlines.
//!
//! Decides: who may connect, for how long, and how large a request head may be. Must not know: what a query means.
//! Invariant: at most `CONNECTIONS_MAX` connections a listener, and none outlives `LIFE_MAX` or `REQUESTS_MAX`.

use crate::gzip;
use crate::table::Table;
use bt_tracker::HttpAnswer;
use bt_types::normalise;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

/// Connections at once on one listener.
const CONNECTIONS_MAX: usize = 2_048;
/// Of these from one address; loopback is not limited.
const CONNECTIONS_PER_IP: usize = 64;
/// How long a request head may take to arrive, counted from the connect or the last answer: idle connections end with it.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection may live: a client that does not read its answers ends with it.
const LIFE_MAX: Duration = Duration::from_secs(120);
/// Requests that one connection may carry: a client that wants more connects again, and takes its turn.
const REQUESTS_MAX: u32 = 100;
/// Bytes of a request head at most.
const HEAD_MAX: usize = 16 * 1024;
/// The pause after an accept error: out of descriptors, mostly.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Accepts and serves until the task is aborted; its connections end with it.
pub(crate) async fn serve(listener: TcpListener, table: Table) {
    let crowd = Crowd::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                let ip = normalise(from.ip());
                if let (true, Some(place)) = (connections.len() < CONNECTIONS_MAX, crowd.enter(ip)) {
                    connections.spawn(connection(stream, ip, table.clone(), place));
                }
            }
            Err(error) => {
                debug!(%error, "accept failed");
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, ip: IpAddr, table: Table, _place: Place) {
    let left = Cell::new(REQUESTS_MAX);
    let service = service_fn(move |request| {
        let mut response = respond(&table, ip, &request);
        left.set(left.get().saturating_sub(1));
        if left.get() == 0 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        async { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).max_buf_size(HEAD_MAX);
    match timeout(LIFE_MAX, http.serve_connection(TokioIo::new(stream), service)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%ip, %error, "http connection failed"),
        Err(_) => debug!(%ip, "http connection lived too long"),
    }
}

fn respond(table: &Table, ip: IpAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    // hyper sends no body after the head that answers a HEAD.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = Response::new(Full::from("only GET and HEAD\n"));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let HttpAnswer { status, body, shrinks } = table.http(ip, target);
    let accept = request.headers().get(ACCEPT_ENCODING).and_then(|accept| accept.to_str().ok());
    let smaller = if shrinks && accept.is_some_and(gzip::is_accepted) { gzip::compress(&body) } else { None };
    let mut response = match smaller {
        Some(smaller) => {
            let mut response = Response::new(Full::from(smaller));
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        None => Response::new(Full::from(body)),
    };
    if shrinks {
        response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// Counts the connections of each address.
#[derive(Clone, Default)]
struct Crowd(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One counted connection; dropping it gives the place back.
struct Place {
    crowd: Crowd,
    ip: IpAddr,
}

impl Crowd {
    /// A place for the address, if it has not too many; loopback always gets one.
    fn enter(&self, ip: IpAddr) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(ip).or_default();
        if *count >= CONNECTIONS_PER_IP && !ip.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Place { crowd: self.clone(), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_cannot_take_every_place() {
        let (crowd, ip) = (Crowd::default(), IpAddr::from([192, 0, 2, 1]));
        let mut places: Vec<_> = (0..CONNECTIONS_PER_IP).map(|_| crowd.enter(ip).unwrap()).collect();
        assert!(crowd.enter(ip).is_none());
        assert!(crowd.enter(IpAddr::from([192, 0, 2, 2])).is_some());
        places.pop();
        assert!(crowd.enter(ip).is_some());
        places.clear();
        assert!(crowd.0.lock().unwrap().is_empty(), "nothing is remembered of who has left");
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let places: Vec<_> = (0..=CONNECTIONS_PER_IP).map(|_| crowd.enter(loopback)).collect();
        assert!(places.iter().all(Option::is_some));
    }
}

//! The HTTP front: hyper connections under caps and deadlines.
//!
//! Decides: how long a connection may live, and how large a request head may be.
//! Must not know: what a query means.
//! Invariant: every connection has a place, and ends when it loses it, after `LIFE_MAX` or after
//! `REQUESTS_MAX`.

use crate::gzip;
use crate::places::{Place, Places};
use crate::shards::Shards;
use bt_tracker::HttpAnswer;
use bt_types::normalise;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, VARY,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

/// Time for a request head to arrive, from the connect or the last reply on: it ends idle
/// connections.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest life of a connection: it ends a client that does not read its replies.
const LIFE_MAX: Duration = Duration::from_secs(120);
/// Most requests on one connection: a client with more connects again, and takes its turn.
const REQUESTS_MAX: u32 = 100;
/// Most bytes of a request head.
const HEAD_MAX: usize = 16 * 1024;
/// Pause after an accept error, which mostly means no descriptors.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Accepts and serves until the task is aborted; its connections end with it.
pub(crate) async fn serve(listener: TcpListener, shards: Shards, places: Places) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                let ip = normalise(from.ip());
                connections.spawn(connection(stream, ip, shards.clone(), places.enter(ip)));
            }
            Err(error) => {
                debug!(%error, "accept failed");
                places.shrink();
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, ip: IpAddr, shards: Shards, place: Place) {
    let leave = place.leave();
    let (left, place) = (Cell::new(REQUESTS_MAX), RefCell::new(place));
    let service = service_fn(move |request| {
        let mut response = respond(&shards, ip, &request);
        place.borrow_mut().renew();
        left.set(left.get().saturating_sub(1));
        if left.get() == 0 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        async { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).max_buf_size(HEAD_MAX);
    let served = tokio::select! {
        served = timeout(LIFE_MAX, http.serve_connection(TokioIo::new(stream), service)) => served,
        () = leave.notified() => return debug!(%ip, "http connection gave way"),
    };
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%ip, %error, "http connection failed"),
        Err(_) => debug!(%ip, "http connection lived too long"),
    }
}

fn respond(shards: &Shards, ip: IpAddr, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    // hyper sends no body in reply to a HEAD.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = Response::new(Full::from("only GET and HEAD\n"));
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let HttpAnswer { status, body, shrinks } = shards.http(ip, target);
    let accept = request.headers().get(ACCEPT_ENCODING).and_then(|accept| accept.to_str().ok());
    let smaller =
        if shrinks && accept.is_some_and(gzip::is_accepted) { gzip::compress(&body) } else { None };
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
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

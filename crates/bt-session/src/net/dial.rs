//! The handshake of a new connection, in both directions.
//!
//! Decides: the order of handshakes.
//! Must not know: engines, torrents' contents.
//! Invariant: a dialled connection is handed on only after both handshakes, an accepted one after
//! the peer's. Each waits at most ten seconds.

use crate::mail::clock::Clock;
use crate::mail::to_shard::Handshaken;
use crate::net::stream::Stream;
use bt_net::Egress;
use bt_peer_wire::{Connection, Handshake, Incoming};
use bt_types::{Source, Time};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes read at a time before the handshake is complete: room for it and the first messages behind
/// it.
const READ: usize = 4 << 10;

/// Connects within `patience`, sends our handshake and waits for the peer's.
pub(crate) async fn dial(
    egress: &Egress,
    source: Source,
    addr: SocketAddr,
    patience: Duration,
    ours: Handshake,
    clock: Clock,
) -> io::Result<Handshaken> {
    if egress.ip_filter().has(addr.ip()) {
        return Err(io::Error::other("its address is filtered"));
    }
    let deadline = tokio::time::Instant::now() + patience;
    let stream = egress.dial(source, addr, deadline).await.map_err(io::Error::other)?;
    let stream = Stream::Tcp(stream);
    stream.tune()?;
    let mut wire = Connection::new(clock.now());
    wire.send_handshake(&ours);
    flush(&stream, &mut wire, clock).await?;
    let handshake = hear(&stream, &mut wire, clock).await?;
    Ok(Handshaken { stream: stream.unbind()?, wire, handshake })
}

/// Waits for the handshake of an incoming peer. Ours is sent later, when we know that we have the
/// torrent.
pub(crate) async fn accept(stream: Stream, clock: Clock) -> io::Result<Handshaken> {
    stream.tune()?;
    let mut wire = Connection::new(clock.now());
    let handshake = hear(&stream, &mut wire, clock).await?;
    Ok(Handshaken { stream: stream.unbind()?, wire, handshake })
}

async fn hear(stream: &Stream, wire: &mut Connection, clock: Clock) -> io::Result<Handshake> {
    loop {
        if let Some(Incoming::Handshake(handshake)) = wire.next().map_err(io::Error::other)? {
            return Ok(handshake);
        }
        within(wire.deadline(), clock, stream.readable()).await?;
        let buffer = wire.input();
        buffer.reserve(READ);
        match stream.try_read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => wire.heard(clock.now()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn flush(stream: &Stream, wire: &mut Connection, clock: Clock) -> io::Result<()> {
    while wire.queued() > 0 {
        within(wire.deadline(), clock, stream.writable()).await?;
        let written = wire.chunks().next().map(|chunk| stream.try_write(chunk)).unwrap_or(Ok(0));
        match written {
            Ok(n) => wire.wrote(n, clock.now()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn within(
    deadline: Time,
    clock: Clock,
    ready: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    tokio::time::timeout_at(clock.instant(deadline).into(), ready)
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
}

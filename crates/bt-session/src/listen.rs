//! Listening sockets for peers, and admission of incoming connections.
//!
//! Decides: which ports and address families are tried; the desk decides on admission.
//! Must not know: engines.
//! Invariant: every accepted connection holds a pass, which is given back when the connection ends
//! for any reason.

use bt_engine::desk::{Admission, Desk};
use bt_types::Time;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

/// Connections that the system queues until they are accepted.
const BACKLOG: i32 = 1024;
/// Ports tried when the user asked for none: the usual ones of BitTorrent (BEP 3), then any free
/// port.
const PORTS: std::ops::RangeInclusive<u16> = 6881..=6889;

/// The desk, shared by the listener and the passes of accepted connections.
pub(crate) type SharedDesk = Arc<Mutex<Desk>>;

/// The admission of one accepted connection.
#[derive(Debug)]
pub(crate) struct AdmissionGuard {
    desk: SharedDesk,
    admission: Option<Admission>,
}

impl AdmissionGuard {
    pub(crate) fn ask(desk: &SharedDesk, now: Time, ip: IpAddr) -> Option<AdmissionGuard> {
        let admission = lock(desk).accept(now, ip)?;
        Some(AdmissionGuard { desk: Arc::clone(desk), admission: Some(admission) })
    }

    /// Returns the number of the pass, and the number of the connection that must end to make room
    /// for it.
    pub(crate) fn numbers(&self) -> Option<(u64, Option<u64>)> {
        self.admission.as_ref().map(|admission| (admission.number, admission.instead_of))
    }

    /// Notes that the connection completed its handshake.
    pub(crate) fn shaken(&self) {
        if let Some(admission) = &self.admission {
            lock(&self.desk).shaken(admission);
        }
    }
}

impl Drop for AdmissionGuard {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            lock(&self.desk).ended(admission);
        }
    }
}

/// Locks the desk. A panic elsewhere leaves it usable: its counts are changed one at a time.
pub(crate) fn lock(desk: &SharedDesk) -> std::sync::MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the listening sockets: the one asked for, or both address families on one port.
pub(crate) fn listen(asked: Option<SocketAddr>) -> io::Result<Vec<TcpListener>> {
    match asked {
        Some(addr) if !addr.ip().is_unspecified() => Ok(vec![bind(addr)?]),
        Some(addr) if addr.port() != 0 => both(addr.port()),
        Some(_) => both(0),
        None => PORTS.chain([0]).map(both).find(Result::is_ok).unwrap_or_else(|| both(0)),
    }
}

/// Opens both families on one port. A machine without IPv6 listens on IPv4 alone, and the other way
/// round.
fn both(port: u16) -> io::Result<Vec<TcpListener>> {
    let v4 = bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
    let port = match &v4 {
        Ok(listener) => listener.local_addr()?.port(),
        Err(_) => port,
    };
    match (v4, bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port))) {
        (Ok(v4), Ok(v6)) => Ok(vec![v4, v6]),
        (_, Err(error)) | (Err(error), _) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(vec![one]),
        (Err(error), Err(_)) => Err(error),
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(addr))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

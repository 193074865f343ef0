//! Where connections come from: a TCP port or a Unix socket, with TLS or without.
//!
//! Decides: who may open the Unix socket, and what is known of who connects.
//! Must not know: HTTP.
//! Invariant: a socket that another process listens on is not taken from it.

use super::gate::Peer;
use crate::config::{ApiAddr, DaemonError, TlsFiles};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

/// A connection of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// A listening socket. A Unix socket's file goes with it.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, std::path::PathBuf),
}

impl Listener {
    /// Opens it.
    pub(crate) fn open(addr: &ApiAddr) -> Result<Listener, DaemonError> {
        let opened = match addr {
            ApiAddr::Tcp(addr) => open_tcp(*addr),
            ApiAddr::Unix(path) => open_unix(path),
        };
        opened.map_err(|source| DaemonError::Listen { addr: addr.clone(), source })
    }

    /// Returns its address.
    pub(super) fn addr(&self) -> io::Result<ApiAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().map(ApiAddr::Tcp),
            Listener::Unix(_, path) => Ok(ApiAddr::Unix(path.clone())),
        }
    }

    /// Waits for a connection.
    pub(super) async fn accept(&self) -> io::Result<(Pin<Box<dyn Stream>>, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                let peer = Peer { addr: from.ip(), is_owner: false, is_secure: false };
                Ok((Box::pin(stream), peer))
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let addr = IpAddr::V4(Ipv4Addr::LOCALHOST);
                Ok((Box::pin(stream), Peer { addr, is_owner: true, is_secure: false }))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn open_tcp(addr: std::net::SocketAddr) -> io::Result<Listener> {
    let listener = std::net::TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener).map(Listener::Tcp)
}

fn open_unix(path: &Path) -> io::Result<Listener> {
    // What a process left that was killed is taken over; what one listens on is not.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    // No other user can connect before the permissions are set: they are set under another name.
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let _ = std::fs::remove_file(&name);
    if path.exists() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let listener = UnixListener::bind(&name)?;
    std::fs::set_permissions(&name, Permissions::from_mode(0o600))?;
    std::fs::rename(&name, path)?;
    Ok(Listener::Unix(listener, path.to_owned()))
}

/// Reads a certificate and its key.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, DaemonError> {
    let wrong = |path: &Path, why: &dyn std::fmt::Display| {
        DaemonError::Tls(format!("{}: {why}", path.display()))
    };
    let read = |path: &Path| std::fs::read(path).map_err(|error| wrong(path, &error));
    let pem = read(&files.cert)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| wrong(&files.cert, &error))?;
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?);
    let key = key.map_err(|error| wrong(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&files.cert, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&files.cert, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_its_owners_and_no_living_process_loses_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let addr = ApiAddr::Unix(dir.path().join("api"));
        let ApiAddr::Unix(path) = &addr else { return };
        // What a killed process left.
        drop(std::os::unix::net::UnixListener::bind(path).expect("a socket"));
        let listener = Listener::open(&addr).expect("a listener");
        let mode = std::fs::metadata(path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(Listener::open(&addr).is_err(), "it is in use");
        assert!(std::os::unix::net::UnixStream::connect(path).is_ok());
        drop(listener);
        assert!(!path.exists());
        std::fs::write(path, "not a socket").expect("a file");
        assert!(Listener::open(&addr).is_err(), "a file of the user stays");
        assert_eq!(std::fs::read(path).expect("a file"), b"not a socket");
    }
}

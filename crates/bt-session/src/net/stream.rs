//! The stream of bytes between this machine and a peer: the one place that knows its transport.
//!
//! Decides: the options of a connection to a peer.
//! Must not know: what the bytes say.
//! Invariant: nothing above knows which transport a stream is. A stream into which the system can
//! put a pipe's pages says so by [`Stream::plain_tcp`]; all others are served by copying.

use crate::mail::to_shard::UnboundStream;
use bt_types::normalise;
use bytes::BytesMut;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use tokio::net::TcpStream;

/// Most unsent bytes in the socket's queue; the system's default is megabytes. Bytes in the queue
/// cannot be cancelled, delay our requests and haves, and count as uploaded too early.
const UNSENT_MAX: u32 = 128 << 10;

/// A stream in the runtime of this thread.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
}

impl Stream {
    /// Takes a stream into the runtime of this thread.
    pub(crate) fn bind(stream: UnboundStream) -> io::Result<Stream> {
        match stream {
            UnboundStream::Tcp(stream) => Ok(Stream::Tcp(TcpStream::from_std(stream)?)),
        }
    }

    /// Takes the stream out of the runtime, so that it can move to another thread.
    pub(crate) fn unbind(self) -> io::Result<UnboundStream> {
        match self {
            Stream::Tcp(stream) => Ok(UnboundStream::Tcp(stream.into_std()?)),
        }
    }

    /// Sets the options of a connection to a peer.
    pub(crate) fn tune(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => {
                stream.set_nodelay(true)?;
                #[cfg(target_os = "linux")]
                socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_MAX)?;
                Ok(())
            }
        }
    }

    /// Returns this machine's address of the connection.
    pub(crate) fn local_ip(&self) -> Option<IpAddr> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().ok().map(|local| normalise(local.ip())),
        }
    }

    /// Returns the TCP connection whose bytes are those of this stream, neither framed nor
    /// encrypted.
    pub(crate) fn plain_tcp(&self) -> Option<&TcpStream> {
        match self {
            Stream::Tcp(stream) => Some(stream),
        }
    }

    /// Waits until there may be something to read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.readable().await,
        }
    }

    /// Waits until there may be room to write.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.writable().await,
        }
    }

    /// Reads what is there, at most the free room of the buffer; 0 bytes is the end.
    pub(crate) fn try_read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_read_buf(buffer),
        }
    }

    /// Writes what there is room for.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write(bytes),
        }
    }

    /// Writes what there is room for, of several slices in a row.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.try_write_vectored(slices),
        }
    }
}

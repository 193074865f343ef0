//! A stream whose first reply looks like HTTP/1.1, even if it claims HTTP/1.0.
//!
//! Decides: the one byte that is changed.
//! Must not know: what is sent.
//! Invariant: every other byte comes as it was sent.
//!
//! Some servers say HTTP/1.0 and send chunks, which the HTTP library refuses; read as HTTP/1.1
//! their replies are whole.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const OLD: &[u8; 8] = b"HTTP/1.0";

/// Wraps a stream on which one reply will be read.
#[derive(Debug)]
pub(crate) struct Modern<S> {
    inner: S,
    /// Bytes of `HTTP/1.0` matched until now; `None` once it is decided.
    matched: Option<usize>,
}

impl<S> Modern<S> {
    pub(crate) fn new(inner: S) -> Modern<S> {
        Modern { inner, matched: Some(0) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Modern<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        for byte in buf.filled_mut().iter_mut().skip(before) {
            let Some(at) = self.matched else { break };
            self.matched = match OLD.get(at) {
                Some(expected) if byte == expected && at + 1 == OLD.len() => {
                    *byte = b'1';
                    None
                }
                Some(expected) if byte == expected => Some(at + 1),
                _ => None,
            };
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Modern<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    #[tokio::test]
    async fn only_the_version_of_the_first_answer_changes() {
        let table = [
            ("HTTP/1.0 200 OK HTTP/1.0", "HTTP/1.1 200 OK HTTP/1.0"),
            ("HTTP/1.1 200 OK HTTP/1.0", "HTTP/1.1 200 OK HTTP/1.0"),
            ("xHTTP/1.0", "xHTTP/1.0"),
            ("HTTP/", "HTTP/"),
        ];
        for (sent, read) in table {
            // Byte by byte and at once.
            for step in [1, 100] {
                let (near, mut far) = tokio::io::duplex(step);
                let bytes = sent.as_bytes().to_vec();
                tokio::spawn(
                    async move { tokio::io::AsyncWriteExt::write_all(&mut far, &bytes).await },
                );
                let mut text = String::new();
                Modern::new(near).read_to_string(&mut text).await.unwrap();
                assert_eq!(text, read);
            }
        }
    }
}

//! Talks to a daemon over its API.
//!
//! Decides: which failure an answer is.
//! Must not know: what a command asks for.
//! Invariant: a daemon that does not answer ends a command with exit code 8, within a deadline.

use crate::exit::{Exit, Failure, Outcome};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::pin::Pin;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use url::Url;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Most bytes of an answer.
const ANSWER_MAX: usize = 256 << 20;
/// The scheme of a Unix socket's URL.
const SOCKET: &str = "unix";
/// How the boundary of our forms begins.
const BOUNDARY: &str = "bt-form-";

/// A connection to a daemon.
trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// The API of a daemon.
pub(crate) struct Client {
    /// Its URL, without a password.
    url: Url,
    authorization: Option<HeaderValue>,
}

impl Client {
    /// Takes the URL, with the user and the password in it or in `BT_API_USER` and
    /// `BT_API_PASSWORD`, or a token in `BT_API_TOKEN`.
    pub(crate) fn new(url: &Url) -> Outcome<Client> {
        let is_socket = url.scheme() == SOCKET && url.path().starts_with('/');
        if !is_socket && (url.scheme() != "http" || url.host_str().is_none()) {
            return Err(Failure::usage(format!(
                "a daemon is at http://HOST:PORT or unix:/PATH, and not at {}:",
                url.scheme()
            )));
        }
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let user = Some(url.username()).filter(|user| !user.is_empty()).map(decoded);
        let user = user.or_else(|| var("BT_API_USER")).unwrap_or_else(|| "bt".into());
        let password = url.password().map(decoded).or_else(|| var("BT_API_PASSWORD"));
        let authorization = match (var("BT_API_TOKEN"), password) {
            (Some(token), _) => Some(format!("Bearer {token}")),
            (None, Some(password)) => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            (None, None) => None,
        };
        let header = |text: String| {
            HeaderValue::from_str(&text)
                .map_err(|_| Failure::usage("BT_API_TOKEN has control characters"))
        };
        let mut url = url.clone();
        let _ = (url.set_username(""), url.set_password(None));
        Ok(Client { url, authorization: authorization.map(header).transpose()? })
    }

    /// Reads a value.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Outcome<T> {
        let bytes = self.send(Method::GET, path, None, Bytes::new()).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let why = format!("what answers at {} is no daemon of ours: {error}", self.url);
            Failure::new(Exit::Unreachable, "unreachable", why)
        })
    }

    /// Sends a value.
    pub(crate) async fn send_json(
        &self,
        method: Method,
        path: &str,
        value: &impl Serialize,
    ) -> Outcome<Bytes> {
        let body = serde_json::to_vec(value).map_err(anyhow::Error::from)?;
        self.send(method, path, Some("application/json".into()), body.into()).await
    }

    /// Sends a torrent file with what is wanted of it.
    pub(crate) async fn send_file(
        &self,
        path: &str,
        value: &impl Serialize,
        file: &[u8],
    ) -> Outcome<Bytes> {
        let json = serde_json::to_string(value).map_err(anyhow::Error::from)?;
        let (kind, body) = form(&json, file);
        self.send(Method::POST, path, Some(kind), body.into()).await
    }

    /// Asks without a body.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> Outcome<Bytes> {
        self.send(method, path, None, Bytes::new()).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: Option<String>,
        body: Bytes,
    ) -> Outcome<Bytes> {
        let answer = tokio::time::timeout(PATIENCE, self.exchange(method, path, kind, body)).await;
        answer.unwrap_or_else(|_| Err(self.unreachable("it does not answer")))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        kind: Option<String>,
        body: Bytes,
    ) -> Outcome<Bytes> {
        let stream = tokio::time::timeout(CONNECT, self.connect()).await;
        let stream = stream.map_err(|_| self.unreachable("it does not answer"))?;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(error))?;
        let connection = tokio::spawn(connection);
        let is_socket = self.url.scheme() == SOCKET;
        let base = if is_socket { "" } else { self.url.path().trim_end_matches('/') };
        let host = match (self.url.host_str(), self.url.port_or_known_default()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            _ => "localhost".into(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}/api/v1/{path}"))
            .header(HOST, host);
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body)).map_err(anyhow::Error::from)?;
        let response =
            sender.send_request(request).await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|error| self.unreachable(error))?.to_bytes();
        connection.abort();
        if status.is_success() { Ok(body) } else { Err(refused(status, &body)) }
    }

    async fn connect(&self) -> std::io::Result<Pin<Box<dyn Stream>>> {
        if self.url.scheme() == SOCKET {
            let path = decoded(self.url.path());
            return Ok(Box::pin(UnixStream::connect(path).await?));
        }
        let host = self.url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.url.port_or_known_default().unwrap_or(80);
        Ok(Box::pin(TcpStream::connect((bare, port)).await?))
    }

    fn unreachable(&self, why: impl std::fmt::Display) -> Failure {
        let message = format!(
            "the daemon at {} cannot be reached: {why}; start it with `bt daemon`, or say where \
             it is with --api URL",
            self.url
        );
        Failure::new(Exit::Unreachable, "unreachable", message)
    }
}

/// Returns a form with what is wanted of a torrent file and the file, and its type. The boundary
/// is not in what it parts, so that no torrent holds parts of its own.
fn form(json: &str, file: &[u8]) -> (String, Vec<u8>) {
    let is_in = |text: &[u8], bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text);
    let free = (0_u64..).map(|number| format!("{BOUNDARY}{number}-")).find(|boundary| {
        !is_in(boundary.as_bytes(), file) && !is_in(boundary.as_bytes(), json.as_bytes())
    });
    let boundary = free.unwrap_or_else(|| BOUNDARY.into());
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"request\"\r\n\r\n{json}\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"file\"; \
         filename=\"file.torrent\"\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(file);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Returns the failure that an answer means.
fn refused(status: StatusCode, body: &[u8]) -> Failure {
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let said = json.as_ref().and_then(|json| json.get("error")).and_then(|error| error.as_str());
    let text = String::from_utf8_lossy(body);
    let said = said.unwrap_or_else(|| text.lines().next().unwrap_or_default());
    let (exit, code) = match status {
        StatusCode::UNAUTHORIZED => {
            let why = "the daemon wants a password: give it with \
                       --api http://user:password@HOST:PORT, or in BT_API_PASSWORD";
            return Failure::new(Exit::Other, "unauthorized", why);
        }
        StatusCode::NOT_FOUND => (Exit::Input, "not_found"),
        StatusCode::BAD_REQUEST => (Exit::Usage, "usage"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (Exit::Input, "invalid_torrent"),
        StatusCode::BAD_GATEWAY => (Exit::Network, "network"),
        StatusCode::INSUFFICIENT_STORAGE => (Exit::Disk, "disk"),
        _ => (Exit::Other, "refused"),
    };
    Failure::new(exit, code, format!("the daemon refuses: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torrent_holds_no_parts_of_our_form() {
        let (kind, _) = form("{}", b"");
        let (_, seen) = kind.split_once("boundary=").expect("a boundary");
        let evil = format!("x\r\n--{seen}\r\nContent-Disposition: form-data; name=\"request\"");
        let (kind, body) = form("{}", evil.as_bytes());
        let (_, boundary) = kind.split_once("boundary=").expect("a boundary");
        let parts = String::from_utf8(body).expect("text");
        assert_eq!(parts.matches(boundary).count(), 3, "two parts and the end: {parts}");
    }
}

//! One HTTP(S) GET, with its redirects, under caps.
//!
//! Decides: which redirects are followed, and how much is read.
//! Must not know: what the body means.
//! Invariant: each hop's address is named by the hop before it, so a public server cannot send us
//! into a private network.

use crate::egress::Egress;
use crate::error::NetError;
use crate::gzip;
use crate::lenient::Modern;
use base64::Engine as _;
use bt_types::{Closeness, Source, closeness};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, ETAG, HOST,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use url::{Host, Position, Url};

/// Longest time of one connect, so that a dead address leaves time for others.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Most bytes of a reply's head.
const HEAD_MAX: usize = 16 * 1024;
/// Most header fields.
const HEADERS_MAX: usize = 256;
/// Our `User-Agent`.
const OUR_NAME: &str = concat!("bt/", env!("CARGO_PKG_VERSION"));

/// The limits of a GET.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The source that named the URL.
    pub source: Source,
    /// The address to use for the first hop instead of resolving the host: the caller chose among
    /// several.
    pub via: Option<SocketAddr>,
    /// The version that the caller has, to be told if there is no other (status 304): an entity tag
    /// and a date of the last change, as a server sent them.
    pub known: (Option<String>, Option<String>),
    /// Time for everything: name, connects, redirects, body.
    pub timeout: Duration,
    /// Most bytes of body, compressed and uncompressed.
    pub max_body: usize,
    /// Most redirects that are followed.
    pub max_redirects: u32,
}

impl HttpOptions {
    /// Makes options of 30 s, 1 MiB and 5 redirects.
    pub fn new(source: Source) -> HttpOptions {
        HttpOptions {
            source,
            via: None,
            known: (None, None),
            timeout: Duration::from_secs(30),
            max_body: 1 << 20,
            max_redirects: 5,
        }
    }
}

/// The reply to a GET.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpReply {
    /// The status of the last hop; the caller never sees a redirect that was followed.
    pub status: u16,
    /// The body of the last hop, uncompressed.
    pub body: Vec<u8>,
    /// The connection ended before the promised body: the caller must judge whether the body is
    /// whole.
    pub is_cut: bool,
    /// The entity tag and the date of the last change.
    pub version: (Option<String>, Option<String>),
    /// How long the server wants no further request (RFC 9110, `Retry-After`).
    pub retry_after: Option<Duration>,
    /// The address that it came from: the source of every address in the body.
    pub from: SocketAddr,
}

impl Egress {
    /// Fetches an `http` or `https` URL and follows redirects; the caller judges the status.
    pub async fn http_get(&self, url: &str, options: &HttpOptions) -> Result<HttpReply, NetError> {
        let deadline = Instant::now() + options.timeout;
        timeout_at(deadline, self.follow(url, options, deadline))
            .await
            .unwrap_or(Err(NetError::Timeout))
    }

    async fn follow(
        &self,
        url: &str,
        options: &HttpOptions,
        deadline: Instant,
    ) -> Result<HttpReply, NetError> {
        let mut url = Url::parse(url).map_err(|error| NetError::bad_url(url, &error))?;
        let (mut source, mut via) = (options.source, options.via);
        for _ in 0..=options.max_redirects {
            let hop = Hop::new(&url)?;
            let (mut response, from, _driver) =
                self.ask(&hop, source, via.take(), &options.known, deadline).await?;
            if is_redirect(response.status().as_u16()) {
                // Some servers write it in UTF-8, which a field should not hold.
                let target = response
                    .headers()
                    .get(LOCATION)
                    .map(|target| String::from_utf8_lossy(target.as_bytes()));
                url = redirect(&url, target.as_deref(), from)?;
                source = Source::Host(from.ip());
                continue;
            }
            let retry_after = response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| retry_after(value.to_str().ok()?));
            let field = |name| response.headers().get(name)?.to_str().ok().map(str::to_owned);
            let version = (field(ETAG), field(LAST_MODIFIED));
            let (body, is_cut) = read_body(response.body_mut(), options.max_body).await?;
            let coding = response
                .headers()
                .get(CONTENT_ENCODING)
                .map(|coding| coding.to_str().unwrap_or("unreadable"));
            let body = gzip::decode(coding, body, options.max_body)?;
            return Ok(HttpReply {
                status: response.status().as_u16(),
                body,
                is_cut,
                version,
                retry_after,
                from,
            });
        }
        Err(NetError::TooManyRedirects)
    }

    /// Connects and sends the request. The returned set drives the connection, and closes it when
    /// it is dropped.
    async fn ask(
        &self,
        hop: &Hop<'_>,
        source: Source,
        via: Option<SocketAddr>,
        known: &(Option<String>, Option<String>),
        deadline: Instant,
    ) -> Result<(Response<Incoming>, SocketAddr, JoinSet<()>), NetError> {
        let addrs = match via {
            Some(addr) => vec![addr],
            None => self.resolve(&hop.host_text(), hop.port, deadline).await?,
        };
        let (stream, from) = self.dial_one_of(source, &addrs, deadline).await?;
        let mut driver = JoinSet::new();
        let response = if hop.secure {
            let stream = self.tls().connect(hop.url.as_str(), hop.host.clone(), stream).await?;
            exchange(stream, hop, known, &mut driver).await?
        } else {
            exchange(stream, hop, known, &mut driver).await?
        };
        Ok((response, from, driver))
    }

    /// Dials the first address that the gate allows and that answers; the remaining addresses share
    /// the time left.
    async fn dial_one_of(
        &self,
        source: Source,
        addrs: &[SocketAddr],
        deadline: Instant,
    ) -> Result<(tokio::net::TcpStream, SocketAddr), NetError> {
        let mut last = NetError::Timeout;
        let mut left = u32::try_from(addrs.len()).unwrap_or(u32::MAX);
        for &addr in addrs {
            let now = Instant::now();
            let share = deadline.saturating_duration_since(now) / left.max(1);
            left = left.saturating_sub(1);
            match self.dial(source, addr, now + share.min(CONNECT_TIME_MAX)).await {
                Ok(stream) => return Ok((stream, addr)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A URL taken apart for one request.
struct Hop<'a> {
    url: &'a Url,
    host: Host<&'a str>,
    port: u16,
    secure: bool,
}

impl<'a> Hop<'a> {
    fn new(url: &'a Url) -> Result<Hop<'a>, NetError> {
        let secure = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => {
                return Err(NetError::bad_url(
                    url.as_str(),
                    &"only http and https are spoken here",
                ));
            }
        };
        let host =
            url.host().ok_or_else(|| NetError::bad_url(url.as_str(), &"it names no host"))?;
        Ok(Hop { url, host, port: url.port_or_known_default().unwrap_or(80), secure })
    }

    fn host_text(&self) -> String {
        self.host.to_string()
    }

    /// Returns the user name and password of the URL, as RFC 7617 sends them.
    fn credentials(&self) -> Option<String> {
        let (user, password) = (self.url.username(), self.url.password());
        if user.is_empty() && password.is_none() {
            return None;
        }
        let text = [
            percent_decode_str(user).collect::<Vec<u8>>(),
            percent_decode_str(password.unwrap_or_default()).collect(),
        ];
        Some(format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(text.join(&b':'))
        ))
    }

    fn request(
        &self,
        known: &(Option<String>, Option<String>),
    ) -> Result<Request<Empty<Bytes>>, NetError> {
        // Without user name and password, which `Host` must not carry.
        let authority = &self.url[Position::BeforeHost..Position::AfterPort];
        let request = Request::get(&self.url[Position::BeforePath..Position::AfterQuery])
            .header(HOST, authority)
            .header(USER_AGENT, OUR_NAME)
            .header(ACCEPT, "*/*")
            .header(ACCEPT_ENCODING, "gzip")
            .header(CONNECTION, "close");
        let conditions = [(IF_NONE_MATCH, &known.0), (IF_MODIFIED_SINCE, &known.1)];
        let request = conditions.into_iter().fold(request, |request, (name, value)| match value {
            Some(value) => request.header(name, value),
            None => request,
        });
        let request = match self.credentials() {
            Some(credentials) => request.header(AUTHORIZATION, credentials),
            None => request,
        };
        request.body(Empty::new()).map_err(|error| NetError::bad_url(self.url.as_str(), &error))
    }
}

async fn exchange<S>(
    stream: S,
    hop: &Hop<'_>,
    known: &(Option<String>, Option<String>),
    driver: &mut JoinSet<()>,
) -> Result<Response<Incoming>, NetError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = hop.request(known)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_MAX).max_headers(HEADERS_MAX);
    builder
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    let (mut sender, connection) = builder.handshake(TokioIo::new(Modern::new(stream))).await?;
    driver.spawn(async move {
        // The request gets this error too.
        let _ = connection.await;
    });
    Ok(sender.send_request(request).await?)
}

/// Reads the body; returns also whether the connection ended before it did.
async fn read_body(incoming: &mut Incoming, limit: usize) -> Result<(Vec<u8>, bool), NetError> {
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) if body.is_empty() => return Err(error.into()),
            Err(_) => return Ok((body, true)),
        };
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > limit.saturating_sub(body.len()) {
            return Err(NetError::TooLarge { limit });
        }
        body.extend_from_slice(data);
    }
    Ok((body, false))
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// Returns the next URL; https stays https. A server that is not public may redirect only to the
/// same host, at its own port or at 443.
fn redirect(url: &Url, target: Option<&str>, from: SocketAddr) -> Result<Url, NetError> {
    let target = target.ok_or(NetError::Redirect("no readable location"))?;
    let next = url.join(target).map_err(|_| NetError::Redirect("no readable location"))?;
    if next.scheme() == "magnet" {
        return Err(NetError::Magnet(next.into()));
    }
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err(NetError::Redirect("from https to http"));
    }
    let port = next.port_or_known_default();
    let is_its_own = next.host() == url.host() && (port == Some(from.port()) || port == Some(443));
    if closeness(from.ip()) != Some(Closeness::Public) && !is_its_own {
        return Err(NetError::Redirect("from a server in a private network to another one"));
    }
    Ok(next)
}

/// Reads the time of a `Retry-After`: seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    let seconds = || text.trim().parse().ok().map(Duration::from_secs);
    let date =
        || httpdate::parse_http_date(text.trim()).ok()?.duration_since(SystemTime::now()).ok();
    seconds().or_else(date)
}

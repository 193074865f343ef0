//! One HTTP(S) GET, with its redirects, under caps.
//!
//! Decides: which redirects are followed, and how much is read. Must not know: what the body means.
//! Invariant: each hop's address is named by the hop before it, so a public server cannot send us into a private network.

use crate::egress::Egress;
use crate::error::NetError;
use crate::gzip;
use bt_types::Source;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

/// How long one connect may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of a reply's head at most.
const HEAD_MAX: usize = 16 * 1024;
/// Header fields at most.
const HEADERS_MAX: usize = 64;
/// What we call ourselves.
const OUR_NAME: &str = concat!("bt/", env!("CARGO_PKG_VERSION"));

/// What a GET may cost.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Who named the URL.
    pub source: Source,
    /// The address to use for the first hop instead of resolving the host: the caller chose among several.
    pub via: Option<SocketAddr>,
    /// Time for everything: name, connects, redirects, body.
    pub timeout: Duration,
    /// Bytes of body at most, as they come and after they are uncompressed.
    pub max_body: usize,
    /// Redirects followed at most.
    pub max_redirects: u32,
}

impl HttpOptions {
    /// 30 s, 1 MiB and 5 redirects.
    pub fn new(source: Source) -> HttpOptions {
        HttpOptions { source, via: None, timeout: Duration::from_secs(30), max_body: 1 << 20, max_redirects: 5 }
    }
}

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpReply {
    /// The status of the last hop; a redirect that was followed is not seen.
    pub status: u16,
    /// The body of the last hop, uncompressed.
    pub body: Vec<u8>,
    /// The address that it came from: the source of every address in the body.
    pub from: SocketAddr,
}

impl Egress {
    /// GETs an `http` or `https` URL and follows redirects; the status is for the caller to judge.
    pub async fn http_get(&self, url: &str, options: &HttpOptions) -> Result<HttpReply, NetError> {
        let deadline = Instant::now() + options.timeout;
        timeout_at(deadline, self.follow(url, options, deadline)).await.unwrap_or(Err(NetError::Timeout))
    }

    async fn follow(&self, url: &str, options: &HttpOptions, deadline: Instant) -> Result<HttpReply, NetError> {
        let mut url = Url::parse(url).map_err(|error| bad_url(url, &error))?;
        let (mut source, mut via) = (options.source, options.via);
        for _ in 0..=options.max_redirects {
            let hop = Hop::new(&url)?;
            let (mut response, from, _driver) = self.ask(&hop, source, via.take(), deadline).await?;
            if is_redirect(response.status().as_u16()) {
                let target = response.headers().get(LOCATION).and_then(|target| target.to_str().ok());
                url = redirect(&url, target)?;
                source = Source::Host(from.ip());
                continue;
            }
            let body = read_body(response.body_mut(), options.max_body).await?;
            let coding = response.headers().get(CONTENT_ENCODING).map(|coding| coding.to_str().unwrap_or("unreadable"));
            let body = gzip::decode(coding, body, options.max_body)?;
            return Ok(HttpReply { status: response.status().as_u16(), body, from });
        }
        Err(NetError::TooManyRedirects)
    }

    /// Connects and sends the request. The connection is driven by the returned set, and closed when that is dropped.
    async fn ask(
        &self,
        hop: &Hop<'_>,
        source: Source,
        via: Option<SocketAddr>,
        deadline: Instant,
    ) -> Result<(Response<Incoming>, SocketAddr, JoinSet<()>), NetError> {
        let addrs = match via {
            Some(addr) => vec![addr],
            None => self.resolve(&hop.host_text(), hop.port, deadline).await?,
        };
        let (stream, from) = self.dial_one_of(source, &addrs, deadline).await?;
        let mut driver = JoinSet::new();
        let response = if hop.secure {
            let connector = TlsConnector::from(self.tls());
            let fail = |source| NetError::Tls { host: hop.host_text(), source };
            exchange(connector.connect(hop.server_name()?, stream).await.map_err(fail)?, hop, &mut driver).await?
        } else {
            exchange(stream, hop, &mut driver).await?
        };
        Ok((response, from, driver))
    }

    /// The first address that the gate allows and that answers; the time left is shared among those that remain.
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
            _ => return Err(bad_url(url.as_str(), &"only http and https are spoken here")),
        };
        let host = url.host().ok_or_else(|| bad_url(url.as_str(), &"it names no host"))?;
        Ok(Hop { url, host, port: url.port_or_known_default().unwrap_or(80), secure })
    }

    fn host_text(&self) -> String {
        self.host.to_string()
    }

    fn server_name(&self) -> Result<ServerName<'static>, NetError> {
        match self.host {
            Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|error| bad_url(self.url.as_str(), &error)),
            Host::Ipv4(ip) => Ok(ServerName::from(IpAddr::V4(ip))),
            Host::Ipv6(ip) => Ok(ServerName::from(IpAddr::V6(ip))),
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, NetError> {
        // Without user name and password, which `Host` must not carry.
        let authority = &self.url[Position::BeforeHost..Position::AfterPort];
        let request = Request::get(&self.url[Position::BeforePath..Position::AfterQuery])
            .header(HOST, authority)
            .header(USER_AGENT, OUR_NAME)
            .header(ACCEPT, "*/*")
            .header(ACCEPT_ENCODING, "gzip")
            .header(CONNECTION, "close");
        request.body(Empty::new()).map_err(|error| bad_url(self.url.as_str(), &error))
    }
}

async fn exchange<S>(stream: S, hop: &Hop<'_>, driver: &mut JoinSet<()>) -> Result<Response<Incoming>, NetError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = hop.request()?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_MAX).max_headers(HEADERS_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    driver.spawn(async move {
        // What goes wrong here is told to the request as well.
        let _ = connection.await;
    });
    Ok(sender.send_request(request).await?)
}

async fn read_body(incoming: &mut Incoming, limit: usize) -> Result<Vec<u8>, NetError> {
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > limit.saturating_sub(body.len()) {
            return Err(NetError::TooLarge { limit });
        }
        body.extend_from_slice(data);
    }
    Ok(body)
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// The next URL; what was secure stays secure.
fn redirect(url: &Url, target: Option<&str>) -> Result<Url, NetError> {
    let target = target.ok_or(NetError::Redirect("no readable location"))?;
    let next = url.join(target).map_err(|_| NetError::Redirect("no readable location"))?;
    if url.scheme() == "https" && next.scheme() != "https" { Err(NetError::Redirect("from https to http")) } else { Ok(next) }
}

fn bad_url(url: &str, why: &dyn std::fmt::Display) -> NetError {
    // Only up to the path: what follows may hold a passkey.
    let shown = url.split(['?', '#']).next().unwrap_or_default().chars().take(100).collect();
    NetError::Url { url: shown, why: why.to_string() }
}

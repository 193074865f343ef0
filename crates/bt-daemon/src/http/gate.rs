//! Who may ask: the first thing that every request meets.
//!
//! Decides: which names and origins are ours.
//! Must not know: what is asked.
//! Invariant: no page of another site, and no name that was bound to our address, makes a browser
//! do anything here.

use super::App;
use super::auth::Identity;
use crate::token::Scope;
use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// The address; that of this machine for a Unix socket.
    pub(super) addr: IpAddr,
    /// It came by a Unix socket, which only the daemon's own user can open.
    pub(super) is_owner: bool,
    /// It came over TLS.
    pub(super) is_secure: bool,
}

/// Who asks: the address, and what it proved.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// The address; what a trusted proxy says of it.
    pub(super) from: IpAddr,
    /// What it proved.
    pub(super) identity: Identity,
    /// It came over TLS, here or at a trusted proxy.
    pub(super) is_secure: bool,
}

/// Lets a request through with its [`Caller`], or answers it.
pub(super) async fn gate(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    // A browser sends a password or a token only where its user entered it.
    let is_proved = app.auth.is_needed() && headers.contains_key(header::AUTHORIZATION);
    let config = app.config.get();
    let hosts = (!is_proved).then_some(&config.hosts[..]);
    if let Err(why) = check(request.method(), headers, hosts) {
        return guarded(why.into_response());
    }
    let is_listed = config.proxies.iter().any(|network| network.contains(&peer.addr));
    let (from, is_secure) = match is_listed || peer.is_owner {
        true => forwarded(headers, peer.addr),
        false => (peer.addr, false),
    };
    let is_secure = is_secure || peer.is_secure;
    let identity = app.auth.identify(from, headers).await;
    if identity == Identity::LockedOut {
        let why = "Too many wrong passwords came from your address. Wait an hour.\n";
        return guarded((StatusCode::FORBIDDEN, why).into_response());
    }
    request.extensions_mut().insert(Caller { from, identity, is_secure });
    guarded(next.run(request).await)
}

/// Lets requests through that may do what they ask for; answers others with 401.
pub(super) async fn known_only(
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    if !may(&caller, request.method()) {
        let why = "{\"error\":\"log in first, or send a token that may do this\"}";
        let kind = [(header::CONTENT_TYPE, "application/json")];
        return (StatusCode::UNAUTHORIZED, kind, why).into_response();
    }
    next.run(request).await
}

/// Returns whether a caller may use a method.
pub(super) fn may(caller: &Caller, method: &Method) -> bool {
    match caller.identity {
        Identity::Known(scope) if is_safe(method) => scope >= Scope::Read,
        Identity::Known(scope) => scope == Scope::Write,
        Identity::Stranger | Identity::LockedOut => false,
    }
}

/// Returns what a trusted proxy says: who asked it, and whether over TLS.
fn forwarded(headers: &HeaderMap, proxy: IpAddr) -> (IpAddr, bool) {
    // The last entry of the last line is the proxy's own; those before it are what it was told.
    let mut lines = headers.get_all(HeaderName::from_static("x-forwarded-for")).iter();
    let list = lines.next_back().and_then(|line| line.to_str().ok()).unwrap_or_default();
    let last = list.rsplit(',').next().map(str::trim).and_then(|entry| entry.parse().ok());
    let scheme = text(headers, HeaderName::from_static("x-forwarded-proto"));
    (last.unwrap_or(proxy), scheme == Some("https"))
}

/// Adds what keeps browsers from doing harm with an answer.
fn guarded(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; script-src 'self'; object-src 'none'; base-uri 'none'; \
             frame-ancestors 'none'; form-action 'self'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Why a request is not let through.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Refusal {
    /// The name that it was sent to is none of ours.
    Host(String),
    /// It was made by a page of another site.
    Origin(String),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::Host(name) => (
                StatusCode::MISDIRECTED_REQUEST,
                format!(
                    "This daemon is not known as {name:?}. Use its IP address, or add the name to \
                     `api_hosts` in its configuration.\n"
                ),
            ),
            Refusal::Origin(origin) => (
                StatusCode::FORBIDDEN,
                format!("A page of {origin:?} asked for this. Only pages of this daemon may.\n"),
            ),
        }
        .into_response()
    }
}

/// Checks the name and the origin of a request; any name will do without `hosts`.
fn check(method: &Method, headers: &HeaderMap, hosts: Option<&[String]>) -> Result<(), Refusal> {
    let host = text(headers, header::HOST).unwrap_or_default();
    let name = host_name(host);
    if hosts.is_some_and(|hosts| !is_ours(name, hosts)) {
        return Err(Refusal::Host(name.to_owned()));
    }
    let origin = text(headers, header::ORIGIN).or_else(|| text(headers, header::REFERER));
    let is_same = origin.is_none_or(|origin| origin_name(origin).is_some_and(|from| from == name));
    let site = text(headers, HeaderName::from_static("sec-fetch-site"));
    let is_own_site =
        origin.is_some() || site.is_none_or(|site| ["same-origin", "none"].contains(&site));
    // A link on another site's page may lead to ours. What stays open is for our own pages alone.
    let accept = text(headers, header::ACCEPT).unwrap_or_default();
    let stays_open = accept.contains("text/event-stream") || headers.contains_key(header::UPGRADE);
    let may = is_safe(method) && !stays_open || is_same && is_own_site;
    if !may {
        return Err(Refusal::Origin(origin.or(site).unwrap_or_default().to_owned()));
    }
    Ok(())
}

fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

fn text(headers: &HeaderMap, name: impl Into<HeaderName>) -> Option<&str> {
    // What is no text is none of ours.
    headers.get(name.into()).map(|value| value.to_str().unwrap_or("?"))
}

/// Returns the name of a `Host`, without its port.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// Returns the name of the site that an `Origin` or `Referer` names.
fn origin_name(origin: &str) -> Option<&str> {
    let (_, rest) = origin.split_once("://")?;
    Some(host_name(rest.split('/').next().unwrap_or_default()))
}

fn is_ours(name: &str, hosts: &[String]) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn other_sites_and_names_are_refused() {
        let host = |name: &str| Err(Refusal::Host(name.to_owned()));
        let origin = |name: &str| Err(Refusal::Origin(name.to_owned()));
        let names = ["box.example".to_owned()];
        for (method, headers, expected) in [
            ("GET", &[("host", "127.0.0.1:9091")][..], Ok(())),
            ("GET", &[("host", "[::1]:9091")], Ok(())),
            ("GET", &[("host", "localhost")], Ok(())),
            ("GET", &[("host", "LOCALHOST.:1")], Ok(())),
            ("GET", &[("host", "Box.example:8080")], Ok(())),
            ("GET", &[("host", "evil.example:9091")], host("evil.example")),
            ("GET", &[("host", "127.0.0.1.evil.example")], host("127.0.0.1.evil.example")),
            ("GET", &[], host("")),
            // A script, not a browser.
            ("POST", &[("host", "localhost")], Ok(())),
            ("POST", &[("host", "localhost:1"), ("origin", "http://localhost:1")], Ok(())),
            // Behind a port that is mapped, names are compared, not ports.
            ("POST", &[("host", "box.example"), ("origin", "https://box.example:444")], Ok(())),
            (
                "POST",
                &[("host", "localhost"), ("origin", "https://evil.example")],
                origin("https://evil.example"),
            ),
            ("POST", &[("host", "localhost"), ("origin", "null")], origin("null")),
            (
                "DELETE",
                &[("host", "localhost"), ("referer", "https://evil.example/localhost")],
                origin("https://evil.example/localhost"),
            ),
            (
                "POST",
                &[("host", "localhost"), ("sec-fetch-site", "cross-site")],
                origin("cross-site"),
            ),
            ("POST", &[("host", "localhost"), ("sec-fetch-site", "same-origin")], Ok(())),
            ("GET", &[("host", "localhost"), ("sec-fetch-site", "cross-site")], Ok(())),
            (
                "GET",
                &[
                    ("host", "localhost"),
                    ("accept", "text/event-stream"),
                    ("origin", "https://evil.example"),
                ],
                origin("https://evil.example"),
            ),
            (
                "GET",
                &[("host", "localhost"), ("upgrade", "websocket"), ("origin", "null")],
                origin("null"),
            ),
            ("GET", &[("host", "localhost"), ("accept", "text/event-stream")], Ok(())),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                let value = HeaderValue::from_str(value).expect("a value");
                map.insert(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value);
            }
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert_eq!(check(&method, &map, Some(&names)), expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn a_proxy_is_believed_and_not_whom_it_was_told() {
        let proxy: IpAddr = "10.0.0.1".parse().expect("an address");
        for (lines, expected) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["198.51.100.9, 192.0.2.1"], "192.0.2.1"),
            (&["198.51.100.9", "192.0.2.1"], "192.0.2.1"),
            (&["nonsense"], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            let mut map = HeaderMap::new();
            for line in lines {
                map.append("x-forwarded-for", HeaderValue::from_str(line).expect("a value"));
            }
            let (from, _) = forwarded(&map, proxy);
            assert_eq!(from.to_string(), expected, "{lines:?}");
        }
    }
}

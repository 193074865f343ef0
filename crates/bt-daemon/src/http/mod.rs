//! The HTTP server: one port for all APIs and the page.
//!
//! Decides: the paths, the bounds of connections and requests.
//! Must not know: what a command does.
//! Invariant: every request passes the [`gate`] first; no request waits for ever for its own bytes.

mod answer;
mod auth;
mod directory;
mod gate;
mod listener;
mod metrics;
mod page;
mod qbittorrent;
mod stream;
mod transmission;
mod v1;

use crate::config::{ApiAddr, BasePath, DaemonConfig, DaemonError, HttpConfig, TlsFiles};
use crate::keeper::Keeper;
use crate::secret::secret;
use crate::store::StoreError;
use auth::Auth;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::http::{Request, Response, StatusCode, Uri, header};
use axum::middleware;
use axum::response::IntoResponse as _;
use axum::routing::get;
use axum::{Extension, Router};
use bt_api::qbittorrent::SyncTable;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use listener::Stream;
pub(crate) use listener::{Listener, acceptor};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tower_http::timeout::RequestBodyTimeoutLayer;

/// Most connections at a time; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// How long a request's head may take, the idle time before it included.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Most headers of a request.
const HEADERS_MAX: usize = 64;
/// Most bytes of a request's body.
const BODY_BYTES_MAX: usize = 32 << 20;
/// Most bytes of a body by which a caller logs in.
const LOGIN_BYTES_MAX: usize = 4 << 10;
/// How long a request's body may rest.
const BODY_IDLE: Duration = Duration::from_secs(30);
/// How long open requests may take at the end.
const END_TIME: Duration = Duration::from_secs(2);

/// What all requests share.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) config: Shared<HttpConfig>,
    /// What comes before all paths.
    pub(crate) base: Arc<BasePath>,
    pub(crate) auth: Arc<Auth>,
    /// The session id of Transmission's RPC: random for each process.
    pub(crate) session_id: Arc<str>,
    /// The links for players.
    pub(crate) links: Arc<stream::Links>,
    /// What callers of qBittorrent's `sync` know.
    pub(crate) sync: Arc<Mutex<SyncTable>>,
}

/// A value that can be replaced while others read it.
#[derive(Debug, Default)]
pub(crate) struct Shared<T>(Arc<RwLock<Arc<T>>>);

impl<T> Shared<T> {
    fn new(value: T) -> Shared<T> {
        Shared(Arc::new(RwLock::new(Arc::new(value))))
    }

    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(Arc::clone(&self.0))
    }
}

/// The certificate that is served, and where it lies.
struct Tls {
    files: TlsFiles,
    acceptor: Shared<TlsAcceptor>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// The server. It runs until it is stopped.
#[derive(Debug)]
pub(crate) struct Server {
    addr: ApiAddr,
    url: String,
    config: Shared<HttpConfig>,
    auth: Arc<Auth>,
    tls: Option<Tls>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn addr(&self) -> &ApiAddr {
        &self.addr
    }

    /// Returns the URL of the page.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Serves by this configuration from now on, and with the certificate that lies there now.
    pub(crate) fn reload(&self, config: &HttpConfig) -> Result<(), DaemonError> {
        if config.password.is_none() && !self.addr.is_local() {
            return Err(DaemonError::NoPassword(self.addr.clone()));
        }
        let acceptor = self.tls.as_ref().map(|tls| acceptor(&tls.files)).transpose()?;
        self.auth.set_password(&config.user, config.password.as_deref())?;
        self.config.set(config.clone());
        if let (Some(tls), Some(acceptor)) = (&self.tls, acceptor) {
            tls.acceptor.set(acceptor);
        }
        Ok(())
    }

    /// Accepts no more connections, and waits for requests under way.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// Serves the APIs on a listening socket.
pub(crate) fn serve(
    listener: Listener,
    keeper: Arc<Keeper>,
    config: DaemonConfig,
) -> Result<Server, DaemonError> {
    let listen = |source| DaemonError::Listen { addr: config.api.clone(), source };
    let addr = listener.addr().map_err(listen)?;
    let session_id = secret().map_err(DaemonError::Random)?.into();
    let unreadable = |error: StoreError| DaemonError::Tokens(error.to_string());
    let tokens = keeper.stored_tokens().map_err(unreadable)?;
    let http = config.reloadable.http;
    let auth = Arc::new(Auth::new(&http.user, http.password.as_deref(), tokens)?);
    let tls = match &config.tls {
        Some(files) => {
            let acceptor = Shared::new(acceptor(files)?);
            Some(Tls { files: files.clone(), acceptor })
        }
        None => None,
    };
    let app = App {
        keeper,
        config: Shared::new(http),
        base: Arc::new(config.base_path),
        auth: Arc::clone(&auth),
        session_id,
        links: Arc::default(),
        sync: Arc::default(),
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = match &addr {
        ApiAddr::Tcp(addr) => format!("{scheme}://{addr}{}/", app.base.as_str()),
        ApiAddr::Unix(path) => format!("unix:{}", path.display()),
    };
    let config = app.config.clone();
    let (stop, stopped) = watch::channel(false);
    let acceptor = tls.as_ref().map(|tls| tls.acceptor.clone());
    let base = Arc::clone(&app.base);
    let task = tokio::spawn(accept(listener, acceptor, router(app), base, stopped));
    Ok(Server { addr, url, config, auth, tls, stop, task })
}

fn router(app: App) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(|| async { "ok\n" }))
        .nest("/api/v1", v1::router())
        .merge(transmission::router())
        .merge(qbittorrent::router())
        .merge(stream::router())
        .merge(metrics::router())
        .merge(page::router())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(RequestBodyTimeoutLayer::new(BODY_IDLE))
        .layer(middleware::from_fn_with_state(app.clone(), gate::gate))
        .with_state(app)
}

async fn accept(
    listener: Listener,
    tls: Option<Shared<TlsAcceptor>>,
    router: Router,
    base: Arc<BasePath>,
    mut stopped: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream, peer) = tokio::select! {
            () = asked(&mut stopped) => break,
            (place, accepted) = accepted => match accepted {
                Ok((stream, peer)) => (place, stream, peer),
                Err(error) => {
                    // The table of descriptors may be full: others must end first.
                    tracing::warn!(%error, "a connection to the API was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (router, base) = (router.clone(), Arc::clone(&base));
        let (tls, stopped) = (tls.as_ref().map(Shared::get), stopped.clone());
        tokio::spawn(async move {
            let secured = secured(stream, tls.as_deref()).await;
            if let Some(stream) = secured {
                let peer = gate::Peer { is_secure: tls.is_some(), ..peer };
                serve_one(stream, router.layer(Extension(peer)), base, stopped).await;
            }
            drop(place);
        });
    }
    // All places are free once all connections have ended.
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(END_TIME, places.acquire_many(all)).await;
}

/// Returns the stream that the bytes of requests come by.
async fn secured(
    stream: Pin<Box<dyn Stream>>,
    tls: Option<&TlsAcceptor>,
) -> Option<Pin<Box<dyn Stream>>> {
    let Some(tls) = tls else { return Some(stream) };
    let secured = tokio::time::timeout(HEAD_TIME, tls.accept(stream)).await.ok()?.ok()?;
    Some(Box::pin(secured))
}

async fn serve_one(
    stream: Pin<Box<dyn Stream>>,
    router: Router,
    base: Arc<BasePath>,
    mut stopped: watch::Receiver<bool>,
) {
    let inner = TowerToHyperService::new(router);
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let below = below(base.as_str(), request);
        let inner = inner.clone();
        async move {
            match below {
                Ok(request) => inner.call(request).await,
                Err(answer) => Ok::<_, Infallible>(*answer),
            }
        }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        _ = connection.as_mut() => return,
        () = asked(&mut stopped) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Takes the base from the path of a request; answers those that lie elsewhere.
fn below<B>(base: &str, mut request: Request<B>) -> Result<Request<B>, Box<Response<Body>>> {
    if base.is_empty() {
        return Ok(request);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let rest = path.strip_prefix(base);
    match rest.map(|rest| (rest.starts_with('/'), rest.parse::<Uri>())) {
        Some((true, Ok(uri))) => {
            *request.uri_mut() = uri;
            Ok(request)
        }
        // The page's own paths are relative: they need the slash.
        _ if path == base => {
            let to = [(header::LOCATION, format!("{base}/"))];
            Err(Box::new((StatusCode::MOVED_PERMANENTLY, to).into_response()))
        }
        _ => Err(Box::new((StatusCode::NOT_FOUND, "Not Found\n").into_response())),
    }
}

/// Waits until the server is asked to stop.
async fn asked(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Scope, Token};
    use axum::body::Bytes;
    use std::collections::BTreeMap;
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};

    async fn app(dir: &std::path::Path) -> App {
        let keeper = crate::keeper::tests::keeper(dir).await;
        let token = Token { scope: Scope::Write, made: 0, digest: String::new() };
        let tokens = BTreeMap::from([("old".to_owned(), token)]);
        App {
            keeper,
            config: Shared::default(),
            base: Arc::default(),
            auth: Arc::new(Auth::new("me", Some("secret"), tokens).expect("a password")),
            session_id: "id".into(),
            links: Arc::default(),
            sync: Arc::default(),
        }
    }

    async fn ask(
        app: &App,
        method: &str,
        path: &str,
        head: &[(&str, &str)],
        body: Body,
    ) -> StatusCode {
        let peer = gate::Peer { addr: [127, 0, 0, 1].into(), is_owner: false, is_secure: false };
        let service = TowerToHyperService::new(router(app.clone()).layer(Extension(peer)));
        let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1");
        for (name, value) in head {
            request = request.header(*name, *value);
        }
        let request = request.body(body).expect("a request");
        service.call(request).await.expect("an answer").status()
    }

    #[tokio::test]
    async fn strangers_are_not_listened_to() {
        let dir = tempfile::tempdir().expect("a directory");
        let app = app(dir.path()).await;
        for path in ["/transmission/rpc", "/api/v1/torrents", "/api/v2/torrents/add"] {
            let was_read = Arc::new(AtomicBool::new(false));
            let flag = Arc::clone(&was_read);
            let body = futures_util::stream::once(async move {
                flag.store(true, Ordering::Relaxed);
                Ok::<_, io::Error>(Bytes::from_static(b"{}"))
            });
            let status = ask(&app, "POST", path, &[], Body::from_stream(body)).await;
            assert!([401, 403].contains(&status.as_u16()), "{path}: {status}");
            assert!(!was_read.load(Ordering::Relaxed), "{path}: its body was read");
        }
        let long = "x".repeat(LOGIN_BYTES_MAX);
        let json = format!(r#"{{"user":"me","password":"{long}"}}"#);
        let kind = [("content-type", "application/json")];
        let status = ask(&app, "POST", "/api/v1/login", &kind, json.into()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let form = format!("username=me&password={long}").into();
        let status = ask(&app, "POST", "/api/v2/auth/login", &[], form).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn what_is_described_is_served() {
        let dir = tempfile::tempdir().expect("a directory");
        let app = app(dir.path()).await;
        let cookie =
            app.auth.log_in([127, 0, 0, 1].into(), "me", "secret").await.expect("a session");
        let cookie = format!("SID={cookie}");
        let document = bt_api::v1::openapi();
        let paths = document["paths"].as_object().expect("paths").iter();
        let methods = paths.flat_map(|(path, place)| {
            place.as_object().into_iter().flatten().map(move |(method, _)| (method, path))
        });
        for (method, path) in methods {
            let method = method.to_ascii_uppercase();
            let path = path.replace("{hash}", &"00".repeat(20)).replace("{index}", "0");
            let path = format!("/api/v1{}", path.replace("{name}", "x").replace("{id}", "x"));
            let head = [("cookie", &cookie[..]), ("content-type", "application/json")];
            let status = ask(&app, &method, &path, &head, Body::from("{}")).await;
            // A path that is not served is 405 for what changes something, and 404 else.
            assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            if !path.contains("/torrents/00") && !path.contains("/x") {
                assert_ne!(status, StatusCode::NOT_FOUND, "{method} {path}");
            }
        }
    }

    #[test]
    fn a_base_is_taken_from_paths() {
        for (base, path, expected) in [
            ("", "/a?b", Ok("/a?b")),
            ("/bt", "/bt/", Ok("/")),
            ("/bt", "/bt/api/v1/torrents?since=1", Ok("/api/v1/torrents?since=1")),
            ("/bt", "/bt", Err(301)),
            ("/bt", "/btx/", Err(404)),
            ("/bt", "/", Err(404)),
            ("/bt", "/api/v1/torrents", Err(404)),
        ] {
            let request = Request::builder().uri(path).body(()).expect("a request");
            let found = below(base, request);
            let found = found.map(|request| request.uri().to_string());
            let found = found.map_err(|answer| answer.status().as_u16());
            assert_eq!(found, expected.map(str::to_owned), "{base} {path}");
        }
    }

    #[tokio::test]
    async fn tokens_are_bounded_and_stored_before_they_are_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let app = app(dir.path()).await;
        let cookie =
            app.auth.log_in([127, 0, 0, 1].into(), "me", "secret").await.expect("a session");
        let cookie = format!("SID={cookie}");
        let head = [("content-type", "application/json"), ("cookie", &cookie[..])];
        for (name, expected) in [("old", 409), ("new", 201), ("new", 409), ("", 400)] {
            let body = format!(r#"{{"name":"{name}","scope":"read"}}"#).into();
            let status = ask(&app, "POST", "/api/v1/tokens", &head, body).await;
            assert_eq!(status, expected, "{name}");
        }
        let body = format!(r#"{{"name":"{}","scope":"read"}}"#, "n".repeat(65)).into();
        assert_eq!(ask(&app, "POST", "/api/v1/tokens", &head, body).await, 400);
        let stored =
            |app: &App| app.keeper.stored_tokens().expect("tokens").into_keys().collect::<Vec<_>>();
        assert_eq!(stored(&app), ["new", "old"]);
        let status = ask(&app, "DELETE", "/api/v1/tokens/old", &head, Body::empty()).await;
        assert_eq!((status, stored(&app)), (StatusCode::NO_CONTENT, vec!["new".to_owned()]));
    }
}

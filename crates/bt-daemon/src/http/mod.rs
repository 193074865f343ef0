//! The HTTP server: one port for all APIs and the page.
//!
//! Decides: the paths, the bounds of connections and requests.
//! Must not know: what a command does.
//! Invariant: every request passes the [`gate`] first; no request waits for ever for its own bytes.

mod answer;
mod auth;
mod gate;
mod metrics;
mod page;
mod qbittorrent;
mod stream;
mod transmission;
mod v1;

use crate::config::{DaemonError, HttpConfig};
use crate::keeper::Keeper;
use crate::store::StoreError;
use auth::Auth;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::get;
use axum::{Extension, Router};
use bt_api::qbittorrent::SyncTable;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
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
    pub(crate) config: Arc<HttpConfig>,
    pub(crate) auth: Arc<Auth>,
    /// The session id of Transmission's RPC: random for each process.
    pub(crate) session_id: Arc<str>,
    /// The links for players.
    pub(crate) links: Arc<stream::Links>,
    /// What callers of qBittorrent's `sync` know.
    pub(crate) sync: Arc<Mutex<SyncTable>>,
}

/// The server. It runs until it is stopped.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Accepts no more connections, and waits for requests under way.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// Opens the listening socket.
pub(crate) fn listen(addr: SocketAddr) -> Result<std::net::TcpListener, DaemonError> {
    let listen = || {
        let listener = std::net::TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|source| DaemonError::Listen { addr, source })
}

/// Serves the APIs on a listening socket.
pub(crate) fn serve(
    listener: std::net::TcpListener,
    keeper: Arc<Keeper>,
    config: HttpConfig,
) -> Result<Server, DaemonError> {
    let start = || {
        let addr = listener.local_addr()?;
        Ok((addr, TcpListener::from_std(listener)?))
    };
    let (addr, listener) = start().map_err(|source: io::Error| DaemonError::Listen {
        addr: SocketAddr::from(([0, 0, 0, 0], 0)),
        source,
    })?;
    let session_id = secret().map_err(DaemonError::Random)?.into();
    let unreadable = |error: StoreError| DaemonError::Tokens(error.to_string());
    let tokens = keeper.stored_tokens().map_err(unreadable)?;
    let auth = Auth::new(&config.user, config.password.as_deref(), tokens)?;
    let (config, auth) = (Arc::new(config), Arc::new(auth));
    let router = router(App {
        keeper,
        config,
        auth,
        session_id,
        links: Arc::default(),
        sync: Arc::default(),
    });
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(accept(listener, router, stopped));
    Ok(Server { addr, stop, task })
}

/// Returns 192 random bits as 48 characters.
pub(crate) fn secret() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
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

async fn accept(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, stream) = tokio::select! {
            () = asked(&mut stopped) => break,
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => (place, stream),
                Err(error) => {
                    // The table of descriptors may be full: others must end first.
                    tracing::warn!(%error, "a connection to the API was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let (router, stopped) = (router.clone(), stopped.clone());
        tokio::spawn(async move {
            serve_one(stream, router, stopped).await;
            drop(place);
        });
    }
    // All places are free once all connections have ended.
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(END_TIME, places.acquire_many(all)).await;
}

async fn serve_one(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let Ok(peer) = stream.peer_addr() else { return };
    let router = router.layer(Extension(gate::Peer(peer.ip())));
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    tokio::select! {
        _ = connection.as_mut() => return,
        () = asked(&mut stopped) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Waits until the server is asked to stop.
async fn asked(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{Scope, Token};
    use axum::body::{Body, Bytes};
    use axum::http::{Request, StatusCode};
    use hyper::service::Service as _;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};

    async fn app(dir: &std::path::Path) -> App {
        let keeper = crate::keeper::tests::keeper(dir).await;
        let token = Token { scope: Scope::Write, made: 0, digest: String::new() };
        let tokens = BTreeMap::from([("old".to_owned(), token)]);
        App {
            keeper,
            config: Arc::default(),
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
        let peer = gate::Peer([127, 0, 0, 1].into());
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

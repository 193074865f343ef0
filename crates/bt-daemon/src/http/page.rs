//! The page and its files.
//!
//! Decides: how long a browser keeps them.
//! Must not know: what they do.
//! Invariant: only files that are compiled in are served. They hold nothing of the user's.

use super::App;
use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

/// The tags of all files: one for all of them, as they belong together.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let mut digest = Sha256::new();
    bt_web::ASSETS.iter().for_each(|asset| digest.update(asset.bytes));
    let digest = digest.finalize();
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
});

pub(super) fn router() -> Router<App> {
    let index = |headers: HeaderMap| async move { serve("", &headers) };
    Router::new()
        .route("/", get(index))
        .route("/transmission/web/", get(|| async { Redirect::temporary("../../") }))
        .route("/{*path}", get(file))
}

async fn file(Path(path): Path<String>, headers: HeaderMap) -> Response {
    serve(&path, &headers)
}

fn serve(path: &str, headers: &HeaderMap) -> Response {
    let Some(asset) = bt_web::asset(path) else {
        return (StatusCode::NOT_FOUND, "Not Found\n").into_response();
    };
    let cache = [(header::ETAG, TAG.clone()), (header::CACHE_CONTROL, "no-cache".into())];
    let seen = headers.get(header::IF_NONE_MATCH).and_then(|tag| tag.to_str().ok());
    if seen == Some(&TAG[..]) {
        return (StatusCode::NOT_MODIFIED, cache).into_response();
    }
    (cache, [(header::CONTENT_TYPE, asset.kind)], Body::from(asset.bytes)).into_response()
}

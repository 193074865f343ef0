//! `/stream/HASH/INDEX`: a file of a torrent while it downloads (RFC 9110, one range).
//!
//! Decides: the range that is sent, and the links for players.
//! Must not know: pieces: the session's reader fetches what is read.
//! Invariant: a link opens one file, for a time; nothing else of the daemon.

use super::App;
use super::gate::{Caller, may};
use crate::clock::now;
use crate::secret::secret;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use axum::{Extension, Json, Router};
use bt_api::{Details, File};
use bt_types::InfoHash;
use serde::Deserialize;
use std::collections::HashMap;
use std::io::SeekFrom;
use std::sync::{Mutex, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

/// How long a link lasts without being used, in seconds.
const LINK_IDLE: u64 = 6 * 3600;
/// Most links: the one that was not used for longest ends.
const LINKS_MAX: usize = 256;
/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// The links for players: each opens one file.
#[derive(Debug, Default)]
pub(crate) struct Links(Mutex<HashMap<String, Link>>);

#[derive(Debug)]
struct Link {
    file: (InfoHash, usize),
    last_used: u64,
}

impl Links {
    fn make(&self, file: (InfoHash, usize)) -> Option<String> {
        let token = secret().ok()?;
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        links.retain(|_, link| now.saturating_sub(link.last_used) < LINK_IDLE);
        if links.len() >= LINKS_MAX {
            let oldest = links.iter().min_by_key(|(_, link)| link.last_used);
            if let Some(oldest) = oldest.map(|(token, _)| token.clone()) {
                links.remove(&oldest);
            }
        }
        links.insert(token.clone(), Link { file, last_used: now });
        Some(token)
    }

    fn opens(&self, token: &str, file: (InfoHash, usize)) -> bool {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        let Some(link) = links.get_mut(token) else { return false };
        let is_valid = link.file == file && now.saturating_sub(link.last_used) < LINK_IDLE;
        if is_valid {
            link.last_used = now;
        }
        is_valid
    }
}

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/stream/{hash}/{index}", any(stream))
        .route("/api/v1/torrents/{hash}/files/{index}/link", post(link))
}

async fn link(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((hash, index)): Path<(String, usize)>,
) -> Response {
    if !may(&caller, &Method::POST) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Some((hash, file)) = find(&app, &hash, index) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match app.links.make((hash, file.number)) {
        Some(token) => {
            let name = file.path.rsplit('/').next().unwrap_or_default();
            let path = format!("stream/{hash}/{index}?token={token}");
            Json(serde_json::json!({ "path": path, "name": name })).into_response()
        }
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[derive(Debug, Deserialize)]
struct Token {
    token: Option<String>,
}

async fn stream(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((hash, index)): Path<(String, usize)>,
    Query(query): Query<Token>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if ![Method::GET, Method::HEAD].contains(&method) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let found = find(&app, &hash, index);
    let has_link = || {
        let file = found.as_ref().map(|(hash, file)| (*hash, file.number));
        let token = query.token.as_deref();
        token.zip(file).is_some_and(|(token, file)| app.links.opens(token, file))
    };
    if !may(&caller, &Method::GET) && !has_link() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Some((hash, file)) = found else { return StatusCode::NOT_FOUND.into_response() };
    let tag = format!("\"{hash}-{}-{}\"", file.number, file.length);
    let Ok(range) = wanted(&headers, &tag, file.length) else {
        let length = [(header::CONTENT_RANGE, format!("bytes */{}", file.length))];
        return (StatusCode::RANGE_NOT_SATISFIABLE, length).into_response();
    };
    let (start, end) = range.unwrap_or((0, file.length));
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        match read(&app, hash, file.number, start, end).await {
            Some(body) => body,
            None => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    };
    let mut response = (status, body).into_response();
    let mut set = |name, value: String| {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::ACCEPT_RANGES, "bytes".into());
    set(header::CONTENT_TYPE, mime(&file.path).into());
    set(header::CONTENT_LENGTH, (end - start).to_string());
    set(header::ETAG, tag);
    // What is in a torrent runs no script in the page's name.
    set(header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'".into());
    if range.is_some() {
        let last = end.saturating_sub(1);
        set(header::CONTENT_RANGE, format!("bytes {start}-{last}/{}", file.length));
    }
    response
}

/// Returns a file by its place in the list that callers know, padding left out.
fn find(app: &App, hash: &str, index: usize) -> Option<(InfoHash, File)> {
    let hash = InfoHash::from_hex(hash)?;
    let torrent = app.keeper.state().torrent(hash).cloned()?;
    Some((hash, Details::files_of(None, &torrent).into_iter().nth(index)?))
}

/// Returns the range that is asked for as begin and end; `None` for all. Several ranges, and one
/// for another version of the file, are answered with all of it.
fn wanted(headers: &HeaderMap, tag: &str, length: u64) -> Result<Option<(u64, u64)>, ()> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if text(header::IF_RANGE).is_some_and(|seen| seen != tag) {
        return Ok(None);
    }
    let Some(range) = text(header::RANGE).and_then(|range| range.strip_prefix("bytes=")) else {
        return Ok(None);
    };
    if range.contains(',') {
        return Ok(None);
    }
    let Some((first, last)) = range.trim().split_once('-') else { return Ok(None) };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (start, end) = match (number(first), number(last)) {
        (Some(first), Some(last)) if last < first => return Ok(None),
        (Some(first), Some(last)) => (first, last.saturating_add(1).min(length)),
        (Some(first), None) if last.trim().is_empty() => (first, length),
        (None, Some(tail)) if first.trim().is_empty() => (length.saturating_sub(tail), length),
        _ => return Ok(None),
    };
    if start >= end { Err(()) } else { Ok(Some((start, end))) }
}

async fn read(app: &App, hash: InfoHash, file: usize, start: u64, end: u64) -> Option<Body> {
    let mut reader = app.keeper.reader(hash, file)?;
    reader.seek(SeekFrom::Start(start)).await.ok()?;
    let chunks =
        futures_util::stream::unfold((reader, end - start), |(mut reader, left)| async move {
            if left == 0 {
                return None;
            }
            let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let mut chunk = vec![0; length];
            match reader.read(&mut chunk).await {
                Ok(0) => None,
                Ok(read) => {
                    chunk.truncate(read);
                    Some((Ok::<_, std::io::Error>(chunk), (reader, left - read as u64)))
                }
                Err(error) => Some((Err(error), (reader, 0))),
            }
        });
    Some(Body::from_stream(chunks))
}

/// Returns the type that players expect, by the end of a name. Nothing that a browser would run.
fn mime(path: &str) -> &'static str {
    let end = path.rsplit_once('.').map_or("", |(_, end)| end).to_ascii_lowercase();
    match &end[..] {
        "mp4" | "m4v" => "video/mp4",
        "mkv" => "video/x-matroska",
        "webm" => "video/webm",
        "avi" => "video/x-msvideo",
        "mov" => "video/quicktime",
        "ts" => "video/mp2t",
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        "flac" => "audio/flac",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "wav" => "audio/wav",
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "srt" | "vtt" | "txt" | "nfo" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        let ask = |range: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, range.parse().expect("a value"));
            wanted(&headers, "\"a\"", 100)
        };
        for (range, expected) in [
            ("bytes=0-0", Ok(Some((0, 1)))),
            ("bytes=10-", Ok(Some((10, 100)))),
            ("bytes=-10", Ok(Some((90, 100)))),
            ("bytes=-1000", Ok(Some((0, 100)))),
            ("bytes=90-999", Ok(Some((90, 100)))),
            ("bytes=100-", Err(())),
            ("bytes=-0", Err(())),
            ("bytes=5-4", Ok(None)),
            ("bytes=0-1,3-4", Ok(None)),
            ("bytes=x-", Ok(None)),
            ("lines=0-1", Ok(None)),
        ] {
            assert_eq!(ask(range), expected, "{range}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, "bytes=0-0".parse().expect("a value"));
        headers.insert(header::IF_RANGE, "\"b\"".parse().expect("a value"));
        assert_eq!(wanted(&headers, "\"a\"", 100), Ok(None), "the file is another now");
    }

    #[test]
    fn a_link_that_ended_stays_ended() {
        let (links, hash) = (Links::default(), InfoHash([1; 20]));
        let token = links.make((hash, 2)).expect("a link");
        for link in links.0.lock().expect("links").values_mut() {
            link.last_used = now() - LINK_IDLE;
        }
        for _ in 0..2 {
            assert!(!links.opens(&token, (hash, 2)));
        }
    }

    #[test]
    fn a_link_opens_one_file() {
        let (links, hash) = (Links::default(), InfoHash([1; 20]));
        let token = links.make((hash, 2)).expect("a link");
        assert!(links.opens(&token, (hash, 2)));
        assert!(!links.opens(&token, (hash, 3)));
        assert!(!links.opens("other", (hash, 2)));
        for _ in 0..LINKS_MAX + 1 {
            links.make((hash, 1));
        }
        assert_eq!(links.0.lock().expect("links").len(), LINKS_MAX);
    }
}

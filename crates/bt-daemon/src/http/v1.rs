//! The API of our own over HTTP.
//!
//! Decides: its paths and methods.
//! Must not know: sessions, stores.
//! Invariant: GET changes nothing.

use super::answer::Refused;
use super::auth::{Auth, TOKEN_NAME_MAX, TOKENS_MAX};
use super::gate::{Caller, known_only};
use super::{App, LOGIN_BYTES_MAX};
use crate::token::Scope;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post};
use axum::{Extension, Json, Router, middleware};
use bt_api::creation::{CreationStanding, CreationWish};
use bt_api::rss::{Rss, RssCommand};
use bt_api::v1::{self, Action, AddRequest, CreationRow, SessionRow, TorrentList, TorrentRow};
use bt_api::{Command, DaemonSettings, Details, FaultKind, Needs, TorrentPatch, Why};
use bt_types::InfoHash;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Least time between two events of one listener.
const EVENTS: Duration = Duration::from_secs(1);
/// Most bytes of a request that is JSON.
const JSON_BYTES_MAX: usize = 1 << 20;

pub(super) fn router() -> Router<App> {
    let json = Router::new()
        .route("/openapi.json", get(|| async { Json(v1::openapi()) }))
        .route("/session", get(session))
        .route("/settings", get(settings).patch(set_settings))
        .route("/torrents/{hash}", get(torrent).patch(set_torrent).delete(remove))
        .route("/torrents/{hash}/actions", post(act))
        .route("/torrents/{hash}/files", get(files))
        .route("/torrents/{hash}/peers", get(peers))
        .route("/torrents/{hash}/trackers", get(trackers))
        .route("/torrents/{hash}/pieces", get(pieces))
        .route("/torrents/{hash}/why", get(why))
        .route("/undo", post(undo))
        .route("/rss", get(rss).post(set_rss))
        .route("/creations", get(creations).post(create))
        .route("/creations/{id}", delete(forget_creation))
        .route("/creations/{id}/file", get(created_file))
        .route("/categories", get(categories))
        .route("/categories/{name}", patch(set_category).delete(remove_category))
        .route("/tokens", get(tokens).post(new_token))
        .route("/tokens/{name}", delete(revoke))
        .route("/stop", post(stop))
        .layer(DefaultBodyLimit::max(JSON_BYTES_MAX));
    Router::new()
        .route("/torrents", get(torrents).post(add))
        .route("/events", get(events))
        .merge(json)
        .layer(middleware::from_fn(known_only))
        .route("/login", post(log_in).layer(DefaultBodyLimit::max(LOGIN_BYTES_MAX)))
        .route("/logout", post(log_out))
}

/// A body of JSON. One that is none is refused with the reason.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, Refused> {
        let body = Json::from_request(request, state).await;
        body.map(|Json(value)| Body(value)).map_err(|error| invalid(&error.body_text()))
    }
}

#[derive(Debug, Deserialize)]
struct Since {
    since: Option<u64>,
}

async fn session(State(app): State<App>) -> Json<SessionRow> {
    Json(v1::session(&app.keeper.state()))
}

async fn torrents(State(app): State<App>, Query(query): Query<Since>) -> Json<TorrentList> {
    Json(v1::torrents(&app.keeper.state(), query.since))
}

/// Sends what changed, at most once a second: the first event has all torrents.
async fn events(
    State(app): State<App>,
    Query(query): Query<Since>,
) -> Sse<impl futures_util::Stream<Item = Result<Event, Infallible>>> {
    let changes = app.keeper.changes();
    let stream = futures_util::stream::unfold(
        (app, changes, query.since, true),
        |(app, mut changes, since, first)| async move {
            if !first {
                tokio::time::sleep(EVENTS).await;
                if changes.wait_for(|last| Some(*last) != since).await.is_err() {
                    return None;
                }
            }
            app.keeper.session()?;
            let (list, session) = {
                let state = app.keeper.state();
                (v1::torrents(&state, since), v1::session(&state))
            };
            let since = Some(list.sequence);
            let event = Event::default().json_data(json!({ "list": list, "session": session }));
            Some((Ok(event.unwrap_or_default()), (app, changes, since, false)))
        },
    );
    Sse::new(stream).keep_alive(KeepAlive::default())
}

async fn torrent(
    State(app): State<App>,
    Path(hash): Path<String>,
) -> Result<Json<TorrentRow>, Refused> {
    let hash = known(&app, &hash)?;
    let torrent = app.keeper.state().torrent(hash).cloned();
    torrent.map(|torrent| Json(v1::row(&torrent))).ok_or_else(|| absent(&hash.to_string()))
}

async fn files(State(app): State<App>, Path(hash): Path<String>) -> Result<Response, Refused> {
    let needs = |needs: &mut Needs| needs.files = true;
    Ok(Json(v1::files(&details(&app, &hash, needs).await?)).into_response())
}

async fn peers(State(app): State<App>, Path(hash): Path<String>) -> Result<Response, Refused> {
    let hash_known = known(&app, &hash)?;
    let details = details(&app, &hash, |needs| needs.peers = true).await?;
    let view = app.keeper.state().torrent(hash_known).and_then(|t| t.live.view.clone());
    Ok(Json(v1::peers(&details, view.map_or(0, |view| view.pieces_total))).into_response())
}

async fn trackers(State(app): State<App>, Path(hash): Path<String>) -> Result<Response, Refused> {
    let needs = |needs: &mut Needs| needs.trackers = true;
    Ok(Json(v1::trackers(&details(&app, &hash, needs).await?)).into_response())
}

async fn pieces(State(app): State<App>, Path(hash): Path<String>) -> Result<Response, Refused> {
    let needs = |needs: &mut Needs| needs.pieces = true;
    Ok(Json(v1::pieces(&details(&app, &hash, needs).await?)).into_response())
}

async fn why(State(app): State<App>, Path(hash): Path<String>) -> Result<Json<Why>, Refused> {
    let known = known(&app, &hash)?;
    let needs = |needs: &mut Needs| (needs.peers, needs.trackers) = (true, true);
    let details = details(&app, &hash, needs).await?;
    let state = app.keeper.state();
    let torrent = state.torrent(known).ok_or_else(|| absent(&hash))?;
    Ok(Json(bt_api::why(torrent, &details, &state)))
}

async fn undo(State(app): State<App>) -> Result<StatusCode, Refused> {
    app.keeper.run(Command::Undo).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Adds a torrent: JSON, or a form with the file and, as `request`, the same JSON.
async fn add(State(app): State<App>, request: Request) -> Result<Response, Refused> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let (wanted, file) = if kind.starts_with("multipart/form-data") {
        let form = Multipart::from_request(request, &()).await.map_err(|error| invalid(&error))?;
        read_form(form).await?
    } else {
        (Body::<AddRequest>::from_request(request, &()).await?.0, None)
    };
    let command = wanted.command(file).map_err(|error| invalid(&error))?;
    let done = app.keeper.run(command).await?;
    let hash = done.torrent.ok_or_else(|| Refused::new(FaultKind::Internal, "no torrent"))?;
    let torrent = app.keeper.state().torrent(hash).cloned();
    let row = torrent.map(|torrent| v1::row(&torrent));
    let status = if done.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(json!({ "duplicate": done.duplicate, "torrent": row }))).into_response())
}

async fn read_form(mut form: Multipart) -> Result<(AddRequest, Option<Vec<u8>>), Refused> {
    let (mut wanted, mut file) = (AddRequest::default(), None);
    while let Some(field) = form.next_field().await.map_err(|error| invalid(&error))? {
        let is_file = field.file_name().is_some();
        let is_request = field.name() == Some("request");
        let bytes = field.bytes().await.map_err(|error| invalid(&error))?;
        if is_file {
            file = Some(bytes.to_vec());
        } else if is_request {
            wanted = serde_json::from_slice(&bytes).map_err(|error| invalid(&error))?;
        }
    }
    Ok((wanted, file))
}

async fn set_torrent(
    State(app): State<App>,
    Path(hash): Path<String>,
    Body(patch): Body<TorrentPatch>,
) -> Result<Json<TorrentRow>, Refused> {
    let hash = known(&app, &hash)?;
    app.keeper.run(Command::Change(vec![hash], Box::new(patch))).await?;
    torrent(State(app), Path(hash.to_string())).await
}

async fn act(
    State(app): State<App>,
    Path(hash): Path<String>,
    Body(action): Body<Action>,
) -> Result<StatusCode, Refused> {
    let hash = known(&app, &hash)?;
    app.keeper.run(action.command(hash).map_err(|error| invalid(&error))?).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    #[serde(default)]
    with_data: bool,
}

async fn remove(
    State(app): State<App>,
    Path(hash): Path<String>,
    Query(how): Query<Remove>,
) -> Result<StatusCode, Refused> {
    let hash = known(&app, &hash)?;
    app.keeper.run(Command::Remove(vec![hash], how.with_data)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn settings(State(app): State<App>) -> Json<DaemonSettings> {
    Json(app.keeper.state().settings.clone())
}

async fn set_settings(
    State(app): State<App>,
    Body(patch): Body<Value>,
) -> Result<Json<DaemonSettings>, Refused> {
    app.keeper.run(Command::Settings(patch)).await?;
    Ok(settings(State(app)).await)
}

async fn categories(State(app): State<App>) -> Json<Value> {
    let state = app.keeper.state();
    Json(json!({ "categories": state.categories, "tags": state.tags }))
}

async fn set_category(
    State(app): State<App>,
    Path(name): Path<String>,
    Body(category): Body<bt_api::Category>,
) -> Result<StatusCode, Refused> {
    app.keeper.run(Command::Category(name, Some(category))).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_category(
    State(app): State<App>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refused> {
    app.keeper.run(Command::Category(name, None)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells feeds, with their articles, and rules.
async fn rss(State(app): State<App>) -> Json<Rss> {
    Json(app.keeper.state().rss.clone())
}

async fn set_rss(
    State(app): State<App>,
    Body(change): Body<RssCommand>,
) -> Result<Json<Rss>, Refused> {
    app.keeper.run(Command::Rss(change)).await?;
    Ok(rss(State(app)).await)
}

async fn creations(State(app): State<App>) -> Json<Vec<CreationRow>> {
    Json(app.keeper.state().creations.iter().map(CreationRow::of).collect())
}

async fn create(
    State(app): State<App>,
    Body(wish): Body<CreationWish>,
) -> Result<Response, Refused> {
    let done = app.keeper.run(Command::Create(Box::new(wish))).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "id": done.creation }))).into_response())
}

async fn forget_creation(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refused> {
    app.keeper.run(Command::ForgetCreation(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn created_file(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Refused> {
    let state = app.keeper.state();
    match state.creations.iter().find(|task| task.id == id).map(|task| &task.standing) {
        Some(CreationStanding::Done(bytes, _)) => {
            let kind = [(header::CONTENT_TYPE, "application/x-bittorrent")];
            Ok((kind, bytes.to_vec()).into_response())
        }
        Some(_) => Err(Refused::new(FaultKind::Conflict, "it is not made")),
        None => Err(Refused::new(FaultKind::NotFound, "there is no such task")),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    user: String,
    password: String,
}

async fn log_in(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Body(Login { user, password }): Body<Login>,
) -> Result<Response, Refused> {
    let Some(cookie) = app.auth.log_in(caller.from, &user, &password).await else {
        let why = json!({ "error": "wrong name or password" });
        return Ok((StatusCode::UNAUTHORIZED, Json(why)).into_response());
    };
    let cookie = session_cookie(&cookie, app.base.as_str(), caller.is_secure);
    Ok(([(header::SET_COOKIE, cookie)], StatusCode::NO_CONTENT).into_response())
}

async fn log_out(State(app): State<App>, headers: HeaderMap) -> StatusCode {
    app.auth.log_out(&headers);
    StatusCode::NO_CONTENT
}

/// Returns the line that gives a browser its session.
pub(super) fn session_cookie(value: &str, base: &str, is_secure: bool) -> String {
    let secure = if is_secure { "; Secure" } else { "" };
    format!("SID={value}; HttpOnly; SameSite=Strict; path={base}/{secure}")
}

async fn tokens(State(app): State<App>) -> Json<Value> {
    let tokens = app.auth.tokens();
    let rows = tokens
        .iter()
        .map(|(name, token)| json!({ "name": name, "scope": token.scope, "made": token.made }));
    Json(rows.collect())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    name: String,
    scope: Scope,
}

async fn new_token(
    State(app): State<App>,
    Body(NewToken { name, scope }): Body<NewToken>,
) -> Result<Response, Refused> {
    if name.is_empty() || name.len() > TOKEN_NAME_MAX {
        let why = format!("a token's name has 1 to {TOKEN_NAME_MAX} bytes");
        return Err(Refused::new(FaultKind::Invalid, why));
    }
    let text = change_tokens(&app, move |auth| auth.new_token(&name, scope).ok_or(name)).await?;
    let text = text.map_err(|name| {
        let why = format!("there is a token {name:?}, or there are {TOKENS_MAX} of them");
        Refused::new(FaultKind::Conflict, why)
    })?;
    Ok((StatusCode::CREATED, Json(json!({ "token": text }))).into_response())
}

async fn revoke(State(app): State<App>, Path(name): Path<String>) -> Result<StatusCode, Refused> {
    let known =
        change_tokens(&app, move |auth| if auth.revoke(&name) { Ok(()) } else { Err(name) });
    known
        .await?
        .map_err(|name| Refused::new(FaultKind::NotFound, format!("there is no token {name:?}")))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the tokens and stores them: both or neither, whether the caller waits or goes.
async fn change_tokens<T: Send + 'static, E: Send + 'static>(
    app: &App,
    change: impl FnOnce(&Auth) -> Result<T, E> + Send + 'static,
) -> Result<Result<T, E>, Refused> {
    let (auth, keeper) = (Arc::clone(&app.auth), Arc::clone(&app.keeper));
    let stored = tokio::spawn(async move {
        let _turn = auth.token_turn().await;
        let before = auth.tokens().clone();
        let done = change(&auth);
        if done.is_ok() {
            let tokens = auth.tokens().clone();
            keeper.store_tokens(&tokens).await.inspect_err(|_| auth.set_tokens(before))?;
        }
        Ok(done)
    });
    let stored = stored
        .await
        .unwrap_or_else(|error| Err(bt_api::Fault::new(FaultKind::Internal, error.to_string())));
    Ok(stored?)
}

async fn stop(State(app): State<App>) -> Result<StatusCode, Refused> {
    app.keeper.run(Command::Stop).await?;
    Ok(StatusCode::ACCEPTED)
}

async fn details(
    app: &App,
    hash: &str,
    wanted: impl FnOnce(&mut Needs),
) -> Result<Details, Refused> {
    let hash = known(app, hash)?;
    let mut needs = Needs { torrents: vec![hash], ..Needs::default() };
    wanted(&mut needs);
    Ok(app.keeper.details(&needs).await.remove(&hash).unwrap_or_default())
}

/// Returns the info-hash of a torrent that is there.
fn known(app: &App, hash: &str) -> Result<InfoHash, Refused> {
    let found = InfoHash::from_hex(hash);
    found.filter(|hash| app.keeper.state().torrent(*hash).is_some()).ok_or_else(|| absent(hash))
}

fn absent(hash: &str) -> Refused {
    Refused::new(FaultKind::NotFound, format!("there is no torrent {hash}"))
}

fn invalid(why: &impl std::fmt::Display) -> Refused {
    Refused::new(FaultKind::Invalid, why.to_string())
}

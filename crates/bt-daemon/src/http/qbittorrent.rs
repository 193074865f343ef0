//! qBittorrent's Web API over HTTP.
//!
//! Decides: how forms are read, and what a caller without a session may do.
//! Must not know: what an action does.
//! Invariant: who has no session gets 403, which callers take as "log in first".

use super::directory::{self, Entries};
use super::gate::{Caller, may};
use super::v1::session_cookie;
use super::{App, LOGIN_BYTES_MAX};
use axum::body::{Body, Bytes};
use axum::extract::{
    DefaultBodyLimit, FromRequest as _, Multipart, Path, RawQuery, Request, State,
};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Json, Router};
use bt_api::Command;
use bt_api::qbittorrent::{self, Form, WebAnswer};
use std::path::PathBuf;
use std::sync::PoisonError;

/// Most torrents of one addition.
const ADDITIONS_MAX: usize = 1000;
/// Most fields of a form.
const FIELDS_MAX: usize = 2000;

pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/api/v2/auth/{action}", any(auth).layer(DefaultBodyLimit::max(LOGIN_BYTES_MAX)))
        .route("/api/v2/{scope}/{action}", any(act))
}

async fn auth(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(action): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Request,
) -> Response {
    if request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    match &action[..] {
        "login" => {
            let form = match read(request, query.as_deref()).await {
                Ok(form) => form,
                Err(answer) => return answer,
            };
            let field = |name: &str| {
                let found = form.fields.iter().find(|(field, _)| field == name);
                found.map(|(_, value)| &value[..]).unwrap_or_default()
            };
            let (user, password) = (field("username"), field("password"));
            match app.auth.log_in(caller.from, user, password).await {
                Some(cookie) => {
                    let cookie = session_cookie(&cookie, app.base.as_str(), caller.is_secure);
                    ([(header::SET_COOKIE, cookie)], write(WebAnswer::text(200, "Ok.")))
                        .into_response()
                }
                None => write(WebAnswer::text(200, "Fails.")),
            }
        }
        "logout" => {
            app.auth.log_out(&headers);
            write(WebAnswer::text(200, ""))
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn act(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path((scope, action)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let is_post = request.method() == Method::POST;
    if !is_post && ![Method::GET, Method::HEAD].contains(request.method()) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    if !may(&caller, request.method()) {
        return (StatusCode::FORBIDDEN, "Forbidden").into_response();
    }
    let name = caller_name(&caller, request.headers());
    let form = match read(request, query.as_deref()).await {
        Ok(form) => form,
        Err(answer) => return answer,
    };
    if (&scope[..], &action[..]) == ("app", "getDirectoryContent") {
        return directory_content(&form).await;
    }
    let plan = {
        let state = app.keeper.state();
        qbittorrent::plan(&scope, &action, is_post, &form, &state)
    };
    let plan = match plan {
        Ok(plan) if plan.commands.len() <= ADDITIONS_MAX => plan,
        Ok(_) => {
            let why = format!("at most {ADDITIONS_MAX} torrents in one request");
            return write(WebAnswer::text(400, why));
        }
        Err(answer) => return write(answer),
    };
    let mut done = Vec::new();
    for command in &plan.commands {
        let is_addition = matches!(command, Command::Add(_));
        let result = app.keeper.run(command.clone()).await;
        let is_over = result.is_err() && !is_addition;
        done.push(result);
        if is_over {
            break;
        }
    }
    let details = app.keeper.details(&plan.needs).await;
    let state = app.keeper.state();
    let mut sync = app.sync.lock().unwrap_or_else(PoisonError::into_inner);
    write(qbittorrent::answer(&plan, &state, &details, &done, &mut sync, &name))
}

/// Answers with the paths of what lies in a directory, for a user who chooses one.
async fn directory_content(form: &Form) -> Response {
    let field = |name: &str| {
        let found = form.fields.iter().find(|(field, _)| field == name);
        found.map(|(_, value)| value.trim()).unwrap_or_default()
    };
    let (dir, entries) = (PathBuf::from(field("dirPath")), Entries::parse(field("mode")));
    let Some(entries) = entries.filter(|_| dir.is_absolute()) else {
        return write(WebAnswer::text(400, "dirPath is absolute, mode is all, dirs or files"));
    };
    match directory::list(dir, entries).await {
        Some(paths) => Json(paths).into_response(),
        None => write(WebAnswer::text(404, "There is no such directory")),
    }
}

/// Returns who asks, so that each session has deltas of its own.
fn caller_name(caller: &Caller, headers: &HeaderMap) -> String {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let proof = super::auth::name(text(header::COOKIE), text(header::AUTHORIZATION));
    format!("{} {proof}", caller.from)
}

fn write(answer: WebAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, answer.kind)], answer.body).into_response()
}

/// Reads the parameters of the query and of the body, whatever the body's type says.
async fn read(request: Request, query: Option<&str>) -> Result<Form, Response> {
    let mut form = Form::default();
    pairs(query.unwrap_or_default().as_bytes(), &mut form);
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("multipart/form-data") {
        read_multipart(request, &mut form).await.map_err(IntoResponse::into_response)?;
    } else {
        let request: Request<Body> = request;
        let body = Bytes::from_request(request, &()).await.map_err(IntoResponse::into_response)?;
        pairs(&body, &mut form);
    }
    Ok(form)
}

fn pairs(text: &[u8], form: &mut Form) {
    let pairs = form_urlencoded::parse(text).take(FIELDS_MAX);
    form.fields.extend(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())));
}

async fn read_multipart(request: Request, form: &mut Form) -> Result<(), (StatusCode, String)> {
    let wrong = |error: &dyn std::fmt::Display| (StatusCode::BAD_REQUEST, error.to_string());
    let mut parts = Multipart::from_request(request, &()).await.map_err(|error| wrong(&error))?;
    while let Some(part) = parts.next_field().await.map_err(|error| wrong(&error))? {
        if form.fields.len() + form.files.len() >= FIELDS_MAX {
            return Err((StatusCode::BAD_REQUEST, "too many fields".into()));
        }
        let is_file = part.file_name().is_some();
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = part.bytes().await.map_err(|error| wrong(&error))?;
        if is_file {
            form.files.push(bytes.to_vec());
        } else {
            form.fields.push((name, String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(())
}

//! Transmission's RPC over HTTP.
//!
//! Decides: the session id, which is its guard against pages of other sites.
//! Must not know: what its methods do.
//! Invariant: nothing is carried out for a request without the session id of this process.

use super::App;
use super::gate::{Caller, may};
use crate::disk_space;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request as HttpRequest, State};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::any;
use axum::{Extension, Router};
use bt_api::transmission::{self, Call, Plan, Request, SystemQuery, SystemReply};
use bt_api::{CommandReply, Fault};
use serde_json::Value;

const SESSION_ID: HeaderName = HeaderName::from_static("x-transmission-session-id");
const RPC_VERSION: HeaderName = HeaderName::from_static("x-transmission-rpc-version");

pub(super) fn router() -> Router<App> {
    Router::new().route("/transmission/rpc", any(rpc)).route("/transmission/rpc/", any(rpc))
}

async fn rpc(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    request: HttpRequest,
) -> Response {
    let method = request.method().clone();
    if method == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    if !may(&caller, &Method::POST) {
        let basic = [(header::WWW_AUTHENTICATE, "Basic realm=\"Transmission\"")];
        return (StatusCode::UNAUTHORIZED, basic, "401: Unauthorized\n").into_response();
    }
    // Callers fetch the id with GET, too.
    let given = request.headers().get(&SESSION_ID).and_then(|id| id.to_str().ok());
    if given != Some(&app.session_id[..]) {
        return needs_session_id(&app.session_id);
    }
    if method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    // Only who may ask is listened to.
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) => body,
        Err(rejected) => return rejected.into_response(),
    };
    let answer = match transmission::parse(&body) {
        Request::Wrong(answer) => Some(answer),
        Request::One(call) => carry_out(&app, &call).await,
        Request::Batch(calls) => {
            let mut answers = Vec::new();
            for call in calls {
                match call {
                    Ok(call) => answers.extend(carry_out(&app, &call).await),
                    Err(answer) => answers.push(answer),
                }
            }
            (!answers.is_empty()).then(|| Value::Array(answers))
        }
    };
    match answer {
        Some(answer) => json(&answer),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

fn needs_session_id(id: &str) -> Response {
    let body = format!(
        "<h1>409: Conflict</h1><p>Your request had an invalid session id. Send the header \
         <code>{SESSION_ID}: {id}</code>.</p>"
    );
    let headers = [(SESSION_ID, id.to_owned()), (RPC_VERSION, transmission::RPC_SEMVER.to_owned())];
    (StatusCode::CONFLICT, headers, Html(body)).into_response()
}

fn json(answer: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json; charset=UTF-8")], answer.to_string())
        .into_response()
}

async fn carry_out(app: &App, call: &Call) -> Option<Value> {
    let plan = {
        let state = app.keeper.state();
        transmission::plan(call, &state)
    };
    let (done, details, asked) = match &plan {
        Ok(plan) => {
            let done = run(app, plan).await;
            let details = app.keeper.details(&plan.needs).await;
            (done, details, ask(plan.ask.clone()).await)
        }
        Err(_) => (Ok(Vec::new()), std::collections::HashMap::new(), None),
    };
    let state = app.keeper.state();
    let done = done.as_ref().map(|replies: &Vec<CommandReply>| &replies[..]);
    transmission::answer(call, plan.as_ref(), &state, &details, done, asked)
}

async fn run(app: &App, plan: &Plan) -> Result<Vec<CommandReply>, Fault> {
    let mut replies = Vec::new();
    for command in &plan.commands {
        replies.push(app.keeper.run(command.clone()).await?);
    }
    Ok(replies)
}

/// Asks the machine what an answer needs of it.
async fn ask(ask: Option<SystemQuery>) -> Option<SystemReply> {
    match ask? {
        SystemQuery::FreeSpace(path) => {
            let space = disk_space::of(path).await;
            Some(SystemReply::Space(space.map(|space| (space.free, space.total))))
        }
    }
}

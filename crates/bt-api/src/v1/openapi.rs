//! The description of the API (OpenAPI 3.0), made from its types.
//!
//! Decides: what is said of each path.
//! Must not know: HTTP.
//! Invariant: a shape is that of the type that is read or written: it is not written twice.

use super::{
    Action, AddRequest, CreationRow, FileRow, PeerRow, SessionRow, TorrentList, TorrentRow,
    TrackerRow,
};
use crate::creation::CreationWish;
use crate::rss::{Rss, RssCommand};
use crate::settings::{Category, DaemonSettings};
use crate::{TorrentPatch, Why};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// Makes the shape of a type.
type Shape = fn(&mut SchemaGenerator) -> Schema;

/// A method of a path.
struct Operation {
    path: &'static str,
    method: &'static str,
    summary: &'static str,
    /// Parameters of the query.
    query: &'static [&'static str],
    body: Option<Shape>,
    /// The status of what is done, and its body.
    answer: (u16, Option<Shape>),
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn get(path: &'static str, summary: &'static str, answer: Option<Shape>) -> Operation {
    Operation { path, method: "get", summary, query: &[], body: None, answer: (200, answer) }
}

const fn act(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    body: Option<Shape>,
    answer: (u16, Option<Shape>),
) -> Operation {
    Operation { path, method, summary, query: &[], body, answer }
}

/// Returns the operations.
fn operations() -> Vec<Operation> {
    let torrents = "/torrents";
    let torrent = "/torrents/{hash}";
    vec![
        Operation {
            query: &["since"],
            ..get(
                torrents,
                "Torrents that changed after a number of the sequence, or all",
                Some(of::<TorrentList>),
            )
        },
        act(
            "post",
            torrents,
            "Add a torrent: JSON, or a form with the file and, as `request`, JSON",
            Some(of::<AddRequest>),
            (201, None),
        ),
        get(torrent, "A torrent", Some(of::<TorrentRow>)),
        act(
            "patch",
            torrent,
            "Change what is wanted of a torrent",
            Some(of::<TorrentPatch>),
            (200, Some(of::<TorrentRow>)),
        ),
        Operation {
            query: &["with_data"],
            ..act("delete", torrent, "Remove a torrent, with its data if asked", None, (204, None))
        },
        act(
            "post",
            "/torrents/{hash}/actions",
            "Do something with a torrent",
            Some(of::<Action>),
            (204, None),
        ),
        get("/torrents/{hash}/files", "Its files", Some(of::<Vec<FileRow>>)),
        get("/torrents/{hash}/peers", "Its peers", Some(of::<Vec<PeerRow>>)),
        get("/torrents/{hash}/trackers", "Its trackers", Some(of::<Vec<TrackerRow>>)),
        get(
            "/torrents/{hash}/pieces",
            "Its pieces as runs: missing, there, missing, …",
            Some(of::<Vec<u32>>),
        ),
        get(
            "/torrents/{hash}/why",
            "Why it is slow or waits, and what would help",
            Some(of::<Why>),
        ),
        act(
            "post",
            "/torrents/{hash}/files/{index}/link",
            "A link to a file, for a player",
            None,
            (200, None),
        ),
        Operation {
            query: &["since"],
            ..get("/events", "Changes as server-sent events, once a second at most", None)
        },
        get("/session", "The session", Some(of::<SessionRow>)),
        get("/settings", "The settings", Some(of::<DaemonSettings>)),
        act(
            "patch",
            "/settings",
            "Change settings: a merge patch (RFC 7396)",
            Some(of::<DaemonSettings>),
            (200, Some(of::<DaemonSettings>)),
        ),
        get("/categories", "Categories and tags", None),
        act(
            "patch",
            "/categories/{name}",
            "Make or change a category",
            Some(of::<Category>),
            (204, None),
        ),
        act("delete", "/categories/{name}", "Remove a category", None, (204, None)),
        get("/rss", "Feeds and rules", Some(of::<Rss>)),
        act(
            "post",
            "/rss",
            "Change feeds and rules",
            Some(of::<RssCommand>),
            (200, Some(of::<Rss>)),
        ),
        get("/creations", "Torrents that are made", Some(of::<Vec<CreationRow>>)),
        act(
            "post",
            "/creations",
            "Make a torrent of data on the daemon's machine",
            Some(of::<CreationWish>),
            (202, None),
        ),
        act(
            "delete",
            "/creations/{id}",
            "Forget a torrent that is made, or stop",
            None,
            (204, None),
        ),
        get("/creations/{id}/file", "The torrent file that was made", None),
        act(
            "post",
            "/undo",
            "Take back the last removal without data, move or change",
            None,
            (204, None),
        ),
        get("/tokens", "Tokens, without their text", None),
        act("post", "/tokens", "Make a token; its text is told only now", None, (201, None)),
        act("delete", "/tokens/{name}", "Revoke a token", None, (204, None)),
        act("post", "/login", "Begin a session by the user's name and password", None, (204, None)),
        act("post", "/logout", "End it", None, (204, None)),
        act("post", "/stop", "End the daemon", None, (204, None)),
    ]
}

/// Returns the document.
pub fn openapi() -> Value {
    let mut generator = SchemaSettings::openapi3().into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let place = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Value::Object(place) = place {
            place.insert(operation.method.into(), described(&operation, &mut generator));
        }
    }
    let schemas = generator.take_definitions(true);
    let basic = json!({ "type": "http", "scheme": "basic" });
    let bearer = json!({ "type": "http", "scheme": "bearer" });
    let cookie = json!({ "type": "apiKey", "in": "cookie", "name": "SID" });
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "bt",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Bytes and rates are integers, times are seconds since 1970, what is \
                            unknown is null. What cannot be done is answered with an object that \
                            has `error`.",
        },
        "servers": [{ "url": "." }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "basic": basic, "bearer": bearer, "cookie": cookie },
        },
        "security": [{ "basic": [] }, { "bearer": [] }, { "cookie": [] }],
    })
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let text = json!({ "type": "string" });
    let in_path = operation.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({ "name": name, "in": "path", "required": true, "schema": text }))
    });
    let in_query =
        operation.query.iter().map(|name| json!({ "name": name, "in": "query", "schema": text }));
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let content = |schema: Schema| json!({ "application/json": { "schema": schema } });
    let (status, shape) = operation.answer;
    let shaped = |shape: Option<Shape>, generator: &mut SchemaGenerator| {
        shape.map_or_else(|| json!({}), |shape| content(shape(generator)))
    };
    let answer = json!({ "description": "Done.", "content": shaped(shape, generator) });
    let refusal = json!({ "description": "It cannot be done: `error` says why." });
    let mut described = Map::from_iter([
        ("summary".to_owned(), operation.summary.into()),
        ("parameters".to_owned(), parameters.into()),
        ("responses".to_owned(), json!({ status.to_string(): answer, "default": refusal })),
    ]);
    if operation.body.is_some() {
        let body = json!({ "content": shaped(operation.body, generator) });
        described.insert("requestBody".into(), body);
    }
    described.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_those_of_the_types() {
        let document = openapi();
        let schemas = &document["components"]["schemas"];
        assert!(schemas["TorrentRow"]["properties"]["hash"].is_object(), "{schemas}");
        assert!(schemas["QueueSettings"]["properties"]["downloads"].is_object());
        let body = &document["paths"]["/torrents"]["post"]["requestBody"]["content"];
        assert_eq!(body["application/json"]["schema"]["$ref"], "#/components/schemas/AddRequest");
        // What refers to something refers to what is there.
        let text = document.to_string();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap_or_default();
            assert!(schemas[name].is_object(), "{name}");
        }
    }
}

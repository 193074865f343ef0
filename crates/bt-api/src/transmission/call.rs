//! Calls and answers of both protocols, as bytes.
//!
//! Decides: which protocol a request speaks, and how errors are said in it.
//! Must not know: methods.
//! Invariant: an answer is in the protocol of its call.

use super::names::{snake, snake_keys};
use serde_json::{Map, Value, json};

/// Most calls of a batch.
const BATCH_MAX: usize = 100;

/// The protocol of a call, with what its answer must repeat.
#[derive(Clone, PartialEq, Debug)]
pub enum RpcProtocol {
    /// That of versions up to 4.0: an integer `tag`, if there was one.
    Old(Option<i64>),
    /// JSON-RPC 2.0: the `id`; `None` for a notification, which is not answered.
    JsonRpc(Option<Value>),
}

/// A method that is called.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// How it is answered.
    pub protocol: RpcProtocol,
    /// Its name in snake_case.
    pub method: String,
    /// Its parameters, names in snake_case.
    pub params: Map<String, Value>,
}

/// What a request asks for.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// One call.
    One(Call),
    /// A batch of JSON-RPC: each a call, or the answer to what is none.
    Batch(Vec<Result<Call, Value>>),
    /// Not a call; this is the answer.
    Wrong(Value),
}

/// Why a call was not carried out.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct RpcError {
    /// The code of JSON-RPC.
    pub code: i32,
    /// What the older protocol says in place of "success".
    pub message: String,
    /// What there is of a result all the same.
    pub result: Value,
}

/// The names of JSON-RPC's codes, as Transmission words them.
const CODES: &[(i32, &str)] = &[
    (-32700, "Parse error"),
    (-32600, "Invalid Request"),
    (-32601, "Method not found"),
    (-32602, "Invalid params"),
    (-32603, "Internal error"),
    (1, "error setting announce list"),
    (2, "invalid tracker list"),
    (3, "path is not absolute"),
    (4, "unrecognized info"),
    (5, "system error"),
    (6, "file index out of range"),
    (7, "piece index out of range"),
    (8, "HTTP error from backend service"),
    (9, "invalid or corrupt torrent file"),
    (10, "no valid blocklist rules"),
];

impl RpcError {
    /// Makes an error without a result.
    pub fn new(code: i32, message: impl Into<String>) -> RpcError {
        RpcError { code, message: message.into(), result: Value::Object(Map::new()) }
    }

    /// Makes an error for parameters that say nothing that can be done.
    pub(super) fn params(message: impl Into<String>) -> RpcError {
        RpcError::new(-32602, message)
    }
}

/// Reads a request.
pub fn parse(body: &[u8]) -> Request {
    let value: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        // Only who speaks JSON-RPC says so before the fault.
        Err(error) => {
            return Request::Wrong(failure(Value::Null, &RpcError::new(-32700, error.to_string())));
        }
    };
    match value {
        Value::Array(calls) if calls.is_empty() || calls.len() > BATCH_MAX => {
            let why = format!("a batch has 1 to {BATCH_MAX} calls");
            Request::Wrong(failure(Value::Null, &RpcError::new(-32600, why)))
        }
        Value::Array(calls) => Request::Batch(calls.into_iter().map(json_rpc).collect()),
        Value::Object(object) if object.contains_key("jsonrpc") => {
            match json_rpc(Value::Object(object)) {
                Ok(call) => Request::One(call),
                Err(answer) => Request::Wrong(answer),
            }
        }
        Value::Object(object) => Request::One(old(object)),
        _ => Request::Wrong(failure(Value::Null, &RpcError::new(-32600, "a call is an object"))),
    }
}

fn old(mut object: Map<String, Value>) -> Call {
    let tag = object.get("tag").and_then(Value::as_i64);
    let method = object.get("method").and_then(Value::as_str).map(snake).unwrap_or_default();
    let params = match object.remove("arguments") {
        Some(Value::Object(params)) => snake_keys(params),
        _ => Map::new(),
    };
    Call { protocol: RpcProtocol::Old(tag), method, params }
}

fn json_rpc(value: Value) -> Result<Call, Value> {
    let Value::Object(mut object) = value else {
        return Err(failure(Value::Null, &RpcError::new(-32600, "a call is an object")));
    };
    let id = object.remove("id");
    let wrong =
        |why: &str| Err(failure(id.clone().unwrap_or(Value::Null), &RpcError::new(-32600, why)));
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return wrong("jsonrpc must be \"2.0\"");
    }
    if !matches!(id, None | Some(Value::Null | Value::String(_) | Value::Number(_))) {
        return wrong("id must be a string, a number or null");
    }
    let Some(method) = object.get("method").and_then(Value::as_str).map(snake) else {
        return wrong("method must be a string");
    };
    let params = match object.remove("params") {
        None => Map::new(),
        Some(Value::Object(params)) => snake_keys(params),
        Some(_) => return wrong("params must be an object"),
    };
    Ok(Call { protocol: RpcProtocol::JsonRpc(id), method, params })
}

/// Writes the answer to a call; `None` for a notification.
pub(super) fn write(protocol: &RpcProtocol, result: Result<Value, RpcError>) -> Option<Value> {
    match (protocol, result) {
        (RpcProtocol::JsonRpc(None), _) => None,
        (RpcProtocol::JsonRpc(Some(id)), Ok(result)) => {
            Some(json!({ "jsonrpc": "2.0", "result": result, "id": id }))
        }
        (RpcProtocol::JsonRpc(Some(id)), Err(error)) => Some(failure(id.clone(), &error)),
        (RpcProtocol::Old(tag), result) => {
            let (word, arguments) = match result {
                Ok(result) => ("success".to_owned(), result),
                Err(error) => (error.message, error.result),
            };
            let mut answer = Map::new();
            answer.insert("result".into(), word.into());
            answer.insert("arguments".into(), arguments);
            if let Some(tag) = tag {
                answer.insert("tag".into(), (*tag).into());
            }
            Some(answer.into())
        }
    }
}

fn failure(id: Value, error: &RpcError) -> Value {
    let name = CODES.iter().find(|(code, _)| *code == error.code).map_or("", |(_, name)| name);
    let data = json!({ "error_string": error.message, "result": error.result });
    json!({
        "jsonrpc": "2.0",
        "error": { "code": error.code, "message": name, "data": data },
        "id": id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Call {
        match parse(text.as_bytes()) {
            Request::One(call) => call,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_protocols_are_read() {
        let call = one(r#"{"method":"torrent-get","arguments":{"fields":["id"]},"tag":7}"#);
        assert_eq!((&call.method[..], &call.protocol), ("torrent_get", &RpcProtocol::Old(Some(7))));
        assert_eq!(one(r#"{"method":"session-get","arguments":null}"#).params, Map::new());
        assert_eq!(one(r#"{"method":"session-get","tag":"x"}"#).protocol, RpcProtocol::Old(None));
        let call = one(r#"{"jsonrpc":"2.0","method":"torrent_get","params":{"ids":1},"id":"a"}"#);
        assert_eq!(call.protocol, RpcProtocol::JsonRpc(Some("a".into())));
        assert_eq!(call.params["ids"], 1);
        let note = one(r#"{"jsonrpc":"2.0","method":"torrent_stop"}"#);
        assert_eq!(note.protocol, RpcProtocol::JsonRpc(None));
    }

    #[test]
    fn what_is_no_call_is_answered() {
        for (text, code) in [
            ("{", -32700),
            ("[]", -32600),
            ("5", -32600),
            (r#"{"jsonrpc":"1.0","method":"x","id":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","method":"x","params":[1],"id":1}"#, -32600),
            (r#"{"jsonrpc":"2.0","method":"x","id":{}}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        ] {
            let Request::Wrong(answer) = parse(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(answer["error"]["code"], code, "{text}");
        }
        let Request::Batch(calls) = parse(br#"[{"method":"session-get"}]"#) else { panic!() };
        assert!(calls[0].is_err(), "the older protocol has no batches");
    }

    #[test]
    fn an_answer_is_in_the_protocol_of_its_call() {
        let error = || RpcError::new(6, "file index out of range");
        let old = write(&RpcProtocol::Old(Some(3)), Err(error())).expect("an answer");
        assert_eq!(old, json!({"result": "file index out of range", "arguments": {}, "tag": 3}));
        let new = write(&RpcProtocol::JsonRpc(Some(1.into())), Err(error())).expect("an answer");
        assert_eq!(new["error"]["code"], 6);
        assert_eq!(new["error"]["data"]["error_string"], "file index out of range");
        assert_eq!(write(&RpcProtocol::JsonRpc(None), Ok(Value::Null)), None);
        let fine = write(&RpcProtocol::Old(None), Ok(json!({}))).expect("an answer");
        assert_eq!(fine, json!({"result": "success", "arguments": {}}));
    }
}

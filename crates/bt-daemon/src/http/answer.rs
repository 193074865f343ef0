//! Answers that all APIs share.
//!
//! Decides: the status of a fault.
//! Must not know: dialects.
//! Invariant: an error has a body that says what and why.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bt_api::{Fault, FaultKind};

/// A fault as an answer of our own API.
#[derive(Debug)]
pub(super) struct Refused(pub(super) Fault);

impl Refused {
    pub(super) fn new(kind: FaultKind, why: impl Into<String>) -> Refused {
        Refused(Fault::new(kind, why))
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused(fault)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.0.message });
        (status(self.0.kind), Json(body)).into_response()
    }
}

/// Returns the status of a fault.
pub(super) fn status(kind: FaultKind) -> StatusCode {
    match kind {
        FaultKind::Invalid => StatusCode::BAD_REQUEST,
        FaultKind::NotFound => StatusCode::NOT_FOUND,
        FaultKind::Conflict => StatusCode::CONFLICT,
        FaultKind::NotATorrent => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        FaultKind::Network => StatusCode::BAD_GATEWAY,
        FaultKind::Disk => StatusCode::INSUFFICIENT_STORAGE,
        FaultKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

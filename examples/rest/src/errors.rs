//! What a client is told when it cannot have what it asked for: a status, a kind for programs, a message for people.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Seconds after which trying again makes sense; about what a short recording takes.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("2");

/// Why a request is refused or has failed. Answered as `{"error": {"kind": .., "message": ..}}`.
#[derive(Debug)]
pub struct Fault {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl Fault {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Fault { status, kind, message: message.into() }
    }

    /// 400: the body cannot be understood.
    pub fn request(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::BAD_REQUEST, "request", message)
    }

    /// 401: no token, or none that is known. Does not say which.
    pub fn unauthorized() -> Self {
        let message = "a known token is needed: Authorization: Bearer TOKEN";
        Fault::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// 404: nothing is here.
    pub fn not_found() -> Self {
        Fault::new(StatusCode::NOT_FOUND, "not_found", "there are POST / and GET /health, /ready, /metrics")
    }

    /// 405: here, but not by this method.
    pub fn method() -> Self {
        Fault::new(StatusCode::METHOD_NOT_ALLOWED, "method", "recordings are posted, everything else is gotten")
    }

    /// 408: the client, or the work, took too long.
    pub fn timeout(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::REQUEST_TIMEOUT, "timeout", message)
    }

    /// 413: the body has too many bytes.
    pub fn too_large(limit: u64) -> Self {
        let message = format!("the body is larger than the {limit} bytes allowed");
        Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// 422: an option that is unknown, or has a value that cannot be honoured.
    pub fn options(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "config", message)
    }

    /// 429: more is waiting already than is allowed to.
    pub fn busy(message: impl Into<String>) -> Self {
        Fault::new(StatusCode::TOO_MANY_REQUESTS, "busy", message)
    }

    /// 503: not yet, or not any more.
    pub fn unavailable(kind: &'static str, message: impl Into<String>) -> Self {
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, kind, message)
    }

    /// 500: a defect, or an installation that is damaged. What it is goes to the log: it may name files of this machine.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed");
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error; the server's log says more")
    }

    /// What people are told.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Its HTTP status.
    #[cfg(test)]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<diarist::Error> for Fault {
    fn from(error: diarist::Error) -> Self {
        match error.kind() {
            "audio" => Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "audio", error.to_string()),
            "too_long" => Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", too_long(&error)),
            "config" => Fault::options(error.to_string()),
            "out_of_memory" => Fault::unavailable("out_of_memory", "the device has no memory left for this recording"),
            "device" => {
                tracing::error!(%error, "the device has failed");
                Fault::unavailable("device", "the device has failed")
            }
            _ => Fault::internal(error),
        }
    }
}

/// Without the engine's advice, which is for whoever runs the service.
fn too_long(error: &diarist::Error) -> String {
    match error {
        diarist::Error::Stage { source, .. } => too_long(source),
        diarist::Error::TooLong { limit, .. } => format!("the recording is longer than the {} s allowed", limit.0),
        other => other.to_string(),
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.kind, self.message)
    }
}

impl std::error::Error for Fault {}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "kind": self.kind, "message": self.message } });
        let mut response = (self.status, Json(body)).into_response();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            _ => {}
        }
        response
    }
}

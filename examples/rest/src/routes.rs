//! Which address does what, who may use it, and what is noted of each request.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::time::Instant;

use crate::errors::Fault;
use crate::metrics;
use crate::service::Service;
use crate::transcribe::transcribe;
use crate::upload::Upload;

/// What nginx notes for a client that went away before it was answered.
const CLIENT_GONE: u16 = 499;

/// All addresses.
pub fn router(service: Arc<Service>) -> Router {
    let guarded = Router::new()
        .route("/", post(transcribe))
        .route("/transcribe", post(transcribe))
        .route("/metrics", get(metrics))
        .method_not_allowed_fallback(async || Fault::method())
        .layer(from_fn_with_state(service.clone(), guard));
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .merge(guarded)
        .method_not_allowed_fallback(async || Fault::method())
        .fallback(async || Fault::not_found())
        .layer(from_fn_with_state(service.clone(), note))
        .with_state(service)
}

/// Whether the process is worth keeping: it is while it loads and while it drains.
async fn health(State(service): State<Arc<Service>>) -> Response {
    match service.broken.load(Ordering::Relaxed) {
        true => Fault::unavailable("device", "the device has failed").into_response(),
        false => Json(json!({ "status": "alive" })).into_response(),
    }
}

/// Whether recordings may be sent here.
async fn ready(State(service): State<Arc<Service>>) -> Result<Response, Fault> {
    let engine = service.ready()?;
    Ok(Json(json!({ "status": "ready", "device": engine.device() })).into_response())
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], service.metrics()).into_response()
}

/// Lets those through who have a token.
async fn guard(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    if service.tokens.allow(request.headers()) {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    // Dropped with its client still sending, it sees to it that the answer is read.
    drop(Upload::new(&head.headers, body, service.upload));
    Fault::unauthorized().into_response()
}

/// Counts and logs a request; tells the client, while the service drains, to open a new connection elsewhere.
async fn note(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let mut noted = Noted {
        service: service.clone(),
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        begun: Instant::now(),
        code: CLIENT_GONE,
    };
    let mut response = next.run(request).await;
    noted.code = response.status().as_u16();
    if service.draining.load(Ordering::Relaxed) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A request, noted when it is over: answered, or dropped because its client is gone.
struct Noted {
    service: Arc<Service>,
    method: Method,
    path: String,
    begun: Instant,
    code: u16,
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.service.metrics.answered(self.code);
        let ms = self.begun.elapsed().as_millis() as u64;
        tracing::info!(method = %self.method, path = self.path, code = self.code, ms, "request");
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use clap::Parser;
    use tower::ServiceExt;

    use super::*;
    use crate::config::Config;

    async fn code(service: &Arc<Service>, method: &str, path: &str) -> u16 {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        router(service.clone()).oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn a_device_that_has_failed_is_not_asked_again() {
        let config = Config::parse_from(["diarist-rest", "--insecure-no-token"]);
        let service = Arc::new(crate::service(&config).unwrap());
        let harmless = diarist::Error::Cancelled;
        assert_ne!(service.fault(harmless).status().as_u16(), 503);
        assert_eq!(code(&service, "GET", "/health").await, 200);
        let lost =
            diarist::Error::Device { call: "cuCtxSynchronize".into(), code: 700, text: "illegal address".into() };
        assert_eq!(service.fault(lost).status().as_u16(), 503);
        for (method, path) in [("GET", "/health"), ("GET", "/ready"), ("POST", "/transcribe")] {
            assert_eq!(code(&service, method, path).await, 503, "{path}");
        }
        let Err(fault) = service.working() else { panic!("it works") };
        assert!(fault.message().contains("the device has failed"), "{}", fault.message());
    }
}

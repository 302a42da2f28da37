//! `POST /`: a recording in, who said what out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use diarist::config::Options;
use diarist::output::{self, SubtitleOptions};
use diarist::pipeline::{Input, Observer, WordTimeFallback};
use diarist::types::Transcript;
use diarist::{Engine, Error};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::admission::{Place, Room, Turn};
use crate::errors::Fault;
use crate::options::{self, Answer};
use crate::request::{self, Asked};
use crate::service::Service;
use crate::upload::Upload;

/// Accepts a request, receives its body, waits for its turn, and answers.
///
/// # Errors
/// As [`Fault`] has them.
pub async fn transcribe(State(service): State<Arc<Service>>, request: Request) -> Result<Response, Fault> {
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    let upload = Upload::new(&head.headers, body, service.upload);
    let engine = service.ready()?.clone();
    let place = service.admission.enter()?;
    let mut room = service.admission.room()?;
    let Asked { audio, name, fields } = request::read(&head.headers, upload, &mut room).await?;
    let (options, answer) = options::read(fields, &service.defaults)?;
    let late = |_| Fault::timeout(format!("no result within {} s", service.request_time.as_secs_f64()));
    let result = timeout(service.request_time, async {
        let turn = service.admission.turn().await?;
        let held: Held = (place, turn, room);
        work(&service, engine, Recording { audio, name }, options, answer, held).await
    });
    let done = result.await.map_err(late)??;
    service.metrics.transcribed(done.duration, begun.elapsed());
    Ok(done.into_response())
}

/// A file, as it was received.
struct Recording {
    audio: Vec<u8>,
    name: String,
}

/// What a request takes up for as long as the engine works on it, even if its client is gone.
type Held = (Place, Turn, Room);

/// A transcript, written down.
struct Done {
    /// Seconds of the recording.
    duration: f64,
    answer: Answer,
    text: String,
    warnings: Vec<String>,
}

/// Lets the engine work on a thread of its own. Whoever drops the future stops the work.
async fn work(
    service: &Arc<Service>,
    engine: Engine,
    recording: Recording,
    options: Options,
    answer: Answer,
    held: Held,
) -> Result<Done, Fault> {
    let unwanted = Unwanted::default();
    let mut watch = Watch { service: service.clone(), unwanted: unwanted.0.clone(), warnings: Vec::new() };
    let done = tokio::task::spawn_blocking(move || {
        let input = Input::Bytes(&recording.audio, &recording.name);
        let transcript = engine.transcribe_with_observer(input, &options, &mut watch);
        drop(held);
        transcript.and_then(|transcript| {
            let of_result = transcript.warnings.iter().map(|text| format!("{}: {text}", recording.name));
            watch.warnings.extend(of_result);
            written(&transcript, answer, watch.warnings)
        })
    });
    match done.await.map_err(Fault::internal)? {
        Err(Error::Cancelled) => Err(Fault::unavailable("draining", "the service ended before the work was done")),
        done => done.map_err(|error| service.fault(error)),
    }
}

fn written(transcript: &Transcript, answer: Answer, warnings: Vec<String>) -> Result<Done, Error> {
    let text = output::render(answer.format(), transcript, &SubtitleOptions::default())?;
    Ok(Done { duration: transcript.duration.0, answer, text, warnings })
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        match self.answer {
            Answer::Json => ([(CONTENT_TYPE, "application/json")], self.text).into_response(),
            Answer::Text if self.warnings.is_empty() => Json(json!({ "transcript": self.text })).into_response(),
            Answer::Text => Json(json!({ "transcript": self.text, "warnings": self.warnings })).into_response(),
        }
    }
}

/// Tells the work that nobody waits for it any more, when it is dropped.
#[derive(Default)]
struct Unwanted(Arc<AtomicBool>);

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Counts, and stops the work when it must.
struct Watch {
    service: Arc<Service>,
    unwanted: Arc<AtomicBool>,
    warnings: Vec<String>,
}

impl Observer for Watch {
    fn unaligned(&mut self, language: &str, reason: &str, _: WordTimeFallback) {
        tracing::warn!(language, reason, "words have no times of their own");
    }

    fn without_speakers(&mut self, reason: &Error) {
        self.warnings.push(format!("speakers could not be told apart: {reason}"));
    }

    fn finished(&mut self, stage: &'static str, took: Duration) {
        self.service.metrics.stage(stage, took);
    }

    fn is_cancelled(&self) -> bool {
        self.unwanted.load(Ordering::Relaxed) || self.service.abandoned.load(Ordering::Relaxed)
    }
}

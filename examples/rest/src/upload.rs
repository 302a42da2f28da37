//! The body of a request on its way in: counted, timed, and read to its end even when nobody wants it any more.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::admission::Room;
use crate::errors::Fault;

/// What is let run out after a refusal. A client that sends its whole body before it looks for an answer would find the connection
/// reset instead; one that goes on for longer is not worth it.
const DISCARDED: u64 = 1 << 30;
const DISCARDING: Duration = Duration::from_secs(10);

/// How much a body may hold, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    /// Bytes.
    pub bytes: u64,
    /// From one piece to the next.
    pub pause: Duration,
    /// From the first byte to the last.
    pub whole: Duration,
}

/// A body that is being received.
pub struct Upload {
    /// Gone when it has been read to its end.
    stream: Option<BodyDataStream>,
    /// The client waits for a word before it sends anything.
    waits: bool,
    stated: Option<u64>,
    limits: UploadLimits,
    received: u64,
    until: Instant,
}

impl Upload {
    /// Nothing is read yet.
    pub fn new(headers: &HeaderMap, body: Body, limits: UploadLimits) -> Self {
        let stated = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let (stream, until) = (Some(body.into_data_stream()), Instant::now() + limits.whole);
        Upload { stream, waits: headers.contains_key(EXPECT), stated, limits, received: 0, until }
    }

    /// How many bytes the client says it has.
    ///
    /// # Errors
    /// 413 if those are too many, before any is read.
    pub fn stated(&self) -> Result<Option<u64>, Fault> {
        match self.stated {
            Some(stated) if stated > self.limits.bytes => Err(Fault::too_large(self.limits.bytes)),
            stated => Ok(stated),
        }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// 413 for too many bytes, 408 for a client that is too slow, 429 where there is no `room`, 400 for one that breaks off.
    pub async fn next(&mut self, room: &mut Room) -> Result<Option<Bytes>, Fault> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        self.waits = false;
        let UploadLimits { whole, pause, .. } = self.limits;
        let slow = |_| Fault::timeout(format!("the body did not arrive within {} s", whole.as_secs_f64()));
        let silent = |_| Fault::timeout(format!("nothing more of the body arrived for {} s", pause.as_secs_f64()));
        let piece = timeout_at(self.until, timeout(pause, stream.next())).await;
        match piece.map_err(slow)?.map_err(silent)? {
            None => {
                self.stream = None;
                Ok(None)
            }
            Some(Err(error)) => {
                self.stream = None;
                Err(Fault::request(format!("the body breaks off: {error}")))
            }
            Some(Ok(piece)) => {
                self.received += piece.len() as u64;
                if self.received > self.limits.bytes {
                    return Err(Fault::too_large(self.limits.bytes));
                }
                room.grow(piece.len())?;
                Ok(Some(piece))
            }
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // A client that waits for a word gets its refusal instead.
        let Some(mut stream) = self.stream.take().filter(|_| !self.waits) else { return };
        let pause = self.limits.pause;
        let discard = async move {
            let mut discarded = 0;
            while let Ok(Some(Ok(piece))) = timeout(pause, stream.next()).await
                && discarded < DISCARDED
            {
                discarded += piece.len() as u64;
            }
        };
        tokio::spawn(timeout(DISCARDING, discard));
    }
}

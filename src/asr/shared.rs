//! Shared decoder slots: recordings of concurrent callers are decoded in one batch.
//!
//! A caller sends its recording to a worker thread that owns the slots, and receives each chunk when it is finished.
//! Free slots are assigned to the recordings round robin, so a short recording does not wait for the end of a long one.
//! No result depends on other recordings.
//!
//! | file | |
//! |---|---|
//! | `recording` | the state of one caller's recording: remaining chunks, language |
//! | `multiplexer` | round-robin selection of the next clip, and routing of results |
//! | `worker` | the worker thread, its slots, and its queue of recordings |

mod multiplexer;
mod recording;
mod worker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::recording::{Caller, DecodeSetup, Goal, Message, Recording};
use self::worker::{Shape, Worker};
use super::batched::range_of;
use super::clips::check_length;
use super::language::{Language, RequestedLanguage};
use super::{AsrOptions, AsrResult, Chunks, Observer, Tokenizer};
use crate::engine::Backend;
use crate::error::{Error, Result};
use crate::models::whisper::Whisper;
use crate::types::{Chunk, Segment};

/// Most worker threads. They hold device memory only while they have recordings.
const MAX_WORKERS: usize = 2;
/// Interval at which a waiting caller checks for cancellation.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The decoder slots of one device, for any number of concurrent callers.
///
/// Recordings share slots if they need slots of the same shape: the same model, [`batch_size`](AsrOptions::batch_size),
/// cache rows per slot, suppressed tokens, and word times or not. All other options may differ. There are workers for
/// at most two shapes at once; a recording of a third shape gets slots of its own, as with
/// [`transcribe`](super::transcribe).
pub struct SharedSlots<B: Backend> {
    /// Least recently used first.
    workers: Mutex<Vec<Worker<B>>>,
}

impl<B: Backend> Default for SharedSlots<B> {
    fn default() -> Self {
        SharedSlots { workers: Mutex::new(Vec::new()) }
    }
}

impl<B: Backend> SharedSlots<B> {
    /// [`transcribe`](super::transcribe) together with concurrent callers, with the same result. The observer is called
    /// in this thread. Consecutive windows ([`Chunks::Windows`]) are decoded alone.
    ///
    /// # Errors
    /// As [`transcribe`](super::transcribe). An error of one recording does not affect others; an error of the device
    /// is returned to all of them.
    pub fn transcribe(
        &self,
        model: &Arc<Whisper<B>>,
        tokenizer: &Arc<Tokenizer>,
        samples: &Arc<Vec<f32>>,
        chunks: Chunks,
        options: &AsrOptions,
        observer: &mut dyn Observer,
    ) -> Result<AsrResult> {
        if let Chunks::Speech(chunks @ [_, ..]) = chunks {
            let spoken = prepare(model, tokenizer, chunks, options)?;
            let request = Request { model, tokenizer, samples, chunks, options, goal: Goal::Text };
            if let Some(pending) = self.submit(&request, spoken)? {
                let (segments, language) = pending.forward_results(chunks.len(), observer)?;
                return Ok(AsrResult::new(segments, language));
            }
        }
        super::transcribe(model, tokenizer, samples, chunks, options, observer)
    }

    /// [`detect_language`](super::detect_language) together with concurrent callers. Only [`Observer::is_cancelled`] is
    /// called.
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe).
    pub fn detect_language(
        &self,
        model: &Arc<Whisper<B>>,
        tokenizer: &Arc<Tokenizer>,
        samples: &Arc<Vec<f32>>,
        chunks: Chunks,
        options: &AsrOptions,
        observer: &mut dyn Observer,
    ) -> Result<Option<(String, Option<f64>)>> {
        let options = &AsrOptions { word_timestamps: false, ..options.clone() };
        if let Chunks::Speech(chunks @ [_, ..]) = chunks {
            let spoken = prepare(model, tokenizer, chunks, options)?;
            let request = Request { model, tokenizer, samples, chunks, options, goal: Goal::Language };
            if let (RequestedLanguage::Unknown, Some(pending)) = (spoken.clone(), self.submit(&request, spoken)?) {
                let (_, language) = pending.forward_results(1, observer)?;
                return Ok(language.map(|language| (language.code.to_string(), language.probability)));
            }
        }
        super::detect_language(model, tokenizer, samples, chunks, options)
    }

    /// Sends a recording to the worker of its shape. `None`: there is no such worker, and none can be added.
    fn submit(&self, request: &Request<B>, spoken: RequestedLanguage) -> Result<Option<Pending>> {
        let &Request { model, tokenizer, samples, chunks, options, goal } = request;
        let shape = Shape::of(model, tokenizer, options)?;
        let positions = model.config.max_target_positions;
        let setup = DecodeSetup::new(tokenizer.clone(), options.clone(), positions);
        let (sender, messages) = channel();
        let pending = Pending { messages, abandoned: Arc::new(AtomicBool::new(false)) };
        let caller = Caller { sender, abandoned: pending.abandoned.clone() };
        let recording = Recording::new(setup, samples.clone(), chunks.to_vec(), spoken, goal, caller)?;
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(worker) = worker_for(&mut workers, shape)? else { return Ok(None) };
        worker.put(model.clone(), recording);
        Ok(Some(pending))
    }
}

/// A caller's request.
struct Request<'a, B: Backend> {
    model: &'a Arc<Whisper<B>>,
    tokenizer: &'a Arc<Tokenizer>,
    samples: &'a Arc<Vec<f32>>,
    chunks: &'a [Chunk],
    options: &'a AsrOptions,
    goal: Goal,
}

/// Validates a request before it is queued, so that its errors do not reach the worker.
fn prepare<B: Backend>(
    model: &Whisper<B>,
    tokenizer: &Tokenizer,
    chunks: &[Chunk],
    options: &AsrOptions,
) -> Result<RequestedLanguage> {
    options.check()?;
    tokenizer.check_vocab(model.config.vocab_size)?;
    let spoken = RequestedLanguage::of(tokenizer, options)?;
    for chunk in chunks {
        check_length(&range_of(chunk), model.config.window_samples(), "samples")?;
    }
    Ok(spoken)
}

/// The worker of this shape. If there is none, starts one, replacing an idle worker at the limit. `None`: all workers
/// are busy.
fn worker_for<B: Backend>(workers: &mut Vec<Worker<B>>, shape: Shape) -> Result<Option<&Worker<B>>> {
    workers.retain(|worker| !worker.is_closed());
    let worker = match workers.iter().position(|worker| *worker.shape() == shape) {
        Some(at) => workers.remove(at),
        None => {
            if workers.len() >= MAX_WORKERS {
                let Some(idle) = workers.iter().position(Worker::is_idle) else { return Ok(None) };
                workers.remove(idle);
            }
            Worker::start(shape)?
        }
    };
    workers.push(worker);
    Ok(workers.last())
}

/// A queued request, on the caller's side. Dropping it abandons the recording.
struct Pending {
    messages: Receiver<Message>,
    abandoned: Arc<AtomicBool>,
}

impl Pending {
    /// Forwards the results of `chunks` chunks to the observer until the end or cancellation. Returns all segments and
    /// the language.
    fn forward_results(&self, chunks: usize, observer: &mut dyn Observer) -> Result<(Vec<Segment>, Option<Language>)> {
        let (mut segments, mut received) = (Vec::new(), 0);
        loop {
            // After the last chunk the end message follows immediately: a finished recording is not cancelled.
            if received < chunks && observer.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match self.messages.recv_timeout(POLL_INTERVAL) {
                Ok(Message::Chunk(new, progress)) => {
                    received += 1;
                    observer.chunk(&new, progress);
                    segments.extend(new);
                }
                Ok(Message::End(language)) => return Ok((segments, language?)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(worker_stopped()),
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}

/// The error of recordings whose worker thread panicked or stopped.
fn worker_stopped() -> Error {
    let text = "the thread that decodes has broken off; this is a mistake in the program, please report it".into();
    Error::Device { call: "decoding".into(), code: 0, text }
}

//! Shared slots: recordings of concurrent callers are decoded in one batch.
//!
//! A caller sends its recording to the thread that runs the slots, and receives each chunk when it is finished. Free slots are assigned to
//! the recordings round robin, so a short recording does not wait for the end of a long one. No result depends on other recordings.
//!
//! | file | |
//! |---|---|
//! | `recording` | the state of one caller's recording: remaining chunks, language |
//! | `multiplexer` | round-robin selection of the next clip, and routing of results |
//! | `worker` | the thread, its slots, and its queue of recordings |

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
use super::language::{Language, Spoken};
use super::{AsrOptions, AsrResult, Chunks, Observer, Tokenizer};
use crate::engine::Backend;
use crate::engine::time_warp::TimeWarp;
use crate::error::{Error, Result};
use crate::models::whisper::Whisper;
use crate::types::{Chunk, Segment};

/// Most worker threads. They hold device memory only while they have recordings.
const MAX_WORKERS: usize = 2;
/// Interval at which a waiting caller checks for cancellation.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The decoder slots of one device, for any number of concurrent callers.
///
/// Recordings share slots if their slots would have the same shape: the same model, [`batch_size`](AsrOptions::batch_size),
/// rows for each chunk, suppressed tokens, and word times or not. All other options may differ. At most two shapes are
/// served at once; a recording of a third shape gets slots of its own, as with [`transcribe`](super::transcribe).
pub struct SharedSlots<B: Backend> {
    /// Least recently used first.
    workers: Mutex<Vec<Worker<B>>>,
}

impl<B: Backend> Default for SharedSlots<B> {
    fn default() -> Self {
        SharedSlots { workers: Mutex::new(Vec::new()) }
    }
}

impl<B: TimeWarp> SharedSlots<B> {
    /// [`transcribe`](super::transcribe) together with concurrent callers, with the same result. The observer is called in this
    /// thread. Consecutive windows ([`Chunks::Windows`]) are decoded alone.
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
            let asked = Asked { model, tokenizer, samples, chunks, options, wanted: Goal::Text };
            if let Some(waiting) = self.hand_in(&asked, spoken)? {
                let (segments, language) = waiting.follow(chunks.len(), observer)?;
                return Ok(AsrResult::new(segments, language));
            }
        }
        super::transcribe(model, tokenizer, samples, chunks, options, observer)
    }

    /// [`detect_language`](super::detect_language) together with concurrent callers. Of the observer only `is_cancelled` is called.
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
            let asked = Asked { model, tokenizer, samples, chunks, options, wanted: Goal::Language };
            if let (Spoken::Unknown, Some(waiting)) = (spoken.clone(), self.hand_in(&asked, spoken)?) {
                let (_, language) = waiting.follow(1, observer)?;
                return Ok(language.map(|language| (language.code.to_string(), language.probability)));
            }
        }
        super::detect_language(model, tokenizer, samples, chunks, options)
    }

    /// Sends a recording to the worker of its shape. `None`: there is none, and no worker can be added.
    fn hand_in(&self, asked: &Asked<B>, spoken: Spoken) -> Result<Option<Waiting>> {
        let &Asked { model, tokenizer, samples, chunks, options, wanted } = asked;
        let shape = Shape::of(model, tokenizer, options)?;
        let positions = model.config.max_target_positions;
        let known = DecodeSetup::new(tokenizer.clone(), options.clone(), positions);
        let (tell, hear) = channel();
        let waiting = Waiting { hear, gone: Arc::new(AtomicBool::new(false)) };
        let caller = Caller { tell, gone: waiting.gone.clone() };
        let recording = Recording::new(known, samples.clone(), chunks.to_vec(), spoken, wanted, caller)?;
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(worker) = worker_for(&mut workers, shape)? else { return Ok(None) };
        worker.put(model.clone(), recording);
        Ok(Some(waiting))
    }
}

/// A caller's request.
struct Asked<'a, B: Backend> {
    model: &'a Arc<Whisper<B>>,
    tokenizer: &'a Arc<Tokenizer>,
    samples: &'a Arc<Vec<f32>>,
    chunks: &'a [Chunk],
    options: &'a AsrOptions,
    wanted: Goal,
}

/// Validates a request before it joins others.
fn prepare<B: Backend>(
    model: &Whisper<B>,
    tokenizer: &Tokenizer,
    chunks: &[Chunk],
    options: &AsrOptions,
) -> Result<Spoken> {
    options.check()?;
    tokenizer.check_vocab(model.config.vocab_size)?;
    let spoken = Spoken::of(tokenizer, options)?;
    for chunk in chunks {
        check_length(&range_of(chunk), model.config.window_samples(), "samples")?;
    }
    Ok(spoken)
}

/// The worker for recordings of this shape; started if there is none and the limit allows it.
fn worker_for<B: TimeWarp>(workers: &mut Vec<Worker<B>>, shape: Shape) -> Result<Option<&Worker<B>>> {
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

/// The caller's side of a request.
struct Waiting {
    hear: Receiver<Message>,
    gone: Arc<AtomicBool>,
}

impl Waiting {
    /// Forwards the results of `chunks` chunks until the end or cancellation.
    fn follow(&self, chunks: usize, observer: &mut dyn Observer) -> Result<(Vec<Segment>, Option<Language>)> {
        let (mut segments, mut told) = (Vec::new(), 0);
        loop {
            // After the last chunk, the end follows at once.
            if told < chunks && observer.is_cancelled() {
                return Err(Error::Cancelled);
            }
            match self.hear.recv_timeout(POLL_INTERVAL) {
                Ok(Message::Chunk(new, progress)) => {
                    told += 1;
                    observer.chunk(&new, progress);
                    segments.extend(new);
                }
                Ok(Message::End(language)) => return Ok((segments, language?)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(broken_off()),
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

/// The error of recordings whose worker thread panicked or stopped.
fn broken_off() -> Error {
    let text = "the thread that decodes has broken off; this is a mistake in the program, please report it".into();
    Error::Device { call: "decoding".into(), code: 0, text }
}

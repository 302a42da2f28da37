//! Recordings of several callers in the same slots.
//!
//! A caller hands its recording to the thread that runs the slots, and hears of each chunk as it is finished. Free slots go to
//! the recordings in turn, so a short one does not wait for the end of a long one; and no recording's result depends on which
//! others are there.
//!
//! | file | what it knows |
//! |---|---|
//! | `recording` | one caller's recording: what is still to decode, and in which language |
//! | `multiplexer` | whose clip is next, and whose a finished one is |
//! | `worker` | the thread, its slots, and the inbox where recordings arrive |

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

/// Kinds of slots kept. They hold memory only while somebody uses them.
const MAX_WORKERS: usize = 2;
/// How often a caller that waits asks whether it should stop.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The slots of one device, for any number of callers at once.
///
/// Recordings meet in the same slots if these would be made alike: the same model, [`batch_size`](AsrOptions::batch_size),
/// rows for each chunk, suppressed tokens, and word times or not. All other options are each recording's own. Of slots of
/// different kinds two are kept; who needs a third meanwhile has slots of its own, as everybody has with
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

impl<B: TimeWarp> SharedSlots<B> {
    /// [`transcribe`](super::transcribe) beside others that do the same, with the same result. The observer is called in this
    /// thread. Windows that follow each other are decoded alone.
    ///
    /// # Errors
    /// As [`transcribe`](super::transcribe). What is wrong with one recording is no other's business; what the device reports
    /// is everybody's who is there.
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

    /// [`detect_language`](super::detect_language) beside others. The observer is only asked whether to stop.
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

    /// Puts a recording where those of its kind are. `None`: there is no such place, and no room for one.
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

/// What a caller asks for.
struct Asked<'a, B: Backend> {
    model: &'a Arc<Whisper<B>>,
    tokenizer: &'a Arc<Tokenizer>,
    samples: &'a Arc<Vec<f32>>,
    chunks: &'a [Chunk],
    options: &'a AsrOptions,
    wanted: Goal,
}

/// Refuses here what would be an error among the others.
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

/// The place for recordings of this shape, made if there is none and room for it.
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

/// A caller's end of its recording.
struct Waiting {
    hear: Receiver<Message>,
    gone: Arc<AtomicBool>,
}

impl Waiting {
    /// Passes on what is told of `chunks` chunks, until it ends or the observer wants to stop.
    fn follow(&self, chunks: usize, observer: &mut dyn Observer) -> Result<(Vec<Segment>, Option<Language>)> {
        let (mut segments, mut told) = (Vec::new(), 0);
        loop {
            // When everything is told, the end comes at once.
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

/// The thread that decodes has panicked, or recordings are there that it cannot go on with.
fn broken_off() -> Error {
    let text = "the thread that decodes has broken off; this is a mistake in the program, please report it".into();
    Error::Device { call: "decoding".into(), code: 0, text }
}

//! The worker thread that owns slots of one shape, and its queue of recordings.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::multiplexer::{Multiplexer, RecordingQueue};
use super::recording::Recording;
use crate::asr::clips::Clips;
use crate::asr::scheduler::Scheduler;
use crate::asr::slots::{Slots, Suppressed};
use crate::asr::suppress::{DefaultSuppression, suppressed};
use crate::asr::{AsrOptions, Tokenizer, memory};
use crate::engine::profile::range;
use crate::engine::{Backend, CrossKind};
use crate::error::{Error, Result};
use crate::models::whisper::Whisper;

/// The parameters of a slot allocation. Recordings of equal shape can share slots without an effect on their results.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    /// Addresses of model and tokenizer, which identify them; the recordings keep both alive.
    model: [usize; 2],
    /// Most slots.
    slots: usize,
    /// Cache rows per slot.
    rows: usize,
    cross: CrossKind,
    word_times: bool,
    suppressed: Suppressed,
}

impl Shape {
    /// The shape of the slots for a recording with these options.
    ///
    /// # Errors
    /// As [`suppressed`].
    pub fn of<B: Backend>(model: &Arc<Whisper<B>>, tokenizer: &Arc<Tokenizer>, options: &AsrOptions) -> Result<Self> {
        Ok(Shape {
            model: [Arc::as_ptr(model).addr(), Arc::as_ptr(tokenizer).addr()],
            slots: options.batch_size,
            rows: options.rows_per_slot(),
            cross: model.cross_kind(options.beam_size),
            word_times: options.word_timestamps,
            suppressed: suppressed(model, tokenizer, options, DefaultSuppression::ModelList)?,
        })
    }
}

/// The queue of new recordings.
struct Inbox<B: Backend> {
    state: Mutex<State<B>>,
    /// Signalled when a recording is added, or the queue is closed.
    changed: Condvar,
}

struct State<B: Backend> {
    recordings: Vec<Recording>,
    /// The model of the recordings.
    model: Option<Arc<Whisper<B>>>,
    /// Number of recordings that have not ended.
    present: usize,
    closed: bool,
}

impl<B: Backend> Inbox<B> {
    fn new() -> Self {
        let state = State { recordings: Vec::new(), model: None, present: 0, closed: false };
        Inbox { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // No code panics while the lock is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until there is a recording, and returns its model. `None`: the queue is closed.
    fn wait(&self) -> Option<Arc<Whisper<B>>> {
        let mut state = self.lock();
        loop {
            if let Some(model) = state.model.take() {
                return Some(model);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Closes the queue and drops its recordings; their callers get an error.
    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.recordings.clear();
        state.model = None;
        self.changed.notify_all();
    }
}

impl<B: Backend> RecordingQueue for Inbox<B> {
    fn take_new(&self) -> Vec<Recording> {
        let mut state = self.lock();
        // The worker thread, which takes the recordings, has its own reference to the model.
        state.model = None;
        std::mem::take(&mut state.recordings)
    }

    fn recording_ended(&self) {
        self.lock().present -= 1;
    }
}

/// A worker thread with slots of one shape.
pub(super) struct Worker<B: Backend> {
    shape: Shape,
    inbox: Arc<Inbox<B>>,
    thread: Option<JoinHandle<()>>,
}

impl<B: Backend> Worker<B> {
    /// Starts the thread, which blocks until there is a recording.
    ///
    /// # Errors
    /// [`Error::Config`] if the system cannot start a thread.
    pub fn start(shape: Shape) -> Result<Self> {
        let inbox = Arc::new(Inbox::new());
        let (thread_inbox, thread_shape) = (inbox.clone(), shape.clone());
        let thread = std::thread::Builder::new().name("diarist-slots".into());
        let thread = thread
            .spawn(move || serve(&thread_inbox, &thread_shape))
            .map_err(|e| Error::config("threads", 1, format!("the thread that decodes did not start: {e}")))?;
        Ok(Worker { shape, inbox, thread: Some(thread) })
    }
}

impl<B: Backend> Worker<B> {
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Queues a recording of this shape.
    pub fn put(&self, model: Arc<Whisper<B>>, recording: Recording) {
        let mut state = self.inbox.lock();
        if state.closed {
            return; // the recording is dropped, which disconnects the caller's channel
        }
        state.recordings.push(recording);
        state.model = Some(model);
        state.present += 1;
        self.inbox.changed.notify_one();
    }

    /// Whether there are no recordings.
    pub fn is_idle(&self) -> bool {
        self.inbox.lock().present == 0
    }

    /// Whether the thread has ended or is ending.
    pub fn is_closed(&self) -> bool {
        self.inbox.lock().closed
    }
}

impl<B: Backend> Drop for Worker<B> {
    fn drop(&mut self) {
        self.inbox.close();
        // A panic was already reported by the panic hook.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Drop guard that closes the queue when the worker thread ends, also by a panic.
struct CloseOnDrop<'a, B: Backend>(&'a Inbox<B>);

impl<B: Backend> Drop for CloseOnDrop<'_, B> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The worker thread's main loop: allocates slots when there are recordings, and frees them when there are none.
fn serve<B: Backend>(inbox: &Inbox<B>, shape: &Shape) {
    let _closing = CloseOnDrop(inbox);
    while let Some(model) = inbox.wait() {
        let mut multiplexer = Multiplexer::new(inbox, shape.slots);
        let result = decode(&model, shape, &mut multiplexer);
        // Free slots and model before `close` sends the last caller its end message: the caller may need the memory.
        drop(model);
        multiplexer.close(result);
    }
}

/// Decodes until there are no recordings.
fn decode<B: Backend>(model: &Whisper<B>, shape: &Shape, multiplexer: &mut Multiplexer) -> Result<()> {
    let _range = range("slots");
    while let Some((planned, special, options)) = multiplexer.plan() {
        let slots = memory::slots_that_fit(model, &options, planned)?;
        let slots = Slots::new(model, special, &options, &shape.suppressed, slots)?;
        let mut scheduler = Scheduler::new(model, slots, &options, special.sot)?;
        let mut idle = 0;
        while multiplexer.can_continue() {
            let before = multiplexer.clips();
            scheduler.run(&Clips::Samples(&[]), multiplexer)?;
            idle = if multiplexer.clips() == before { idle + 1 } else { 0 };
            // One run without a clip can be a recording that was added at its end. After two, no recording makes
            // progress.
            if idle == 2 {
                return Err(super::worker_stopped());
            }
        }
    }
    Ok(())
}

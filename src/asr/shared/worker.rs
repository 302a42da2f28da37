//! Slots of one kind, and the thread that runs them.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::multiplexer::{Arrivals, Multiplexer};
use super::recording::Recording;
use crate::asr::clips::Clips;
use crate::asr::scheduler::Scheduler;
use crate::asr::slots::{Slots, Suppressed};
use crate::asr::suppress::{MinusOne, suppressed};
use crate::asr::{AsrOptions, Tokenizer, memory};
use crate::engine::profile::range;
use crate::engine::time_warp::TimeWarp;
use crate::engine::{Backend, CrossKind};
use crate::error::{Error, Result};
use crate::models::whisper::Whisper;

/// What slots are made for: recordings with the same can share them, and read there as they would alone.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    /// Addresses of model and tokenizer, which are held by whoever is there.
    model: [usize; 2],
    /// Most slots.
    slots: usize,
    /// Rows of each.
    rows: usize,
    cross: CrossKind,
    word_times: bool,
    suppressed: Suppressed,
}

impl Shape {
    /// # Errors
    /// As [`suppressed`].
    pub fn of<B: Backend>(model: &Arc<Whisper<B>>, tokenizer: &Arc<Tokenizer>, options: &AsrOptions) -> Result<Self> {
        Ok(Shape {
            model: [Arc::as_ptr(model).addr(), Arc::as_ptr(tokenizer).addr()],
            slots: options.batch_size,
            rows: options.rows_per_slot(),
            cross: model.cross_kind(options.beam_size),
            word_times: options.word_timestamps,
            suppressed: suppressed(model, tokenizer, options, MinusOne::ModelList)?,
        })
    }
}

/// Where recordings arrive.
struct Inbox<B: Backend> {
    state: Mutex<State<B>>,
    /// Something has arrived, or nothing will any more.
    changed: Condvar,
}

struct State<B: Backend> {
    recordings: Vec<Recording>,
    /// Theirs.
    model: Option<Arc<Whisper<B>>>,
    /// Recordings that have arrived and not left.
    present: usize,
    closed: bool,
}

impl<B: Backend> Inbox<B> {
    fn new() -> Self {
        let state = State { recordings: Vec::new(), model: None, present: 0, closed: false };
        Inbox { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // Nobody panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until there is a recording; its model. `None`: there will be none.
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

    /// Nothing arrives any more. Callers of those who wait outside hear that they wait in vain.
    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.recordings.clear();
        state.model = None;
        self.changed.notify_all();
    }
}

impl<B: Backend> Arrivals for Inbox<B> {
    fn take(&self) -> Vec<Recording> {
        let mut state = self.lock();
        // Who takes the recordings holds the model.
        state.model = None;
        std::mem::take(&mut state.recordings)
    }

    fn leave(&self) {
        self.lock().present -= 1;
    }
}

/// Slots of one kind, for as many recordings as come.
pub(super) struct Worker<B: Backend> {
    shape: Shape,
    inbox: Arc<Inbox<B>>,
    thread: Option<JoinHandle<()>>,
}

impl<B: TimeWarp> Worker<B> {
    /// A thread that sleeps until a recording arrives.
    ///
    /// # Errors
    /// [`Error::Config`] if the system has no thread to give.
    pub fn start(shape: Shape) -> Result<Self> {
        let inbox = Arc::new(Inbox::new());
        let (its_inbox, its_shape) = (inbox.clone(), shape.clone());
        let thread = std::thread::Builder::new().name("diarist-slots".into());
        let thread = thread
            .spawn(move || serve(&its_inbox, &its_shape))
            .map_err(|e| Error::config("threads", 1, format!("the thread that decodes did not start: {e}")))?;
        Ok(Worker { shape, inbox, thread: Some(thread) })
    }
}

impl<B: Backend> Worker<B> {
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Hands in a recording of this shape.
    pub fn put(&self, model: Arc<Whisper<B>>, recording: Recording) {
        let mut state = self.inbox.lock();
        if state.closed {
            return; // its caller hears that nobody is there
        }
        state.recordings.push(recording);
        state.model = Some(model);
        state.present += 1;
        self.inbox.changed.notify_one();
    }

    /// Whether nobody is there.
    pub fn is_idle(&self) -> bool {
        self.inbox.lock().present == 0
    }

    /// Whether its thread has ended, or will.
    pub fn is_closed(&self) -> bool {
        self.inbox.lock().closed
    }
}

impl<B: Backend> Drop for Worker<B> {
    fn drop(&mut self) {
        self.inbox.close();
        // One that panicked has said so itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Closes an inbox when its thread ends, also by a panic.
struct Closing<'a, B: Backend>(&'a Inbox<B>);

impl<B: Backend> Drop for Closing<'_, B> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What the thread does: whenever somebody comes, it makes slots, and keeps them as long as somebody is there.
fn serve<B: TimeWarp>(inbox: &Inbox<B>, shape: &Shape) {
    let _closing = Closing(inbox);
    while let Some(model) = inbox.wait() {
        let mut multiplexer = Multiplexer::new(inbox, shape.slots);
        let result = decode(&model, shape, &mut multiplexer);
        // Slots and model are given back before the last caller goes on: it may need the room.
        drop(model);
        multiplexer.close(result);
    }
}

/// Decodes until nobody is there.
fn decode<B: TimeWarp>(model: &Whisper<B>, shape: &Shape, multiplexer: &mut Multiplexer) -> Result<()> {
    let _range = range("slots");
    while let Some((planned, special, options)) = multiplexer.plan() {
        let slots = memory::slots_that_fit(model, &options, planned)?;
        let slots = Slots::new(model, special, &options, &shape.suppressed, slots)?;
        let mut scheduler = Scheduler::new(model, slots, &options, special.sot)?;
        let mut idle = 0;
        while multiplexer.goes_on() {
            let before = multiplexer.clips();
            scheduler.run(&Clips::Samples(&[]), multiplexer)?;
            idle = if multiplexer.clips() == before { idle + 1 } else { 0 };
            // Somebody may have arrived after the first time; after the second, nobody will ever be served.
            if idle == 2 {
                return Err(super::broken_off());
            }
        }
    }
    Ok(())
}

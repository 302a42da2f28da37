//! Segments as they are ready, for callers who would rather pull than be called.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::{Engine, Recording};
use crate::config::Options;
use crate::error::{Error, Result};
use crate::pipeline::Observer;
use crate::types::{Segment, Transcript};

/// The segments of one recording, in its order, as the recogniser finds them: without the word times and speakers that later
/// stages give them, which are in the [`transcript`](Self::transcript). Dropping it stops the work.
///
/// ```
/// # use diarist::{Engine, api::Recording, config::Options};
/// let engine = Engine::builder().build()?;
/// let mut segments = engine.segments(Recording::Bytes(diarist::assets::SAMPLE.to_vec(), "sample".into()), Options::default());
/// for segment in &mut segments {
///     println!("{:.1} s:{}", segment.start.0, segment.text);
/// }
/// let transcript = segments.transcript()?;
/// # assert!(!transcript.segments.is_empty());
/// # Ok::<(), diarist::Error>(())
/// ```
#[derive(Debug)]
pub struct Segments {
    found: Receiver<Segment>,
    unwanted: Arc<AtomicBool>,
    work: Option<JoinHandle<Result<Transcript>>>,
}

impl Segments {
    pub(super) fn start(engine: Engine, recording: Recording, options: Options) -> Self {
        let (sender, found) = channel();
        let unwanted = Arc::new(AtomicBool::new(false));
        let mut sink = Sink { sender, unwanted: unwanted.clone() };
        let work = std::thread::spawn(move || engine.transcribe_watched(recording.as_input(), &options, &mut sink));
        Segments { found, unwanted, work: Some(work) }
    }

    /// Waits for the end; the whole transcript. Segments not yet taken are dropped.
    ///
    /// # Errors
    /// As [`Engine::transcribe`].
    pub fn transcript(mut self) -> Result<Transcript> {
        self.join()
    }

    /// Stops the work, as dropping does, and waits until it has stopped.
    ///
    /// # Errors
    /// [`Error::Cancelled`], unless it came to its end before.
    pub fn stop(mut self) -> Result<Transcript> {
        self.unwanted.store(true, Ordering::Relaxed);
        self.join()
    }

    fn join(&mut self) -> Result<Transcript> {
        match self.work.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(Error::Cancelled),
        }
    }
}

impl Iterator for Segments {
    type Item = Segment;

    /// The next segment, once it is ready; `None` at the end, which a failure is, too: [`transcript`](Self::transcript) tells.
    fn next(&mut self) -> Option<Segment> {
        self.found.recv().ok()
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }
}

/// Sends segments to the iterator, which says when nobody wants them any more.
struct Sink {
    sender: Sender<Segment>,
    unwanted: Arc<AtomicBool>,
}

impl Observer for Sink {
    fn segments(&mut self, segments: &[Segment]) {
        // An iterator that is gone is heard of by `is_cancelled`.
        segments.iter().for_each(|segment| drop(self.sender.send(segment.clone())));
    }

    fn is_cancelled(&self) -> bool {
        self.unwanted.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_it_ends_the_work() {
        let engine = Engine::builder().build().unwrap();
        let recording = Recording::Bytes(crate::assets::SAMPLE.to_vec(), "sample".into());
        let segments = Segments::start(engine, recording, Options::default());
        let unwanted = segments.unwanted.clone();
        drop(segments);
        assert!(unwanted.load(Ordering::Relaxed), "nobody told it");
        // The thread's own goes with the thread.
        while Arc::strong_count(&unwanted) > 1 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

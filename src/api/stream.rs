//! Iterator over the segments of a recording while it is transcribed in another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::{Engine, Recording};
use crate::config::Options;
use crate::error::{Error, Result};
use crate::pipeline::Observer;
use crate::types::{Segment, Transcript};

/// Iterator over the segments of one recording in order of time, each as soon as it is decoded. The segments have no
/// word times or speakers, which later stages add; see [`transcript`](Self::transcript). Dropping the iterator cancels
/// the work.
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
    receiver: Receiver<Segment>,
    cancelled: Arc<AtomicBool>,
    work: Option<JoinHandle<Result<Transcript>>>,
}

impl Segments {
    pub(super) fn start(engine: Engine, recording: Recording, options: Options) -> Self {
        let (sender, receiver) = channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut sink = Sink { sender, cancelled: cancelled.clone() };
        let work =
            std::thread::spawn(move || engine.transcribe_with_observer(recording.as_input(), &options, &mut sink));
        Segments { receiver, cancelled, work: Some(work) }
    }

    /// Waits for the end of the work and returns the complete transcript. Segments not yet consumed are dropped.
    ///
    /// # Errors
    /// As [`Engine::transcribe`].
    pub fn transcript(mut self) -> Result<Transcript> {
        self.join()
    }

    /// Cancels the work and waits until it has stopped.
    ///
    /// # Errors
    /// [`Error::Cancelled`], unless the work had finished before.
    pub fn stop(mut self) -> Result<Transcript> {
        self.cancelled.store(true, Ordering::Relaxed);
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

    /// Waits for the next segment. `None` at the end, and also after an error: [`transcript`](Self::transcript) returns
    /// it.
    fn next(&mut self) -> Option<Segment> {
        self.receiver.recv().ok()
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// Sends segments to the iterator; cancels once the iterator is dropped.
struct Sink {
    sender: Sender<Segment>,
    cancelled: Arc<AtomicBool>,
}

impl Observer for Sink {
    fn segments(&mut self, segments: &[Segment]) {
        // Sending fails once the iterator is dropped; `is_cancelled` then stops the work.
        segments.iter().for_each(|segment| drop(self.sender.send(segment.clone())));
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_iterator_cancels_the_work() {
        let engine = Engine::builder().build().unwrap();
        let recording = Recording::Bytes(crate::assets::SAMPLE.to_vec(), "sample".into());
        let segments = Segments::start(engine, recording, Options::default());
        let cancelled = segments.cancelled.clone();
        drop(segments);
        assert!(cancelled.load(Ordering::Relaxed), "dropping did not cancel");
        // The thread drops its reference when it ends.
        while Arc::strong_count(&cancelled) > 1 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

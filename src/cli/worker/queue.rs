//! Who waits, who runs, and who is to be cancelled.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use diarist::config::Options;

use super::super::results::Id;
use super::request::Sound;

/// A request that has been taken.
pub struct Job {
    /// The client's name for it.
    pub id: Id,
    /// The recording.
    pub sound: Sound,
    /// All options.
    pub options: Options,
    /// Set once the client does not want it any more.
    pub cancelled: Arc<AtomicBool>,
    /// How long its line was.
    bytes: usize,
}

impl Job {
    /// A request whose line had this many bytes.
    pub fn new(id: Id, sound: Sound, options: Options, bytes: usize) -> Self {
        Job { id, sound, options, cancelled: Arc::new(AtomicBool::new(false)), bytes }
    }
}

/// Whether a request has been taken.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It will be answered.
    Yes,
    /// No: one with the same id has not been answered yet.
    SameId,
    /// No: it has come too late.
    Closed,
}

/// Where requests wait for their turn.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Most requests that wait.
    most: usize,
    /// Most bytes of theirs.
    most_bytes: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Of all that have been taken and not been answered, by id: how to cancel it.
    in_flight: HashMap<Id, Arc<AtomicBool>>,
    closed: bool,
}

impl Queue {
    /// A queue that is open. `most` requests may wait, of `most_bytes` together; one more is taken, and ends the reading.
    pub fn new(most: usize, most_bytes: usize) -> Self {
        Queue { state: Mutex::default(), changed: Condvar::new(), most, most_bytes }
    }

    /// Waits until another line may be read; false once no more requests are taken. As long as no more wait than may, that is
    /// at once: the next line may be a cancellation.
    pub fn has_room(&self) -> bool {
        let full = |state: &mut State| self.is_full(state);
        !self.changed.wait_while(self.state(), full).unwrap_or_else(PoisonError::into_inner).closed
    }

    fn is_full(&self, state: &State) -> bool {
        let bytes = state.waiting.iter().map(|job| job.bytes).sum::<usize>();
        !state.closed && (state.waiting.len() > self.most || bytes > self.most_bytes)
    }

    /// Takes a request, if it can be.
    pub fn take(&self, job: Job) -> Admission {
        let mut state = self.state();
        if state.closed {
            return Admission::Closed;
        }
        if state.in_flight.contains_key(&job.id) {
            return Admission::SameId;
        }
        state.in_flight.insert(job.id.clone(), job.cancelled.clone());
        state.waiting.push_back(job);
        self.changed.notify_all();
        Admission::Yes
    }

    /// The request that has waited longest; waits for one. Nothing once there will be no more.
    pub fn next(&self) -> Option<Job> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let mut state = self.changed.wait_while(self.state(), idle).unwrap_or_else(PoisonError::into_inner);
        let job = state.waiting.pop_front();
        self.changed.notify_all();
        job
    }

    /// Stops a request; true if it has not begun, and whoever calls this is to answer it. One that is not there has been
    /// answered already, or never was.
    pub fn cancel(&self, id: &Id) -> bool {
        let mut state = self.state();
        let Some(cancelled) = state.in_flight.get(id) else { return false };
        cancelled.store(true, Ordering::Relaxed);
        let Some(at) = state.waiting.iter().position(|job| job.id == *id) else { return false };
        state.waiting.remove(at);
        state.in_flight.remove(id);
        self.changed.notify_all();
        true
    }

    /// A request is answered.
    pub fn done(&self, id: &Id) {
        self.state().in_flight.remove(id);
    }

    /// No more requests are taken; those that wait are still worked on.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// What a thread that panicked left behind is whole: nothing between two locks can panic half-way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(id: i64, bytes: usize) -> Job {
        Job::new(Id::Signed(id), Sound::Base64(String::new()), Options::default(), bytes)
    }

    #[test]
    fn requests_are_taken_in_order_and_each_id_once() {
        let queue = Queue::new(2, 100);
        assert_eq!(
            (queue.take(job(1, 1)), queue.take(job(1, 1)), queue.take(job(2, 1))),
            (Admission::Yes, Admission::SameId, Admission::Yes)
        );
        assert_eq!(queue.next().map(|job| job.id), Some(Id::Signed(1)));
        assert_eq!(queue.take(job(1, 1)), Admission::SameId, "it runs");
        queue.done(&Id::Signed(1));
        assert_eq!(queue.take(job(1, 1)), Admission::Yes);
        queue.close();
        assert_eq!(queue.take(job(3, 1)), Admission::Closed);
        let rest: Vec<Id> = std::iter::from_fn(|| queue.next()).map(|job| job.id).collect();
        assert_eq!(rest, [Id::Signed(2), Id::Signed(1)], "what was taken is still handed out");
    }

    /// A queue without room lets the reader go on only when something has left.
    #[test]
    fn those_that_wait_are_bounded_by_number_and_by_bytes() {
        for jobs in [vec![job(1, 1), job(2, 1), job(3, 1)], vec![job(1, 100), job(2, 1)]] {
            let queue = Queue::new(2, 100);
            for job in jobs {
                assert!(queue.has_room());
                queue.take(job);
            }
            assert!(queue.is_full(&queue.state()));
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| queue.has_room());
                assert!(queue.next().is_some());
                assert!(reader.join().unwrap());
            });
            assert!(queue.has_room());
            queue.close();
            assert!(!queue.has_room());
        }
    }

    #[test]
    fn one_that_waits_is_cancelled_at_once_and_one_that_runs_is_told() {
        let queue = Queue::new(4, 100);
        for id in 1..=2 {
            assert_eq!(queue.take(job(id, 1)), Admission::Yes);
        }
        let running = queue.next().unwrap();
        assert!(!queue.cancel(&running.id) && running.cancelled.load(Ordering::Relaxed));
        assert!(queue.cancel(&Id::Signed(2)), "nobody else answers it");
        assert!(!queue.cancel(&Id::Signed(9)));
        queue.close();
        assert!(queue.next().is_none());
    }
}

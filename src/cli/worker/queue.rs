//! Bounded job queue of the worker: waiting and running requests, and their cancellation.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use diarist::config::Options;

use super::super::results::Id;
use super::request::Sound;

/// An accepted request.
pub struct Job {
    /// The client's name for it.
    pub id: Id,
    /// The recording.
    pub sound: Sound,
    /// The options, with the defaults of the worker filled in.
    pub options: Options,
    /// Set once the client has cancelled the request.
    pub cancelled: Arc<AtomicBool>,
    /// Length of the request line.
    bytes: usize,
}

impl Job {
    /// A request whose line had this many bytes.
    pub fn new(id: Id, sound: Sound, options: Options, bytes: usize) -> Self {
        Job { id, sound, options, cancelled: Arc::new(AtomicBool::new(false)), bytes }
    }
}

/// Whether a request was accepted.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// Accepted: it will be answered.
    Yes,
    /// Refused: a request with the same id is waiting or running.
    SameId,
    /// Refused: the queue is closed.
    Closed,
}

/// The queue.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Maximum number of waiting requests.
    max_waiting: usize,
    /// Maximum bytes of their lines.
    max_bytes: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// The cancellation flags of all requests that are accepted and not answered, by id.
    in_flight: HashMap<Id, Arc<AtomicBool>>,
    closed: bool,
}

impl Queue {
    /// An open queue. `max_waiting` requests of `max_bytes` together may wait. One request beyond these limits is
    /// accepted; then [`has_room`](Self::has_room) blocks.
    pub fn new(max_waiting: usize, max_bytes: usize) -> Self {
        Queue { state: Mutex::default(), changed: Condvar::new(), max_waiting, max_bytes }
    }

    /// Blocks while the queue is over its limits; returns false once it is closed. A queue that is exactly full does
    /// not block, since the next line may be a cancellation.
    pub fn has_room(&self) -> bool {
        let full = |state: &mut State| self.is_full(state);
        !self.changed.wait_while(self.state(), full).unwrap_or_else(PoisonError::into_inner).closed
    }

    fn is_full(&self, state: &State) -> bool {
        let bytes = state.waiting.iter().map(|job| job.bytes).sum::<usize>();
        !state.closed && (state.waiting.len() > self.max_waiting || bytes > self.max_bytes)
    }

    /// Accepts a request, or refuses it.
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

    /// The oldest waiting request; blocks until there is one. `None` once the queue is closed and empty.
    pub fn next(&self) -> Option<Job> {
        let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let mut state = self.changed.wait_while(self.state(), idle).unwrap_or_else(PoisonError::into_inner);
        let job = state.waiting.pop_front();
        self.changed.notify_all();
        job
    }

    /// Cancels a request. Returns true if it was still waiting: then it is removed, and the caller must answer it. An
    /// unknown id is ignored, since the request may have been answered already.
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

    /// Releases the id of a request that is about to be answered.
    pub fn done(&self, id: &Id) {
        self.state().in_flight.remove(id);
    }

    /// Closes the queue: no more requests are accepted; waiting ones are still processed.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Locks the state. A poisoned lock is ignored, since no code under the lock can panic half-way through a change.
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

    /// A queue over its limits blocks the reader until a request leaves it.
    #[test]
    fn waiting_requests_are_bounded_by_number_and_by_bytes() {
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
    fn waiting_requests_are_removed_by_a_cancellation_and_running_ones_are_flagged() {
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

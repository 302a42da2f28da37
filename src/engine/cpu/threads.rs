//! The threads of the backend, and who has how many of them.
//!
//! A caller alone has all of them. Of several at once each has a part: an op cut for fewer threads has less to pack, to hand over and to
//! wait for at its end, and all of them together still keep every core busy. Results do not depend on it: see
//! [`gemm`](super::gemm). Journal: docs/kernels/cpu-threads.md.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// How many pools there may be for one share of the processor. Passes are of very different lengths: a step of the decoder must not wait
/// for the end of somebody's speaker embedding, but have its turn as the system's scheduler gives turns.
const POOLS_PER_SHARE: usize = 4;

/// All threads of one backend.
pub(super) struct Threads {
    id: usize,
    count: usize,
    /// Callers inside [`run`](Self::run).
    callers: AtomicUsize,
    /// One pool of all threads.
    whole: Arc<Pool>,
    /// Pools of half as many threads each, of a quarter, and so on down to one; started when first needed.
    shares: Vec<Mutex<Vec<Arc<Pool>>>>,
}

struct Pool {
    threads: ThreadPool,
    /// Callers that it works for or that wait for it.
    callers: AtomicUsize,
}

static NEXT_ID: AtomicUsize = AtomicUsize::new(1);

thread_local! {
    /// Whose thread this is; 0 is nobody's.
    static OWNER: Cell<usize> = const { Cell::new(0) };
}

impl Threads {
    /// `None` is one for each core.
    pub fn start(count: Option<usize>) -> Result<Self, ThreadPoolBuildError> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let whole = Arc::new(Pool::start(id, count.unwrap_or(0), "")?);
        let count = whole.threads.current_num_threads();
        let shares = (0..count.ilog2()).map(|_| Mutex::default()).collect();
        Ok(Threads { id, count, callers: AtomicUsize::new(0), whole, shares })
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// How many threads an op called here has.
    pub fn width(&self) -> usize {
        if self.is_here() {
            rayon::current_num_threads()
        } else {
            self.count >> self.halvings(self.callers.load(Ordering::Relaxed) + 1)
        }
    }

    /// Runs `f` on as many threads as this caller's share is, or where it is if that is one of them.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        if self.is_here() {
            return f();
        }
        let (_caller, callers) = Counted::one_more(&self.callers);
        let taken = self.take(self.halvings(callers));
        taken.0.threads.install(f)
    }

    fn is_here(&self) -> bool {
        OWNER.get() == self.id
    }

    /// How often the threads are halved for so many callers: as often as leaves no share without a caller.
    fn halvings(&self, callers: usize) -> usize {
        (1..=self.shares.len()).rev().find(|halvings| self.shares_of(*halvings) <= callers).unwrap_or(0)
    }

    /// How many shares make up all threads.
    fn shares_of(&self, halvings: usize) -> usize {
        self.count / (self.count >> halvings)
    }

    /// An idle pool of a share's width, or else the one with the fewest callers.
    fn take(&self, halvings: usize) -> Taken {
        let Some(pools) = halvings.checked_sub(1).map(|at| &self.shares[at]) else { return Taken::of(&self.whole) };
        let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
        let callers = |pool: &Arc<Pool>| pool.callers.load(Ordering::Relaxed);
        let least = pools.iter().min_by_key(|pool| callers(pool)).cloned();
        if let Some(idle) = least.as_ref().filter(|pool| callers(pool) == 0) {
            return Taken::of(idle);
        }
        if pools.len() < POOLS_PER_SHARE * self.shares_of(halvings) {
            let width = self.count >> halvings;
            if let Ok(pool) = Pool::start(self.id, width, &format!("{width}.{}-", pools.len())) {
                pools.push(Arc::new(pool));
                return Taken::of(&pools[pools.len() - 1]);
            }
        }
        // Where no more threads can be had, those that are there must do.
        Taken::of(least.as_ref().unwrap_or(&self.whole))
    }
}

impl Pool {
    fn start(owner: usize, threads: usize, name: &str) -> Result<Self, ThreadPoolBuildError> {
        let name = name.to_owned();
        let threads = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(move |i| format!("diarist-cpu-{name}{i}"))
            .start_handler(move |_| OWNER.set(owner))
            .build()?;
        Ok(Pool { threads, callers: AtomicUsize::new(0) })
    }
}

/// A pool that one caller more works with, until dropped.
struct Taken(Arc<Pool>);

impl Taken {
    fn of(pool: &Arc<Pool>) -> Self {
        pool.callers.fetch_add(1, Ordering::Relaxed);
        Taken(pool.clone())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.callers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One of those that a number counts, until dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    /// And the number with it.
    fn one_more(number: &'a AtomicUsize) -> (Self, usize) {
        let others = number.fetch_add(1, Ordering::Relaxed);
        (Counted(number), others + 1)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::channel;

    use super::*;

    /// The threads that so many callers get who are all there at once.
    fn widths(threads: &Threads, callers: usize) -> Vec<usize> {
        let (all, seen) = (Barrier::new(callers), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..callers {
                let (entered, come) = channel();
                let (all, seen) = (&all, &seen);
                scope.spawn(move || {
                    threads.run(|| {
                        seen.lock().unwrap().push(rayon::current_num_threads());
                        entered.send(()).unwrap();
                        all.wait();
                    });
                });
                come.recv().unwrap();
            }
        });
        seen.into_inner().unwrap()
    }

    #[test]
    fn a_caller_alone_has_all_threads_and_several_have_parts() {
        assert_eq!(widths(&Threads::start(Some(3)).unwrap(), 4), [3, 3, 1, 1]);
        let threads = Threads::start(Some(8)).unwrap();
        assert_eq!(widths(&threads, 9), [8, 4, 4, 2, 2, 2, 2, 1, 1]);
        assert_eq!(widths(&threads, 2), [8, 4], "those that are gone count no more");
    }

    #[test]
    fn callers_take_different_parts_and_stay_where_they_are() {
        let threads = Threads::start(Some(2)).unwrap();
        assert_eq!(threads.run(|| (threads.width(), rayon::current_num_threads())), (2, 2));
        let (first, second) = (Barrier::new(2), Barrier::new(2));
        let name = || std::thread::current().name().unwrap_or_default().to_owned();
        let (one, other) = std::thread::scope(|scope| {
            // Takes one of the two small pools, and keeps it until the other caller has the other.
            let one = scope.spawn(|| {
                let _before = Counted::one_more(&threads.callers);
                threads.run(|| {
                    first.wait();
                    second.wait();
                    (threads.width(), name(), threads.run(name))
                })
            });
            first.wait();
            let other = threads.run(|| {
                second.wait();
                (threads.width(), name(), threads.run(name))
            });
            (one.join().unwrap(), other)
        });
        assert_eq!([one.0, other.0], [1, 1]);
        assert_eq!([&one.1, &other.1], [&one.2, &other.2], "an op inside a pass does not change threads");
        assert_ne!(one.1, other.1);
    }

    #[test]
    fn a_panic_gives_the_share_back() {
        let threads = Threads::start(Some(2)).unwrap();
        let panics = || threads.run(|| panic!("on purpose"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        assert_eq!(threads.run(|| threads.width()), 2);
    }
}

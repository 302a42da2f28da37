//! Thread pools of the CPU backend, and how concurrent callers share the cores.
//!
//! A single caller uses all threads. Concurrent callers use pools of fewer threads each: an op that is divided among
//! fewer threads spends less time on packing and synchronisation, and together the callers still keep every core busy.
//! Results do not depend on the number of threads, see [`gemm`](super::gemm). Journal: docs/kernels/cpu-threads.md.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// Largest number of pools per share of the cores. The pools of a share compete for its cores by the scheduling of the
/// operating system. So a short pass, such as a decode step, does not wait for the end of a long one, such as a speaker
/// embedding.
const POOLS_PER_SHARE: usize = 4;

/// The thread pools of one backend.
pub(super) struct Threads {
    id: usize,
    count: usize,
    /// Number of callers inside [`run`](Self::run).
    callers: AtomicUsize,
    /// The pool of all threads.
    whole: Arc<Pool>,
    /// Pools of half of the threads, of a quarter, and so on down to one thread; started when first needed.
    shares: Vec<Mutex<Vec<Arc<Pool>>>>,
}

struct Pool {
    threads: ThreadPool,
    /// Number of callers that run on it or wait for it.
    callers: AtomicUsize,
}

static NEXT_ID: AtomicUsize = AtomicUsize::new(1);

thread_local! {
    /// The [`Threads::id`] that this thread belongs to; 0 for threads outside of all pools.
    static OWNER: Cell<usize> = const { Cell::new(0) };
}

impl Threads {
    /// Starts the pool of all threads; `None` is one thread per core.
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

    /// Number of threads that an op called from this thread would use.
    pub fn width(&self) -> usize {
        if self.is_here() {
            rayon::current_num_threads()
        } else {
            self.count >> self.halvings(self.callers.load(Ordering::Relaxed) + 1)
        }
    }

    /// Runs `f` on a pool with this caller's share of the threads, or directly if this thread belongs to a pool.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        if self.is_here() {
            return f();
        }
        let (_caller, callers) = CountGuard::increment(&self.callers);
        let taken = self.take(self.halvings(callers));
        taken.0.threads.install(f)
    }

    fn is_here(&self) -> bool {
        OWNER.get() == self.id
    }

    /// How often the threads are halved for this number of callers: as often as possible while every share has a
    /// caller.
    fn halvings(&self, callers: usize) -> usize {
        (1..=self.shares.len()).rev().find(|halvings| self.shares_of(*halvings) <= callers).unwrap_or(0)
    }

    /// Number of shares after this number of halvings.
    fn shares_of(&self, halvings: usize) -> usize {
        self.count / (self.count >> halvings)
    }

    /// An idle pool with a share of the threads, otherwise a new one, otherwise the one with the fewest callers.
    fn take(&self, halvings: usize) -> PoolGuard {
        let Some(pools) = halvings.checked_sub(1).map(|at| &self.shares[at]) else { return PoolGuard::of(&self.whole) };
        let mut pools = pools.lock().unwrap_or_else(PoisonError::into_inner);
        let callers = |pool: &Arc<Pool>| pool.callers.load(Ordering::Relaxed);
        let least = pools.iter().min_by_key(|pool| callers(pool)).cloned();
        if let Some(idle) = least.as_ref().filter(|pool| callers(pool) == 0) {
            return PoolGuard::of(idle);
        }
        if pools.len() < POOLS_PER_SHARE * self.shares_of(halvings) {
            let width = self.count >> halvings;
            if let Ok(pool) = Pool::start(self.id, width, &format!("{width}.{}-", pools.len())) {
                pools.push(Arc::new(pool));
                return PoolGuard::of(&pools[pools.len() - 1]);
            }
        }
        // The limit is reached, or the system cannot start more threads: share an existing pool.
        PoolGuard::of(least.as_ref().unwrap_or(&self.whole))
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

/// A pool in use by one caller. Counts the caller until it is dropped.
struct PoolGuard(Arc<Pool>);

impl PoolGuard {
    fn of(pool: &Arc<Pool>) -> Self {
        pool.callers.fetch_add(1, Ordering::Relaxed);
        PoolGuard(pool.clone())
    }
}

impl Drop for PoolGuard {
    fn drop(&mut self) {
        self.0.callers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Decrements a counter when it is dropped.
struct CountGuard<'a>(&'a AtomicUsize);

impl<'a> CountGuard<'a> {
    /// Increments the counter; returns its new value.
    fn increment(counter: &'a AtomicUsize) -> (Self, usize) {
        let others = counter.fetch_add(1, Ordering::Relaxed);
        (CountGuard(counter), others + 1)
    }
}

impl Drop for CountGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::mpsc::channel;

    use super::*;

    /// The number of threads that each of `callers` concurrent callers gets.
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
    fn concurrent_callers_share_the_threads() {
        assert_eq!(widths(&Threads::start(Some(3)).unwrap(), 4), [3, 3, 1, 1]);
        let threads = Threads::start(Some(8)).unwrap();
        assert_eq!(widths(&threads, 9), [8, 4, 4, 2, 2, 2, 2, 1, 1]);
        assert_eq!(widths(&threads, 2), [8, 4], "callers that have returned still count");
    }

    #[test]
    fn concurrent_callers_use_different_pools_and_do_not_change_them() {
        let threads = Threads::start(Some(2)).unwrap();
        assert_eq!(threads.run(|| (threads.width(), rayon::current_num_threads())), (2, 2));
        let (first, second) = (Barrier::new(2), Barrier::new(2));
        let name = || std::thread::current().name().unwrap_or_default().to_owned();
        let (one, other) = std::thread::scope(|scope| {
            // Uses one of the two small pools until the other caller has the other one.
            let one = scope.spawn(|| {
                let _before = CountGuard::increment(&threads.callers);
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
    fn a_panic_releases_the_pool() {
        let threads = Threads::start(Some(2)).unwrap();
        let panics = || threads.run(|| panic!("on purpose"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        assert_eq!(threads.run(|| threads.width()), 2);
    }
}

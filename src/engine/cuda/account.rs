//! Bytes of device memory in use, and their limit.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes allocated, and the limit.
#[derive(Debug)]
pub(super) struct Account {
    used: AtomicU64,
    peak: AtomicU64,
    pub limit: u64,
}

/// Device memory taken by the engine's buffers, in bytes, without the driver's own (context, kernels, graphs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes allocated now.
    pub used: u64,
    /// Largest value of `used` so far.
    pub peak: u64,
    /// The limit; [`u64::MAX`] without one.
    pub limit: u64,
}

impl Account {
    pub fn new(limit: Option<u64>) -> Self {
        Account { used: AtomicU64::new(0), peak: AtomicU64::new(0), limit: limit.unwrap_or(u64::MAX) }
    }

    /// Counts `bytes` as used. Fails with the number of bytes that are left if the limit would be exceeded.
    pub fn reserve(&self, bytes: u64) -> Result<(), u64> {
        let take = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(before) => {
                self.peak.fetch_max(before + bytes, Ordering::Relaxed);
                Ok(())
            }
            Err(used) => Err(self.limit.saturating_sub(used)),
        }
    }

    pub fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn state(&self) -> MemoryUse {
        MemoryUse {
            used: self.used.load(Ordering::Relaxed),
            peak: self.peak.load(Ordering::Relaxed),
            limit: self.limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_the_peak_stays() {
        let account = Account::new(Some(100));
        assert_eq!(account.reserve(60), Ok(()));
        assert_eq!(account.reserve(41), Err(40));
        assert_eq!(account.reserve(u64::MAX), Err(40));
        assert_eq!(account.reserve(40), Ok(()));
        account.release(60);
        assert_eq!(account.state(), MemoryUse { used: 40, peak: 100, limit: 100 });
    }
}

//! How much may be going on at once: places for requests, turns at the engine, and bytes held for both.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::errors::Fault;

/// The limits, and what of them is left.
pub struct Admission {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// Of places, turns, bytes.
    totals: [usize; 3],
}

/// A request that was accepted. Dropped, it makes room for another.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// A recording that may be worked on.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

/// Bytes that are held for a request.
#[derive(Debug)]
pub struct Room {
    bytes: Arc<Semaphore>,
    taken: OwnedSemaphorePermit,
}

impl Admission {
    /// `concurrency` recordings are worked on while `queue` more requests are received or wait, with `bytes` of bodies in memory.
    pub fn new(concurrency: usize, queue: usize, bytes: usize) -> Self {
        let totals = [concurrency + queue, concurrency, bytes];
        let [places, turns, bytes] = totals.map(|total| Arc::new(Semaphore::new(total)));
        Admission { places, turns, bytes, totals }
    }

    /// Accepts a request, before its body is read.
    ///
    /// # Errors
    /// 429 if all places are taken.
    pub fn enter(&self) -> Result<Place, Fault> {
        let full = || Fault::busy("as many requests are waiting as are allowed to; try again later");
        self.places.clone().try_acquire_owned().map(Place).map_err(|_| full())
    }

    /// Waits until the engine has a turn for it; first come, first served.
    ///
    /// # Errors
    /// None, while the service is running.
    pub async fn turn(&self) -> Result<Turn, Fault> {
        self.turns.clone().acquire_owned().await.map(Turn).map_err(Fault::internal)
    }

    /// Room for no bytes yet.
    ///
    /// # Errors
    /// None: there is always room for nothing.
    pub fn room(&self) -> Result<Room, Fault> {
        let bytes = self.bytes.clone();
        let taken = bytes.clone().try_acquire_many_owned(0).map_err(Fault::internal)?;
        Ok(Room { bytes, taken })
    }

    /// Requests that are received or wait.
    pub fn queue(&self) -> usize {
        (self.totals[0] - self.places.available_permits()).saturating_sub(self.in_flight())
    }

    /// Recordings that are worked on.
    pub fn in_flight(&self) -> usize {
        self.totals[1] - self.turns.available_permits()
    }

    /// Bytes of bodies in memory.
    pub fn held(&self) -> usize {
        self.totals[2] - self.bytes.available_permits()
    }
}

impl Room {
    /// Takes this many bytes more.
    ///
    /// # Errors
    /// 429 if all requests together would hold more than is allowed.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Fault> {
        let full = || Fault::busy("as many bytes are being received as there is room for; try again later");
        let more = u32::try_from(bytes).ok().and_then(|n| self.bytes.clone().try_acquire_many_owned(n).ok());
        self.taken.merge(more.ok_or_else(full)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_dropped_makes_room() {
        let admission = Admission::new(1, 1, 10);
        let first = admission.enter().unwrap();
        let turn = admission.turn().await.unwrap();
        let second = admission.enter().unwrap();
        assert_eq!((admission.in_flight(), admission.queue()), (1, 1));
        assert_eq!(admission.enter().unwrap_err().status().as_u16(), 429);
        drop((first, turn));
        assert_eq!((admission.in_flight(), admission.queue()), (0, 1));
        drop(second);
        assert_eq!(admission.queue(), 0);
    }

    #[test]
    fn bytes_are_counted_over_all_requests() {
        let admission = Admission::new(1, 1, 10);
        let (mut one, mut two) = (admission.room().unwrap(), admission.room().unwrap());
        one.grow(4).unwrap();
        one.grow(2).unwrap();
        assert_eq!(two.grow(5).unwrap_err().status().as_u16(), 429);
        two.grow(4).unwrap();
        assert_eq!(admission.held(), 10);
        drop(one);
        assert_eq!(admission.held(), 4);
        two.grow(6).unwrap();
    }
}

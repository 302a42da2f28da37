//! Asynchronous, double-buffered readback of the search state. Each request is one small copy that completes while the
//! next decode steps run, so the device never waits for the host.

use crate::engine::decode::{DecodeSizes, DecodeState, result_column};
use crate::engine::{Backend, Tensor, ops};
use crate::error::Result;

/// Double-buffered readback: the device copies the next snapshot while the host reads the previous one.
pub(super) struct Readback<B: Backend> {
    sizes: DecodeSizes,
    /// `[S, W]`, see [`SearchOps::pack_results`](crate::engine::backend::SearchOps::pack_results).
    packed: Tensor<B, i32>,
    copies: [B::HostCopy; 2],
    /// Number of requested snapshots.
    requested: u64,
    /// Number of snapshots read by the host.
    read: u64,
}

/// The search state at the time of the request.
pub(super) struct Snapshot<'a> {
    /// Number of requests before this one. A search that started after this request is not in the snapshot.
    pub number: u64,
    sizes: DecodeSizes,
    /// `[S, W]`.
    values: &'a [i32],
}

impl<B: Backend> Readback<B> {
    pub fn new(be: &B, sizes: DecodeSizes) -> Result<Self> {
        let shape = [sizes.slots, sizes.result_width()];
        let len = shape.iter().product();
        Ok(Readback {
            sizes,
            packed: Tensor::zeros(be, &shape)?,
            copies: [be.host_copy(len)?, be.host_copy(len)?],
            requested: 0,
            read: 0,
        })
    }

    /// Number of requested snapshots.
    pub fn requested(&self) -> u64 {
        self.requested
    }

    /// Requests a snapshot of the searches after the steps queued so far. At most one may be unread.
    pub fn request(&mut self, be: &B, state: &DecodeState<B>) -> Result<()> {
        ops::pack_results(be, &mut self.packed, state)?;
        be.start_copy(&mut self.copies[(self.requested % 2) as usize], &self.packed.buf)?;
        self.requested += 1;
        Ok(())
    }

    /// The next snapshot, if its copy is complete. If another snapshot was requested after it, waits for the copy.
    pub fn next(&mut self, be: &B) -> Result<Option<Snapshot<'_>>> {
        let copy = &mut self.copies[(self.read % 2) as usize];
        match self.requested - self.read {
            0 => return Ok(None),
            1 if !be.is_copy_complete(copy)? => return Ok(None),
            _ => {}
        }
        let number = self.read;
        self.read += 1;
        Ok(Some(Snapshot { number, sizes: self.sizes, values: be.finish_copy(copy)? }))
    }
}

impl Snapshot<'_> {
    fn slot(&self, slot: usize) -> &[i32] {
        let width = self.sizes.result_width();
        &self.values[slot * width..(slot + 1) * width]
    }

    /// Whether the slot's search has ended.
    pub fn is_done(&self, slot: usize) -> bool {
        self.slot(slot)[result_column::DONE] != 0
    }

    /// Whether beam or sample `beam` of the slot is unfinished.
    pub fn is_live(&self, slot: usize, beam: usize) -> bool {
        self.slot(slot)[result_column::COUNT + beam] != 0
    }

    /// The best hypothesis of a finished slot: tokens (forced prefix included, end-of-text not) and its summed
    /// log-probability (end-of-text included).
    pub fn best(&self, slot: usize) -> (Vec<u32>, f32) {
        let row = self.slot(slot);
        let tokens = &row[result_column::COUNT + self.sizes.beams..];
        let length = (row[result_column::LENGTH].max(0) as usize).min(tokens.len());
        let tokens = tokens[..length].iter().map(|id| (*id).max(0) as u32).collect();
        (tokens, f32::from_bits(row[result_column::SUM] as u32))
    }

    /// See [`DecodeState::no_speech`].
    pub fn no_speech(&self, slot: usize) -> f32 {
        f32::from_bits(self.slot(slot)[result_column::NO_SPEECH] as u32)
    }
}

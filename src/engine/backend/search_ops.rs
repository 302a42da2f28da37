//! Beam search and sampling: the [`SearchOps`] primitives. One step is `logit_rules`, then `pick_candidates`, then
//! `advance_search`.

use super::decode::DecodeState;
use super::device::Device;
use super::host;
use super::shape::check;
use super::step_rows::StepRows;
use super::tensor::Tensor;
use crate::engine::profile::range;
use crate::error::{Error, Result};

/// Selection of the next tokens from the logits. The default bodies run on [`Device::Host`].
pub trait SearchOps: Device {
    /// Sets the logits `[R, V]` of forbidden tokens to the lowest finite f32. Order of the rules: repetition penalty,
    /// no-repeat n-grams, suppressed tokens, tokens suppressed at the beginning, timestamp rules. Row `r` belongs to
    /// cache row `rows.row[r]`; the options are those of its slot, the history is its own. Rows of idle or finished
    /// slots, and rows that are not live, are not changed.
    fn logit_rules(
        &self,
        logits: &mut Tensor<Self, f32>,
        rows: &StepRows<Self>,
        state: &DecodeState<Self>,
    ) -> Result<()> {
        let (rows, state) = (rows.on_host(self)?, state.on_host(self)?);
        host::update(self, logits, |host, logits| host.logit_rules(logits, &rows, &state))
    }
    /// `out[slot[r]] = softmax(logits[r])[token]` for the rows whose slot is an index of `out`: `out` `[S]`, `logits`
    /// `[R, V]`, `slot` `[R]`. Rows with any other number are skipped.
    fn token_probability(
        &self,
        out: &mut Tensor<Self, f32>,
        logits: &Tensor<Self, f32>,
        slot: &Tensor<Self, i32>,
        token: usize,
    ) -> Result<()> {
        let (logits, slot) = (host::copy(self, logits)?, host::copy(self, slot)?);
        host::update(self, out, |host, out| host.token_probability(out, &logits, &slot, token))
    }
    /// Gathers `token` and `position` of `rows` from the state of the cache rows in `rows.row`, which the host has
    /// written.
    fn list_rows(&self, rows: &mut StepRows<Self>, state: &DecodeState<Self>) -> Result<()> {
        let (mut on_host, state) = (rows.on_host(self)?, state.on_host(self)?);
        host::of(self)?.list_rows(&mut on_host, &state)?;
        rows.set_from_host(self, &on_host)
    }
    /// Packs the results of every slot for one copy to the host: `out` `[S, W]`, with the columns of
    /// [`result_column`](super::decode::result_column), then `live` `[K]`, then `best_tokens` `[G]`.
    fn pack_results(&self, out: &mut Tensor<Self, i32>, state: &DecodeState<Self>) -> Result<()> {
        let state = state.on_host(self)?;
        host::update(self, out, |host, out| host.pack_results(out, &state))
    }
    /// Decode steps to queue between two reads of the results; 1 where a read costs nothing.
    fn steps_per_readback(&self) -> usize {
        1
    }
    /// Fills the candidates of each live row. Beam search: the `2 * beams` best tokens by the row's score +
    /// `log_softmax(logits)`, best first; ties: the lowest id first. Sampling: one token drawn from
    /// `softmax(logits / temperature)` for each sample that continues from this row (all of them at the first step);
    /// its score is the row's score + its log-probability at temperature 1. At temperature 0 the best token is taken. A
    /// draw depends only on seed, stream, sample and number of generated tokens.
    fn pick_candidates(
        &self,
        state: &mut DecodeState<Self>,
        logits: &Tensor<Self, f32>,
        rows: &StepRows<Self>,
    ) -> Result<()> {
        let (mut on_host, logits, rows) = (state.on_host(self)?, host::copy(self, logits)?, rows.on_host(self)?);
        host::of(self)?.pick_candidates(&mut on_host, &logits, &rows)?;
        state.set_from_host(self, &on_host)
    }
    /// One step of the search for every slot that has candidates: registers finished hypotheses, keeps the best one,
    /// decides whether the slot is done, reorders history, score and lineage of the surviving rows, and writes their
    /// tokens and positions to the state and to `rows`.
    fn advance_search(&self, rows: &mut StepRows<Self>, state: &mut DecodeState<Self>) -> Result<()> {
        let (mut host_rows, mut host_state) = (rows.on_host(self)?, state.on_host(self)?);
        host::of(self)?.advance_search(&mut host_rows, &mut host_state)?;
        rows.set_from_host(self, &host_rows)?;
        state.set_from_host(self, &host_state)
    }
}

/// See [`SearchOps::logit_rules`]. Not checked here: token ids in the state must be below the vocabulary size.
pub fn logit_rules<B: SearchOps>(
    be: &B,
    logits: &mut Tensor<B, f32>,
    rows: &StepRows<B>,
    state: &DecodeState<B>,
) -> Result<()> {
    let _range = range("logit_rules");
    check("logit_rules", "logits rows", &[logits.rows()], &[rows.num_rows()])?;
    be.logit_rules(logits, rows, state)
}

/// See [`SearchOps::pick_candidates`].
pub fn pick_candidates<B: SearchOps>(
    be: &B,
    state: &mut DecodeState<B>,
    logits: &Tensor<B, f32>,
    rows: &StepRows<B>,
) -> Result<()> {
    let _range = range("pick_candidates");
    check("pick_candidates", "logits rows", &[logits.rows()], &[rows.num_rows()])?;
    if logits.width() < state.sizes.candidates() {
        return Err(Error::Shape {
            op: "pick_candidates",
            what: "logits",
            expected: format!("at least {} tokens, twice the beams", state.sizes.candidates()),
            got: format!("{:?}", logits.shape()),
        });
    }
    be.pick_candidates(state, logits, rows)
}

/// See [`SearchOps::advance_search`].
pub fn advance_search<B: SearchOps>(be: &B, rows: &mut StepRows<B>, state: &mut DecodeState<B>) -> Result<()> {
    let _range = range("advance_search");
    be.advance_search(rows, state)
}

/// See [`SearchOps::token_probability`].
pub fn token_probability<B: SearchOps>(
    be: &B,
    out: &mut Tensor<B, f32>,
    logits: &Tensor<B, f32>,
    slot: &Tensor<B, i32>,
    token: usize,
) -> Result<()> {
    let _range = range("token_probability");
    check("token_probability", "slot", &[slot.len()], &[logits.rows()])?;
    if token >= logits.width() {
        return Err(Error::Shape {
            op: "token_probability",
            what: "token",
            expected: format!("below {}", logits.width()),
            got: format!("{token}"),
        });
    }
    be.token_probability(out, logits, slot, token)
}

/// See [`SearchOps::list_rows`].
pub fn list_rows<B: SearchOps>(be: &B, rows: &mut StepRows<B>, state: &DecodeState<B>) -> Result<()> {
    let _range = range("list_rows");
    be.list_rows(rows, state)
}

/// See [`SearchOps::pack_results`].
pub fn pack_results<B: SearchOps>(be: &B, out: &mut Tensor<B, i32>, state: &DecodeState<B>) -> Result<()> {
    let _range = range("pack_results");
    check("pack_results", "out", out.shape(), &[state.sizes.slots, state.sizes.result_width()])?;
    be.pack_results(out, state)
}

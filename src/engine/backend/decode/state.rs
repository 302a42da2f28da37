//! [`DecodeState`]: the device side of all searches in progress.

use super::options::{DecodeSizes, RuleTokens, SlotOptions, float_column, int_column};
use crate::engine::backend::device::Device;
use crate::engine::backend::host;
use crate::engine::backend::tensor::Tensor;
use crate::error::Result;

/// The device side of all searches in progress.
///
/// `S` slots, `K` beams (cache rows per slot), `L` positions, `G` new tokens, `N = 2 K` candidates.
pub struct DecodeState<B: Device> {
    /// What the tensors below are allocated for.
    pub sizes: DecodeSizes,
    /// Ids the rules know by name.
    pub special: RuleTokens,
    /// Tokens never chosen; any length.
    pub suppress: Tensor<B, i32>,
    /// Tokens not chosen as the first free one; any length.
    pub suppress_begin: Tensor<B, i32>,

    /// `[S, int_column::COUNT]`
    pub option_ints: Tensor<B, i32>,
    /// `[S, float_column::COUNT]`
    pub option_floats: Tensor<B, f32>,
    /// `[S]` tokens generated so far, the same for all live rows of a slot.
    pub length: Tensor<B, i32>,
    /// `[S]` 1 when the search has ended. The rows of such a slot may go on through the network; nothing is written.
    pub done: Tensor<B, i32>,
    /// `[S]` hypotheses that have ended.
    pub num_finished: Tensor<B, i32>,
    /// `[S]` 1 once the best candidate of some step has ended (used when there is no length penalty).
    pub top_finished: Tensor<B, i32>,
    /// `[S]` length of the best hypothesis, end-of-text not counted.
    pub best_length: Tensor<B, i32>,
    /// `[S]` its summed log-probability, end-of-text included.
    pub best_sum: Tensor<B, f32>,
    /// `[S]` its score: the sum over `length ^ length_penalty`.
    pub best_score: Tensor<B, f32>,
    /// `[S, G]` its tokens.
    pub best_tokens: Tensor<B, i32>,
    /// `[S]` probability of silence at the start of the transcript, where it was asked for.
    pub no_speech: Tensor<B, f32>,

    /// `[S K]` token to feed next.
    pub token: Tensor<B, i32>,
    /// `[S K]` position of that token.
    pub position: Tensor<B, i32>,
    /// `[S K]` 1 while the row takes part in the search.
    pub live: Tensor<B, i32>,
    /// `[S K]` summed log-probability.
    pub score: Tensor<B, f32>,
    /// `[S K, G]` tokens generated.
    pub history: Tensor<B, i32>,
    /// `[S K, L]` the cache row that holds the row's keys and values of each position. A row's own index from its
    /// next position on.
    pub lineage: Tensor<B, i32>,

    /// `[S K]` candidates found by the step in progress; 0 for a row that takes no part in it.
    pub candidate_count: Tensor<B, i32>,
    /// `[S K, N]` their tokens, best first.
    pub candidate_token: Tensor<B, i32>,
    /// `[S K, N]` their scores: the row's score + log-probability.
    pub candidate_score: Tensor<B, f32>,
}

impl<B: Device> DecodeState<B> {
    /// Empty slots. `suppress` and `suppress_begin` may hold ids in any order, each below the vocabulary's size.
    pub fn new(
        be: &B,
        sizes: DecodeSizes,
        special: RuleTokens,
        suppress: &[i32],
        suppress_begin: &[i32],
    ) -> Result<Self> {
        let (slots, rows) = (sizes.slots, sizes.rows());
        let candidates = sizes.candidates();
        Ok(DecodeState {
            sizes,
            special,
            suppress: Tensor::from_host(be, &[suppress.len()], suppress)?,
            suppress_begin: Tensor::from_host(be, &[suppress_begin.len()], suppress_begin)?,
            option_ints: Tensor::zeros(be, &[slots, int_column::COUNT])?,
            option_floats: Tensor::zeros(be, &[slots, float_column::COUNT])?,
            length: Tensor::zeros(be, &[slots])?,
            done: Tensor::zeros(be, &[slots])?,
            num_finished: Tensor::zeros(be, &[slots])?,
            top_finished: Tensor::zeros(be, &[slots])?,
            best_length: Tensor::zeros(be, &[slots])?,
            best_sum: Tensor::zeros(be, &[slots])?,
            best_score: Tensor::zeros(be, &[slots])?,
            best_tokens: Tensor::zeros(be, &[slots, sizes.new_tokens])?,
            no_speech: Tensor::zeros(be, &[slots])?,
            token: Tensor::zeros(be, &[rows])?,
            position: Tensor::zeros(be, &[rows])?,
            live: Tensor::zeros(be, &[rows])?,
            score: Tensor::zeros(be, &[rows])?,
            history: Tensor::zeros(be, &[rows, sizes.new_tokens])?,
            lineage: Tensor::zeros(be, &[rows, sizes.positions])?,
            candidate_count: Tensor::zeros(be, &[rows])?,
            candidate_token: Tensor::zeros(be, &[rows, candidates])?,
            candidate_score: Tensor::zeros(be, &[rows, candidates])?,
        })
    }

    /// Starts a search in `slot`. The prompt, forced prefix included, is to be fed to the slot's first cache row; its
    /// last token's logits are the first step's.
    ///
    /// `prefix` holds [`SlotOptions::prefix`] tokens.
    pub fn start(&mut self, be: &B, slot: usize, options: &SlotOptions, prefix: &[i32]) -> Result<()> {
        let (ints, floats) = options.pack();
        be.write(&mut self.option_ints.buf, slot * int_column::COUNT, &ints)?;
        be.write(&mut self.option_floats.buf, slot * float_column::COUNT, &floats)?;
        be.write(&mut self.length.buf, slot, &[prefix.len() as i32])?;
        for flag in [&mut self.done, &mut self.num_finished, &mut self.top_finished, &mut self.best_length] {
            be.write(&mut flag.buf, slot, &[0])?;
        }
        let (beams, first) = (self.sizes.beams, slot * self.sizes.beams);
        be.write(&mut self.score.buf, first, &vec![0.0; beams])?;
        be.write(&mut self.candidate_count.buf, first, &vec![0; beams])?;
        let mut live = vec![0; beams];
        live[0] = 1;
        be.write(&mut self.live.buf, first, &live)?;
        be.write(&mut self.history.buf, first * self.sizes.new_tokens, prefix)?;
        // a row that is listed but never lives feeds this, to a position of its own that nobody reads
        let fed = options.prompt + options.prefix;
        be.write(&mut self.token.buf, first, &vec![0; beams])?;
        be.write(&mut self.position.buf, first, &vec![fed as i32; beams])?;
        let mut lineage = vec![first as i32; beams * self.sizes.positions];
        for (beam, row) in lineage.chunks_exact_mut(self.sizes.positions).enumerate() {
            row[fed..].fill((first + beam) as i32);
        }
        be.write(&mut self.lineage.buf, first * self.sizes.positions, &lineage)
    }

    /// Takes the chunk out of `slot`: its rows are no longer touched.
    pub fn clear(&mut self, be: &B, slot: usize) -> Result<()> {
        be.write(&mut self.option_ints.buf, slot * int_column::COUNT, &[0])?;
        be.write(&mut self.live.buf, slot * self.sizes.beams, &vec![0; self.sizes.beams])
    }

    /// A copy on the host device.
    pub(in crate::engine::backend) fn on_host(&self, be: &B) -> Result<DecodeState<B::Host>> {
        Ok(DecodeState {
            sizes: self.sizes,
            special: self.special,
            suppress: host::copy(be, &self.suppress)?,
            suppress_begin: host::copy(be, &self.suppress_begin)?,
            option_ints: host::copy(be, &self.option_ints)?,
            option_floats: host::copy(be, &self.option_floats)?,
            length: host::copy(be, &self.length)?,
            done: host::copy(be, &self.done)?,
            num_finished: host::copy(be, &self.num_finished)?,
            top_finished: host::copy(be, &self.top_finished)?,
            best_length: host::copy(be, &self.best_length)?,
            best_sum: host::copy(be, &self.best_sum)?,
            best_score: host::copy(be, &self.best_score)?,
            best_tokens: host::copy(be, &self.best_tokens)?,
            no_speech: host::copy(be, &self.no_speech)?,
            token: host::copy(be, &self.token)?,
            position: host::copy(be, &self.position)?,
            live: host::copy(be, &self.live)?,
            score: host::copy(be, &self.score)?,
            history: host::copy(be, &self.history)?,
            lineage: host::copy(be, &self.lineage)?,
            candidate_count: host::copy(be, &self.candidate_count)?,
            candidate_token: host::copy(be, &self.candidate_token)?,
            candidate_score: host::copy(be, &self.candidate_score)?,
        })
    }

    /// Copies everything that a step of the search changes from the host device.
    pub(in crate::engine::backend) fn set_from_host(&mut self, be: &B, from: &DecodeState<B::Host>) -> Result<()> {
        let host = be.host();
        let pairs = [
            (&mut self.length, &from.length),
            (&mut self.done, &from.done),
            (&mut self.num_finished, &from.num_finished),
            (&mut self.top_finished, &from.top_finished),
            (&mut self.best_length, &from.best_length),
            (&mut self.best_tokens, &from.best_tokens),
            (&mut self.token, &from.token),
            (&mut self.position, &from.position),
            (&mut self.live, &from.live),
            (&mut self.history, &from.history),
            (&mut self.lineage, &from.lineage),
            (&mut self.candidate_count, &from.candidate_count),
            (&mut self.candidate_token, &from.candidate_token),
        ];
        for (to, from) in pairs {
            be.write(&mut to.buf, 0, &from.to_host(host)?)?;
        }
        let pairs = [
            (&mut self.best_sum, &from.best_sum),
            (&mut self.best_score, &from.best_score),
            (&mut self.score, &from.score),
            (&mut self.candidate_score, &from.candidate_score),
        ];
        for (to, from) in pairs {
            be.write(&mut to.buf, 0, &from.to_host(host)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Search;
    use super::super::options::tests::a_beam_search;
    use super::*;

    /// Rows of the slot's last search stand wherever that ended, perhaps within the new prompt. Listed before the host
    /// knows that they do not go on, they must not write there.
    #[test]
    fn rows_of_the_last_search_write_behind_the_new_prompt() -> Result<()> {
        let be = crate::engine::cpu::Cpu::new(Some(1))?;
        let sizes = DecodeSizes { slots: 2, beams: 3, positions: 20, new_tokens: 10 };
        let special = RuleTokens { eot: 5, no_timestamps: 6, timestamp_begin: 7 };
        let mut state = DecodeState::new(&be, sizes, special, &[], &[])?;
        be.write(&mut state.position.buf, 0, &[4; 6])?;
        be.write(&mut state.token.buf, 0, &[-1; 6])?;
        let search = Search::Sample { samples: 3, temperature: 1.0 };
        let options = SlotOptions { search, prompt: 9, prefix: 2, limit: 8, ..a_beam_search() };
        state.start(&be, 1, &options, &[1, 2])?;
        assert_eq!(state.position.to_host(&be)?, [4, 4, 4, 11, 11, 11]);
        assert_eq!(state.token.to_host(&be)?[3..], [0, 0, 0]);
        Ok(())
    }
}

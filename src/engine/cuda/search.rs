//! The argument of the search kernels: addresses and sizes of a [`DecodeState`], passed by value in the layout of
//! `kernels/search.cuh`.

use super::Cuda;
use super::launch::Launch;
use crate::engine::Tensor;
use crate::engine::decode::{DecodeState, float_column, int_column};
use crate::error::{Error, Result};

/// `MAX_BEAMS` of `kernels/search.cuh`.
const MAX_BEAMS: usize = 64;
/// Number of arrays in [`SearchState`].
const ARRAYS: usize = 21;

/// `State` of `kernels/search.cuh`: the arrays in the order of that struct, then the integers.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct SearchState {
    arrays: [u64; ARRAYS],
    num_suppress: i32,
    num_suppress_begin: i32,
    slots: i32,
    beams: i32,
    positions: i32,
    new_tokens: i32,
    eot: i32,
    no_timestamps: i32,
    timestamp_begin: i32,
    unused: i32,
}

impl SearchState {
    /// The state as an argument of `launch`, which records an error for any array that is too short.
    ///
    /// # Errors
    /// [`Error::Config`] for more beams than the kernels support; [`Error::Shape`] for special tokens outside a
    /// vocabulary of `vocab` tokens.
    pub fn new(launch: &mut Launch, state: &DecodeState<Cuda>, vocab: Option<usize>) -> Result<Self> {
        check(state, vocab)?;
        let (sizes, special) = (state.sizes, state.special);
        let (slots, rows, candidates) = (sizes.slots, sizes.rows(), sizes.rows() * sizes.candidates());
        let mut ints = |tensor: &Tensor<Cuda, i32>, len: usize| launch.address(&tensor.buf, 0, len);
        let (suppress, begin) =
            (ints(&state.suppress, state.suppress.len()), { ints(&state.suppress_begin, state.suppress_begin.len()) });
        let option_ints = ints(&state.option_ints, slots * int_column::COUNT);
        let per_slot = [&state.length, &state.done, &state.num_finished, &state.top_finished, &state.best_length];
        let per_slot = per_slot.map(|tensor| ints(tensor, slots));
        let best_tokens = ints(&state.best_tokens, slots * sizes.new_tokens);
        let [token, position, live] = [&state.token, &state.position, &state.live].map(|tensor| ints(tensor, rows));
        let history = ints(&state.history, rows * sizes.new_tokens);
        let lineage = ints(&state.lineage, rows * sizes.positions);
        let candidate_count = ints(&state.candidate_count, rows);
        let candidate_token = ints(&state.candidate_token, candidates);
        let mut floats = |tensor: &Tensor<Cuda, f32>, len: usize| launch.address(&tensor.buf, 0, len);
        let option_floats = floats(&state.option_floats, slots * float_column::COUNT);
        let (best_sum, best_score) = (floats(&state.best_sum, slots), floats(&state.best_score, slots));
        let (score, candidate_score) = (floats(&state.score, rows), floats(&state.candidate_score, candidates));
        let [length, done, num_finished, top_finished, best_length] = per_slot;
        Ok(SearchState {
            arrays: [
                suppress,
                begin,
                option_ints,
                option_floats,
                length,
                done,
                num_finished,
                top_finished,
                best_length,
                best_sum,
                best_score,
                best_tokens,
                token,
                position,
                live,
                score,
                history,
                lineage,
                candidate_count,
                candidate_token,
                candidate_score,
            ],
            num_suppress: state.suppress.len() as i32,
            num_suppress_begin: state.suppress_begin.len() as i32,
            slots: slots as i32,
            beams: sizes.beams as i32,
            positions: sizes.positions as i32,
            new_tokens: sizes.new_tokens as i32,
            eot: special.eot,
            no_timestamps: special.no_timestamps,
            timestamp_begin: special.timestamp_begin,
            unused: 0,
        })
    }
}

/// Checks the number of beams, and that the special tokens are in the vocabulary.
fn check(state: &DecodeState<Cuda>, vocab: Option<usize>) -> Result<()> {
    let sizes = state.sizes;
    if sizes.beams > MAX_BEAMS {
        return Err(Error::config("beam_size", sizes.beams, format!("at most {MAX_BEAMS} on the GPU")));
    }
    let special = state.special;
    let ids = [special.eot, special.no_timestamps, special.timestamp_begin];
    // `timestamp_begin` may equal the size of the vocabulary: a model without timestamps.
    let inside = |id: &i32| usize::try_from(*id).is_ok_and(|id| vocab.is_none_or(|vocab| id <= vocab));
    if !ids.iter().all(inside) || vocab.is_some_and(|vocab| special.no_timestamps as usize >= vocab) {
        return Err(Error::Shape {
            op: "search",
            what: "special tokens",
            expected: format!("ids below {}", vocab.unwrap_or(i32::MAX as usize)),
            got: format!("{special:?}"),
        });
    }
    Ok(())
}

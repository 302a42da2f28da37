//! Shape-checked entry points of the ops that Whisper and CTC alignment use. Models call these functions, which check
//! every shape once for all backends.
//!
//! Every function returns [`Error::Shape`](crate::Error::Shape) for shapes that do not fit, and the errors of the device.

pub use super::backend::ctc::ctc_viterbi;
pub use super::backend::decoder_ops::{absorbed_attention_step, cross_attention_step, self_attention_step};
pub use super::backend::matrix_ops::{conv1d, embed, linear, linear_by_head, logits};
pub use super::backend::mel_ops::log_mel;
pub use super::backend::search_ops::{
    advance_search, list_rows, logit_rules, pack_results, pick_candidates, token_probability,
};
pub use super::backend::transformer_ops::{add_positions, attention, gather_rows, layer_norm};

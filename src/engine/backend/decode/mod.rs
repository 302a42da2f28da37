//! What a decode step reads and writes besides activations: one record per slot, one per cache row, all on the device.
//!
//! A *slot* decodes one chunk with up to `beams` cache rows; cache row = `slot * beams + beam`. "Generated" tokens are
//! those after the prompt's task tokens: a forced prefix counts, the prompt does not.

mod options;
mod state;

pub use options::{DecodeSizes, RuleTokens, Search, SlotOptions, float_column, int_column, result_column};
pub use state::DecodeState;

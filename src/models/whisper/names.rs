//! Mapping of Whisper's tensor names from CTranslate2's and openai-whisper's to transformers'
//! (`model.encoder.layers.0.self_attn.q_proj.weight`), which the model uses.

pub(super) mod ctranslate2;
pub(super) mod openai;

use crate::engine::weights::TensorPart;

/// Splits the number at the start of `name` from the rest; `None` if there is no number.
fn layer(name: &str) -> Option<(usize, &str)> {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    Some((name[..digits].parse().ok()?, &name[digits..]))
}

/// The whole tensor under the name `name`.
fn whole(name: String) -> Vec<TensorPart> {
    vec![TensorPart { name, rows: None, shape: None }]
}

//! The names of Whisper's tensors in the formats that are not the Hugging Face layout: one table for each. The model asks for
//! the names of transformers (`model.encoder.layers.0.self_attn.q_proj.weight`).

pub(super) mod ctranslate2;
pub(super) mod openai;

use crate::engine::weights::Part;

/// The number at the beginning of `name`, and what follows it; `None` if there is none.
fn layer(name: &str) -> Option<(usize, &str)> {
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    Some((name[..digits].parse().ok()?, &name[digits..]))
}

/// All of a tensor under another name.
fn whole(name: String) -> Vec<Part> {
    vec![Part { name, rows: None, shape: None }]
}

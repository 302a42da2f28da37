//! Tensor names of CTranslate2's `WhisperSpec`.
//!
//! Source: CTranslate2 4.8 `python/ctranslate2/specs/{whisper_spec,transformer_spec,attention_spec}.py`,
//! `converters/transformers.py` (`WhisperLoader`).

use super::{layer, whole};
use crate::engine::weights::TensorPart;

/// Modules outside of the layers, after `encoder/` or `decoder/`.
const COMMON: [(&str, &str); 5] = [
    ("conv1", "conv1"),
    ("conv2", "conv2"),
    ("embeddings", "embed_tokens"),
    ("position_encodings", "embed_positions"),
    ("layer_norm", "layer_norm"),
];

/// Modules in a layer. Projections of the same input are stacked in one variable.
const IN_LAYER: [(&str, &[&str]); 10] = [
    ("self_attention/layer_norm", &["self_attn_layer_norm"]),
    ("self_attention/linear_0", &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    ("self_attention/linear_1", &["self_attn.out_proj"]),
    ("attention/layer_norm", &["encoder_attn_layer_norm"]),
    ("attention/linear_0", &["encoder_attn.q_proj"]),
    ("attention/linear_1", &["encoder_attn.k_proj", "encoder_attn.v_proj"]),
    ("attention/linear_2", &["encoder_attn.out_proj"]),
    ("ffn/layer_norm", &["final_layer_norm"]),
    ("ffn/linear_0", &["fc1"]),
    ("ffn/linear_1", &["fc2"]),
];

/// Last components of names.
const LEAVES: [(&str, &str); 6] = [
    ("weight", "weight"),
    ("weight_scale", "weight_scale"),
    ("bias", "bias"),
    ("gamma", "weight"),
    ("beta", "bias"),
    ("encodings", "weight"),
];

fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(from, _)| *from == name).map(|(_, to)| *to)
}

/// The tensors of the model that a variable holds. The output projection is skipped, because it is the embedding.
///
/// Whisper's key projections have no bias; the files store zeros for it, which are not used. Any bias of the keys would
/// not change the result: it adds the same number to the scores of all keys, which cancels in the softmax.
pub(in crate::models::whisper) fn parts(name: &str, shape: &[usize]) -> Vec<TensorPart> {
    let split = || {
        let (side, rest) = name.split_once('/').filter(|(side, _)| matches!(*side, "encoder" | "decoder"))?;
        let (module, leaf) = rest.rsplit_once('/')?;
        let leaf = find(&LEAVES, leaf)?;
        let Some(in_layer) = module.strip_prefix("layer_").filter(|_| module != "layer_norm") else {
            return Some(whole(format!("model.{side}.{}.{leaf}", find(&COMMON, module)?)));
        };
        let (index, module) = layer(in_layer)?;
        let modules = find(&IN_LAYER, module.strip_prefix('/')?)?;
        let prefix = format!("model.{side}.layers.{index}");
        Some(stacked(modules, shape, |module| format!("{prefix}.{module}.{leaf}")))
    };
    split().unwrap_or_default()
}

/// Splits a variable into equal numbers of rows for the stacked `modules`. A scalar scale is shared by all of them.
fn stacked(modules: &[&str], shape: &[usize], name: impl Fn(&str) -> String) -> Vec<TensorPart> {
    let rows = match shape {
        [] | [1] => None,
        [rows, ..] => Some(rows / modules.len()),
    };
    let part = |(i, module): (usize, &&str)| TensorPart {
        name: name(module),
        rows: rows.filter(|_| modules.len() > 1).map(|rows| i * rows..(i + 1) * rows),
        shape: None,
    };
    modules.iter().enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacked_projections_are_split_into_equal_rows() {
        let parts = parts("decoder/layer_11/attention/linear_1/weight", &[12, 6]);
        let part = |name: &str, rows| TensorPart { name: name.into(), rows: Some(rows), shape: None };
        let prefix = "model.decoder.layers.11.encoder_attn";
        let keys = part(&format!("{prefix}.k_proj.weight"), 0..6);
        let values = part(&format!("{prefix}.v_proj.weight"), 6..12);
        assert_eq!(parts, [keys, values]);
    }

    #[test]
    fn a_scalar_scale_is_shared_by_all_projections() {
        let parts = parts("encoder/layer_0/self_attention/linear_0/weight_scale", &[]);
        assert_eq!(parts.len(), 3);
        assert!(parts.iter().all(|part| part.rows.is_none()), "{parts:?}");
        assert_eq!(parts[2].name, "model.encoder.layers.0.self_attn.v_proj.weight_scale");
    }

    #[test]
    fn unknown_variables_are_skipped() {
        for name in ["decoder/projection/weight", "decoder/num_heads", "encoder/layer_/ffn/linear_0/weight", "", "/"] {
            assert_eq!(parts(name, &[2]), [], "{name}");
        }
    }
}

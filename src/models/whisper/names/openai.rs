//! Tensor names of openai-whisper's `model_state_dict`, which whisper.cpp's files use as well.
//!
//! Source: openai-whisper 20250625 `model.py`; transformers `convert_openai_to_hf.py`.

use super::layer;
use crate::engine::weights::TensorPart;

/// Tensors outside of the blocks, after `encoder.` or `decoder.`.
const COMMON: [(&str, &str); 10] = [
    ("conv1.weight", "conv1.weight"),
    ("conv1.bias", "conv1.bias"),
    ("conv2.weight", "conv2.weight"),
    ("conv2.bias", "conv2.bias"),
    ("token_embedding.weight", "embed_tokens.weight"),
    ("positional_embedding", "embed_positions.weight"),
    ("ln_post.weight", "layer_norm.weight"),
    ("ln_post.bias", "layer_norm.bias"),
    ("ln.weight", "layer_norm.weight"),
    ("ln.bias", "layer_norm.bias"),
];

/// Modules in a block, before `.weight` and `.bias`.
const IN_BLOCK: [(&str, &str); 13] = [
    ("attn_ln", "self_attn_layer_norm"),
    ("attn.query", "self_attn.q_proj"),
    ("attn.key", "self_attn.k_proj"),
    ("attn.value", "self_attn.v_proj"),
    ("attn.out", "self_attn.out_proj"),
    ("cross_attn_ln", "encoder_attn_layer_norm"),
    ("cross_attn.query", "encoder_attn.q_proj"),
    ("cross_attn.key", "encoder_attn.k_proj"),
    ("cross_attn.value", "encoder_attn.v_proj"),
    ("cross_attn.out", "encoder_attn.out_proj"),
    ("mlp_ln", "final_layer_norm"),
    ("mlp.0", "fc1"),
    ("mlp.2", "fc2"),
];

/// The tensor of the model for a tensor of the file. whisper.cpp's converters store the biases of convolutions as `[N,
/// 1]`.
pub(in crate::models::whisper) fn parts(name: &str, shape: &[usize]) -> Vec<TensorPart> {
    let renamed = || {
        let (side, rest) = name.split_once('.').filter(|(side, _)| matches!(*side, "encoder" | "decoder"))?;
        let Some(in_block) = rest.strip_prefix("blocks.") else {
            let (_, to) = COMMON.iter().find(|(from, _)| *from == rest)?;
            return Some(format!("model.{side}.{to}"));
        };
        let (index, rest) = layer(in_block)?;
        let (module, leaf) = rest.strip_prefix('.')?.rsplit_once('.')?;
        let (_, to) = IN_BLOCK.iter().find(|(from, _)| *from == module)?;
        Some(format!("model.{side}.layers.{index}.{to}.{leaf}"))
    };
    let shape = match shape {
        [rows, 1] if name.ends_with("bias") => Some(vec![*rows]),
        _ => None,
    };
    renamed().map(|name| TensorPart { name, rows: None, shape }).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_sides() {
        for (from, to) in [
            ("encoder.ln_post.weight", "model.encoder.layer_norm.weight"),
            ("decoder.ln.bias", "model.decoder.layer_norm.bias"),
            ("decoder.blocks.31.cross_attn.key.weight", "model.decoder.layers.31.encoder_attn.k_proj.weight"),
            ("encoder.blocks.0.mlp.2.bias", "model.encoder.layers.0.fc2.bias"),
        ] {
            let parts = parts(from, &[3]);
            assert_eq!(parts, [TensorPart { name: to.into(), rows: None, shape: None }]);
        }
        assert_eq!(parts("encoder.conv1.bias", &[3, 1])[0].shape, Some(vec![3]));
        assert_eq!(parts("decoder.mask", &[3, 3]), []);
    }
}

//! Alignment heads of the published Whisper models. openai-whisper has them in its code: its checkpoints, and those
//! converted from them, do not list them.

use std::path::Path;

use super::config::Config;

/// A published model: its sizes, by which it is recognised, and its alignment heads as `[decoder layer, head]`.
struct Published {
    name: &'static str,
    layers: [usize; 2],
    width: usize,
    vocab: usize,
    heads: &'static [[usize; 2]],
}

const fn model(
    name: &'static str,
    layers: [usize; 2],
    width: usize,
    vocab: usize,
    heads: &'static [[usize; 2]],
) -> Published {
    Published { name, layers, width, vocab, heads }
}

/// Vocabulary sizes: English only, multilingual, multilingual with Cantonese (since large-v3).
const EN: usize = 51_864;
const MULTI: usize = 51_865;
const MULTI_V3: usize = 51_866;

/// Source: openai-whisper 20250625 `__init__.py::_ALIGNMENT_HEADS`. `large-v1` and `large-v2` have the same sizes;
/// `large-v2` comes first, so that it is the default.
#[rustfmt::skip]
const PUBLISHED: [Published; 12] = [
    model("tiny.en", [4, 4], 384, EN, &[[1, 0], [2, 0], [2, 5], [3, 0], [3, 1], [3, 2], [3, 3], [3, 4]]),
    model("tiny", [4, 4], 384, MULTI, &[[2, 2], [3, 0], [3, 2], [3, 3], [3, 4], [3, 5]]),
    model("base.en", [6, 6], 512, EN, &[[3, 3], [4, 7], [5, 1], [5, 5], [5, 7]]),
    model("base", [6, 6], 512, MULTI, &[[3, 1], [4, 2], [4, 3], [4, 7], [5, 1], [5, 2], [5, 4], [5, 6]]),
    model("small.en", [12, 12], 768, EN, &[
        [6, 6], [7, 0], [7, 3], [7, 8], [8, 2], [8, 5], [8, 7], [9, 0], [9, 4], [9, 8], [9, 10], [10, 0], [10, 1], [10, 2],
        [10, 3], [10, 6], [10, 11], [11, 2], [11, 4],
    ]),
    model("small", [12, 12], 768, MULTI, &[
        [5, 3], [5, 9], [8, 0], [8, 4], [8, 7], [8, 8], [9, 0], [9, 7], [9, 9], [10, 5],
    ]),
    model("medium.en", [24, 24], 1024, EN, &[
        [11, 4], [14, 1], [14, 12], [14, 14], [15, 4], [16, 0], [16, 4], [16, 9], [17, 12], [17, 14], [18, 7], [18, 10],
        [18, 15], [20, 0], [20, 3], [20, 9], [20, 14], [21, 12],
    ]),
    model("medium", [24, 24], 1024, MULTI, &[[13, 15], [15, 4], [15, 15], [16, 1], [20, 0], [23, 4]]),
    model("large-v2", [32, 32], 1280, MULTI, &[
        [10, 12], [13, 17], [16, 11], [16, 12], [16, 13], [17, 15], [17, 16], [18, 4], [18, 11], [18, 19], [19, 11], [21, 2],
        [21, 3], [22, 3], [22, 9], [22, 12], [23, 5], [23, 7], [23, 13], [25, 5], [26, 1], [26, 12], [27, 15],
    ]),
    model("large-v1", [32, 32], 1280, MULTI, &[
        [9, 19], [11, 2], [11, 4], [11, 17], [22, 7], [22, 11], [22, 17], [23, 2], [23, 15],
    ]),
    model("large-v3", [32, 32], 1280, MULTI_V3, &[
        [7, 0], [10, 17], [12, 18], [13, 12], [16, 1], [17, 14], [19, 11], [21, 4], [24, 1], [25, 6],
    ]),
    model("large-v3-turbo", [32, 4], 1280, MULTI_V3, &[[2, 4], [2, 11], [3, 3], [3, 6], [3, 11], [3, 14]]),
];

/// The alignment heads of the published model with these sizes; `None` if there is none. If several have the same
/// sizes, the model whose name is part of the file's name or of its folders' is preferred.
pub(super) fn alignment_heads(config: &Config, file: &Path) -> Option<Vec<[usize; 2]>> {
    let same = |model: &&Published| {
        model.layers == [config.encoder_layers, config.decoder_layers]
            && model.width == config.d_model
            && model.vocab == config.vocab_size
    };
    // In the hub cache, the folder is named after a commit; the name of the repository is two levels up.
    let names = file.ancestors().take(3).filter_map(|path| path.file_name()).map(|name| name.to_string_lossy());
    let names: Vec<_> = names.collect();
    let named = PUBLISHED.iter().filter(same).find(|model| names.iter().any(|name| name.contains(model.name)));
    let model = named.or_else(|| PUBLISHED.iter().find(same))?;
    Some(model.heads.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(layers: [usize; 2], width: usize, vocab: usize, file: &str) -> Option<Vec<[usize; 2]>> {
        let [encoder_layers, decoder_layers] = layers;
        let config = Config { d_model: width, encoder_layers, decoder_layers, vocab_size: vocab, ..Config::default() };
        alignment_heads(&config, Path::new(file))
    }

    #[test]
    fn models_are_recognised_by_size() {
        let first = |heads: Option<Vec<[usize; 2]>>| heads.map(|heads| heads[0]);
        assert_eq!(first(heads([4, 4], 384, EN, "a.pt")), Some([1, 0]));
        assert_eq!(first(heads([4, 4], 384, MULTI, "a.pt")), Some([2, 2]));
        assert_eq!(first(heads([32, 4], 1280, MULTI_V3, "a.pt")), Some([2, 4]));
        let cached = "models--Systran--faster-whisper-large-v1/snapshots/c0ffee";
        assert_eq!(first(heads([32, 32], 1280, MULTI, cached)), Some([9, 19]));
        assert_eq!(first(heads([32, 32], 1280, MULTI, "large-v2.pt")), Some([10, 12]));
        assert_eq!(first(heads([32, 2], 1280, MULTI, "distil.pt")), None);
    }

    #[test]
    fn large_v1_and_v2_are_distinguished_by_name() {
        let large = |file| heads([32, 32], 1280, MULTI, file).unwrap()[0];
        assert_eq!(large("models/large-v1.pt"), [9, 19]);
        assert_eq!(large("ggml-large-v2.bin"), [10, 12]);
        assert_eq!(large("large.pt"), [10, 12]);
    }

    #[test]
    fn every_head_exists() {
        for model in &PUBLISHED {
            let heads_per_layer = model.width / 64;
            let exists = |[layer, head]: &[usize; 2]| *layer < model.layers[1] && *head < heads_per_layer;
            assert!(model.heads.iter().all(exists), "{}", model.name);
        }
    }
}

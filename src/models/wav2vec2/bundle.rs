//! torchaudio's wav2vec2 checkpoints (pipelines): the network of [`super`] with other tensor names. Config and
//! vocabulary are not in the files; [`Bundle`] has them.
//!
//! | torchaudio | transformers |
//! |---|---|
//! | `feature_extractor.*` | `wav2vec2.feature_extractor.*` |
//! | `encoder.feature_projection.*` | `wav2vec2.feature_projection.*` |
//! | `encoder.transformer.*` | `wav2vec2.encoder.*` |
//! | `aux.*` | `lm_head.*`, without the rows of unused classes |
//!
//! The head was trained with fairseq, whose dictionaries have classes that are never used as labels. Their rows are
//! dropped, as in torchaudio.
//!
//! Source: torchaudio 2.11 `pipelines/_wav2vec2/{impl,utils}.py`.

use std::path::Path;

use super::config::{Config, FeatureNorm};
use super::{Head, Wav2Vec2};
use crate::engine::Backend;
use crate::engine::weights::Weights;
use crate::error::{Error, Result};

/// A CTC network of torchaudio with letters as classes.
#[derive(Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Name in `torchaudio.pipelines`.
    pub name: &'static str,
    /// Name of the published file.
    pub file: &'static str,
    /// The characters of the classes from index 1 on. Class 0 is the blank, class 1 the word separator `|`.
    pub letters: &'static str,
    size: Size,
    /// Rows of the stored head that are unused classes.
    unused: &'static [usize],
}

/// The architecture of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// wav2vec2 base.
    Base,
    /// The width and depth of XLS-R, with the norms of base (after each sublayer).
    Large,
    /// The architecture of XLS-R; recordings are normalised to mean 0 and variance 1.
    LargeLv60k,
}

/// Classes of fairseq's dictionaries that are not letters: padding, end of sentence, and unknown.
const UNUSED: &[usize] = &[1, 2, 3];
/// VoxPopuli's German and Spanish dictionaries have one more unused class: `1`, which occurs once in ten million
/// letters.
const UNUSED_AND_ONE: &[usize] = &[1, 2, 3, 35];

const ENGLISH: &str = "|ETAONIHSRDLUMWCFGYPBVK'XJQZ";
const FRENCH: &str = "|esnitraouldcpmévqfgbhxàjèyêzôkçœûùîâwïëüæ";
const GERMAN: &str = "|enirstadhulgcmobwfkzpvüäöjßyxq";
const SPANISH: &str = "|eaosnrildctupmbqygvhófíájzñéxúkwü";
const ITALIAN: &str = "|eiaontrlscdupmgvhzfbqàèùéòìkyxwjóíï";
const VOXPOPULI_ENGLISH: &str = "|etoiansrhldcumpfgwybvkxjqz";

const fn english(name: &'static str, file: &'static str, size: Size) -> Bundle {
    Bundle { name, file, letters: ENGLISH, size, unused: UNUSED }
}

const fn voxpopuli(name: &'static str, file: &'static str, letters: &'static str, unused: &'static [usize]) -> Bundle {
    Bundle { name, file, letters, size: Size::Base, unused }
}

/// All wav2vec2 CTC bundles of torchaudio.
pub static BUNDLES: [Bundle; 14] = [
    english("WAV2VEC2_ASR_BASE_10M", "wav2vec2_fairseq_base_ls960_asr_ll10m.pth", Size::Base),
    english("WAV2VEC2_ASR_BASE_100H", "wav2vec2_fairseq_base_ls960_asr_ls100.pth", Size::Base),
    english("WAV2VEC2_ASR_BASE_960H", "wav2vec2_fairseq_base_ls960_asr_ls960.pth", Size::Base),
    english("WAV2VEC2_ASR_LARGE_10M", "wav2vec2_fairseq_large_ls960_asr_ll10m.pth", Size::Large),
    english("WAV2VEC2_ASR_LARGE_100H", "wav2vec2_fairseq_large_ls960_asr_ls100.pth", Size::Large),
    english("WAV2VEC2_ASR_LARGE_960H", "wav2vec2_fairseq_large_ls960_asr_ls960.pth", Size::Large),
    english("WAV2VEC2_ASR_LARGE_LV60K_10M", "wav2vec2_fairseq_large_lv60k_asr_ll10m.pth", Size::LargeLv60k),
    english("WAV2VEC2_ASR_LARGE_LV60K_100H", "wav2vec2_fairseq_large_lv60k_asr_ls100.pth", Size::LargeLv60k),
    english("WAV2VEC2_ASR_LARGE_LV60K_960H", "wav2vec2_fairseq_large_lv60k_asr_ls960.pth", Size::LargeLv60k),
    voxpopuli("VOXPOPULI_ASR_BASE_10K_DE", "wav2vec2_voxpopuli_base_10k_asr_de.pt", GERMAN, UNUSED_AND_ONE),
    voxpopuli("VOXPOPULI_ASR_BASE_10K_EN", "wav2vec2_voxpopuli_base_10k_asr_en.pt", VOXPOPULI_ENGLISH, &[1, 2, 3, 31]),
    voxpopuli("VOXPOPULI_ASR_BASE_10K_ES", "wav2vec2_voxpopuli_base_10k_asr_es.pt", SPANISH, UNUSED_AND_ONE),
    voxpopuli("VOXPOPULI_ASR_BASE_10K_FR", "wav2vec2_voxpopuli_base_10k_asr_fr.pt", FRENCH, UNUSED),
    voxpopuli("VOXPOPULI_ASR_BASE_10K_IT", "wav2vec2_voxpopuli_base_10k_asr_it.pt", ITALIAN, UNUSED),
];

impl Bundle {
    /// The bundle with this name or file name.
    pub fn named(name: &str) -> Option<&'static Bundle> {
        BUNDLES.iter().find(|bundle| bundle.name == name || bundle.file == name)
    }

    /// The sizes and options of the network, as in a `config.json`.
    pub fn config(&self) -> Config {
        let base =
            Config { model_type: "wav2vec2".into(), vocab_size: self.letters.chars().count() + 1, ..Config::default() };
        let large = Config {
            hidden_size: 1024,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            intermediate_size: 4096,
            ..base.clone()
        };
        match self.size {
            Size::Base => base,
            Size::Large => large,
            Size::LargeLv60k => {
                Config { feat_extract_norm: FeatureNorm::Layer, conv_bias: true, do_stable_layer_norm: true, ..large }
            }
        }
    }

    /// The classes in the format of a `vocab.json`: a JSON object from token to class.
    pub fn vocabulary(&self) -> String {
        let letters = self.letters.chars().map(String::from);
        let tokens = std::iter::once("-".to_string()).chain(letters).enumerate();
        let table: serde_json::Map<_, _> = tokens.map(|(class, token)| (token, class.into())).collect();
        serde_json::Value::from(table).to_string()
    }

    /// Loads the network from its file.
    ///
    /// # Errors
    /// [`Error::Weights`] for a file that is missing, damaged, or of another network.
    pub fn open<B: Backend>(&self, be: &B, file: &Path) -> Result<Wav2Vec2<B>> {
        let normalise = if self.size == Size::LargeLv60k { Normalise::Torchaudio } else { Normalise::No };
        load(be, self.config(), Weights::open_file(file)?, normalise, self.unused)
    }
}

/// Normalisation of recordings to mean 0 and variance 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalise {
    /// None: samples are used as they are.
    No,
    /// As in transformers: 1e-7 is added to the variance.
    Transformers,
    /// As in torchaudio: 1e-5 is added to the variance.
    Torchaudio,
}

impl Normalise {
    /// The number that is added to the variance; `None` without normalisation.
    pub(super) fn epsilon(self) -> Option<f64> {
        match self {
            Normalise::No => None,
            Normalise::Transformers => Some(1e-7),
            Normalise::Torchaudio => Some(1e-5),
        }
    }
}

/// Loads the network of `config` from weights with torchaudio's names. `unused` are the rows of unused classes in the
/// stored head; a file without them is accepted as well.
///
/// # Errors
/// [`Error::Weights`] for weights that do not match the config.
pub fn load<B: Backend>(
    be: &B,
    config: Config,
    weights: Weights,
    normalise: Normalise,
    unused: &[usize],
) -> Result<Wav2Vec2<B>> {
    let weights = weights.renamed(transformers_name);
    let classes = config.vocab_size;
    let stored = weights.shape("lm_head.weight").and_then(|shape| shape.first().copied()).unwrap_or(classes);
    let kept: Vec<usize> = (0..stored).filter(|row| stored == classes || !unused.contains(row)).collect();
    if kept.len() != classes {
        let reason = format!("has {} rows that are classes, expected {classes}; this is another network", kept.len());
        return Err(Error::weights(weights.origin(), "aux.weight", reason));
    }
    let head = Head { rows: stored, kept: &kept };
    Wav2Vec2::assemble(be, config, &weights, normalise, &head)
}

/// The name of a tensor in transformers' checkpoints. A prefix `model.`, which a wrapper module adds, is removed.
fn transformers_name(name: &str) -> String {
    let name = name.strip_prefix("model.").unwrap_or(name);
    let table = [
        ("feature_extractor.", "wav2vec2.feature_extractor."),
        ("encoder.feature_projection.", "wav2vec2.feature_projection."),
        ("encoder.transformer.", "wav2vec2.encoder."),
        ("aux.", "lm_head."),
    ];
    let renamed = table.iter().find_map(|(from, to)| Some(format!("{to}{}", name.strip_prefix(from)?)));
    renamed.unwrap_or_else(|| name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_have_as_many_classes_as_torchaudio_says() {
        let classes = |name| Bundle::named(name).map(|bundle| bundle.config().vocab_size);
        assert_eq!(classes("WAV2VEC2_ASR_BASE_960H"), Some(29));
        assert_eq!(classes("wav2vec2_voxpopuli_base_10k_asr_fr.pt"), Some(43));
        assert_eq!(classes("VOXPOPULI_ASR_BASE_10K_DE"), Some(32));
        assert_eq!(classes("VOXPOPULI_ASR_BASE_10K_ES"), Some(35));
        assert_eq!(classes("VOXPOPULI_ASR_BASE_10K_IT"), Some(37));
        assert_eq!(classes("VOXPOPULI_ASR_BASE_10K_EN"), Some(28));
        assert_eq!(Bundle::named("HUBERT_ASR_LARGE"), None);
        for bundle in &BUNDLES {
            let table: std::collections::HashMap<String, usize> = serde_json::from_str(&bundle.vocabulary()).unwrap();
            assert_eq!(table.len(), bundle.config().vocab_size, "{}: a letter twice", bundle.name);
            assert_eq!((table["-"], table["|"]), (0, 1));
        }
    }

    #[test]
    fn names_are_those_of_transformers() {
        for (from, to) in [
            ("aux.weight", "lm_head.weight"),
            (
                "model.encoder.transformer.layers.0.attention.k_proj.bias",
                "wav2vec2.encoder.layers.0.attention.k_proj.bias",
            ),
            ("encoder.feature_projection.projection.bias", "wav2vec2.feature_projection.projection.bias"),
            ("mask_generator.mask_embedding", "mask_generator.mask_embedding"),
        ] {
            assert_eq!(transformers_name(from), to);
        }
    }
}

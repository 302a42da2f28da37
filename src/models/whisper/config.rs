//! `config.json` and `generation_config.json` of a Whisper checkpoint in the Hugging Face layout.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::units::{EncoderFrame, Seconds};

/// Sizes of the network, and token lists of older checkpoints. Field names are those of `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Config {
    /// Width of every layer.
    pub d_model: usize,
    /// Encoder blocks.
    pub encoder_layers: usize,
    /// Encoder attention heads.
    pub encoder_attention_heads: usize,
    /// Width of the encoder's feed-forward layers.
    pub encoder_ffn_dim: usize,
    /// Decoder blocks.
    pub decoder_layers: usize,
    /// Decoder attention heads.
    pub decoder_attention_heads: usize,
    /// Width of the decoder's feed-forward layers.
    pub decoder_ffn_dim: usize,
    /// Mel bins: 80, or 128 since large-v3.
    pub num_mel_bins: usize,
    /// Encoder frames per window: 1500 = 30 s in the published models.
    pub max_source_positions: usize,
    /// Text positions, prompt included: 448 in the published models.
    pub max_target_positions: usize,
    /// Rows of the token embedding: 51864 (.en), 51865, 51866 (since large-v3).
    pub vocab_size: usize,
    /// Token that begins a transcript.
    #[serde(default)]
    pub decoder_start_token_id: Option<u32>,
    /// Token that ends a transcript.
    #[serde(default)]
    pub eos_token_id: Option<u32>,
    /// Suppressed tokens; older checkpoints keep the list here instead of in `generation_config.json`.
    #[serde(default)]
    pub suppress_tokens: Option<Vec<i64>>,
    /// Tokens suppressed at the first step; see `suppress_tokens`.
    #[serde(default)]
    pub begin_suppress_tokens: Option<Vec<i64>>,
    /// Activation of the feed-forward layers; only the exact GELU is supported.
    #[serde(default = "gelu")]
    pub activation_function: String,
}

fn gelu() -> String {
    "gelu".into()
}

/// All sizes zero, and the activation of every Whisper model.
impl Default for Config {
    fn default() -> Self {
        Config {
            d_model: 0,
            encoder_layers: 0,
            encoder_attention_heads: 0,
            encoder_ffn_dim: 0,
            decoder_layers: 0,
            decoder_attention_heads: 0,
            decoder_ffn_dim: 0,
            num_mel_bins: 0,
            max_source_positions: 0,
            max_target_positions: 0,
            vocab_size: 0,
            decoder_start_token_id: None,
            eos_token_id: None,
            suppress_tokens: None,
            begin_suppress_tokens: None,
            activation_function: gelu(),
        }
    }
}

/// The parts of `generation_config.json` that decoding uses. All optional: older checkpoints lack the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct GenerationConfig {
    /// Tokens never sampled.
    #[serde(default)]
    pub suppress_tokens: Option<Vec<i64>>,
    /// Tokens never sampled at the first step (a space, end of text).
    #[serde(default)]
    pub begin_suppress_tokens: Option<Vec<i64>>,
    /// Highest first timestamp, in timestamp tokens of 0.02 s.
    #[serde(default)]
    pub max_initial_timestamp_index: Option<usize>,
    /// `[layer, head]` of the alignment heads: cross-attention heads whose weights follow the audio in time.
    #[serde(default)]
    pub alignment_heads: Option<Vec<[usize; 2]>>,
    /// Whether the model has tokens for languages and tasks.
    #[serde(default)]
    pub is_multilingual: Option<bool>,
}

/// Upper bound of any size in a config; the largest in a published one is 51866.
const MAX_SIZE: usize = 1 << 20;

impl Config {
    /// Reads `config.json` of `folder`.
    ///
    /// # Errors
    /// [`Error::Model`] if the file is missing, is not JSON, is not a Whisper config, or holds impossible sizes.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|e| {
            Error::model(
                &path,
                format!("cannot be read ({e}); a model folder needs config.json, tokenizer.json and model.safetensors"),
            )
        })?;
        Self::parse(&text, &path)
    }

    /// Parses the text of a `config.json`; `path` names it in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let config: Config = serde_json::from_str(text)
            .map_err(|e| Error::model(path, format!("is not the config of a Whisper model: {e}")))?;
        config.checked(path)
    }

    /// Returns the config, or an error if its sizes are impossible.
    pub(super) fn checked(self, path: &Path) -> Result<Self> {
        self.check().map_err(|reason| Error::model(path, reason))?;
        Ok(self)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let sizes = [
            ("d_model", self.d_model),
            ("encoder_layers", self.encoder_layers),
            ("encoder_attention_heads", self.encoder_attention_heads),
            ("encoder_ffn_dim", self.encoder_ffn_dim),
            ("decoder_layers", self.decoder_layers),
            ("decoder_attention_heads", self.decoder_attention_heads),
            ("decoder_ffn_dim", self.decoder_ffn_dim),
            ("num_mel_bins", self.num_mel_bins),
            ("max_source_positions", self.max_source_positions),
            ("max_target_positions", self.max_target_positions),
            ("vocab_size", self.vocab_size),
        ];
        if let Some((name, value)) = sizes.into_iter().find(|(_, v)| *v == 0 || *v > MAX_SIZE) {
            return Err(format!("`{name}` is {value}, expected 1 to {MAX_SIZE}"));
        }
        for (name, heads) in [
            ("encoder_attention_heads", self.encoder_attention_heads),
            ("decoder_attention_heads", self.decoder_attention_heads),
        ] {
            if !self.d_model.is_multiple_of(heads) {
                return Err(format!("`d_model` {} is not a multiple of `{name}` {heads}", self.d_model));
            }
        }
        if self.num_mel_bins > 256 {
            return Err(format!("`num_mel_bins` is {}, expected at most 256", self.num_mel_bins));
        }
        if self.activation_function != "gelu" {
            return Err(format!("`activation_function` is `{}`, only `gelu` is known", self.activation_function));
        }
        Ok(())
    }

    /// Samples in one window.
    pub fn window_samples(&self) -> usize {
        self.max_source_positions * EncoderFrame::SAMPLES
    }

    /// Length of one window.
    pub fn window(&self) -> Seconds {
        EncoderFrame(self.max_source_positions).to_seconds()
    }
}

impl GenerationConfig {
    /// Reads `generation_config.json` of `folder`; a missing file gives the defaults.
    ///
    /// # Errors
    /// [`Error::Model`] if the file is there but cannot be used.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("generation_config.json");
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(e) => Err(Error::model(&path, format!("cannot be read: {e}"))),
        }
    }

    /// Parses the text of a `generation_config.json`; `path` names it in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        serde_json::from_str(text)
            .map_err(|e| Error::model(path, format!("is not a generation config: {e}; fetch the model again")))
    }

    /// Parses the text of the `config.json` that CTranslate2's converters write; `path` names it in errors. A list that
    /// is `null` suppresses nothing, as in CTranslate2; a missing list stands for openai-whisper's default.
    ///
    /// # Errors
    /// [`Error::Model`] if it is not JSON, or a field that should be a list is not one.
    pub fn parse_ctranslate2(text: &str, path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Lists {
            #[serde(default, deserialize_with = "or_null")]
            suppress_ids: Option<Option<Vec<i64>>>,
            #[serde(default, deserialize_with = "or_null")]
            suppress_ids_begin: Option<Option<Vec<i64>>>,
            alignment_heads: Option<Vec<[usize; 2]>>,
        }
        let lists: Lists = serde_json::from_str(text)
            .map_err(|e| Error::model(path, format!("is not the config of a CTranslate2 model: {e}")))?;
        Ok(GenerationConfig {
            suppress_tokens: lists.suppress_ids.map(Option::unwrap_or_default),
            begin_suppress_tokens: lists.suppress_ids_begin.map(Option::unwrap_or_default),
            alignment_heads: lists.alignment_heads,
            ..GenerationConfig::default()
        })
    }
}

/// Distinguishes `null` (`Some(None)`) from a missing field (`None`).
fn or_null<'de, D: serde::Deserializer<'de>>(value: D) -> std::result::Result<Option<Option<Vec<i64>>>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &str = r#"{"d_model":384,"encoder_layers":4,"encoder_attention_heads":6,"encoder_ffn_dim":1536,
        "decoder_layers":4,"decoder_attention_heads":6,"decoder_ffn_dim":1536,"num_mel_bins":80,
        "max_source_positions":1500,"max_target_positions":448,"vocab_size":51865}"#;

    #[test]
    fn window_of_the_published_models_is_30_s() {
        let config = Config::parse(TINY, Path::new("config.json")).unwrap();
        assert_eq!(config.window_samples(), 480_000);
        assert_eq!(config.window(), Seconds(30.0));
    }

    #[test]
    fn impossible_sizes_are_refused_by_name() {
        for (from, to, name) in [
            ("\"d_model\":384", "\"d_model\":0", "d_model"),
            ("\"d_model\":384", "\"d_model\":385", "encoder_attention_heads"),
            ("\"vocab_size\":51865", "\"vocab_size\":99999999999", "vocab_size"),
            ("\"num_mel_bins\":80", "\"num_mel_bins\":300", "num_mel_bins"),
        ] {
            let error = Config::parse(&TINY.replace(from, to), Path::new("config.json")).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

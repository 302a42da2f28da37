//! `config.json` and `preprocessor_config.json` of a wav2vec2-CTC checkpoint in the Hugging Face layout.

use std::path::Path;

use serde::Deserialize;

use crate::engine::wav2vec2_ops::{MAX_SAMPLE_CHANNELS, MAX_SAMPLE_TAPS};
use crate::error::{Error, Result};

/// Norms of the feature extractor; the names are the values of `feat_extract_norm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureNorm {
    /// After the first convolution only, each channel over time (base).
    #[default]
    Group,
    /// After every convolution, each frame over its channels (large, XLS-R).
    Layer,
}

/// Sizes and options of the network. Field names and default values are those of transformers' `Wav2Vec2Config`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Architecture; only `wav2vec2` is supported.
    pub model_type: String,
    /// Number of classes, including the blank.
    pub vocab_size: usize,
    /// Width of the transformer.
    pub hidden_size: usize,
    /// Blocks of the transformer.
    pub num_hidden_layers: usize,
    /// Attention heads of the transformer.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layers.
    pub intermediate_size: usize,
    /// Activation of the transformer; only the exact GELU is supported.
    pub hidden_act: String,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// Norms of the feature extractor.
    pub feat_extract_norm: FeatureNorm,
    /// Activation of the feature extractor; only the exact GELU is supported.
    pub feat_extract_activation: String,
    /// Output channels of each convolution of the feature extractor.
    pub conv_dim: Vec<usize>,
    /// Stride of each convolution.
    pub conv_stride: Vec<usize>,
    /// Taps of each convolution.
    pub conv_kernel: Vec<usize>,
    /// Whether the convolutions have a bias.
    pub conv_bias: bool,
    /// Taps of the positional convolution.
    pub num_conv_pos_embeddings: usize,
    /// Groups of the positional convolution.
    pub num_conv_pos_embedding_groups: usize,
    /// Whether layer norms precede the sublayers of a block (pre-norm: large, XLS-R) or follow them (post-norm: base).
    pub do_stable_layer_norm: bool,
    /// The CTC blank.
    pub pad_token_id: usize,
    /// Convolutions that reduce the frames of the output; not supported.
    pub add_adapter: bool,
    /// Width of the adapters of a language (MMS); not supported.
    pub adapter_attn_dim: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            model_type: String::new(),
            vocab_size: 32,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".into(),
            layer_norm_eps: 1e-5,
            feat_extract_norm: FeatureNorm::Group,
            feat_extract_activation: "gelu".into(),
            conv_dim: vec![512; 7],
            conv_stride: vec![5, 2, 2, 2, 2, 2, 2],
            conv_kernel: vec![10, 3, 3, 3, 3, 2, 2],
            conv_bias: false,
            num_conv_pos_embeddings: 128,
            num_conv_pos_embedding_groups: 16,
            do_stable_layer_norm: false,
            pad_token_id: 0,
            add_adapter: false,
            adapter_attn_dim: None,
        }
    }
}

/// Upper bound of any size in a config.
const MAX_SIZE: usize = 1 << 20;
/// Upper bound of the numbers of blocks and convolutions.
const MAX_LAYERS: usize = 512;

impl Config {
    /// Reads `config.json` of `folder`.
    ///
    /// # Errors
    /// [`Error::Model`] if the file is missing, is not JSON, is of another network, or holds impossible sizes.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|e| Error::model(&path, format!("cannot be read: {e}")))?;
        Self::parse(&text, &path)
    }

    /// Parses the text of a `config.json`; `path` names it in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let config: Config = serde_json::from_str(text)
            .map_err(|e| Error::model(path, format!("is not the config of a wav2vec2 model: {e}")))?;
        config.check().map_err(|reason| Error::model(path, reason))?;
        Ok(config)
    }

    fn check(&self) -> std::result::Result<(), String> {
        if self.model_type != "wav2vec2" {
            return Err(format!("is of a `{}` model, expected wav2vec2", self.model_type));
        }
        if self.hidden_act != "gelu" || self.feat_extract_activation != "gelu" {
            return Err(format!("asks for the activation {}; only gelu exists", self.hidden_act));
        }
        if self.add_adapter || self.adapter_attn_dim.is_some() {
            return Err("asks for adapters, which are not supported".into());
        }
        // `LayerNorm` has PyTorch's default epsilon, which is a constant.
        if self.layer_norm_eps != 1e-5 {
            return Err(format!("has layer_norm_eps {}; only 1e-5 is supported", self.layer_norm_eps));
        }
        let stack = self.conv_dim.len();
        if stack == 0 || stack > MAX_LAYERS || self.conv_stride.len() != stack || self.conv_kernel.len() != stack {
            return Err("names convolutions without channels, strides or taps".into());
        }
        if self.feat_extract_norm == FeatureNorm::Group && !self.has_fused_first_conv() {
            let got = (self.conv_dim[0], self.conv_kernel[0], self.conv_stride[0]);
            return Err(format!(
                "begins with a convolution of {} channels, {} taps and stride {} and a group norm; \
                 {MAX_SAMPLE_CHANNELS}, {MAX_SAMPLE_TAPS} and {MAX_SAMPLE_TAPS} are the most",
                got.0, got.1, got.2
            ));
        }
        let (width, heads) = (self.hidden_size, self.num_attention_heads);
        let sizes = [self.vocab_size, width, heads, self.intermediate_size, self.num_conv_pos_embeddings];
        let convolutions = self.conv_dim.iter().chain(&self.conv_stride).chain(&self.conv_kernel);
        if sizes.iter().chain(convolutions).any(|size| *size == 0 || *size > MAX_SIZE) {
            return Err(format!("has a size of zero or more than {MAX_SIZE}"));
        }
        if self.num_hidden_layers > MAX_LAYERS || self.num_conv_pos_embeddings > 1024 {
            return Err("has more layers or taps than any network of its kind".into());
        }
        let groups = self.num_conv_pos_embedding_groups;
        if !width.is_multiple_of(heads) || groups == 0 || !width.is_multiple_of(groups) {
            return Err(format!("divides a width of {width} into {heads} heads and {groups} groups"));
        }
        if self.pad_token_id >= self.vocab_size {
            return Err(format!("has pad_token_id {} of {} classes", self.pad_token_id, self.vocab_size));
        }
        Ok(())
    }

    /// Whether [`SampleConv`](crate::engine::wav2vec2_ops::SampleConv) can compute the first convolution.
    pub(super) fn has_fused_first_conv(&self) -> bool {
        self.conv_dim[0] <= MAX_SAMPLE_CHANNELS
            && self.conv_kernel[0] <= MAX_SAMPLE_TAPS
            && self.conv_stride[0] <= MAX_SAMPLE_TAPS
    }

    /// Frames after the first `layers` convolutions, for `samples` samples.
    pub fn frames_after(&self, samples: usize, layers: usize) -> usize {
        let shapes = self.conv_kernel.iter().zip(&self.conv_stride).take(layers);
        shapes.fold(samples, |frames, (taps, stride)| frames.checked_sub(*taps).map_or(0, |rest| rest / stride + 1))
    }

    /// Output frames for `samples` samples.
    pub fn frames(&self, samples: usize) -> usize {
        self.frames_after(samples, self.conv_dim.len())
    }

    /// Samples from one frame to the next: 320 in the published models.
    pub fn hop(&self) -> usize {
        self.conv_stride.iter().fold(1, |hop: usize, stride| hop.saturating_mul(*stride))
    }

    /// Receptive field of a frame in samples, which is also the minimum length of a clip: 400 in the published models.
    pub fn field(&self) -> usize {
        let shapes = self.conv_kernel.iter().zip(&self.conv_stride).rev();
        shapes.fold(1, |field: usize, (taps, stride)| (field - 1).saturating_mul(*stride).saturating_add(*taps))
    }
}

/// Whether recordings are normalised to mean 0 and variance 1: `do_normalize` of `preprocessor_config.json` in
/// `folder`; true if there is no such file or field, as in transformers.
///
/// # Errors
/// [`Error::Model`] if the file cannot be read or is not JSON.
pub fn normalises(folder: &Path) -> Result<bool> {
    let path = folder.join("preprocessor_config.json");
    if !path.is_file() {
        return Ok(true);
    }
    let text = std::fs::read_to_string(&path).map_err(|e| Error::model(&path, format!("cannot be read: {e}")))?;
    normalises_as(&text, &path)
}

/// `do_normalize` from the text of a `preprocessor_config.json`, true if it is missing; `path` names the file in errors.
///
/// # Errors
/// [`Error::Model`] if it is not JSON.
pub fn normalises_as(text: &str, path: &Path) -> Result<bool> {
    #[derive(Deserialize)]
    struct Preprocessor {
        #[serde(default = "yes")]
        do_normalize: bool,
    }
    fn yes() -> bool {
        true
    }
    let read: Preprocessor =
        serde_json::from_str(text).map_err(|e| Error::model(path, format!("is not valid: {e}")))?;
    Ok(read.do_normalize)
}

//! Opening a Whisper checkpoint of any format: config, generation config, and weights under the names of the Hugging
//! Face layout.

use std::path::Path;

use serde_json::Value;

use super::checkpoint::{CTRANSLATE2_WEIGHTS, Checkpoint, Format};
use super::config::{Config, GenerationConfig};
use super::{built_in, names};
use crate::engine::weights::Weights;
use crate::error::{Error, Result};

/// Newest supported revision of CTranslate2's `WhisperSpec`.
const REVISION: i64 = 3;
/// CTranslate2's number of the exact GELU. Before revision 3 it was 1, which since then is the number of the tanh
/// approximation.
const GELU: i64 = 3;
const GELU_BEFORE_REVISION_3: i64 = 1;
/// Width of an attention head in all published models.
const HEAD_WIDTH: usize = 64;

/// An opened checkpoint; its tensors are read when the model is loaded.
pub struct Files {
    /// Sizes.
    pub config: Config,
    /// Token lists and limits for decoding.
    pub generation: GenerationConfig,
    /// The tensors, under the names of the Hugging Face layout.
    pub weights: Weights,
}

impl Checkpoint {
    /// Opens the files of the checkpoint.
    ///
    /// # Errors
    /// [`Error::Model`] or [`Error::Weights`] naming the file, if it is missing, damaged, or not of a Whisper model.
    pub fn open(&self) -> Result<Files> {
        match self.format {
            Format::HuggingFace => Ok(Files {
                config: Config::read(&self.path)?,
                generation: GenerationConfig::read(&self.path)?,
                weights: Weights::open(&self.path)?,
            }),
            Format::CTranslate2 => ctranslate2(&self.path),
            Format::OpenAi | Format::Ggml => openai(&self.path),
        }
    }
}

impl Files {
    /// Whether the model has tokens for languages and tasks. If the checkpoint does not state it, the size of the
    /// vocabulary decides, as in openai-whisper.
    pub fn is_multilingual(&self) -> bool {
        self.generation.is_multilingual.unwrap_or(self.config.vocab_size >= 51_865)
    }
}

/// Opens `model.bin` and `config.json`; the latter is missing in conversions before CTranslate2 3.0.
fn ctranslate2(folder: &Path) -> Result<Files> {
    let file = folder.join(CTRANSLATE2_WEIGHTS);
    let weights = Weights::open_file(&file)?;
    check_specification(&file, &weights)?;
    let config = ctranslate2_config(&file, &weights)?;
    let path = folder.join("config.json");
    let mut generation = match std::fs::read_to_string(&path) {
        Ok(text) => GenerationConfig::parse_ctranslate2(&text, &path)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => GenerationConfig::default(),
        Err(e) => return Err(Error::model(&path, format!("cannot be read: {e}"))),
    };
    generation.alignment_heads = generation.alignment_heads.or_else(|| built_in::alignment_heads(&config, folder));
    Ok(Files { config, generation, weights: weights.split(names::ctranslate2::parts)? })
}

fn check_specification(file: &Path, weights: &Weights) -> Result<()> {
    let facts = weights.metadata();
    let spec = facts["spec"].as_str().unwrap_or("another program");
    if spec != "WhisperSpec" {
        return Err(Error::model(file, format!("is a model of {spec}, expected CTranslate2's WhisperSpec")));
    }
    let revision = facts["revision"].as_i64().unwrap_or_default();
    if revision > REVISION {
        let reason = format!("has revision {revision} of WhisperSpec; {REVISION} is the newest that can be read");
        return Err(Error::model(file, reason));
    }
    let gelu = if revision < 3 { GELU_BEFORE_REVISION_3 } else { GELU };
    if let Some(activation) = weights.integer("decoder/activation").filter(|number| *number != gelu) {
        let reason = format!("has the activation {activation}, expected GELU, which every Whisper model has");
        return Err(Error::model(file, reason));
    }
    let [embedding, projection] = ["decoder/embeddings/weight", "decoder/projection/weight"];
    if weights.contains(projection) && !weights.are_equal(embedding, projection) {
        return Err(Error::weights(file, projection, "is not the embedding, as in every Whisper model"));
    }
    Ok(())
}

/// Sizes of the network, from the shapes of the variables; errors name `file`.
fn ctranslate2_config(file: &Path, weights: &Weights) -> Result<Config> {
    let size = |name: &str, axis: usize| {
        let shape = weights.shape(name).ok_or_else(|| Error::weights(file, name, "missing; fetch the model again"))?;
        let wrong = || Error::weights(file, name, format!("has the shape {shape:?}; fetch the model again"));
        shape.get(axis).copied().ok_or_else(wrong)
    };
    let layers = |side: &str| {
        let has = |layer: &usize| weights.contains(&format!("{side}/layer_{layer}/ffn/linear_0/weight"));
        (0..).take_while(has).count()
    };
    let d_model = size("decoder/embeddings/weight", 1)?;
    let heads = |side: &str| {
        let stored = weights.integer(&format!("{side}/num_heads"));
        stored.map_or(d_model / HEAD_WIDTH, |heads| usize::try_from(heads).unwrap_or_default())
    };
    Config {
        d_model,
        encoder_layers: layers("encoder"),
        encoder_attention_heads: heads("encoder"),
        encoder_ffn_dim: size("encoder/layer_0/ffn/linear_0/weight", 0)?,
        decoder_layers: layers("decoder"),
        decoder_attention_heads: heads("decoder"),
        decoder_ffn_dim: size("decoder/layer_0/ffn/linear_0/weight", 0)?,
        num_mel_bins: size("encoder/conv1/weight", 1)?,
        max_source_positions: size("encoder/position_encodings/encodings", 0)?,
        max_target_positions: size("decoder/position_encodings/encodings", 0)?,
        vocab_size: size("decoder/embeddings/weight", 0)?,
        ..Config::default()
    }
    .checked(file)
}

/// Opens a single file with `dims` and tensors under the names of openai-whisper.
fn openai(file: &Path) -> Result<Files> {
    let weights = Weights::open_file(file)?;
    // A dictionary in the published files; fine-tuning scripts store openai-whisper's `ModelDimensions` itself.
    let dims = match &weights.metadata()["dims"] {
        object if object["state"].is_object() => object["state"].clone(),
        dictionary => dictionary.clone(),
    };
    let size = |name: &str| dims[name].as_u64().and_then(|size| usize::try_from(size).ok()).unwrap_or_default();
    if dims["n_vocab"] == Value::Null {
        let reason = "has no `dims`: it is not a model of openai-whisper. A checkpoint of transformers must lie in a folder \
                      with its config.json, as pytorch_model.bin";
        return Err(Error::model(file, reason));
    }
    let (width, text_width) = (size("n_audio_state"), size("n_text_state"));
    if width != text_width {
        let reason = format!("has encoder and decoder of different widths, {width} and {text_width}");
        return Err(Error::model(file, reason));
    }
    let config = Config {
        d_model: width,
        encoder_layers: size("n_audio_layer"),
        encoder_attention_heads: size("n_audio_head"),
        encoder_ffn_dim: width.saturating_mul(4),
        decoder_layers: size("n_text_layer"),
        decoder_attention_heads: size("n_text_head"),
        decoder_ffn_dim: width.saturating_mul(4),
        num_mel_bins: size("n_mels"),
        max_source_positions: size("n_audio_ctx"),
        max_target_positions: size("n_text_ctx"),
        vocab_size: size("n_vocab"),
        ..Config::default()
    }
    .checked(file)?;
    let alignment_heads = built_in::alignment_heads(&config, file);
    // Without token lists, decoding suppresses the same tokens as openai-whisper.
    let generation = GenerationConfig { alignment_heads, ..GenerationConfig::default() };
    Ok(Files { config, generation, weights: weights.split(names::openai::parts)? })
}

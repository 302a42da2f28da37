//! Models and a sample recording embedded in the binary: a small English Whisper model and a wav2vec2 aligner in the
//! Hugging Face layout, a diarization pipeline in pyannote's layout, and a sample conversation. With them the program
//! transcribes without any download. `assets/MODEL_CARD.md` states their intended use and limits.

/// The files of a Whisper model folder, as bytes.
#[derive(Clone, Copy)]
pub struct StaticModel {
    /// `config.json`.
    pub config: &'static str,
    /// `generation_config.json`.
    pub generation_config: &'static str,
    /// `preprocessor_config.json`.
    pub preprocessor_config: &'static str,
    /// `tokenizer.json`.
    pub tokenizer: &'static str,
    /// `model.safetensors`.
    pub weights: &'static [u8],
}

/// The model named `builtin`.
pub static MODEL: StaticModel = StaticModel {
    config: include_str!("../assets/builtin/config.json"),
    generation_config: include_str!("../assets/builtin/generation_config.json"),
    preprocessor_config: include_str!("../assets/builtin/preprocessor_config.json"),
    tokenizer: include_str!("../assets/builtin/tokenizer.json"),
    weights: include_bytes!("../assets/builtin/model.safetensors"),
};

/// The files of a wav2vec2 aligner's folder, as bytes.
#[derive(Clone, Copy)]
pub struct StaticAligner {
    /// `config.json`.
    pub config: &'static str,
    /// `preprocessor_config.json`. It requests samples normalised to mean 0 and variance 1.
    pub preprocessor_config: &'static str,
    /// `vocab.json`.
    pub vocabulary: &'static str,
    /// `model.safetensors`.
    pub weights: &'static [u8],
}

/// The aligner named `builtin`, for English.
pub static ALIGNER: StaticAligner = StaticAligner {
    config: include_str!("../assets/aligner/config.json"),
    preprocessor_config: include_str!("../assets/aligner/preprocessor_config.json"),
    vocabulary: include_str!("../assets/aligner/vocab.json"),
    weights: include_bytes!("../assets/aligner/model.safetensors"),
};

/// The files of a diarization pipeline in pyannote's layout, as bytes.
#[derive(Clone, Copy)]
pub struct StaticDiarizer {
    /// `config.yaml`.
    pub config: &'static str,
    /// `segmentation/model.safetensors`.
    pub segmentation: &'static [u8],
    /// `embedding/model.safetensors`.
    pub embedding: &'static [u8],
    /// `plda/xvec_transform.npz`.
    pub transform: &'static [u8],
    /// `plda/plda.npz`.
    pub plda: &'static [u8],
}

/// The diarization pipeline named `builtin`.
pub static DIARIZER: StaticDiarizer = StaticDiarizer {
    config: include_str!("../assets/diarization/config.yaml"),
    segmentation: include_bytes!("../assets/diarization/segmentation/model.safetensors"),
    embedding: include_bytes!("../assets/diarization/embedding/model.safetensors"),
    transform: include_bytes!("../assets/diarization/plda/xvec_transform.npz"),
    plda: include_bytes!("../assets/diarization/plda/plda.npz"),
};

/// The sample conversation, a FLAC file.
pub static SAMPLE: &[u8] = include_bytes!("../assets/sample/conversation.flac");

/// The reference transcript of [`SAMPLE`] with speakers and times, as JSON.
pub static SAMPLE_SCRIPT: &str = include_str!("../assets/sample/conversation.json");

//! Recordings and models for the tests, made from the built-in assets.

use std::path::PathBuf;
use std::sync::OnceLock;

use diarist::audio::{DecodeOptions, decode_bytes, ignore_progress};

use crate::dsl::Dir;

/// The built-in conversation, `[n]` f32 at 16 kHz.
fn conversation() -> &'static [f32] {
    static SAMPLES: OnceLock<Vec<f32>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let sample = diarist::assets::SAMPLE;
        decode_bytes(sample, "conversation.flac", &DecodeOptions::default(), ignore_progress).unwrap().samples
    })
}

impl Dir {
    /// Writes the first `seconds` of the conversation, repeated if needed, as a 16-bit WAV file.
    pub fn speech(&self, name: &str, seconds: f64) -> PathBuf {
        self.wav(name, conversation().iter().copied().cycle().take((seconds * 16_000.0) as usize))
    }

    /// Writes `seconds` of the conversation from the time `start` (seconds) on, repeated if needed.
    #[allow(dead_code)] // used by the tests of --manifest
    pub fn cut(&self, name: &str, start: f64, seconds: f64) -> PathBuf {
        let [start, count] = [start, seconds].map(|seconds| (seconds * 16_000.0) as usize);
        self.wav(name, conversation().iter().copied().cycle().skip(start).take(count))
    }

    /// Writes `seconds` of digital silence.
    pub fn silence(&self, name: &str, seconds: f64) -> PathBuf {
        self.wav(name, std::iter::repeat_n(0.0, (seconds * 16_000.0) as usize))
    }

    /// Writes these samples as 32-bit float, including NaN.
    pub fn float_wav(&self, name: &str, samples: &[f32]) {
        let path = self.write(name, b"");
        let sample_format = hound::SampleFormat::Float;
        let spec = hound::WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: 32, sample_format };
        let mut file = hound::WavWriter::create(&path, spec).unwrap();
        samples.iter().for_each(|sample| file.write_sample(*sample).unwrap());
        file.finalize().unwrap();
    }

    fn wav(&self, name: &str, samples: impl Iterator<Item = f32>) -> PathBuf {
        let path = self.write(name, b"");
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 16_000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut file = hound::WavWriter::create(&path, spec).unwrap();
        for sample in samples {
            file.write_sample((sample * 32_767.0) as i16).unwrap();
        }
        file.finalize().unwrap();
        path
    }

    /// Writes the built-in aligner as a folder in the Hugging Face layout.
    pub fn aligner(&self, name: &str) {
        let aligner = diarist::assets::ALIGNER;
        self.write(&format!("{name}/config.json"), aligner.config);
        self.write(&format!("{name}/preprocessor_config.json"), aligner.preprocessor_config);
        self.write(&format!("{name}/vocab.json"), aligner.vocabulary);
        self.write(&format!("{name}/model.safetensors"), aligner.weights);
    }

    /// Writes the built-in recogniser as a folder in the Hugging Face layout.
    pub fn model(&self, name: &str) {
        let model = diarist::assets::MODEL;
        self.write(&format!("{name}/config.json"), model.config);
        self.write(&format!("{name}/generation_config.json"), model.generation_config);
        self.write(&format!("{name}/preprocessor_config.json"), model.preprocessor_config);
        self.write(&format!("{name}/tokenizer.json"), model.tokenizer);
        self.write(&format!("{name}/model.safetensors"), model.weights);
    }
}

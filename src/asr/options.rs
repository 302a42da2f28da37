//! Options of speech recognition. Names and defaults are WhisperX's where it has them.

use crate::error::{Error, Result};

/// Whisper's task: transcription or translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Task {
    /// Text in the spoken language.
    #[default]
    Transcribe,
    /// English text.
    Translate,
}

/// Options of [`transcribe`](super::transcribe).
#[derive(Clone, Debug, PartialEq)]
pub struct AsrOptions {
    /// Spoken language, as a code (`de`) or name (`German`); `None`: detected once, from the start of the recording.
    pub language: Option<String>,
    /// Transcription or translation.
    pub task: Task,
    /// Chunks decoded in one batch. Results do not depend on it.
    pub batch_size: usize,
    /// Beams at temperature 0. One beam is greedy search.
    pub beam_size: usize,
    /// Samples drawn at temperatures above 0; the best one is kept.
    pub best_of: usize,
    /// Beam search ends after `round(beam_size * patience)` hypotheses (arXiv:2204.05424).
    pub patience: f64,
    /// Hypotheses are ranked by their log-probability divided by `length ^ length_penalty`.
    pub length_penalty: f64,
    /// Positive logits of tokens that were already emitted are divided by this, negative ones multiplied; 1 is off.
    pub repetition_penalty: f64,
    /// No n-gram of this many tokens is emitted twice; 0 is off.
    pub no_repeat_ngram_size: usize,
    /// Sampling temperatures (temperature fallback), tried in this order until a result passes the two thresholds
    /// below.
    pub temperatures: Vec<f64>,
    /// A result with a higher compression ratio is repetitive, and the next temperature is tried. `None`: not checked.
    pub compression_ratio_threshold: Option<f64>,
    /// A result with a lower mean log-probability is doubtful, and the next temperature is tried. `None`: not checked.
    pub log_prob_threshold: Option<f64>,
    /// A chunk with a higher probability of `<|nospeech|>` and a doubtful result is skipped. `None`: never.
    pub no_speech_threshold: Option<f64>,
    /// Whether the prompt of each window is the text before it. Only without VAD: chunks are independent.
    pub condition_on_previous_text: bool,
    /// The text of a window decoded at a temperature above this is not part of the next window's prompt.
    pub prompt_reset_on_temperature: f64,
    /// Previous text in the prompt, for names, spelling and style. Used for every chunk; without VAD, for the first
    /// window.
    pub initial_prompt: Option<String>,
    /// Words to favour: part of every prompt, unless there is a `prefix`.
    pub hotwords: Option<String>,
    /// The forced beginning of the transcript of every chunk; without VAD, of the first window.
    pub prefix: Option<String>,
    /// Whether the first token may not be a blank or end-of-text.
    pub suppress_blank: bool,
    /// Token ids that are never emitted; -1 stands for the model's own list (without VAD, as in faster-whisper: for all
    /// tokens of symbols that are not spoken, and the task tokens).
    pub suppress_tokens: Vec<i64>,
    /// Whether to suppress every token with a digit or one of `%$£`, so that numbers are written as words.
    pub suppress_numerals: bool,
    /// Whether to decode without timestamp tokens. With timestamps, chunks are split into segments.
    pub without_timestamps: bool,
    /// Whether to compute word times from the decoder's cross-attention: see [`word_times`](super::word_times).
    pub word_timestamps: bool,
    /// Latest time of the first timestamp, in seconds.
    pub max_initial_timestamp: f64,
    /// Most tokens of a chunk's transcript, if lower than what the model's positions allow.
    pub max_new_tokens: Option<usize>,
    /// The parts of the recording to transcribe: alternating starts and ends in seconds. A last start without an end
    /// means the end of the recording. Empty: all of it. Only without VAD.
    pub clip_timestamps: Vec<f64>,
    /// Whether to detect the language of each chunk or window.
    pub multilingual: bool,
    /// Most windows used for language detection.
    pub language_detection_segments: usize,
    /// The first window whose language has a higher probability decides; if there is none, the majority.
    pub language_detection_threshold: f64,
    /// Seed of the sampling at temperatures above 0.
    pub seed: u64,
}

impl Default for AsrOptions {
    fn default() -> Self {
        AsrOptions {
            language: None,
            task: Task::Transcribe,
            batch_size: 8,
            beam_size: 5,
            best_of: 5,
            patience: 1.0,
            length_penalty: 1.0,
            repetition_penalty: 1.0,
            no_repeat_ngram_size: 0,
            temperatures: vec![0.0, 0.2, 0.4, 0.6, 0.8, 1.0],
            compression_ratio_threshold: Some(2.4),
            log_prob_threshold: Some(-1.0),
            no_speech_threshold: Some(0.6),
            condition_on_previous_text: false,
            prompt_reset_on_temperature: 0.5,
            initial_prompt: None,
            hotwords: None,
            prefix: None,
            suppress_blank: true,
            suppress_tokens: vec![-1],
            suppress_numerals: false,
            without_timestamps: true,
            word_timestamps: false,
            max_initial_timestamp: 1.0,
            max_new_tokens: None,
            clip_timestamps: Vec::new(),
            multilingual: false,
            language_detection_segments: 1,
            language_detection_threshold: 0.5,
            seed: 0,
        }
    }
}

/// Sanity limits: larger values are mistakes that would exhaust memory.
const MAX_BATCH: usize = 4096;
const MAX_BEAMS: usize = 64;

impl AsrOptions {
    /// Validates the options.
    ///
    /// # Errors
    /// [`Error::Config`] naming the option, its value and the accepted range.
    pub fn check(&self) -> Result<()> {
        let count = |option, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::config(option, value, format!("expected {low} to {high}")))
        };
        count("batch_size", self.batch_size, 1, MAX_BATCH)?;
        count("beam_size", self.beam_size, 1, MAX_BEAMS)?;
        count("best_of", self.best_of, 1, MAX_BEAMS)?;
        count("no_repeat_ngram_size", self.no_repeat_ngram_size, 0, 1000)?;
        count("language_detection_segments", self.language_detection_segments, 1, 10_000)?;
        let positive = |option, value: f64| {
            if value.is_finite() && value > 0.0 {
                return Ok(());
            }
            Err(Error::config(option, value, "expected a number above 0"))
        };
        positive("patience", self.patience)?;
        positive("repetition_penalty", self.repetition_penalty)?;
        if self.max_finished() == 0 {
            let rule =
                format!("with `beam_size` {} no hypothesis would be looked for; raise one of them", self.beam_size);
            return Err(Error::config("patience", self.patience, rule));
        }
        let finite = |option, value: f64| {
            if value.is_finite() { Ok(()) } else { Err(Error::config(option, value, "expected a finite number")) }
        };
        finite("length_penalty", self.length_penalty)?;
        finite("max_initial_timestamp", self.max_initial_timestamp)?;
        if self.max_initial_timestamp < 0.0 {
            return Err(Error::config(
                "max_initial_timestamp",
                self.max_initial_timestamp,
                "expected 0 or more seconds",
            ));
        }
        if self.temperatures.is_empty() {
            return Err(Error::config("temperature", "none", "expected at least one temperature"));
        }
        if let Some(bad) = self.clip_timestamps.iter().find(|t| !t.is_finite() || **t < 0.0) {
            return Err(Error::config("clip_timestamps", bad, "expected 0 or more seconds"));
        }
        match self.temperatures.iter().find(|t| !t.is_finite() || **t < 0.0) {
            Some(bad) => Err(Error::config("temperature", bad, "expected 0 or more")),
            None if self.max_new_tokens == Some(0) => Err(Error::config("max_new_tokens", 0, "expected 1 or more")),
            None => Ok(()),
        }
    }

    /// Number of finished hypotheses that end a beam search. Rounded half away from zero, as in CTranslate2.
    pub(super) fn max_finished(&self) -> usize {
        (self.beam_size as f32 * self.patience as f32).round() as usize
    }

    /// Most cache rows (beams or samples) of a slot at any temperature.
    pub(super) fn rows_per_slot(&self) -> usize {
        let rows = |t: &f64| if *t > 0.0 { self.best_of } else { self.beam_size };
        self.temperatures.iter().map(rows).max().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_per_slot_depend_on_the_temperatures() {
        let options = AsrOptions { beam_size: 2, best_of: 7, ..AsrOptions::default() };
        assert_eq!(options.rows_per_slot(), 7);
        assert_eq!(AsrOptions { temperatures: vec![0.0], ..options.clone() }.rows_per_slot(), 2);
    }

    #[test]
    fn errors_name_the_invalid_option() {
        AsrOptions::default().check().unwrap();
        let base = AsrOptions::default;
        for (options, name) in [
            (AsrOptions { beam_size: 0, ..base() }, "beam_size"),
            (AsrOptions { patience: f64::NAN, ..base() }, "patience"),
            (AsrOptions { patience: 0.05, ..base() }, "patience"),
            (AsrOptions { temperatures: vec![0.0, -0.2], ..base() }, "temperature"),
            (AsrOptions { temperatures: vec![], ..base() }, "temperature"),
            (AsrOptions { max_new_tokens: Some(0), ..base() }, "max_new_tokens"),
            (AsrOptions { batch_size: 0, ..base() }, "batch_size"),
        ] {
            let error = options.check().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}

//! Temperature fallback: acceptance thresholds of a result, and the choice among several attempts.
//!
//! Source: faster-whisper `transcribe.py::generate_with_fallback` and the no-speech check of `generate_segments`.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::options::AsrOptions;

/// What one search returned for a chunk.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Tokens of the best hypothesis; forced prefix included, end-of-text not.
    pub tokens: Vec<u32>,
    /// Their text, without special tokens.
    pub text: String,
    /// Mean log-probability per token, end-of-text counted.
    pub avg_logprob: f64,
    /// Probability of `<|nospeech|>`; `None` if the model has no such token.
    pub no_speech_prob: Option<f64>,
    /// See [`compression_ratio`]; of the trimmed text.
    pub compression_ratio: f64,
    /// Temperature of the search; of the last one tried, where none was good.
    pub temperature: f64,
}

/// What to do after an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Accept this result.
    Accept(Attempt),
    /// Search again at this temperature.
    Retry(f64),
}

/// The attempts at one chunk.
#[derive(Clone, Debug, Default)]
pub struct Fallback {
    /// Attempts made.
    made: usize,
    /// The likeliest attempt.
    best: Option<Attempt>,
    /// The likeliest attempt that was not repetitive.
    best_not_repetitive: Option<Attempt>,
}

impl Fallback {
    /// The number of attempts made so far.
    pub fn attempts(&self) -> usize {
        self.made
    }

    /// Judges an attempt made at temperature number [`attempts`](Self::attempts). When no temperature is left, the
    /// likeliest attempt that is not repetitive is the result; if all are, the likeliest.
    pub fn judge(&mut self, attempt: Attempt, options: &AsrOptions) -> Verdict {
        self.made += 1;
        let repetitive = options.compression_ratio_threshold.is_some_and(|most| attempt.compression_ratio > most);
        let doubtful = options.log_prob_threshold.is_some_and(|least| attempt.avg_logprob < least);
        // Silence has a low probability at every temperature.
        let silent = doubtful && is_above(attempt.no_speech_prob, options.no_speech_threshold);
        if silent || !(repetitive || doubtful) {
            return Verdict::Accept(attempt);
        }
        let last = attempt.temperature;
        if options.compression_ratio_threshold.is_some() && !repetitive {
            keep_likelier(&mut self.best_not_repetitive, &attempt);
        }
        keep_likelier(&mut self.best, &attempt);
        if let Some(&next) = options.temperatures.get(self.made) {
            return Verdict::Retry(next);
        }
        let best = self.best_not_repetitive.take().or(self.best.take()).unwrap_or(attempt);
        // The temperature of the accepted attempt decides whether the text becomes the next window's prompt.
        Verdict::Accept(Attempt { temperature: last, ..best })
    }
}

fn keep_likelier(best: &mut Option<Attempt>, attempt: &Attempt) {
    if best.as_ref().is_none_or(|best| attempt.avg_logprob > best.avg_logprob) {
        *best = Some(attempt.clone());
    }
}

fn is_above(value: Option<f64>, threshold: Option<f64>) -> bool {
    matches!((value, threshold), (Some(value), Some(threshold)) if value > threshold)
}

/// Whether an accepted attempt is taken for silence: `<|nospeech|>` is likely, and the text is not.
pub fn is_no_speech(attempt: &Attempt, options: &AsrOptions) -> bool {
    let likely = options.log_prob_threshold.is_some_and(|least| attempt.avg_logprob > least);
    is_above(attempt.no_speech_prob, options.no_speech_threshold) && !likely
}

/// Length of the UTF-8 text over its length compressed by zlib at its default level. 0 for no text.
pub fn compression_ratio(text: &str) -> f64 {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // writing to memory does not fail; if it did, the text would count as incompressible
    let compressed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    compressed.map_or(0.0, |bytes| text.len() as f64 / bytes.len() as f64)
}

/// Mean log-probability per token, end-of-text counted. `sum` includes end-of-text.
///
/// faster-whisper undoes the length penalty of the score first, which gives the same number (and not a number for an
/// empty transcript, whose score CTranslate2 divides by zero; here it has the probability of its end-of-text).
pub fn mean_log_probability(sum: f32, tokens: usize) -> f64 {
    f64::from(sum) / (tokens + 1) as f64
}

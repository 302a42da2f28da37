//! Temperature fallback: acceptance thresholds of a result, and the choice among several attempts.
//!
//! Source: faster-whisper `transcribe.py::generate_with_fallback` and the no-speech check of `generate_segments`.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::options::AsrOptions;

/// The result of one search for a clip.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// Tokens of the best hypothesis; forced prefix included, end-of-text not.
    pub tokens: Vec<u32>,
    /// Their text, without special tokens.
    pub text: String,
    /// Mean log-probability per token, end-of-text included.
    pub avg_logprob: f64,
    /// Probability of `<|nospeech|>`; `None` if the model has no such token.
    pub no_speech_prob: Option<f64>,
    /// [`compression_ratio`] of the trimmed text.
    pub compression_ratio: f64,
    /// Temperature of the search; if no attempt was accepted, the last temperature tried.
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

/// The attempts at one clip.
#[derive(Clone, Debug, Default)]
pub struct Fallback {
    /// Number of attempts so far.
    attempts_made: usize,
    /// The attempt with the highest mean log-probability.
    best: Option<Attempt>,
    /// The same among attempts that are not repetitive.
    best_not_repetitive: Option<Attempt>,
}

impl Fallback {
    /// Number of attempts so far.
    pub fn attempts(&self) -> usize {
        self.attempts_made
    }

    /// Accepts an attempt, or requests another at the next temperature. The attempt was made at temperature number
    /// [`attempts`](Self::attempts). After the last temperature the result is the attempt with the highest mean
    /// log-probability, preferably one that is not repetitive.
    pub fn judge(&mut self, attempt: Attempt, options: &AsrOptions) -> Verdict {
        self.attempts_made += 1;
        let repetitive = options.compression_ratio_threshold.is_some_and(|most| attempt.compression_ratio > most);
        let doubtful = options.log_prob_threshold.is_some_and(|least| attempt.avg_logprob < least);
        // A low log-probability with a high no-speech probability means silence: other temperatures would not help.
        let silent = doubtful && is_above(attempt.no_speech_prob, options.no_speech_threshold);
        if silent || !(repetitive || doubtful) {
            return Verdict::Accept(attempt);
        }
        let last = attempt.temperature;
        if options.compression_ratio_threshold.is_some() && !repetitive {
            keep_likelier(&mut self.best_not_repetitive, &attempt);
        }
        keep_likelier(&mut self.best, &attempt);
        if let Some(&next) = options.temperatures.get(self.attempts_made) {
            return Verdict::Retry(next);
        }
        let best = self.best_not_repetitive.take().or(self.best.take()).unwrap_or(attempt);
        // The reported temperature is the last one tried, as in faster-whisper. It decides whether the text becomes the
        // next window's prompt.
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

/// Whether an accepted attempt counts as no speech: `<|nospeech|>` is above its threshold, and the mean log-probability
/// of the text is not.
pub fn is_no_speech(attempt: &Attempt, options: &AsrOptions) -> bool {
    let likely = options.log_prob_threshold.is_some_and(|least| attempt.avg_logprob > least);
    is_above(attempt.no_speech_prob, options.no_speech_threshold) && !likely
}

/// Compression ratio of a text: bytes of its UTF-8 over bytes compressed by zlib at the default level. 0 for an empty
/// text.
pub fn compression_ratio(text: &str) -> f64 {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail; if it did, the text would count as not repetitive.
    let compressed = encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish());
    compressed.map_or(0.0, |bytes| text.len() as f64 / bytes.len() as f64)
}

/// Mean log-probability per token. `sum` and the mean include end-of-text; `tokens` does not.
///
/// faster-whisper computes the sum from CTranslate2's score by undoing the length penalty, with the same result. It
/// gets NaN for an empty transcript, because CTranslate2 divides its score by zero; here the mean is the
/// log-probability of end-of-text.
pub fn mean_log_probability(sum: f32, tokens: usize) -> f64 {
    f64::from(sum) / (tokens + 1) as f64
}

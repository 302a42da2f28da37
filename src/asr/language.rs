//! Language detection: one decoder step from `<|startoftranscript|>`, softmax over the language tokens only.
//!
//! Source: CTranslate2 `whisper.cc::detect_language`, faster-whisper `transcribe.py::detect_language`.

use super::language_names;
use super::options::{AsrOptions, Task};
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// A detected language.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detected {
    /// Its code.
    pub code: &'static str,
    /// Its token.
    pub token: u32,
    /// Its probability among the model's languages.
    pub probability: f64,
}

/// All languages in descending order of probability, from the logits `[V]` after `<|startoftranscript|>`. Ties: the
/// lower token first. Empty for an English-only model.
pub fn rank(tokenizer: &Tokenizer, logits: &[f32]) -> Vec<Detected> {
    let logit = |token: u32| f64::from(logits.get(token as usize).copied().unwrap_or(f32::MIN));
    let max = tokenizer.languages.iter().map(|&(_, token)| logit(token)).fold(f64::MIN, f64::max);
    let sum: f64 = tokenizer.languages.iter().map(|&(_, token)| (logit(token) - max).exp()).sum();
    let mut all: Vec<Detected> = tokenizer
        .languages
        .iter()
        .map(|&(code, token)| Detected { code, token, probability: (logit(token) - max).exp() / sum })
        .collect();
    all.sort_by(|a, b| b.probability.total_cmp(&a.probability)); // stable
    all
}

/// The language of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Language {
    /// Its code.
    pub code: &'static str,
    /// Its probability, if it was detected.
    pub probability: Option<f64>,
}

impl From<Detected> for Language {
    fn from(detected: Detected) -> Self {
        Language { code: detected.code, probability: Some(detected.probability) }
    }
}

/// The language before decoding: requested, or to be detected.
#[derive(Clone, Debug)]
pub(super) enum Spoken {
    /// It was requested; `None`: the model is English-only.
    Known(Option<Language>),
    /// It must be detected.
    Unknown,
}

impl Spoken {
    /// The language requested by the options.
    ///
    /// # Errors
    /// [`Error::Config`] for a language or task that the model does not support.
    pub fn of(tokenizer: &Tokenizer, options: &AsrOptions) -> Result<Self> {
        let asked = options.language.as_deref().map(language_names::code).transpose()?;
        if !tokenizer.is_multilingual() {
            if asked.is_some_and(|code| code != "en") || options.task == Task::Translate {
                let (option, value) = asked.map_or(("task", "translate"), |code| ("language", code));
                return Err(Error::config(option, value, "this model knows English only; use a multilingual one"));
            }
            return Ok(Spoken::Known(None));
        }
        let Some(code) = asked else { return Ok(Spoken::Unknown) };
        let rule = || Error::config("language", code, "this model was not trained on it; use a newer one");
        tokenizer.language_token(code).ok_or_else(rule)?;
        Ok(Spoken::Known(Some(Language { code, probability: None })))
    }
}

/// Majority vote over several windows.
#[derive(Clone, Debug, Default)]
pub struct Vote {
    /// The most probable language of each window so far.
    winners: Vec<Detected>,
}

impl Vote {
    /// Adds the most probable language of a window. Returns it if its probability is above `threshold`, which ends the
    /// vote.
    pub fn add(&mut self, winner: Detected, threshold: f64) -> Option<Detected> {
        self.winners.push(winner);
        (winner.probability > threshold).then_some(winner)
    }

    /// The language with the most windows, with its highest probability among them. Ties: the one detected first.
    pub fn majority(&self) -> Option<Detected> {
        let votes = |code: &str| self.winners.iter().filter(|w| w.code == code).count();
        let mut best: Option<Detected> = None;
        for winner in &self.winners {
            if best.is_none_or(|best| votes(winner.code) > votes(best.code)) {
                best = Some(*winner);
            }
        }
        let code = best?.code;
        let windows = self.winners.iter().filter(|w| w.code == code).copied();
        windows.reduce(|a, b| if b.probability > a.probability { b } else { a })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(code: &'static str, probability: f64) -> Detected {
        Detected { code, token: 0, probability }
    }

    #[test]
    fn majority_of_the_windows() {
        let mut votes = Vote::default();
        assert_eq!(votes.majority(), None);
        for (code, probability) in [("en", 0.4), ("de", 0.3), ("de", 0.45), ("en", 0.2), ("fr", 0.5)] {
            assert_eq!(votes.add(vote(code, probability), 0.5), None);
        }
        // A tie of two windows each; `en` was detected first.
        assert_eq!(votes.majority(), Some(vote("en", 0.4)));
        votes.add(vote("de", 0.1), 0.5);
        assert_eq!(votes.majority(), Some(vote("de", 0.45)));
        assert_eq!(votes.add(vote("ja", 0.51), 0.5), Some(vote("ja", 0.51)));
    }
}

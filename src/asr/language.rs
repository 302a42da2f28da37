//! Language detection: one decoder step from `<|startoftranscript|>`, softmax over the language tokens only.
//!
//! Source: CTranslate2 `whisper.cc::detect_language`, faster-whisper `transcribe.py::detect_language`.

use std::ops::ControlFlow;

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
pub(super) enum RequestedLanguage {
    /// It was requested; `None`: the model is English-only.
    Known(Option<Language>),
    /// It must be detected.
    Unknown,
}

impl RequestedLanguage {
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
            return Ok(RequestedLanguage::Known(None));
        }
        let Some(code) = asked else { return Ok(RequestedLanguage::Unknown) };
        let rule = || Error::config("language", code, "this model was not trained on it; use a newer one");
        tokenizer.language_token(code).ok_or_else(rule)?;
        Ok(RequestedLanguage::Known(Some(Language { code, probability: None })))
    }
}

/// Majority vote over the first windows of a recording. The first window whose language is more probable than the
/// threshold ends the vote.
#[derive(Clone, Debug)]
pub(super) struct LanguageVote {
    /// Number of windows that vote.
    windows: usize,
    threshold: f64,
    /// Number of windows that have voted.
    voted: usize,
    /// The most probable language of each of them.
    winners: Vec<Detected>,
}

impl LanguageVote {
    /// A vote of at most `windows` windows.
    pub fn new(windows: usize, options: &AsrOptions) -> Self {
        let windows = windows.min(options.language_detection_segments);
        LanguageVote { windows, threshold: options.language_detection_threshold, voted: 0, winners: Vec::new() }
    }

    /// Number of windows that have voted.
    pub fn voted(&self) -> usize {
        self.voted
    }

    /// Adds the next window, from its logits `[V]` after `<|startoftranscript|>`. [`ControlFlow::Break`] with the
    /// language once it is decided; `None` if no window had a language.
    pub fn add(&mut self, tokenizer: &Tokenizer, logits: &[f32]) -> ControlFlow<Option<Language>> {
        self.count(rank(tokenizer, logits).first().copied())
    }

    fn count(&mut self, winner: Option<Detected>) -> ControlFlow<Option<Language>> {
        self.voted += 1;
        self.winners.extend(winner);
        match winner.filter(|winner| winner.probability > self.threshold) {
            Some(decided) => ControlFlow::Break(Some(decided.into())),
            None if self.voted >= self.windows => ControlFlow::Break(self.majority().map(Language::from)),
            None => ControlFlow::Continue(()),
        }
    }

    /// The language with the most windows, with its highest probability among them. Ties: the one detected first.
    fn majority(&self) -> Option<Detected> {
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

    fn winner(code: &'static str, probability: f64) -> Detected {
        Detected { code, token: 0, probability }
    }

    fn vote(windows: usize) -> LanguageVote {
        let options =
            AsrOptions { language_detection_segments: 5, language_detection_threshold: 0.5, ..Default::default() };
        LanguageVote::new(windows, &options)
    }

    fn decided(code: &'static str, probability: f64) -> ControlFlow<Option<Language>> {
        ControlFlow::Break(Some(winner(code, probability).into()))
    }

    #[test]
    fn majority_of_the_windows() {
        let mut votes = vote(9);
        for (code, probability) in [("en", 0.4), ("de", 0.3), ("de", 0.45), ("en", 0.2)] {
            assert_eq!(votes.count(Some(winner(code, probability))), ControlFlow::Continue(()));
        }
        // The options allow five windows. A tie of two each; `en` was detected first.
        assert_eq!(votes.clone().count(Some(winner("fr", 0.5))), decided("en", 0.4));
        assert_eq!(votes.clone().count(Some(winner("de", 0.1))), decided("de", 0.45));
        assert_eq!(votes.count(Some(winner("ja", 0.51))), decided("ja", 0.51));
    }

    #[test]
    fn the_last_window_decides() {
        let mut votes = vote(2);
        assert_eq!(votes.count(None), ControlFlow::Continue(()));
        assert_eq!(votes.clone().count(None), ControlFlow::Break(None));
        assert_eq!(votes.count(Some(winner("de", 0.1))), decided("de", 0.1));
    }
}

//! Decoding of one clip: prompt, search, acceptance test, and another search at a higher temperature if it fails.

use super::AsrOptions;
use super::fallback::{Attempt, Fallback, Verdict, compression_ratio, mean_log_probability};
use super::prompt::{Prompt, PromptParts};
use super::slots::{Decode, Decoded};
use super::tokenizer::Tokenizer;
use crate::error::Result;

/// Tokenizer, options and language that all clips of a run share.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// The tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// The caller's options.
    pub options: &'a AsrOptions,
    /// Positions of the decoder.
    pub positions: usize,
    /// Token of the language; `None` for an English-only model.
    pub language: Option<u32>,
}

impl Setup<'_> {
    /// The prompt of a clip. `previous`: tokens of the text before it. `language`: token of the clip's own language, if
    /// it was detected. `prefix`: whether the transcript begins with the prefix of the options.
    pub fn prompt(&self, previous: &[u32], language: Option<u32>, prefix: bool) -> Result<Prompt> {
        let parts = PromptParts {
            previous,
            hotwords: self.options.hotwords.as_deref(),
            language: language.or(self.language),
            task: self.options.task,
            without_timestamps: self.options.without_timestamps,
            prefix: self.options.prefix.as_deref().filter(|_| prefix),
        };
        Prompt::new(self.tokenizer, &parts, self.positions)
    }

    /// Whether the language of each clip is detected.
    pub fn detects_each(&self) -> bool {
        self.options.multilingual && self.tokenizer.is_multilingual()
    }

    /// Tokens of the initial prompt.
    pub fn initial_prompt(&self) -> Result<Vec<u32>> {
        match self.options.initial_prompt.as_deref() {
            Some(text) => self.tokenizer.encode(&super::prompt::spoken(text)),
            None => Ok(Vec::new()),
        }
    }
}

/// A clip being decoded.
#[derive(Clone, Debug)]
pub struct ClipDecoding {
    prompt: Prompt,
    fallback: Fallback,
    /// Selects the clip's random number stream.
    id: usize,
}

/// Whether a clip is finished.
#[derive(Clone, Debug)]
pub enum ClipOutcome {
    /// The clip is finished, with this result.
    Done(Attempt),
    /// The clip must be decoded again.
    Again(Decode),
}

impl ClipDecoding {
    /// A clip with its prompt. `id` must be unique among the clips of a run, and the same in every run, for
    /// reproducible sampling.
    pub fn new(id: usize, prompt: Prompt) -> Self {
        ClipDecoding { prompt, fallback: Fallback::default(), id }
    }

    /// The decoder's prompt.
    pub fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// The first search, at the first temperature.
    pub fn first(&self, options: &AsrOptions) -> Decode {
        self.search(options.temperatures.first().copied().unwrap_or(0.0))
    }

    fn search(&self, temperature: f64) -> Decode {
        let stream = [self.id as u32, self.fallback.attempts() as u32];
        Decode { prompt: self.prompt.clone(), temperature, stream }
    }

    /// Accepts the result of the last search, or requests another search.
    pub fn judge(&mut self, decoded: Decoded, setup: &Setup) -> Result<ClipOutcome> {
        let text = setup.tokenizer.decode(&decoded.tokens)?;
        let options = setup.options;
        let attempt = Attempt {
            avg_logprob: mean_log_probability(decoded.sum, decoded.tokens.len()),
            no_speech_prob: decoded.no_speech_prob,
            compression_ratio: compression_ratio(text.trim()),
            temperature: options.temperatures.get(self.fallback.attempts()).copied().unwrap_or(0.0),
            tokens: decoded.tokens,
            text,
        };
        Ok(match self.fallback.judge(attempt, options) {
            Verdict::Accept(attempt) => ClipOutcome::Done(attempt),
            Verdict::Retry(temperature) => ClipOutcome::Again(self.search(temperature)),
        })
    }
}

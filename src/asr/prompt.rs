//! The decoder's prompt: previous text, hotwords, language, task, timestamps, prefix.

use super::options::Task;
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};

/// Least number of positions that previous text leaves for the transcript.
const MIN_TRANSCRIPT: usize = 16;

/// The parts of a prompt.
#[derive(Clone, Copy, Debug, Default)]
pub struct PromptParts<'a> {
    /// Tokens of the previous text; truncated to the last ones that fit.
    pub previous: &'a [u32],
    /// Words to favour; not used if there is a prefix.
    pub hotwords: Option<&'a str>,
    /// Token of the language; `None` for English-only models.
    pub language: Option<u32>,
    /// Transcription or translation.
    pub task: Task,
    /// Whether to end the prompt with `<|notimestamps|>`.
    pub without_timestamps: bool,
    /// The forced beginning of the transcript.
    pub prefix: Option<&'a str>,
}

/// A prompt:
/// `[<|startofprev|> hotwords previous] <|startoftranscript|> [language task] [<|notimestamps|>] [<|0.00|>] prefix`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// All tokens.
    pub tokens: Vec<u32>,
    /// Index of `<|startoftranscript|>`.
    pub sot: usize,
    /// Number of tokens before the forced prefix: the position of the first token of the transcript.
    pub len: usize,
}

impl Prompt {
    /// Builds the prompt for a decoder with `positions` positions. Previous text, hotwords and prefix are each
    /// truncated to `positions / 2 - 1` tokens. Previous text is truncated further if all three would leave less than
    /// 16 positions for the transcript.
    ///
    /// # Errors
    /// [`Error::Model`] if the tokenizer lacks a required token; [`Error::Config`] if the prompt leaves no position for
    /// the transcript.
    ///
    /// Source: faster-whisper `transcribe.py::get_prompt`.
    pub fn new(tokenizer: &Tokenizer, parts: &PromptParts, positions: usize) -> Result<Self> {
        let most = (positions / 2).saturating_sub(1);
        let mut task = vec![tokenizer.special.sot];
        if let Some(language) = parts.language {
            task.push(language);
            task.extend(match parts.task {
                Task::Transcribe => tokenizer.special.transcribe,
                Task::Translate => Some(tokenizer.translate()?),
            });
        }
        if parts.without_timestamps {
            task.push(tokenizer.special.no_timestamps);
        }
        let mut prefix = Vec::new();
        if let Some(text) = parts.prefix.filter(|text| !text.is_empty()) {
            if !parts.without_timestamps {
                prefix.push(tokenizer.special.timestamp_begin);
            }
            prefix.extend(tokenizer.encode(&spoken(text))?.into_iter().take(most));
        }
        let hotwords = match parts.hotwords.filter(|text| !text.is_empty() && prefix.is_empty()) {
            Some(text) => tokenizer.encode(&spoken(text))?.into_iter().take(most).collect(),
            None => Vec::new(),
        };
        let mut tokens = Vec::new();
        if !parts.previous.is_empty() || !hotwords.is_empty() {
            tokens.push(tokenizer.sot_prev()?);
            let taken = 1 + hotwords.len() + task.len() + prefix.len() + MIN_TRANSCRIPT;
            let room = positions.saturating_sub(taken).min(most);
            tokens.extend(&hotwords);
            tokens.extend(&parts.previous[parts.previous.len().saturating_sub(room)..]);
        }
        let sot = tokens.len();
        tokens.extend(task);
        let mut prompt = Prompt { len: tokens.len(), tokens, sot };
        let limit = prompt.limit(positions);
        if limit == 0 {
            let rule = format!("the prompt has {} tokens, the model {positions} positions", prompt.len);
            return Err(Error::config("hotwords", parts.hotwords.unwrap_or_default(), rule));
        }
        // Leave at least one token for the search.
        prompt.tokens.extend(prefix.into_iter().take(limit - 1));
        Ok(prompt)
    }

    /// Tokens of the forced prefix.
    pub fn prefix(&self) -> &[u32] {
        &self.tokens[self.len..]
    }

    /// Most tokens of the transcript after this prompt, forced prefix included: half of the positions, or the remaining
    /// ones if they are fewer. The last token is not fed to the decoder, so it needs no position.
    ///
    /// Source: CTranslate2 `whisper.cc`, `decoding_options.max_length`.
    pub fn limit(&self, positions: usize) -> usize {
        (positions / 2).min((positions + 1).saturating_sub(self.len))
    }
}

/// Text in Whisper's form: one space before, none after.
pub(super) fn spoken(text: &str) -> String {
    format!(" {}", text.trim())
}

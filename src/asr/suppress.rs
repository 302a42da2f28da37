//! Suppressed tokens: ids that the decoder must not emit.

use super::options::AsrOptions;
use super::slots::Suppressed;
use super::tokenizer::Tokenizer;
use crate::engine::Backend;
use crate::error::{Error, Result};
use crate::models::whisper::Whisper;

/// The meaning of -1 in [`AsrOptions::suppress_tokens`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultSuppression {
    /// The list of the model's `generation_config.json`, as in CTranslate2 and WhisperX.
    ModelList,
    /// Tokens of symbols that are not spoken, as in openai-whisper and faster-whisper. The task tokens are suppressed
    /// with or without -1.
    NonSpeech,
}

/// The suppressed tokens for a run.
///
/// # Errors
/// [`Error::Config`] if a suppressed token is not in the vocabulary.
pub fn suppressed<B: Backend>(
    model: &Whisper<B>,
    tokenizer: &Tokenizer,
    options: &AsrOptions,
    minus_one: DefaultSuppression,
) -> Result<Suppressed> {
    let vocab = model.config.vocab_size;
    let mut always = Vec::new();
    for &id in options.suppress_tokens.iter().filter(|&&id| id != -1) {
        let known = u32::try_from(id).ok().filter(|&id| (id as usize) < vocab);
        let rule = || Error::config("suppress_tokens", id, format!("expected -1 or token ids below {vocab}"));
        always.push(known.ok_or_else(rule)?);
    }
    let with_list = options.suppress_tokens.contains(&-1);
    let list = model.generation.suppress_tokens.as_ref().or(model.config.suppress_tokens.as_ref());
    match (minus_one, list) {
        (DefaultSuppression::ModelList, Some(list)) => {
            always.extend(list.iter().filter(|_| with_list).filter_map(in_vocab(vocab)))
        }
        // A model without a list gets openai-whisper's.
        (DefaultSuppression::ModelList, None) | (DefaultSuppression::NonSpeech, _) => {
            if with_list {
                always.extend(tokenizer.non_speech_tokens()?);
            }
            if with_list || minus_one == DefaultSuppression::NonSpeech {
                always.extend(task_tokens(tokenizer));
            }
        }
    }
    if options.suppress_numerals {
        always.extend(tokenizer.numeral_tokens()?);
    }
    let begin = model.generation.begin_suppress_tokens.as_ref().or(model.config.begin_suppress_tokens.as_ref());
    let begin = match begin {
        Some(list) => list.iter().filter_map(in_vocab(vocab)).collect(),
        None => tokenizer.encode(" ")?.into_iter().chain([tokenizer.special.eot]).collect(),
    };
    always.sort_unstable();
    always.dedup();
    Ok(Suppressed { always, begin })
}

fn in_vocab(vocab: usize) -> impl Fn(&i64) -> Option<u32> {
    move |&id| u32::try_from(id).ok().filter(|&id| (id as usize) < vocab)
}

/// Tokens of the prompt that must not be in a transcript.
fn task_tokens(tokenizer: &Tokenizer) -> impl Iterator<Item = u32> {
    let special = tokenizer.special;
    let optional = [special.transcribe, special.translate, special.sot_prev, special.sot_lm, special.no_speech];
    optional.into_iter().flatten().chain([special.sot])
}

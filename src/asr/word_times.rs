//! Word times from token times: splitting into words, punctuation, and corrections of typical errors.
//!
//! A word is what follows a space, or, in languages that write none, every character or token. Punctuation belongs to the
//! word before it, opening brackets and quotes to the one after. Whisper tends to stretch a word over the pause next to
//! it: words at the end of a sentence and after a pause are cut to twice the usual length of a word, and a segment's
//! timestamps are believed rather than a much longer word at its edge.
//!
//! Source: openai-whisper `timing.py` (`add_word_timestamps`, `merge_punctuations`) and `tokenizer.py`
//! (`split_to_word_tokens`). Unlike there, a translation is split at its spaces, whatever language was spoken; a word that
//! is nothing but spaces is left out; broken characters at the end of a text are not lost; and the pause before a chunk of detected speech is the one that was detected.

use super::options::Task;
use super::prompt::Prompt;
use super::token_times::{Text, TokenTimes};
use super::tokenizer::Tokenizer;
use crate::error::Result;
use crate::types::{Segment, TimeSource, Word};
use crate::units::{EncoderFrame, MelFrame, Seconds};

/// Languages whose words are not apart.
const WITHOUT_SPACES: [&str; 6] = ["zh", "ja", "th", "lo", "my", "yue"];
/// What belongs to the word after it, and to the one before it.
const OPENING: &str = "\"'“¿([{-";
const CLOSING: &str = "\"'.。,，!！?？:：”)]}、";
const SENTENCE_ENDS: &str = ".。!！?？";
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
/// No word is usually longer than this, whatever the others are; seconds.
const LONGEST_USUAL: f64 = 0.7;
/// By how much a segment's timestamp must contradict a word to be believed; seconds.
const CONTRADICTION: f64 = 0.5;

/// How a language sets its words apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// By spaces.
    Spaces,
    /// Not at all.
    Nothing,
}

impl Spacing {
    /// Of a text in the language with this code; translations are in English.
    pub fn of(language: Option<&str>, task: Task) -> Self {
        match language {
            Some(code) if task == Task::Transcribe && WITHOUT_SPACES.contains(&code) => Spacing::Nothing,
            _ => Spacing::Spaces,
        }
    }
}

/// A word with its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WordTokens {
    /// As decoded, spaces included.
    pub word: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
}

/// Splits text tokens into words.
///
/// # Errors
/// As [`Tokenizer::decode`].
pub fn split_words(tokenizer: &Tokenizer, tokens: &[u32], spacing: Spacing) -> Result<Vec<WordTokens>> {
    let parts = split_characters(tokenizer, tokens)?;
    if spacing == Spacing::Nothing {
        return Ok(parts);
    }
    let mut words: Vec<WordTokens> = Vec::new();
    for part in parts {
        let begins = part.word.starts_with(' ') || PUNCTUATION.contains(bare(&part.word));
        match words.last_mut().filter(|_| !begins) {
            Some(word) => {
                word.word.push_str(&part.word);
                word.tokens.extend(part.tokens);
            }
            None => words.push(part),
        }
    }
    Ok(words)
}

/// A word without the spaces around it; the four separators of ASCII, too, are spaces to the reference.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

/// The shortest runs of tokens that are whole characters.
fn split_characters(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<Vec<WordTokens>> {
    let full: Vec<char> = tokenizer.decode(tokens)?.chars().collect();
    let mut parts = Vec::new();
    let (mut begin, mut offset) = (0, 0);
    for end in 1..=tokens.len() {
        let word = tokenizer.decode(&tokens[begin..end])?;
        let broken = word.chars().position(|c| c == char::REPLACEMENT_CHARACTER);
        // what is broken in the whole text, too, will not get better with the next token
        if broken.is_none_or(|at| full.get(offset + at) == Some(&char::REPLACEMENT_CHARACTER)) {
            offset += word.chars().count();
            parts.push(WordTokens { word, tokens: tokens[begin..end].to_vec() });
            begin = end;
        }
    }
    if begin < tokens.len() {
        parts.push(WordTokens { word: tokenizer.decode(&tokens[begin..])?, tokens: tokens[begin..].to_vec() });
    }
    Ok(parts)
}

/// A word and when it was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// As decoded, spaces included. Empty: it has become part of another.
    pub word: String,
    /// How many tokens it has.
    pub tokens: usize,
    /// From the start of the clip.
    pub start: Seconds,
    /// From the start of the clip.
    pub end: Seconds,
    /// The mean of its tokens'.
    pub probability: f64,
}

/// The words of a text, with the times of its tokens.
///
/// # Errors
/// As [`Tokenizer::decode`].
pub fn timings(tokenizer: &Tokenizer, tokens: &[u32], spacing: Spacing, times: &TokenTimes) -> Result<Vec<Timing>> {
    let mut timings = Vec::new();
    let mut at = 0;
    for WordTokens { word, tokens } in split_words(tokenizer, tokens, spacing)? {
        let next = at + tokens.len();
        let start_of = |token: usize| times.starts.get(token).copied().unwrap_or_default().to_seconds();
        let own = times.probabilities.get(at..next).unwrap_or_default();
        let probability = own.iter().sum::<f64>() / tokens.len().max(1) as f64;
        timings.push(Timing { word, tokens: tokens.len(), start: start_of(at), end: start_of(next), probability });
        at = next;
    }
    Ok(timings)
}

/// How long words usually are.
#[derive(Clone, Copy)]
struct Usual {
    /// The median, no more than [`LONGEST_USUAL`]; seconds.
    median: f64,
    /// What is longer than that is suspicious.
    longest: f64,
}

impl Usual {
    fn of(timings: &[Timing]) -> Self {
        let mut lengths: Vec<f64> =
            timings.iter().map(|t| t.end.0 - t.start.0).filter(|length| *length != 0.0).collect();
        lengths.sort_unstable_by(f64::total_cmp);
        let middle = lengths.len() / 2;
        let median = match lengths.len() {
            0 => 0.0,
            odd if odd % 2 == 1 => lengths[middle],
            _ => (lengths[middle - 1] + lengths[middle]) / 2.0,
        };
        let median = median.min(LONGEST_USUAL);
        Usual { median, longest: 2.0 * median }
    }
}

/// Cuts what ends a sentence, and what follows such an end, to the longest usual length.
fn cut_at_sentences(timings: &mut [Timing], usual: Usual) {
    if usual.median == 0.0 {
        return;
    }
    for i in 1..timings.len() {
        if timings[i].end.0 - timings[i].start.0 <= usual.longest {
            continue;
        }
        if SENTENCE_ENDS.contains(&timings[i].word) {
            timings[i].end = timings[i].start + Seconds(usual.longest);
        } else if SENTENCE_ENDS.contains(&timings[i - 1].word) {
            timings[i].start = timings[i].end - Seconds(usual.longest);
        }
    }
}

/// Makes punctuation part of its word; what has become part of another is empty afterwards.
fn merge_punctuation(timings: &mut [Timing]) {
    let mut following = timings.len().saturating_sub(1);
    for i in (0..following).rev() {
        if timings[i].word.starts_with(' ') && OPENING.contains(bare(&timings[i].word)) {
            let word = std::mem::take(&mut timings[i].word);
            timings[following].word.insert_str(0, &word);
            timings[following].tokens += std::mem::take(&mut timings[i].tokens);
        } else {
            following = i;
        }
    }
    let mut previous = 0;
    for j in 1..timings.len() {
        if !timings[previous].word.ends_with(' ') && CLOSING.contains(&timings[j].word) {
            let word = std::mem::take(&mut timings[j].word);
            timings[previous].word.push_str(&word);
            timings[previous].tokens += std::mem::take(&mut timings[j].tokens);
        } else {
            previous = j;
        }
    }
}

/// As the reference rounds: half to even, after the multiplication.
fn hundredths(seconds: f64) -> f64 {
    (seconds * 100.0).round_ties_even() / 100.0
}

/// Gives the segments of one clip, whose texts the `timings` are the words of, their words, and the segments the start of
/// their first word and the end of their last. Tokens below `eot` are text. The clip begins at `offset`; `last_speech` is when somebody spoke last
/// before it.
pub fn add_words(
    eot: u32,
    segments: &mut [Segment],
    mut timings: Vec<Timing>,
    offset: Seconds,
    mut last_speech: Seconds,
) {
    let usual = Usual::of(&timings);
    cut_at_sentences(&mut timings, usual);
    merge_punctuation(&mut timings);
    let mut rest = timings.into_iter();
    for segment in segments {
        let tokens = segment.tokens.iter().filter(|token| **token < eot).count();
        let (mut words, mut taken) = (Vec::new(), 0);
        while taken < tokens {
            let Some(timing) = rest.next() else { break };
            taken += timing.tokens;
            if !timing.word.is_empty() {
                let at = |time: Seconds| hundredths(offset.0 + time.0);
                words.push(Placed { start: at(timing.start), end: at(timing.end), timing });
            }
        }
        if !words.is_empty() {
            cut_after_pause(&mut words, usual, last_speech.0);
            agree(&mut words, usual, segment);
            last_speech = segment.end;
        }
        segment.words = Some(words.into_iter().filter_map(Placed::into_word).collect());
    }
}

/// A word in the recording; seconds.
struct Placed {
    start: f64,
    end: f64,
    timing: Timing,
}

impl Placed {
    fn length(&self) -> f64 {
        self.end - self.start
    }

    fn into_word(self) -> Option<Word> {
        let word = bare(&self.timing.word);
        let word = Word {
            word: word.to_owned(),
            start: Some(Seconds(self.start)),
            end: Some(Seconds(self.end)),
            score: Some(self.timing.probability),
            source: Some(TimeSource::Dtw),
            speaker: None,
            also: Vec::new(),
        };
        (!word.word.is_empty()).then_some(word)
    }
}

/// Cuts the first two words after a pause, which tend to reach into it.
fn cut_after_pause(words: &mut [Placed], usual: Usual, last_speech: f64) {
    let Some((first, rest)) = words.split_first_mut() else { return };
    let second = rest.first_mut();
    let both_long = second.as_ref().is_some_and(|second| second.end - first.start > 2.0 * usual.longest);
    if first.end - last_speech <= 4.0 * usual.median || !(first.length() > usual.longest || both_long) {
        return;
    }
    if let Some(second) = second.filter(|second| second.length() > usual.longest) {
        let boundary = (second.end / 2.0).max(second.end - usual.longest);
        first.end = boundary;
        second.start = boundary;
    }
    first.start = (first.end - usual.longest).max(0.0);
}

/// Where a word at the edge of a segment is much longer than the segment's timestamp says, the timestamp is right; else the
/// segment begins and ends with its words.
fn agree(words: &mut [Placed], usual: Usual, segment: &mut Segment) {
    let (start, end) = (segment.start.0, segment.end.0);
    if let Some(first) = words.first_mut() {
        if start < first.end && start - CONTRADICTION > first.start {
            first.start = (first.end - usual.median).min(start).max(0.0);
        } else {
            segment.start = Seconds(first.start);
        }
    }
    if let Some(last) = words.last_mut() {
        if end > last.start && end + CONTRADICTION < last.end {
            last.end = (last.start + usual.median).max(end);
        } else {
            segment.end = Seconds(last.end);
        }
    }
}

/// Segments of one clip that wait for the times of their words.
#[derive(Clone, Debug)]
pub(super) struct Untimed {
    /// All of them, empty ones too.
    pub segments: Vec<Segment>,
    text: Text,
    spacing: Spacing,
}

impl Untimed {
    /// The segments of a clip of that many mel frames, written after a prompt. `None`: there is no text among them.
    pub fn new(
        tokenizer: &Tokenizer,
        task: Task,
        prompt: &Prompt,
        segments: &[Segment],
        frames: MelFrame,
    ) -> Option<Self> {
        let special = &tokenizer.special;
        let all = segments.iter().flat_map(|segment| &segment.tokens);
        let tokens: Vec<u32> = all.copied().filter(|token| *token < special.eot).collect();
        if tokens.is_empty() {
            return None;
        }
        let start = prompt.tokens[prompt.sot..prompt.len].iter().copied();
        let text = Text {
            task: start.filter(|token| *token != special.no_timestamps).collect(),
            tokens,
            frames: (frames.0 / EncoderFrame::MEL_FRAMES).max(1),
        };
        let spoken = tokenizer.languages.iter().find(|(_, id)| text.task.contains(id)).map(|(code, _)| *code);
        Some(Untimed { segments: segments.to_vec(), text, spacing: Spacing::of(spoken, task) })
    }

    /// What is to be found out.
    pub fn text(&self) -> Text {
        self.text.clone()
    }

    /// The segments with their words; see [`add_words`].
    pub fn timed(
        mut self,
        tokenizer: &Tokenizer,
        times: &TokenTimes,
        offset: Seconds,
        last_speech: Seconds,
    ) -> Result<Vec<Segment>> {
        let timings = timings(tokenizer, &self.text.tokens, self.spacing, times)?;
        add_words(tokenizer.special.eot, &mut self.segments, timings, offset, last_speech);
        Ok(self.segments)
    }
}

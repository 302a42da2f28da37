//! Word times from token times: splitting tokens into words, merging punctuation, and heuristic corrections.
//!
//! * A word begins with a space. In languages without spaces every character or token is a word.
//! * Punctuation belongs to the word before it; opening brackets and quotes belong to the word after it.
//! * Cross-attention tends to stretch a word over an adjacent pause. So words at the end of a sentence and after a
//!   pause are cut to twice the median duration of a word. Where a word at the edge of a segment is much longer than
//!   the segment's timestamp allows, the timestamp is used.
//!
//! Source: openai-whisper `timing.py` (`add_word_timestamps`, `merge_punctuations`) and `tokenizer.py`
//! (`split_to_word_tokens`). Differences:
//! * a translation is split at its spaces, whatever the spoken language is;
//! * a word that consists of spaces only is dropped;
//! * incomplete characters at the end of a text are kept;
//! * the pause before a chunk of detected speech is taken from voice activity detection.

use super::options::Task;
use super::prompt::Prompt;
use super::token_times::{KnownText, TokenTimes};
use super::tokenizer::Tokenizer;
use crate::error::Result;
use crate::types::{Segment, TimeSource, Word};
use crate::units::{EncoderFrame, MelFrame, Seconds};

/// Languages written without spaces between words.
const WITHOUT_SPACES: [&str; 6] = ["zh", "ja", "th", "lo", "my", "yue"];
/// Punctuation that belongs to the word after it.
const OPENING: &str = "\"'“¿([{-";
/// Punctuation that belongs to the word before it.
const CLOSING: &str = "\"'.。,，!！?？:：”)]}、";
const SENTENCE_ENDS: &str = ".。!！?？";
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
/// Upper limit of the median word duration, in seconds.
const MAX_MEDIAN: f64 = 0.7;
/// Least difference, in seconds, between a segment's timestamp and the word at its edge for the timestamp to be used.
const MIN_DIFFERENCE: f64 = 0.5;

/// How a language separates words in writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// With spaces.
    Spaces,
    /// Without spaces.
    Nothing,
}

impl Spacing {
    /// The spacing of a text in the language with this code; translations are in English.
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
    /// Decoded text, including spaces.
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
        let begins = part.word.starts_with(' ') || PUNCTUATION.contains(strip(&part.word));
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

/// A word without white space at both ends. The reference's `str.strip` also removes the four ASCII separators.
fn strip(word: &str) -> &str {
    word.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

/// Splits tokens into the shortest ranges that decode to complete characters.
fn split_characters(tokenizer: &Tokenizer, tokens: &[u32]) -> Result<Vec<WordTokens>> {
    let full: Vec<char> = tokenizer.decode(tokens)?.chars().collect();
    let mut parts = Vec::new();
    let (mut begin, mut offset) = (0, 0);
    for end in 1..=tokens.len() {
        let word = tokenizer.decode(&tokens[begin..end])?;
        let broken = word.chars().position(|c| c == char::REPLACEMENT_CHARACTER);
        // A replacement character that is in the decoded whole text, too, is not completed by the next token.
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

/// A word with its time and probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Decoded text, including spaces. Empty if the word was merged into another one.
    pub word: String,
    /// Number of its tokens.
    pub tokens: usize,
    /// Start, relative to the clip.
    pub start: Seconds,
    /// End, relative to the clip.
    pub end: Seconds,
    /// Mean probability of its tokens.
    pub probability: f64,
}

/// Splits the tokens of a text into words, and computes the time and probability of each word from its tokens.
///
/// # Errors
/// As [`Tokenizer::decode`].
pub fn timings(tokenizer: &Tokenizer, tokens: &[u32], spacing: Spacing, times: &TokenTimes) -> Result<Vec<Timing>> {
    let mut timings = Vec::new();
    let mut at = 0;
    for WordTokens { word, tokens } in split_words(tokenizer, tokens, spacing)? {
        let next = at + tokens.len();
        let start_of = |token: usize| times.starts.get(token).copied().unwrap_or_default().to_seconds();
        let probabilities = times.probabilities.get(at..next).unwrap_or_default();
        let probability = probabilities.iter().sum::<f64>() / tokens.len().max(1) as f64;
        timings.push(Timing { word, tokens: tokens.len(), start: start_of(at), end: start_of(next), probability });
        at = next;
    }
    Ok(timings)
}

/// Typical duration of the words of a clip, in seconds.
#[derive(Clone, Copy)]
struct Typical {
    /// The median, at most [`MAX_MEDIAN`].
    median: f64,
    /// Longest plausible duration: twice the median.
    longest: f64,
}

impl Typical {
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
        let median = median.min(MAX_MEDIAN);
        Typical { median, longest: 2.0 * median }
    }
}

/// Cuts punctuation that ends a sentence, and the word after it, to the longest plausible duration.
fn cut_at_sentences(timings: &mut [Timing], typical: Typical) {
    if typical.median == 0.0 {
        return;
    }
    for i in 1..timings.len() {
        if timings[i].end.0 - timings[i].start.0 <= typical.longest {
            continue;
        }
        if SENTENCE_ENDS.contains(&timings[i].word) {
            timings[i].end = timings[i].start + Seconds(typical.longest);
        } else if SENTENCE_ENDS.contains(&timings[i - 1].word) {
            timings[i].start = timings[i].end - Seconds(typical.longest);
        }
    }
}

/// Merges punctuation into the word that it belongs to. Merged items are empty afterwards.
fn merge_punctuation(timings: &mut [Timing]) {
    let mut following = timings.len().saturating_sub(1);
    for i in (0..following).rev() {
        if timings[i].word.starts_with(' ') && OPENING.contains(strip(&timings[i].word)) {
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

/// Rounds to 0.01 s like the reference: half to even, after the multiplication.
fn round_to_hundredths(seconds: f64) -> f64 {
    (seconds * 100.0).round_ties_even() / 100.0
}

/// Adds words to the segments of one clip, and moves the start and end of each segment to those of its words.
///
/// `timings`: the words of all segments, in order. Tokens below `eot` are text. `offset`: start of the clip in the
/// recording. `last_speech`: end of the last speech before the clip.
pub fn add_words(
    eot: u32,
    segments: &mut [Segment],
    mut timings: Vec<Timing>,
    offset: Seconds,
    mut last_speech: Seconds,
) {
    let typical = Typical::of(&timings);
    cut_at_sentences(&mut timings, typical);
    merge_punctuation(&mut timings);
    let mut rest = timings.into_iter();
    for segment in segments {
        let tokens = segment.tokens.iter().filter(|token| **token < eot).count();
        let (mut words, mut taken) = (Vec::new(), 0);
        while taken < tokens {
            let Some(timing) = rest.next() else { break };
            taken += timing.tokens;
            if !timing.word.is_empty() {
                let at = |time: Seconds| round_to_hundredths(offset.0 + time.0);
                words.push(RecordingWord { start: at(timing.start), end: at(timing.end), timing });
            }
        }
        if !words.is_empty() {
            cut_after_pause(&mut words, typical, last_speech.0);
            reconcile(&mut words, typical, segment);
            last_speech = segment.end;
        }
        segment.words = Some(words.into_iter().filter_map(RecordingWord::into_word).collect());
    }
}

/// A word with times relative to the recording, in seconds.
struct RecordingWord {
    start: f64,
    end: f64,
    timing: Timing,
}

impl RecordingWord {
    fn length(&self) -> f64 {
        self.end - self.start
    }

    fn into_word(self) -> Option<Word> {
        let word = strip(&self.timing.word);
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

/// Cuts the first two words after a pause, which tend to extend into the pause.
fn cut_after_pause(words: &mut [RecordingWord], typical: Typical, last_speech: f64) {
    let Some((first, rest)) = words.split_first_mut() else { return };
    let second = rest.first_mut();
    let both_long = second.as_ref().is_some_and(|second| second.end - first.start > 2.0 * typical.longest);
    if first.end - last_speech <= 4.0 * typical.median || !(first.length() > typical.longest || both_long) {
        return;
    }
    if let Some(second) = second.filter(|second| second.length() > typical.longest) {
        let boundary = (second.end / 2.0).max(second.end - typical.longest);
        first.end = boundary;
        second.start = boundary;
    }
    first.start = (first.end - typical.longest).max(0.0);
}

/// Reconciles the edges of a segment with its first and last word. If a word extends beyond the segment's timestamp by
/// more than [`MIN_DIFFERENCE`], the word is cut; otherwise the segment gets the start or end of the word.
fn reconcile(words: &mut [RecordingWord], typical: Typical, segment: &mut Segment) {
    let (start, end) = (segment.start.0, segment.end.0);
    if let Some(first) = words.first_mut() {
        if start < first.end && start - MIN_DIFFERENCE > first.start {
            first.start = (first.end - typical.median).min(start).max(0.0);
        } else {
            segment.start = Seconds(first.start);
        }
    }
    if let Some(last) = words.last_mut() {
        if end > last.start && end + MIN_DIFFERENCE < last.end {
            last.end = (last.start + typical.median).max(end);
        } else {
            segment.end = Seconds(last.end);
        }
    }
}

/// Segments of one clip that wait for their word times.
#[derive(Clone, Debug)]
pub(super) struct PendingWords {
    /// All segments, including empty ones.
    pub segments: Vec<Segment>,
    text: KnownText,
    spacing: Spacing,
}

impl PendingWords {
    /// The segments of a clip of `frames` mel frames that was decoded with `prompt`. `None` if they have no text.
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
        let text = KnownText {
            task: start.filter(|token| *token != special.no_timestamps).collect(),
            tokens,
            frames: (frames.0 / EncoderFrame::MEL_FRAMES).max(1),
        };
        let spoken = tokenizer.languages.iter().find(|(_, id)| text.task.contains(id)).map(|(code, _)| *code);
        Some(PendingWords { segments: segments.to_vec(), text, spacing: Spacing::of(spoken, task) })
    }

    /// The text whose token times are needed.
    pub fn text(&self) -> KnownText {
        self.text.clone()
    }

    /// Returns the segments with their words; see [`add_words`].
    pub fn with_token_times(
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

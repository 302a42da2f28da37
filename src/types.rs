//! What the stages hand to one another, and what the caller gets: nouns of the domain, no device memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::Seconds;

/// A stretch of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// First moment, in seconds from the start of the recording.
    pub start: Seconds,
    /// Last moment, in seconds; never before `start`.
    pub end: Seconds,
}

impl Span {
    /// A span from `start` to `end`, both in seconds.
    pub fn new(start: f64, end: f64) -> Self {
        Span { start: Seconds(start), end: Seconds(end) }
    }

    /// Length in seconds.
    pub fn duration(self) -> f64 {
        self.end.0 - self.start.0
    }
}

/// A stretch in which one speaker speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// From when to when.
    #[serde(flatten)]
    pub span: Span,
    /// The speaker's label.
    pub speaker: String,
}

/// What one pass of the recogniser hears: speech spans merged until they fill the model's window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// From the first span's start to the last span's end, silence between them kept.
    #[serde(flatten)]
    pub span: Span,
    /// The speech inside.
    pub segments: Vec<Span>,
}

/// Where a time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeSource {
    /// Heard: the word's letters were found by the CTC aligner.
    Aligned,
    /// Heard only as something between its neighbours: the aligner has no class for any of its characters.
    Wildcard,
    /// Not heard: taken from the neighbours.
    Interpolated,
    /// From the recogniser's cross-attention, by dynamic time warping.
    Dtw,
}

/// A character with its time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Char {
    /// The character as written.
    pub char: String,
    /// Start, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Seconds>,
    /// End, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Seconds>,
    /// Confidence of the time, in `[0, 1]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

/// A word with its time. Times are absent until alignment has run, or where it could not place the word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Word {
    /// The word as written, without surrounding spaces.
    pub word: String,
    /// Start, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Seconds>,
    /// End, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Seconds>,
    /// Confidence of the time, in `[0, 1]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// Where the time comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<TimeSource>,
    /// The speaker's label, when diarization has run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// Who else speaks during the word, where speech overlaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
}

/// A piece of the transcript. The recogniser's own fields are absent where a transcript was read from a file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Start, in seconds.
    pub start: Seconds,
    /// End, in seconds.
    pub end: Seconds,
    /// The text, with Whisper's leading space.
    pub text: String,
    /// The speaker's label, when diarization has run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// The words, when they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<Word>>,
    /// The characters, spaces too, when their times were asked for (WhisperX's key).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chars: Option<Vec<Char>>,
    /// Why the words have no times of their own, where alignment was tried and not possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unaligned: Option<String>,
    /// Token ids of the text, timestamps included where the model wrote them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<u32>,
    /// Mean natural-log probability per token, end-of-text included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avg_logprob: Option<f64>,
    /// Probability of `<|nospeech|>` at the start of the transcript.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_speech_prob: Option<f64>,
    /// UTF-8 length of the text over its zlib-compressed length; high for repetitive text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression_ratio: Option<f64>,
    /// Sampling temperature of the attempt that was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
}

/// What told speakers apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineVersion {
    /// `open`, `builtin`, organisation/name of a repository, or the name of a folder.
    pub pipeline: String,
    /// Of a repository, the commit. Of `open`, the number of its constants and the first eight digits of the SHA-256 of its two
    /// networks, joined by `-`. Of the built-in pipeline, the version of this crate. Not known of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// The result for one recording. Serialises to the JSON the CLI writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// The pieces, in order of time.
    pub segments: Vec<Segment>,
    /// All words of all segments, when they are known (WhisperX's key).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub word_segments: Vec<Word>,
    /// Code of the language spoken: the one asked for, else the one detected. Nothing overwrites it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Probability of the detected language; absent when the caller chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_probability: Option<f64>,
    /// Length of the recording, in seconds.
    #[serde(default)]
    pub duration: Seconds,
    /// What told speakers apart, when diarization has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diarization: Option<PipelineVersion>,
    /// What was asked for and could not be met, as texts for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Who speaks when, whether words were found there or not; where turns overlap, several people speak.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<Turn>,
    /// The embedding of each speaker by label, when it was asked for (WhisperX's key); `None` for a speaker who is nowhere heard alone
    /// for long enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker_embeddings: Option<BTreeMap<String, Option<Vec<f32>>>>,
}

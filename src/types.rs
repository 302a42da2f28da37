//! The transcript and its parts (segments, words, turns), which the stages exchange and the caller receives: plain data
//! in host memory.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::Seconds;

/// A time interval of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Start, in seconds from the start of the recording.
    pub start: Seconds,
    /// End, in seconds from the start of the recording; never before `start`.
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

/// A speaker turn: an interval in which one speaker speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Start and end.
    #[serde(flatten)]
    pub span: Span,
    /// The speaker's label.
    pub speaker: String,
}

/// A VAD chunk, the recogniser's unit of input: adjacent speech spans, merged up to the length of one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// From the start of the first speech span to the end of the last one, including the silence between them.
    #[serde(flatten)]
    pub span: Span,
    /// The speech spans in the chunk.
    pub segments: Vec<Span>,
}

/// How a word's time was determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeSource {
    /// By CTC forced alignment of the word's characters.
    Aligned,
    /// By forced alignment with wildcard labels, which match any sound: the aligner's dictionary contains none of the
    /// word's characters.
    Wildcard,
    /// By interpolation between the neighbouring words; the word itself was not aligned.
    Interpolated,
    /// By dynamic time warping over the recogniser's cross-attention weights.
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

/// A word with its time. Times are absent before alignment has run, and for words that could not be aligned.
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
    /// How the time was determined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<TimeSource>,
    /// The speaker's label, when diarization has run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaker: Option<String>,
    /// Labels of the other speakers during the word, if speech overlaps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
}

/// A segment of the transcript. The recogniser's statistics (`avg_logprob` and others) are absent if the transcript was
/// read from a file.
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
    /// The words, if they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<Word>>,
    /// The characters including spaces, if character times were requested (WhisperX's key).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chars: Option<Vec<Char>>,
    /// Why alignment of this segment failed, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unaligned: Option<String>,
    /// Token ids of the text, including the timestamp tokens that the model emitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<u32>,
    /// Mean log probability (natural logarithm) per token, including the end-of-text token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avg_logprob: Option<f64>,
    /// Probability of `<|nospeech|>` at the start of the transcript.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_speech_prob: Option<f64>,
    /// Length of the text in UTF-8 bytes divided by its zlib-compressed length; high for repetitive text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression_ratio: Option<f64>,
    /// Sampling temperature of the accepted attempt (temperature fallback).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
}

/// The diarization pipeline that produced the speakers, and its version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineVersion {
    /// `open`, `builtin`, organisation/name of a repository, or the name of a folder.
    pub pipeline: String,
    /// The version. For a repository: the commit. For `open`: the version number of its constants and the first eight
    /// digits of the SHA-256 of its two networks, joined by `-`. For `builtin`: the version of this crate. For a
    /// folder: `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// The transcript of one recording. Serialises to the JSON that the CLI writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Transcript {
    /// The segments, in order of time.
    pub segments: Vec<Segment>,
    /// All words of all segments, if they are known (WhisperX's key).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub word_segments: Vec<Word>,
    /// Code of the language spoken: the requested one, else the detected one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Probability of the detected language; absent when the caller chose it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language_probability: Option<f64>,
    /// Length of the recording, in seconds.
    #[serde(default)]
    pub duration: Seconds,
    /// The diarization pipeline, if diarization has run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diarization: Option<PipelineVersion>,
    /// Warnings about requests that could not be fulfilled, as text for the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The speaker turns, with or without words in them. Turns overlap where several people speak at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub turns: Vec<Turn>,
    /// The embedding of each speaker by label, if requested (WhisperX's key). `None` for a speaker without enough
    /// non-overlapped speech.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker_embeddings: Option<BTreeMap<String, Option<Vec<f32>>>>,
}

impl Transcript {
    /// The words of all segments, concatenated: the value of [`word_segments`](Self::word_segments).
    pub fn words_of(segments: &[Segment]) -> Vec<Word> {
        segments.iter().flat_map(|segment| segment.words.iter().flatten()).cloned().collect()
    }
}

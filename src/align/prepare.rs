//! Preparation of segments for alignment: their samples and labels, or the reason why a segment cannot be aligned.

use std::ops::Range;

use super::ctc_paths::Refusal;
use super::dictionary::Dictionary;
use super::labels::{LabelPolicy, Labels};
use super::options::AlignOptions;
use crate::engine::ctc::CtcTopology;
use crate::types::{Segment, Span};
use crate::units::Seconds;

/// A segment that is ready for alignment.
pub struct Plan {
    /// The segment as given by the caller.
    pub segment: Segment,
    /// The segment's times, corrected where they are invalid.
    pub span: Span,
    /// Its samples of the recording.
    pub samples: Range<usize>,
    /// The labels of its text.
    pub labels: Labels,
    /// The reason why it cannot be aligned, if there is one.
    pub refusal: Option<String>,
}

impl Plan {
    /// Duration of its samples.
    pub fn duration(&self) -> Seconds {
        Seconds::from_samples(self.samples.len())
    }
}

/// Plans the alignment of `segments` in a recording of `samples` samples (16 kHz). Returns plans sorted by their start.
pub fn prepare(
    segments: Vec<Segment>,
    samples: usize,
    language: &str,
    dictionary: &Dictionary,
    options: &AlignOptions,
) -> Vec<Plan> {
    let policy = match options.topology {
        CtcTopology::Ctc => LabelPolicy::Spoken,
        CtcTopology::Trellis => LabelPolicy::Written,
    };
    let spans = spans(&segments, Seconds::from_samples(samples));
    let mut plans: Vec<Plan> = segments
        .into_iter()
        .zip(spans)
        .map(|(segment, (span, refusal))| {
            let labels = Labels::new(&segment.text, language, dictionary, policy);
            let first = span.start.to_samples_floor().min(samples);
            let last = span.end.to_samples_floor().clamp(first, samples);
            let silent = labels.is_silent().then(|| Refusal::NoLabels.to_string());
            let refusal = refusal.or(silent);
            Plan { segment, span, samples: first..last, labels, refusal }
        })
        .collect();
    plans.sort_by(|a, b| a.span.start.0.total_cmp(&b.span.start.0));
    plans
}

/// The corrected span of each segment, and the reason why it cannot be aligned, if there is one.
fn spans(segments: &[Segment], duration: Seconds) -> Vec<(Span, Option<String>)> {
    let mut before = Seconds(0.0);
    let mut out = Vec::with_capacity(segments.len());
    for (i, segment) in segments.iter().enumerate() {
        let (start, end) = (segment.start, segment.end);
        let (span, reason) = if !start.0.is_finite() || !end.0.is_finite() {
            // Replace a non-finite time by the end of the segment before, or the start of the next one.
            let later = segments[i + 1..].iter().map(|next| next.start).find(|start| start.0.is_finite());
            let start = if start.0.is_finite() { start } else { before };
            let end = if end.0.is_finite() { end } else { later.unwrap_or(duration) };
            (Span { start, end }, Some("its times are not numbers".to_string()))
        } else if end.0 <= start.0 {
            let reason = if end.0 < start.0 { "it ends before it begins" } else { "it has no length" };
            (Span { start, end: start }, Some(reason.to_string()))
        } else if start.0 >= duration.0 {
            let reason = format!("it begins at {:.3} s, and the audio ends at {:.3} s", start.0, duration.0);
            (Span { start, end }, Some(reason))
        } else {
            // The part after the end of the audio is dropped.
            (Span { start, end: Seconds(end.0.min(duration.0)) }, None)
        };
        let start = Seconds(span.start.0.max(0.0));
        let span = Span { start, end: Seconds(span.end.0.max(start.0)) };
        before = span.end;
        out.push((span, reason));
    }
    out
}

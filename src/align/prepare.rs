//! What is to be heard of each segment, and what is wrong with those that cannot be.

use std::ops::Range;

use super::ctc_paths::Refusal;
use super::dictionary::Dictionary;
use super::labels::{LabelPolicy, Labels};
use super::options::AlignOptions;
use crate::engine::ctc::CtcTopology;
use crate::types::{Segment, Span};
use crate::units::Seconds;

/// A segment that is ready to be heard.
pub struct Plan {
    /// As the caller gave it.
    pub segment: Segment,
    /// Where it is: its own times, made sense of.
    pub span: Span,
    /// Its samples.
    pub samples: Range<usize>,
    /// Its text.
    pub labels: Labels,
    /// Why it need not be heard.
    pub refusal: Option<String>,
}

impl Plan {
    /// How long the part is that is heard.
    pub fn duration(&self) -> Seconds {
        Seconds::from_samples(self.samples.len())
    }
}

/// The plans of segments, in order of time, for a recording of `samples` samples.
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

/// Where each segment lies, with a reason if it cannot be heard there.
fn spans(segments: &[Segment], duration: Seconds) -> Vec<(Span, Option<String>)> {
    let mut before = Seconds(0.0);
    let mut out = Vec::with_capacity(segments.len());
    for (i, segment) in segments.iter().enumerate() {
        let (start, end) = (segment.start, segment.end);
        let (span, reason) = if !start.0.is_finite() || !end.0.is_finite() {
            // Somewhere between its neighbours.
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
            // What is said behind the end of the audio is not heard.
            (Span { start, end: Seconds(end.0.min(duration.0)) }, None)
        };
        let start = Seconds(span.start.0.max(0.0));
        let span = Span { start, end: Seconds(span.end.0.max(start.0)) };
        before = span.end;
        out.push((span, reason));
    }
    out
}

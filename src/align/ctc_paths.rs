//! CTC forced alignment: the most probable path of an utterance's labels through its emissions.

use std::fmt;
use std::ops::Range;

use crate::engine::ctc::{CtcSegments, CtcSpans, CtcTopology};
use crate::engine::{Backend, Tensor, ops};
use crate::error::Result;

/// Most backpointers (rows times labels) of one utterance, one byte each on the CPU. Half an hour of speech has
/// 90 000 rows and 25 000 labels. Longer utterances are refused ([`Refusal::TooLarge`]).
const MAX_BACKPOINTERS: usize = 1 << 32;

/// One utterance to align: its labels, and the range of its emission rows.
#[derive(Clone, Debug)]
pub struct Utterance<'a> {
    /// Rows of the log-probabilities.
    pub rows: Range<usize>,
    /// Classes in the order they are said, without blanks.
    pub labels: &'a [i32],
}

/// The rows aligned to one label.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelSpan {
    /// Rows, relative to the first row of the utterance. Never empty.
    pub rows: Range<usize>,
    /// Mean probability of the label over these rows, in `[0, 1]`.
    pub score: f32,
}

/// Why an utterance has no alignment. Other utterances of the batch are not affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are no labels.
    NoLabels,
    /// There are fewer rows than labels. [`CtcTopology::Ctc`] needs one more row for the blank between two equal
    /// labels.
    TooLong {
        /// Labels, plus the mandatory blanks.
        needed: usize,
        /// Rows of the utterance.
        rows: usize,
    },
    /// Rows times labels exceed the limit of backpointers.
    TooLarge,
    /// Every path has probability zero, or log-probabilities are NaN.
    Impossible,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NoLabels => write!(f, "the text has no character that could be heard"),
            Refusal::TooLong { needed, rows } => {
                write!(f, "the text needs {needed} frames at least, and the audio has {rows}")
            }
            Refusal::TooLarge => write!(f, "text and audio are too long to be aligned in one piece"),
            Refusal::Impossible => write!(f, "the text cannot have been said in this audio"),
        }
    }
}

/// Aligns all utterances with one device operation. `log_probs`: f32 `[.., V]`, natural logarithms; leading axes are
/// flattened to rows. Returns one result per utterance, in order: a [`LabelSpan`] for each of its labels.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if a label is not a class or is the blank, or if a range of rows exceeds the
/// tensor; errors of the device.
pub fn ctc_paths<B: Backend>(
    be: &B,
    log_probs: &Tensor<B, f32>,
    utterances: &[Utterance],
    blank: usize,
    topology: CtcTopology,
) -> Result<Vec<std::result::Result<Vec<LabelSpan>, Refusal>>> {
    let refusals: Vec<Option<Refusal>> = utterances.iter().map(|utterance| refusal(utterance, topology)).collect();
    let possible = utterances.iter().zip(&refusals).filter(|(_, refusal)| refusal.is_none());
    let segments: Vec<(Range<usize>, &[i32])> = possible.map(|(u, _)| (u.rows.clone(), u.labels)).collect();
    let segments = CtcSegments::new(be, &segments, log_probs.width(), blank)?;
    let mut spans = CtcSpans::zeros(be, &segments)?;
    ops::ctc_viterbi(be, &mut spans, log_probs, &segments, topology)?;
    let (start, end) = (spans.start.to_host(be)?, spans.end.to_host(be)?);
    let (score, total) = (spans.score.to_host(be)?, spans.total.to_host(be)?);
    let found = segments.host_segments().iter().zip(total).map(|(place, total)| {
        if total == f32::NEG_INFINITY {
            return Err(Refusal::Impossible);
        }
        let span = |i: usize| LabelSpan { rows: start[i] as usize..end[i] as usize, score: score[i] };
        Ok(place.labels.clone().map(span).collect())
    });
    let mut found = found.collect::<Vec<_>>().into_iter();
    Ok(refusals.into_iter().filter_map(|refusal| refusal.map_or_else(|| found.next(), |r| Some(Err(r)))).collect())
}

fn refusal(utterance: &Utterance, topology: CtcTopology) -> Option<Refusal> {
    let (labels, rows) = (utterance.labels, utterance.rows.len());
    let repeats = labels.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let needed = labels.len() + if topology == CtcTopology::Ctc { repeats } else { 0 };
    if labels.is_empty() {
        return Some(Refusal::NoLabels);
    }
    if rows < needed {
        return Some(Refusal::TooLong { needed, rows });
    }
    let backpointers = rows.checked_mul(labels.len() + 1);
    backpointers.is_none_or(|count| count > MAX_BACKPOINTERS).then_some(Refusal::TooLarge)
}

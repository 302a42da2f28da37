//! CTC forced alignment: the most probable path of an utterance's labels through its emissions.

use std::fmt;
use std::ops::Range;

use crate::engine::ctc::{CtcSegments, CtcSpans, CtcTopology};
use crate::engine::{Backend, Tensor, ops};
use crate::error::Result;

/// Largest number of backpointers (rows times labels) of one utterance: a byte each on the CPU. Half an hour of speech has
/// 90 000 rows and 25 000 labels; what is longer must be cut.
const MAX_MOVES: usize = 1 << 32;

/// Labels, and the emission rows that contain them.
#[derive(Clone, Debug)]
pub struct Utterance<'a> {
    /// Rows of the log-probabilities.
    pub rows: Range<usize>,
    /// Classes in the order they are said, without blanks.
    pub labels: &'a [i32],
}

/// The rows of a label.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelSpan {
    /// Rows, counted from the first of the utterance. Never empty.
    pub rows: Range<usize>,
    /// Mean probability of the label in them.
    pub score: f32,
}

/// Why an utterance has no alignment. Other utterances of the batch are not affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are no labels.
    NoLabels,
    /// The labels, with a blank between two that are alike where the topology wants it, are more than the rows.
    TooLong {
        /// Labels and the blanks they need.
        needed: usize,
        /// Rows there are.
        rows: usize,
    },
    /// Rows times labels exceed the limit of backpointers.
    TooLarge,
    /// Every path has probability zero, or the log-probabilities are not numbers.
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

/// Aligns all utterances in one call of the device. `log_probs` `[.., V]`, natural logarithms; leading axes
/// count as rows.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if a label is no class or the blank, or rows are missing; those of the device.
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
    let found = segments.host_places().iter().zip(total).map(|(place, total)| {
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
    let moves = rows.checked_mul(labels.len() + 1);
    moves.is_none_or(|moves| moves > MAX_MOVES).then_some(Refusal::TooLarge)
}

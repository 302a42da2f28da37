//! What a CTC alignment is asked and what it answers: [`Backend::ctc_viterbi`].
//!
//! `N` segments, each with its own run of the rows of one matrix of log-probabilities and its own labels. All of them
//! are aligned by one call, so that a device needs one launch.

use std::ops::Range;

use super::{Backend, Tensor};
use crate::error::{Error, Result};

/// Which paths an alignment may take from row to row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CtcTopology {
    /// As CTC was trained (Graves et al. 2006): a label lasts one row or more, blanks come between labels where they
    /// like, and must where a label follows its like. As torchaudio's `forced_align`.
    #[default]
    Ctc,
    /// As WhisperX: a label takes one row and blanks follow it until the next label; those belong to the label. The path
    /// ends in the row where the last label's blanks add up best, which need not be the last one.
    Trellis,
}

/// Where one segment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtcPlace {
    /// Rows of the log-probabilities.
    pub rows: Range<usize>,
    /// Labels, counted over all segments.
    pub labels: Range<usize>,
}

/// The segments of one call.
pub struct CtcSegments<B: Backend> {
    /// `[N, 4]`: first row, rows, first label, labels.
    pub places: Tensor<B, i32>,
    /// `[L]` labels of all segments, one after another.
    pub labels: Tensor<B, i32>,
    /// The class that stands for no label.
    pub blank: usize,
    host_places: Vec<CtcPlace>,
    host_labels: Vec<i32>,
    classes: usize,
}

impl<B: Backend> CtcSegments<B> {
    /// The labels of each segment and the rows they are said in. `classes` is the width of the log-probabilities.
    ///
    /// # Errors
    /// [`Error::Shape`] if a label or the blank is no class, or a label is the blank.
    pub fn new(be: &B, segments: &[(Range<usize>, &[i32])], classes: usize, blank: usize) -> Result<Self> {
        let wrong = |what, got: String| {
            let expected = format!("a class below {classes}, and no label the blank {blank}");
            Error::Shape { op: "ctc_viterbi", what, expected, got }
        };
        if blank >= classes {
            return Err(wrong("blank", blank.to_string()));
        }
        let host_labels: Vec<i32> = segments.iter().flat_map(|(_, labels)| labels.iter().copied()).collect();
        let is_label = |label: &i32| usize::try_from(*label).is_ok_and(|label| label < classes && label != blank);
        if let Some(label) = host_labels.iter().find(|label| !is_label(label)) {
            return Err(wrong("label", label.to_string()));
        }
        let mut first = 0;
        let mut host_places = Vec::with_capacity(segments.len());
        for (rows, labels) in segments {
            host_places.push(CtcPlace { rows: rows.clone(), labels: first..first + labels.len() });
            first += labels.len();
        }
        let numbers = host_places.iter().flat_map(|p| [p.rows.start, p.rows.len(), p.labels.start, p.labels.len()]);
        let numbers = numbers.map(|number| i32::try_from(number).map_err(|_| wrong("place", number.to_string())));
        let places = Tensor::from_host(be, &[segments.len(), 4], &numbers.collect::<Result<Vec<i32>>>()?)?;
        let labels = Tensor::from_host(be, &[host_labels.len()], &host_labels)?;
        Ok(CtcSegments { places, labels, blank, host_places, host_labels, classes })
    }

    /// The segments' places, on the host.
    pub fn host_places(&self) -> &[CtcPlace] {
        &self.host_places
    }

    /// The labels, on the host.
    pub fn host_labels(&self) -> &[i32] {
        &self.host_labels
    }

    /// The width of the log-probabilities these labels are classes of.
    pub fn classes(&self) -> usize {
        self.classes
    }
}

/// Where each label was found.
pub struct CtcSpans<B: Backend> {
    /// `[L]` the label's first row, counted from the first of its segment.
    pub start: Tensor<B, i32>,
    /// `[L]` the row after its last.
    pub end: Tensor<B, i32>,
    /// `[L]` the mean probability of what its rows were taken for: the label, or, in [`CtcTopology::Trellis`], the blanks
    /// that follow it.
    pub score: Tensor<B, f32>,
    /// `[N]` log-probability of the segment's best path; minus infinity where there is none, and all of the segment's
    /// other numbers are 0.
    pub total: Tensor<B, f32>,
}

impl<B: Backend> CtcSpans<B> {
    /// Room for the answer.
    pub fn zeros(be: &B, segments: &CtcSegments<B>) -> Result<Self> {
        let labels = segments.labels.len();
        Ok(CtcSpans {
            start: Tensor::zeros(be, &[labels])?,
            end: Tensor::zeros(be, &[labels])?,
            score: Tensor::zeros(be, &[labels])?,
            total: Tensor::zeros(be, &[segments.host_places().len()])?,
        })
    }
}

//! Inputs and outputs of CTC forced alignment ([`Backend::ctc_viterbi`]).
//!
//! One call aligns `N` segments, so that a device needs one launch. Each segment has its own labels and its own
//! consecutive rows of one matrix of log-probabilities.

use std::ops::Range;

use super::{Backend, Tensor};
use crate::error::{Error, Result};

/// The paths that an alignment may take from row to row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CtcTopology {
    /// Standard CTC (Graves et al. 2006), as torchaudio's `forced_align`: a label lasts one row or more; blanks between
    /// labels are optional, but required between two equal labels.
    #[default]
    Ctc,
    /// The trellis of WhisperX: a label takes one row, and blanks follow until the next label; these blanks belong to
    /// the label. The path ends in the row with the best score for the last label and its blanks, not necessarily the
    /// last row.
    Trellis,
}

/// The rows and labels of one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CtcPlace {
    /// Rows of the log-probabilities.
    pub rows: Range<usize>,
    /// Its labels, as a range in those of all segments.
    pub labels: Range<usize>,
}

/// The segments aligned by one call.
pub struct CtcSegments<B: Backend> {
    /// `[N, 4]`: first row, rows, first label, labels.
    pub places: Tensor<B, i32>,
    /// `[L]` labels of all segments, one after another.
    pub labels: Tensor<B, i32>,
    /// The class of the CTC blank.
    pub blank: usize,
    host_places: Vec<CtcPlace>,
    host_labels: Vec<i32>,
    classes: usize,
}

impl<B: Backend> CtcSegments<B> {
    /// Copies the rows and labels of each segment to the device. `classes` is the width of the log-probabilities.
    ///
    /// # Errors
    /// [`Error::Shape`] if a label or the blank is not below `classes`, or a label is the blank.
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

    /// The rows and labels of each segment, on the host.
    pub fn host_places(&self) -> &[CtcPlace] {
        &self.host_places
    }

    /// The labels, on the host.
    pub fn host_labels(&self) -> &[i32] {
        &self.host_labels
    }

    /// Number of classes: the width of the log-probabilities.
    pub fn classes(&self) -> usize {
        self.classes
    }
}

/// The result of an alignment: the rows and score of each label.
pub struct CtcSpans<B: Backend> {
    /// `[L]` first row of the label, counted from the first row of its segment.
    pub start: Tensor<B, i32>,
    /// `[L]` the row after its last one.
    pub end: Tensor<B, i32>,
    /// `[L]` mean probability over its rows of the class on the path: the label or, in [`CtcTopology::Trellis`], the
    /// blanks that follow it.
    pub score: Tensor<B, f32>,
    /// `[N]` log-probability of the segment's best path. Minus infinity if there is no path; then all other numbers of
    /// the segment are 0.
    pub total: Tensor<B, f32>,
}

impl<B: Backend> CtcSpans<B> {
    /// Allocates the result for `segments`.
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

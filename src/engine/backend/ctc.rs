//! Inputs and outputs of CTC forced alignment ([`CtcOps::ctc_viterbi`]).
//!
//! One call aligns `N` segments, so that a device needs one launch. Each segment has its own labels and its own
//! consecutive rows of one matrix of log-probabilities.

use std::ops::Range;

use super::device::Device;
use super::host;
use super::shape::{check, check_len};
use super::tensor::Tensor;
use crate::engine::profile::range;
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
pub struct CtcSegment {
    /// Rows of the log-probabilities.
    pub rows: Range<usize>,
    /// Its labels, as a range in those of all segments.
    pub labels: Range<usize>,
}

/// The segments aligned by one call.
pub struct CtcSegments<B: Device> {
    /// `[N, 4]`: first row, rows, first label, labels.
    pub places: Tensor<B, i32>,
    /// `[L]` labels of all segments, one after another.
    pub labels: Tensor<B, i32>,
    /// The class of the CTC blank.
    pub blank: usize,
    host_segments: Vec<CtcSegment>,
    host_labels: Vec<i32>,
    classes: usize,
}

impl<B: Device> CtcSegments<B> {
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
        let mut host_segments = Vec::with_capacity(segments.len());
        for (rows, labels) in segments {
            host_segments.push(CtcSegment { rows: rows.clone(), labels: first..first + labels.len() });
            first += labels.len();
        }
        let numbers = host_segments.iter().flat_map(|p| [p.rows.start, p.rows.len(), p.labels.start, p.labels.len()]);
        let numbers = numbers.map(|number| i32::try_from(number).map_err(|_| wrong("place", number.to_string())));
        let places = Tensor::from_host(be, &[segments.len(), 4], &numbers.collect::<Result<Vec<i32>>>()?)?;
        let labels = Tensor::from_host(be, &[host_labels.len()], &host_labels)?;
        Ok(CtcSegments { places, labels, blank, host_segments, host_labels, classes })
    }

    /// The rows and labels of each segment, on the host.
    pub fn host_segments(&self) -> &[CtcSegment] {
        &self.host_segments
    }

    /// The labels, on the host.
    pub fn host_labels(&self) -> &[i32] {
        &self.host_labels
    }

    /// Number of classes: the width of the log-probabilities.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// A copy on the host device.
    fn on_host(&self, be: &B) -> Result<CtcSegments<B::Host>> {
        Ok(CtcSegments {
            places: host::copy(be, &self.places)?,
            labels: host::copy(be, &self.labels)?,
            blank: self.blank,
            host_segments: self.host_segments.clone(),
            host_labels: self.host_labels.clone(),
            classes: self.classes,
        })
    }
}

/// The result of an alignment: the rows and score of each label.
pub struct CtcSpans<B: Device> {
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

impl<B: Device> CtcSpans<B> {
    /// Allocates the result for `segments`.
    pub fn zeros(be: &B, segments: &CtcSegments<B>) -> Result<Self> {
        let labels = segments.labels.len();
        Ok(CtcSpans {
            start: Tensor::zeros(be, &[labels])?,
            end: Tensor::zeros(be, &[labels])?,
            score: Tensor::zeros(be, &[labels])?,
            total: Tensor::zeros(be, &[segments.host_segments().len()])?,
        })
    }

    /// Copies the result from the host device.
    fn set_from_host(&mut self, be: &B, from: &CtcSpans<B::Host>) -> Result<()> {
        let host = be.host();
        be.write(&mut self.start.buf, 0, &from.start.to_host(host)?)?;
        be.write(&mut self.end.buf, 0, &from.end.to_host(host)?)?;
        be.write(&mut self.score.buf, 0, &from.score.to_host(host)?)?;
        be.write(&mut self.total.buf, 0, &from.total.to_host(host)?)
    }
}

/// CTC forced alignment. The default body runs on [`Device::Host`].
pub trait CtcOps: Device {
    /// CTC forced alignment (Viterbi): the best path of each segment's labels through its rows of `log_probs` `[R, V]`,
    /// natural logarithms. [`CtcTopology`] defines the allowed paths, [`CtcSpans`] the result. Sums are f32, in the
    /// order of the rows. Ties: the path that stays in its state, then the one that comes from a blank, then the one
    /// that comes from a label.
    fn ctc_viterbi(
        &self,
        out: &mut CtcSpans<Self>,
        log_probs: &Tensor<Self, f32>,
        segments: &CtcSegments<Self>,
        topology: CtcTopology,
    ) -> Result<()> {
        let (log_probs, segments) = (host::copy(self, log_probs)?, segments.on_host(self)?);
        let mut spans = CtcSpans::zeros(host::of(self)?, &segments)?;
        host::of(self)?.ctc_viterbi(&mut spans, &log_probs, &segments, topology)?;
        out.set_from_host(self, &spans)
    }
}

/// See [`CtcOps::ctc_viterbi`].
pub fn ctc_viterbi<B: CtcOps>(
    be: &B,
    out: &mut CtcSpans<B>,
    log_probs: &Tensor<B, f32>,
    segments: &CtcSegments<B>,
    topology: CtcTopology,
) -> Result<()> {
    let _range = range("ctc_viterbi");
    let labels = segments.labels.len();
    check("ctc_viterbi", "log_probs width", &[log_probs.width()], &[segments.classes()])?;
    check_len("ctc_viterbi", "start", &out.start, labels)?;
    check_len("ctc_viterbi", "end", &out.end, labels)?;
    check_len("ctc_viterbi", "score", &out.score, labels)?;
    check_len("ctc_viterbi", "total", &out.total, segments.host_segments().len())?;
    let rows = log_probs.rows();
    if let Some(place) = segments.host_segments().iter().find(|place| place.rows.end > rows) {
        let (expected, got) = (format!("at least {} rows", place.rows.end), format!("{:?}", log_probs.shape()));
        return Err(Error::Shape { op: "ctc_viterbi", what: "log_probs", expected, got });
    }
    be.ctc_viterbi(out, log_probs, segments, topology)
}

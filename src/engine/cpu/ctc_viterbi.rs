//! `ctc_viterbi`: CTC forced alignment by the Viterbi algorithm, with backtracking.
//!
//! The trellis has two scores per label and row: `label[j]`, of the best path that ends in label `j`, and `blank[j]`,
//! of the best path that ends in a blank after `j` labels. Both depend only on the previous row, so all labels of a row
//! are computed by one vectorised loop. For backtracking, one byte per label and row stores the predecessors.
//!
//! In each row, only labels are computed that a path can have reached and from which it can still reach the last label.

use rayon::prelude::*;

use super::Cpu;
use super::isa::{Isa, Kernel};
use crate::engine::Tensor;
use crate::engine::backend::CtcOps;
use crate::engine::ctc::{CtcSegments, CtcSpans, CtcTopology};
use crate::error::Result;

/// The predecessor of `label[j]`: itself, the blank before it, or the label before it.
const STAY: u8 = 0;
const FROM_BLANK: u8 = 1;
const FROM_LABEL: u8 = 2;
const LABEL_MOVE: u8 = 3;
/// The predecessor of `blank[j]` is `label[j - 1]`; in [`Trellis`], that of cell `j` is cell `j - 1`.
const ADVANCE: u8 = 4;

/// See [`CtcOps::ctc_viterbi`]: `log_probs` `[R, V]`.
pub(super) fn ctc_viterbi(
    cpu: &Cpu,
    out: &mut CtcSpans<Cpu>,
    log_probs: &Tensor<Cpu, f32>,
    segments: &CtcSegments<Cpu>,
    topology: CtcTopology,
) {
    let classes = log_probs.width();
    let mut tasks = Vec::new();
    let (mut start, mut end, mut score) = (&mut out.start.buf[..], &mut out.end.buf[..], &mut out.score.buf[..]);
    for (place, total) in segments.host_segments().iter().zip(&mut out.total.buf) {
        let count = place.labels.len();
        let spans = Spans {
            start: start.split_off_mut(..count).unwrap_or_default(),
            end: end.split_off_mut(..count).unwrap_or_default(),
            score: score.split_off_mut(..count).unwrap_or_default(),
        };
        let segment = Segment {
            log_probs: &log_probs.buf[place.rows.start * classes..place.rows.end * classes],
            classes,
            labels: &segments.host_labels()[place.labels.clone()],
            blank: segments.blank,
        };
        tasks.push((segment, spans, total));
    }
    cpu.threads.run(|| {
        tasks.par_iter_mut().with_max_len(1).for_each(|(segment, spans, total)| {
            **total = match topology {
                CtcTopology::Ctc => segment.ctc(cpu, spans),
                CtcTopology::Trellis => segment.trellis(cpu, spans),
            };
            // A path of probability zero, or through NaN, does not count as a path.
            if !(**total > f32::NEG_INFINITY) {
                **total = f32::NEG_INFINITY;
                spans.clear();
            }
        });
    });
}

/// One segment: `T` rows of `V` classes, `L` labels.
struct Segment<'a> {
    /// `[T, V]`
    log_probs: &'a [f32],
    classes: usize,
    labels: &'a [i32],
    blank: usize,
}

/// The part of [`CtcSpans`] that belongs to one segment, `[L]` each.
struct Spans<'a> {
    start: &'a mut [i32],
    end: &'a mut [i32],
    score: &'a mut [f32],
}

impl Spans<'_> {
    fn clear(&mut self) {
        self.start.fill(0);
        self.end.fill(0);
        self.score.fill(0.0);
    }

    /// Sets the span of label `j` to the rows `start..end`, whose probabilities add up to `sum`.
    fn set(&mut self, j: usize, start: usize, end: usize, sum: f64) {
        self.start[j] = start as i32;
        self.end[j] = end as i32;
        self.score[j] = (sum / (end - start) as f64) as f32;
    }
}

/// The range of `j` in row `t` that lies on a complete path: at most `t` labels fit before row `t`, and the remaining
/// labels must fit into the remaining rows.
fn band(t: usize, rows: usize, labels: usize) -> std::ops::RangeInclusive<usize> {
    (labels + t).saturating_sub(rows)..=t.min(labels)
}

impl Segment<'_> {
    fn rows(&self) -> usize {
        self.log_probs.len() / self.classes
    }

    fn at(&self, t: usize, class: usize) -> f32 {
        self.log_probs[t * self.classes + class]
    }

    fn probability(&self, t: usize, class: usize) -> f64 {
        f64::from(self.at(t, class).exp())
    }

    /// The log-probability of the best path.
    fn ctc(&self, cpu: &Cpu, spans: &mut Spans<'_>) -> f32 {
        let (rows, count) = (self.rows(), self.labels.len());
        let repeats = self.labels.windows(2).filter(|pair| pair[0] == pair[1]).count();
        if rows < count + repeats || count == 0 {
            // Without labels, the path is all blanks.
            return if count == 0 { (0..rows).map(|t| self.at(t, self.blank)).sum() } else { f32::NEG_INFINITY };
        }
        let mut moves = vec![0u8; rows * (count + 1)];
        let [in_blank, in_last] = cpu.level.run(Ctc { segment: self, moves: &mut moves });
        // Ties: the path ends in the label, as in torchaudio.
        let (mut in_label, mut j) = if in_blank > in_last { (false, count) } else { (true, count - 1) };
        let (mut end, mut sum) = (rows, 0.0);
        for t in (0..rows).rev() {
            let moved = moves[t * (count + 1) + j];
            if !in_label {
                if moved & ADVANCE != 0 && t > 0 {
                    (in_label, j, end, sum) = (true, j - 1, t, 0.0);
                }
                continue;
            }
            sum += self.probability(t, self.labels[j] as usize);
            let moved = moved & LABEL_MOVE;
            if moved == STAY && t > 0 {
                continue;
            }
            spans.set(j, t, end, sum);
            match moved {
                FROM_LABEL if t > 0 => (j, end, sum) = (j - 1, t, 0.0),
                _ => in_label = false,
            }
        }
        in_blank.max(in_last)
    }

    /// The log-probability of the best path of the WhisperX trellis, up to the row where it ends.
    fn trellis(&self, cpu: &Cpu, spans: &mut Spans<'_>) -> f32 {
        let (rows, count) = (self.rows(), self.labels.len());
        if rows < count || count == 0 {
            return if count == 0 { 0.0 } else { f32::NEG_INFINITY };
        }
        let mut moves = vec![0u8; rows * (count + 1)];
        let (total, last) = cpu.level.run(Trellis { segment: self, moves: &mut moves });
        let (mut j, mut end, mut sum) = (count, last, 0.0);
        for t in (0..last).rev() {
            let advance = moves[t * (count + 1) + j] & ADVANCE != 0;
            sum += self.probability(t, if advance { self.labels[j - 1] as usize } else { self.blank });
            if advance {
                spans.set(j - 1, t, end, sum);
                (j, end, sum) = (j - 1, t, 0.0);
                if j == 0 {
                    return total;
                }
            }
        }
        f32::NEG_INFINITY
    }
}

/// The forward pass of standard CTC; returns `[blank[L], label[L - 1]]` of the last row.
struct Ctc<'a, 'b> {
    segment: &'a Segment<'b>,
    /// `[T, L + 1]`
    moves: &'a mut [u8],
}

/// `label` and `blank` of one row, `[1 + L + 1]`; element 0 is a sentinel before the first label.
struct Row {
    label: Vec<f32>,
    blank: Vec<f32>,
}

impl Row {
    fn new(count: usize) -> Self {
        Row { label: vec![f32::NEG_INFINITY; count + 2], blank: vec![f32::NEG_INFINITY; count + 2] }
    }
}

impl Kernel for Ctc<'_, '_> {
    type Output = [f32; 2];

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, _: I) -> [f32; 2] {
        let (segment, count) = (self.segment, self.segment.labels.len());
        let rows = segment.rows();
        // Added to a path from one label to the next without a blank: 0, or minus infinity if the labels are equal.
        // Label `L` does not exist; its entry stays minus infinity.
        let mut skip = vec![f32::NEG_INFINITY; count + 1];
        for (skip, pair) in skip[1..].iter_mut().zip(segment.labels.windows(2)) {
            if pair[0] != pair[1] {
                *skip = 0.0;
            }
        }
        let mut emission = vec![f32::NEG_INFINITY; count + 1];
        let (mut before, mut now) = (Row::new(count), Row::new(count));
        now.blank[1] = segment.at(0, segment.blank);
        now.label[1] = segment.at(0, segment.labels[0] as usize);
        for t in 1..rows {
            std::mem::swap(&mut before, &mut now);
            let band = band(t, rows, count);
            let (from, to) = (*band.start(), *band.end() + 1);
            let row = &segment.log_probs[t * segment.classes..(t + 1) * segment.classes];
            for (e, label) in emission[from..to].iter_mut().zip(&segment.labels[from..to.min(count)]) {
                *e = row[*label as usize];
            }
            let moves = &mut self.moves[t * (count + 1) + from..t * (count + 1) + to];
            let blank_emission = row[segment.blank];
            let (same_label, previous_label) = (&before.label[from + 1..to + 1], &before.label[from..to]);
            let (blank_before, skip, emission) =
                (&before.blank[from + 1..to + 1], &skip[from..to], &emission[from..to]);
            let (label, blank) = (&mut now.label[from + 1..to + 1], &mut now.blank[from + 1..to + 1]);
            for i in 0..moves.len() {
                let (stay, from_blank, from_label) = (same_label[i], blank_before[i], previous_label[i] + skip[i]);
                let is_from_blank = from_blank > stay;
                let best = if is_from_blank { from_blank } else { stay };
                let is_from_label = from_label > best;
                label[i] = (if is_from_label { from_label } else { best }) + emission[i];
                let is_after_label = previous_label[i] > from_blank;
                blank[i] = (if is_after_label { previous_label[i] } else { from_blank }) + blank_emission;
                let label_move = if is_from_label { FROM_LABEL } else { is_from_blank as u8 * FROM_BLANK };
                moves[i] = label_move | (is_after_label as u8 * ADVANCE);
            }
        }
        [now.blank[count + 1], now.label[count]]
    }
}

/// The forward pass of the WhisperX trellis: cell `j` after `t` rows is the score of the best path with `j` labels.
/// Returns the best score of the last cell, and the number of rows after which it is reached.
struct Trellis<'a, 'b> {
    segment: &'a Segment<'b>,
    /// `[T, L + 1]`
    moves: &'a mut [u8],
}

impl Kernel for Trellis<'_, '_> {
    type Output = (f32, usize);

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, _: I) -> (f32, usize) {
        let (segment, count) = (self.segment, self.segment.labels.len());
        let rows = segment.rows();
        let mut emission = vec![f32::NEG_INFINITY; count + 1];
        let (mut before, mut now) = (vec![f32::NEG_INFINITY; count + 1], vec![f32::NEG_INFINITY; count + 1]);
        now[0] = 0.0;
        let (mut total, mut last, mut blank_sum) = (f32::NEG_INFINITY, 0, 0f64);
        for t in 0..rows {
            std::mem::swap(&mut before, &mut now);
            let row = &segment.log_probs[t * segment.classes..(t + 1) * segment.classes];
            // torch's cumsum accumulates in f64 and rounds every partial sum to f32.
            blank_sum += f64::from(row[segment.blank]);
            now[0] = blank_sum as f32;
            let band = band(t + 1, rows, count);
            let (from, to) = ((*band.start()).max(1), *band.end() + 1);
            if from >= to {
                continue;
            }
            for (e, label) in emission[from..to].iter_mut().zip(&segment.labels[from - 1..to - 1]) {
                *e = row[*label as usize];
            }
            let moves = &mut self.moves[t * (count + 1) + from..t * (count + 1) + to];
            let blank_emission = row[segment.blank];
            let (here, previous, emission) = (&before[from..to], &before[from - 1..to - 1], &emission[from..to]);
            let now_here = &mut now[from..to];
            for i in 0..moves.len() {
                let (stayed, changed) = (here[i] + blank_emission, previous[i] + emission[i]);
                let advance = changed > stayed;
                now_here[i] = if advance { changed } else { stayed };
                moves[i] = advance as u8 * ADVANCE;
            }
            if now[count] > total {
                (total, last) = (now[count], t + 1);
            }
        }
        (total, last)
    }
}

impl CtcOps for Cpu {
    fn ctc_viterbi(
        &self,
        out: &mut CtcSpans<Self>,
        log_probs: &Tensor<Self, f32>,
        segments: &CtcSegments<Self>,
        topology: CtcTopology,
    ) -> Result<()> {
        ctc_viterbi(self, out, log_probs, segments, topology);
        Ok(())
    }
}

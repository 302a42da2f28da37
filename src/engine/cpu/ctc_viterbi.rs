//! `ctc_viterbi`: the best path of labels through rows of log-probabilities, and its way back.
//!
//! Two numbers for each label and row: `label[j]`, of the best path that has just said label `j`, and `blank[j]`, of the
//! best one that is silent after `j` labels. Both need the row before only, so a row of all labels is one pass over
//! vectors; what is kept of it is one byte per label that says where the best paths came from.
//!
//! Of all labels only those are looked at that a path can have reached by this row and can still go on from to the last.

use rayon::prelude::*;

use super::Cpu;
use super::isa::{Isa, Kernel};
use crate::engine::Tensor;
use crate::engine::ctc::{CtcSegments, CtcSpans, CtcTopology};

/// How `label[j]` was reached: from itself, from the silence before it, or from the label before.
const STAY: u8 = 0;
const FROM_BLANK: u8 = 1;
const FROM_LABEL: u8 = 2;
const LABEL_MOVE: u8 = 3;
/// `blank[j]` was reached from `label[j - 1]`; in the trellis, cell `j` from cell `j - 1`.
const ADVANCE: u8 = 4;

/// See [`Backend::ctc_viterbi`](crate::engine::Backend::ctc_viterbi): `log_probs` `[R, V]`.
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
    for (place, total) in segments.host_places().iter().zip(&mut out.total.buf) {
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
            // A path of probability zero is none, and neither is one through NaN.
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

/// The part of the answer that is one segment's, `[L]` each.
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

    /// Label `j` has the rows `start..end`, whose probabilities add up to `sum`.
    fn set(&mut self, j: usize, start: usize, end: usize, sum: f64) {
        self.start[j] = start as i32;
        self.end[j] = end as i32;
        self.score[j] = (sum / (end - start) as f64) as f32;
    }
}

/// Labels worth looking at in row `t` of `rows`: those that fit in before, down to the last that leaves room for the
/// labels after it.
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
            // Nothing to say is said by blanks alone.
            return if count == 0 { (0..rows).map(|t| self.at(t, self.blank)).sum() } else { f32::NEG_INFINITY };
        }
        let mut moves = vec![0u8; rows * (count + 1)];
        let [silent, speaking] = cpu.level.run(Ctc { segment: self, moves: &mut moves });
        // Equal ends: in the label, as torchaudio.
        let (mut in_label, mut j) = if silent > speaking { (false, count) } else { (true, count - 1) };
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
        silent.max(speaking)
    }

    /// The log-probability of the best path up to the row where it ends.
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

/// The way forward; `[blank[L], label[L - 1]]` of the last row.
struct Ctc<'a, 'b> {
    segment: &'a Segment<'b>,
    /// `[T, L + 1]`
    moves: &'a mut [u8],
}

/// `label` and `blank` of one row, `[1 + L + 1]`; the first stands for the label before the first, which nobody says.
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
        // Added to a path that skips the silence between two labels: nothing, or all it has where they are alike. There
        // is no label `L`; whatever is said of it comes to nothing.
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
            let silence = row[segment.blank];
            let (said, earlier) = (&before.label[from + 1..to + 1], &before.label[from..to]);
            let (quiet, skip, emission) = (&before.blank[from + 1..to + 1], &skip[from..to], &emission[from..to]);
            let (label, blank) = (&mut now.label[from + 1..to + 1], &mut now.blank[from + 1..to + 1]);
            for i in 0..moves.len() {
                let (stay, from_blank, from_label) = (said[i], quiet[i], earlier[i] + skip[i]);
                let started = from_blank > stay;
                let best = if started { from_blank } else { stay };
                let skipped = from_label > best;
                label[i] = (if skipped { from_label } else { best }) + emission[i];
                let fell_silent = earlier[i] > from_blank;
                blank[i] = (if fell_silent { earlier[i] } else { from_blank }) + silence;
                let label_move = if skipped { FROM_LABEL } else { started as u8 * FROM_BLANK };
                moves[i] = label_move | (fell_silent as u8 * ADVANCE);
            }
        }
        [now.blank[count + 1], now.label[count]]
    }
}

/// The way forward of WhisperX: cell `j` after `t` rows is the best path that has said `j` labels. The best last cell, and
/// after how many rows.
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
        let (mut total, mut last, mut silent) = (f32::NEG_INFINITY, 0, 0f64);
        for t in 0..rows {
            std::mem::swap(&mut before, &mut now);
            let row = &segment.log_probs[t * segment.classes..(t + 1) * segment.classes];
            // torch's cumsum adds up in f64 and rounds every sum.
            silent += f64::from(row[segment.blank]);
            now[0] = silent as f32;
            let band = band(t + 1, rows, count);
            let (from, to) = ((*band.start()).max(1), *band.end() + 1);
            if from >= to {
                continue;
            }
            for (e, label) in emission[from..to].iter_mut().zip(&segment.labels[from - 1..to - 1]) {
                *e = row[*label as usize];
            }
            let moves = &mut self.moves[t * (count + 1) + from..t * (count + 1) + to];
            let silence = row[segment.blank];
            let (here, previous, emission) = (&before[from..to], &before[from - 1..to - 1], &emission[from..to]);
            let now_here = &mut now[from..to];
            for i in 0..moves.len() {
                let (stayed, changed) = (here[i] + silence, previous[i] + emission[i]);
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

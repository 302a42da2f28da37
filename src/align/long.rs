//! Online CTC Viterbi search (banded, bounded memory) for recordings of any length.
//!
//! [`ctc_paths()`](super::ctc_paths()) stores a backpointer for every row and label, tens of gigabytes for two hours of
//! speech. This search, for [`CtcTopology::Ctc`] only, bounds both dimensions:
//! * Labels: it evaluates a band of at most `WIDTH` labels around the most probable ones, ten minutes of speech. The
//!   search is exact for shorter texts.
//! * Rows: when all surviving paths share their beginning, that beginning is emitted and its backpointers are freed. If
//!   the backpointers exceed `HISTORY` bytes before that, the older half of the currently best path is emitted.
//!
//! The search runs on the CPU; rows are copied from the device window by window.
//!
//! [`CtcTopology::Ctc`]: crate::engine::ctc::CtcTopology::Ctc

use std::collections::VecDeque;
use std::ops::Range;

use super::ctc_paths::{LabelSpan, Refusal};

/// Most labels evaluated in one row.
const WIDTH: usize = 8192;
/// Most bytes of backpointers and emissions of rows that are not emitted yet.
const HISTORY: usize = 1 << 28;
/// Rows between two prunings of the band.
const PRUNE_INTERVAL: usize = 64;
/// Rows between two tracebacks.
const TRACEBACK_INTERVAL: usize = 1024;

/// Backpointer of state `label[j]`, in the bits `LABEL_MASK`: the same label, the blank before it, or the previous
/// label.
const STAY: u8 = 0;
const FROM_BLANK: u8 = 1;
const FROM_LABEL: u8 = 2;
const LABEL_MASK: u8 = 3;
/// Backpointer of state `blank[j]`, one bit: set for `label[j - 1]`, clear for the same blank.
const BLANK_FROM_LABEL: u8 = 4;

/// A CTC state: `2 j` is the blank after `j` labels, `2 j + 1` is label `j`. Paths are monotonic in these numbers, and
/// two best paths never cross.
type State = usize;

/// Bounds of the search. Tests use smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most labels evaluated in one row.
    pub width: usize,
    /// Most bytes of backpointers and emissions kept.
    pub history: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { width: WIDTH, history: HISTORY }
    }
}

/// An online search for the most probable path of `labels`. Feed all rows to [`rows`](Self::rows), then call
/// [`finish`](Self::finish).
pub struct LongSearch<'a> {
    labels: &'a [i32],
    blank: usize,
    limits: Limits,
    /// Number of rows of the recording, and rows processed.
    rows: usize,
    seen: usize,
    /// Scores after the last row, and after the row before it.
    now: Scores,
    before: Scores,
    emission: Vec<f32>,
    /// `[L + 1]` log-weight of the transition from label `j - 1` to label `j` without a blank: minus infinity if they
    /// are equal, else 0.
    skip: Vec<f32>,
    /// `[L + 1]` least number of rows for the labels from `j` on.
    needed: Vec<usize>,
    /// Labels evaluated in the last row.
    band: Range<usize>,
    /// Rows that are not emitted yet.
    history: VecDeque<HistoryRow>,
    /// Size of `history`.
    bytes: usize,
    /// `[L]`
    emitted: Vec<EmittedLabel>,
}

/// Log-probabilities of the best path to each state, `[1 + L + 1]`: item `j + 1` is label `j`, and the blank after `j`
/// labels. Item 0 is a sentinel of minus infinity: there is no label before the first. States outside the band have
/// minus infinity.
struct Scores {
    label: Vec<f32>,
    blank: Vec<f32>,
}

/// Backpointers and emissions of one row.
struct HistoryRow {
    /// The first label of the band.
    from: usize,
    backpointers: Box<[u8]>,
    /// `[V]`
    log_probs: Box<[f32]>,
}

/// The emitted rows of a label, and the sum of its probabilities in them.
#[derive(Clone)]
struct EmittedLabel {
    rows: Range<usize>,
    sum: f64,
}

impl Scores {
    fn impossible(count: usize) -> Self {
        Scores { label: vec![f32::NEG_INFINITY; count + 2], blank: vec![f32::NEG_INFINITY; count + 2] }
    }

    fn at(&self, state: State) -> f32 {
        if state.is_multiple_of(2) { self.blank[state / 2 + 1] } else { self.label[state / 2 + 1] }
    }

    fn prune(&mut self, state: State) {
        let items = if state.is_multiple_of(2) { &mut self.blank } else { &mut self.label };
        items[state / 2 + 1] = f32::NEG_INFINITY;
    }
}

impl HistoryRow {
    /// The predecessor of a state on the best path to it.
    fn back(&self, state: State) -> State {
        let backpointer = self.backpointers[state / 2 - self.from];
        match (state % 2, backpointer & LABEL_MASK) {
            (0, _) if backpointer & BLANK_FROM_LABEL != 0 => state - 1,
            (0, _) | (_, STAY) => state,
            (_, FROM_BLANK) => state - 1,
            _ => state - 2,
        }
    }
}

impl<'a> LongSearch<'a> {
    /// A search for `labels` in a recording of `rows` emission rows.
    ///
    /// # Errors
    /// [`Refusal::NoLabels`], or [`Refusal::TooLong`] if there are too few rows.
    pub fn new(labels: &'a [i32], blank: usize, rows: usize, limits: Limits) -> Result<Self, Refusal> {
        let count = labels.len();
        let mut skip = vec![f32::NEG_INFINITY; count + 1];
        let mut needed: Vec<usize> = (0..=count).rev().collect();
        let mut repeats = 0;
        for j in (1..count).rev() {
            if labels[j - 1] == labels[j] {
                repeats += 1;
            } else {
                skip[j] = 0.0;
            }
            needed[j - 1] += repeats;
        }
        if count == 0 {
            return Err(Refusal::NoLabels);
        }
        if rows < needed[0] {
            return Err(Refusal::TooLong { needed: needed[0], rows });
        }
        let mut now = Scores::impossible(count);
        now.blank[1] = 0.0;
        Ok(LongSearch {
            labels,
            blank,
            limits,
            rows,
            seen: 0,
            now,
            before: Scores::impossible(count),
            emission: vec![f32::NEG_INFINITY; count + 1],
            skip,
            needed,
            band: 0..0,
            history: VecDeque::new(),
            bytes: 0,
            emitted: vec![EmittedLabel { rows: Range { start: usize::MAX, end: 0 }, sum: 0.0 }; count],
        })
    }

    /// Processes the next rows, `[R, classes]` natural logarithms.
    pub fn rows(&mut self, log_probs: &[f32], classes: usize) {
        for row in log_probs.chunks_exact(classes) {
            self.row(row);
            if self.seen.is_multiple_of(PRUNE_INTERVAL) {
                self.prune_band();
            }
            if self.seen.is_multiple_of(TRACEBACK_INTERVAL) {
                self.emit_common_beginning();
            }
        }
    }

    /// The spans of all labels.
    ///
    /// # Errors
    /// [`Refusal::Impossible`] if every path has probability zero, or if the number of rows differs from that given to
    /// [`new`](Self::new).
    pub fn finish(mut self) -> Result<Vec<LabelSpan>, Refusal> {
        let last = 2 * self.labels.len();
        let (in_blank, in_label) = (self.now.at(last), self.now.at(last - 1));
        if !(in_blank.max(in_label) > f32::NEG_INFINITY) || self.seen != self.rows {
            return Err(Refusal::Impossible);
        }
        // Ties: the path ends in the label.
        self.emit(if in_blank > in_label { last } else { last - 1 }, self.history.len());
        let span =
            |label: EmittedLabel| LabelSpan { score: (label.sum / label.rows.len() as f64) as f32, rows: label.rows };
        Ok(self.emitted.into_iter().map(span).collect())
    }

    /// One step of the Viterbi recursion.
    fn row(&mut self, row: &[f32]) {
        let count = self.labels.len();
        // Labels that leave too few rows for the labels after them cannot be on a complete path.
        let mut first = self.band.start;
        while self.needed[first] > self.rows.saturating_sub(self.seen) {
            first += 1;
        }
        let end = (self.band.end + 1).clamp(first + 1, count + 1);
        std::mem::swap(&mut self.now, &mut self.before);
        for (e, label) in self.emission[first..end].iter_mut().zip(&self.labels[first..end.min(count)]) {
            *e = row[*label as usize];
        }
        let mut backpointers = vec![0u8; end - first];
        let blank_emission = row[self.blank];
        let Scores { label, blank } = &self.before;
        let (same, previous, blank_before) =
            (&label[first + 1..end + 1], &label[first..end], &blank[first + 1..end + 1]);
        let (skip, emission) = (&self.skip[first..end], &self.emission[first..end]);
        let (label, blank) = (&mut self.now.label[first + 1..end + 1], &mut self.now.blank[first + 1..end + 1]);
        for i in 0..backpointers.len() {
            let (stay, from_blank, from_label) = (same[i], blank_before[i], previous[i] + skip[i]);
            let started = from_blank > stay;
            let best = if started { from_blank } else { stay };
            let skipped = from_label > best;
            label[i] = (if skipped { from_label } else { best }) + emission[i];
            let ended = previous[i] > from_blank;
            blank[i] = (if ended { previous[i] } else { from_blank }) + blank_emission;
            let label_backpointer = if skipped { FROM_LABEL } else { started as u8 * FROM_BLANK };
            backpointers[i] = label_backpointer | (ended as u8 * BLANK_FROM_LABEL);
        }
        self.set_band(first..end);
        self.seen += 1;
        self.bytes += backpointers.len() + size_of_val(row);
        self.history.push_back(HistoryRow { from: first, backpointers: backpointers.into(), log_probs: row.into() });
    }

    /// Sets the band, and the scores next to it to minus infinity: the next row reads one item on either side.
    fn set_band(&mut self, band: Range<usize>) {
        self.now.label[band.start] = f32::NEG_INFINITY;
        for items in [&mut self.now.label, &mut self.now.blank] {
            if let Some(next) = items.get_mut(band.end + 1) {
                *next = f32::NEG_INFINITY;
            }
        }
        self.band = band;
    }

    /// Rescales the scores so that the best is zero, and narrows the band to its width by dropping the less probable
    /// end.
    fn prune_band(&mut self) {
        let Range { mut start, mut end } = self.band.clone();
        let items = start + 1..end + 1;
        let scores = [&mut self.now.label[items.clone()], &mut self.now.blank[items]];
        let best = scores.iter().flat_map(|s| s.iter()).copied().fold(f32::NEG_INFINITY, f32::max);
        if best > f32::NEG_INFINITY {
            scores.into_iter().flatten().for_each(|score| *score -= best);
        }
        while end - start > self.limits.width.max(1) {
            let score = |j: usize| self.now.at(2 * j).max(self.now.at(2 * j + 1));
            if score(start) < score(end - 1) { start += 1 } else { end -= 1 }
        }
        if (start..end) != self.band {
            self.set_band(start..end);
        }
    }

    /// Emits the rows that all surviving paths share. If the history is still too large, emits its older half.
    fn emit_common_beginning(&mut self) {
        let states = 2 * self.band.start..2 * self.band.end;
        let alive: Vec<State> = states.filter(|state| self.now.at(*state) > f32::NEG_INFINITY).collect();
        // Paths do not cross, so where the lowest and the highest meet, all have met.
        let (Some(low), Some(high)) = (alive.first(), alive.last()) else { return };
        let (mut low, mut high) = (*low, *high);
        let mut shared = self.history.len();
        while shared > 0 && low != high {
            shared -= 1;
            (low, high) = (self.history[shared].back(low), self.history[shared].back(high));
        }
        self.emit(low, shared);
        if self.bytes <= self.limits.history {
            return;
        }
        // Emit the older half of the currently best path, and prune the paths that differ from it there.
        let half = self.history.len() / 2;
        let best = alive.iter().copied().max_by(|a, b| self.now.at(*a).total_cmp(&self.now.at(*b)));
        let Some(best) = best else { return };
        let origin = self.origin(best, half);
        let lower = alive.partition_point(|state| self.origin(*state, half) < origin);
        let upper = alive.partition_point(|state| self.origin(*state, half) <= origin);
        for state in alive[..lower].iter().chain(&alive[upper..]) {
            self.now.prune(*state);
        }
        self.emit(origin, half);
    }

    /// The state, before row `row` of the history, of the best path that is now in `state`.
    fn origin(&self, state: State, row: usize) -> State {
        self.history.range(row..).rev().fold(state, |state, row| row.back(state))
    }

    /// Traces back the first `count` rows of the history from `state`, adds them to the emitted labels, and frees them.
    fn emit(&mut self, mut state: State, count: usize) {
        let first = self.seen - self.history.len();
        for i in (0..count).rev() {
            let row = &self.history[i];
            if state % 2 == 1 {
                let (label, t) = (&mut self.emitted[state / 2], first + i);
                label.rows = label.rows.start.min(t)..label.rows.end.max(t + 1);
                label.sum += f64::from(row.log_probs[self.labels[state / 2] as usize].exp());
            }
            state = row.back(state);
        }
        for row in self.history.drain(..count) {
            self.bytes -= row.backpointers.len() + size_of_val(&*row.log_probs);
        }
    }
}

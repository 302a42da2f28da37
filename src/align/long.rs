//! Online CTC Viterbi search for recordings of any length, with a band of labels and bounded memory.
//!
//! [`ctc_paths()`](super::ctc_paths()) stores a backpointer for every row and label, tens of gigabytes for two hours of speech. Here
//! * only a band of `WIDTH` labels around the most probable ones is searched, ten minutes of speech: shorter texts are
//!   searched exactly;
//! * as soon as all paths agree on their beginning, it is emitted and its backpointers are freed. If they do not agree before
//!   `HISTORY` bytes are full, the currently best path decides.
//!
//! The search runs on the CPU; rows are copied from the device window by window.
//!
//! [`CtcTopology::Ctc`]: crate::engine::ctc::CtcTopology::Ctc

use std::collections::VecDeque;
use std::ops::Range;

use super::ctc_paths::{LabelSpan, Refusal};

/// Most labels looked at in one row.
const WIDTH: usize = 8192;
/// Most bytes remembered of rows that are not decided yet.
const HISTORY: usize = 1 << 28;
/// Rows between two looks at the width of the band, and between two attempts to decide.
const NARROW: usize = 64;
const DECIDE: usize = 1024;

/// How `label[j]` was reached: from itself, from the silence before it, or from the label before.
const STAY: u8 = 0;
const FROM_BLANK: u8 = 1;
const FROM_LABEL: u8 = 2;
const LABEL_MOVE: u8 = 3;
/// `blank[j]` was reached from `label[j - 1]`.
const ADVANCE: u8 = 4;

/// A place on a path: even numbers `2 j` are the silence after `j` labels, odd ones `2 j + 1` label `j`. Paths that do not
/// cross keep their order in these numbers.
type Place = usize;

/// Bounds of the search, which tests make narrow.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most labels looked at in one row.
    pub width: usize,
    /// Most bytes remembered.
    pub history: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { width: WIDTH, history: HISTORY }
    }
}

/// The search.
pub struct LongSearch<'a> {
    labels: &'a [i32],
    blank: usize,
    limits: Limits,
    /// Rows there will be, and rows seen.
    rows: usize,
    seen: usize,
    now: Scores,
    before: Scores,
    emission: Vec<f32>,
    /// What a label gets that follows the one before it without silence: nothing, or all it has where they are alike.
    skip: Vec<f32>,
    /// `[L + 1]` rows it takes to say all labels from this one on.
    needed: Vec<usize>,
    /// Labels looked at in the last row.
    band: Range<usize>,
    /// Rows that are not decided yet.
    history: VecDeque<Moves>,
    bytes: usize,
    /// `[L]`
    found: Vec<Found>,
}

/// Log-probabilities of the best paths to each place, `[1 + L + 1]`: item `j + 1` is label `j`, and the silence after `j`
/// labels. The first is of the label before the first, which nobody says. Beside the band they are minus infinity.
struct Scores {
    label: Vec<f32>,
    silence: Vec<f32>,
}

/// What is remembered of a row.
struct Moves {
    /// The first label looked at.
    from: usize,
    moves: Box<[u8]>,
    /// `[V]`
    log_probs: Box<[f32]>,
}

/// The rows of a label that are decided, and the sum of its probabilities in them.
#[derive(Clone)]
struct Found {
    rows: Range<usize>,
    sum: f64,
}

impl Scores {
    fn never(count: usize) -> Self {
        Scores { label: vec![f32::NEG_INFINITY; count + 2], silence: vec![f32::NEG_INFINITY; count + 2] }
    }

    fn at(&self, place: Place) -> f32 {
        if place.is_multiple_of(2) { self.silence[place / 2 + 1] } else { self.label[place / 2 + 1] }
    }

    fn give_up(&mut self, place: Place) {
        let items = if place.is_multiple_of(2) { &mut self.silence } else { &mut self.label };
        items[place / 2 + 1] = f32::NEG_INFINITY;
    }
}

impl Moves {
    /// Where a path was a row earlier.
    fn back(&self, place: Place) -> Place {
        let moved = self.moves[place / 2 - self.from];
        match (place % 2, moved & LABEL_MOVE) {
            (0, _) if moved & ADVANCE != 0 => place - 1,
            (0, _) | (_, STAY) => place,
            (_, FROM_BLANK) => place - 1,
            _ => place - 2,
        }
    }
}

impl<'a> LongSearch<'a> {
    /// A search for `labels` in `rows` rows.
    ///
    /// # Errors
    /// A refusal if there are no labels, or not enough rows.
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
        let mut now = Scores::never(count);
        now.silence[1] = 0.0;
        Ok(LongSearch {
            labels,
            blank,
            limits,
            rows,
            seen: 0,
            now,
            before: Scores::never(count),
            emission: vec![f32::NEG_INFINITY; count + 1],
            skip,
            needed,
            band: 0..0,
            history: VecDeque::new(),
            bytes: 0,
            found: vec![Found { rows: Range { start: usize::MAX, end: 0 }, sum: 0.0 }; count],
        })
    }

    /// The next rows, `[R, classes]` natural logarithms.
    pub fn rows(&mut self, log_probs: &[f32], classes: usize) {
        for row in log_probs.chunks_exact(classes) {
            self.row(row);
            if self.seen.is_multiple_of(NARROW) {
                self.narrow();
            }
            if self.seen.is_multiple_of(DECIDE) {
                self.decide();
            }
        }
    }

    /// The labels' rows.
    ///
    /// # Errors
    /// [`Refusal::Impossible`] if every path has probability zero.
    pub fn finish(mut self) -> Result<Vec<LabelSpan>, Refusal> {
        let last = 2 * self.labels.len();
        let (silent, speaking) = (self.now.at(last), self.now.at(last - 1));
        if !(silent.max(speaking) > f32::NEG_INFINITY) || self.seen != self.rows {
            return Err(Refusal::Impossible);
        }
        // Equal ends: in the label.
        self.settle(if silent > speaking { last } else { last - 1 }, self.history.len());
        let span = |found: Found| LabelSpan { score: (found.sum / found.rows.len() as f64) as f32, rows: found.rows };
        Ok(self.found.into_iter().map(span).collect())
    }

    fn row(&mut self, row: &[f32]) {
        let count = self.labels.len();
        let mut first = self.band.start;
        while self.needed[first] > self.rows.saturating_sub(self.seen) {
            first += 1;
        }
        let end = (self.band.end + 1).clamp(first + 1, count + 1);
        std::mem::swap(&mut self.now, &mut self.before);
        for (e, label) in self.emission[first..end].iter_mut().zip(&self.labels[first..end.min(count)]) {
            *e = row[*label as usize];
        }
        let mut moves = vec![0u8; end - first];
        let quiet = row[self.blank];
        let Scores { label: before, silence } = &self.before;
        let (said, earlier, rest) = (&before[first + 1..end + 1], &before[first..end], &silence[first + 1..end + 1]);
        let (skip, emission) = (&self.skip[first..end], &self.emission[first..end]);
        let (label, silence) = (&mut self.now.label[first + 1..end + 1], &mut self.now.silence[first + 1..end + 1]);
        for i in 0..moves.len() {
            let (stay, from_blank, from_label) = (said[i], rest[i], earlier[i] + skip[i]);
            let started = from_blank > stay;
            let best = if started { from_blank } else { stay };
            let skipped = from_label > best;
            label[i] = (if skipped { from_label } else { best }) + emission[i];
            let fell_silent = earlier[i] > from_blank;
            silence[i] = (if fell_silent { earlier[i] } else { from_blank }) + quiet;
            let label_move = if skipped { FROM_LABEL } else { started as u8 * FROM_BLANK };
            moves[i] = label_move | (fell_silent as u8 * ADVANCE);
        }
        self.set_band(first..end);
        self.seen += 1;
        self.bytes += moves.len() + size_of_val(row);
        self.history.push_back(Moves { from: first, moves: moves.into(), log_probs: row.into() });
    }

    /// The next row reads one item beside the band on either side.
    fn set_band(&mut self, band: Range<usize>) {
        self.now.label[band.start] = f32::NEG_INFINITY;
        for items in [&mut self.now.label, &mut self.now.silence] {
            if let Some(next) = items.get_mut(band.end + 1) {
                *next = f32::NEG_INFINITY;
            }
        }
        self.band = band;
    }

    /// Keeps the scores near zero, and the band within its width: its worse end is given up.
    fn narrow(&mut self) {
        let Range { mut start, mut end } = self.band.clone();
        let items = start + 1..end + 1;
        let scores = [&mut self.now.label[items.clone()], &mut self.now.silence[items]];
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

    /// Decides what all paths agree on, and more where too much is remembered.
    fn decide(&mut self) {
        let places = 2 * self.band.start..2 * self.band.end;
        let alive: Vec<Place> = places.filter(|place| self.now.at(*place) > f32::NEG_INFINITY).collect();
        let (Some(low), Some(high)) = (alive.first(), alive.last()) else { return };
        let (mut low, mut high) = (*low, *high);
        let mut agreed = self.history.len();
        while agreed > 0 && low != high {
            agreed -= 1;
            (low, high) = (self.history[agreed].back(low), self.history[agreed].back(high));
        }
        self.settle(low, agreed);
        if self.bytes <= self.limits.history {
            return;
        }
        // The best path of this moment decides the older half; those that went elsewhere are given up.
        let half = self.history.len() / 2;
        let best = alive.iter().copied().max_by(|a, b| self.now.at(*a).total_cmp(&self.now.at(*b)));
        let Some(best) = best else { return };
        let origin = self.origin(best, half);
        let lower = alive.partition_point(|place| self.origin(*place, half) < origin);
        let upper = alive.partition_point(|place| self.origin(*place, half) <= origin);
        for place in alive[..lower].iter().chain(&alive[upper..]) {
            self.now.give_up(*place);
        }
        self.settle(origin, half);
    }

    /// Where the path that now is at `place` was before row `row` of the history.
    fn origin(&self, place: Place, row: usize) -> Place {
        self.history.range(row..).rev().fold(place, |place, moves| moves.back(place))
    }

    /// The first `count` rows of the history end at `place`: writes down how, and forgets them.
    fn settle(&mut self, mut place: Place, count: usize) {
        let first = self.seen - self.history.len();
        for i in (0..count).rev() {
            let moves = &self.history[i];
            if place % 2 == 1 {
                let (found, t) = (&mut self.found[place / 2], first + i);
                found.rows = found.rows.start.min(t)..found.rows.end.max(t + 1);
                found.sum += f64::from(moves.log_probs[self.labels[place / 2] as usize].exp());
            }
            place = moves.back(place);
        }
        for moves in self.history.drain(..count) {
            self.bytes -= moves.moves.len() + size_of_val(&*moves.log_probs);
        }
    }
}

//! `ctc_viterbi`: the paths of the CPU, label by label. A different path would differ by at least a whole row.

use std::ops::Range;

use diarist::engine::ctc::{CtcSegments, CtcSpans, CtcTopology};
use diarist::engine::ops;
use diarist::engine::prelude::*;

use crate::cases::{self, Case, F32, floats};
use crate::driver::machine;

/// Several segments in one launch.
struct Viterbi {
    /// Rows and labels of each segment.
    segments: Vec<(usize, usize)>,
    classes: usize,
    blank: usize,
    topology: CtcTopology,
}

impl Viterbi {
    fn labels(&self, seed: u64, count: usize) -> Vec<i32> {
        let of = |v: f32| (((v + 1.0) * 0.5 * (self.classes - 1) as f32) as usize).min(self.classes - 2);
        let draws = cases::random(seed, count);
        draws.into_iter().map(of).map(|label| (label + usize::from(label >= self.blank)) as i32).collect()
    }
}

impl Case for Viterbi {
    fn name(&self) -> String {
        format!("ctc_viterbi {:?} {:?} of {} classes", self.topology, self.segments, self.classes)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let rows: usize = self.segments.iter().map(|segment| segment.0).sum();
        // More digits than bf16 has, so that no two paths tie.
        let (coarse, fine) = (cases::random(1, rows * self.classes), cases::random(2, rows * self.classes));
        let values: Vec<f32> = coarse.iter().zip(&fine).map(|(a, b)| 4.0 * a + b * 0.01 - 5.0).collect();
        let log_probs = floats(be, &[rows, self.classes], &values);
        let labels: Vec<Vec<i32>> =
            self.segments.iter().enumerate().map(|(i, segment)| self.labels(3 + i as u64, segment.1)).collect();
        let mut segments: Vec<(Range<usize>, &[i32])> = Vec::new();
        let mut row = 0;
        for ((rows, _), labels) in self.segments.iter().zip(&labels) {
            segments.push((row..row + rows, labels));
            row += rows;
        }
        let segments = CtcSegments::new(be, &segments, self.classes, self.blank).unwrap();
        let mut out = CtcSpans::zeros(be, &segments).unwrap();
        ops::ctc_viterbi(be, &mut out, &log_probs, &segments, self.topology).unwrap();
        let frames = [&out.start, &out.end].map(|rows| rows.to_host(be).unwrap());
        let mut all: Vec<f32> = frames.concat().into_iter().map(|row| row as f32).collect();
        all.extend(out.score.to_host(be).unwrap());
        // `compare` cannot subtract minus infinity from itself.
        all.extend(out.total.to_host(be).unwrap().into_iter().map(|total| total.max(-1e30)));
        all
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn ctc_viterbi() {
    let machine = machine();
    for topology in [CtcTopology::Ctc, CtcTopology::Trellis] {
        for (segments, classes, blank) in [
            (vec![(1, 1)], 3, 0),
            (vec![(40, 12), (7, 9), (33, 31), (5, 0), (64, 32), (70, 33)], 5, 4),
            (vec![(33, 1), (2, 2), (120, 64), (66, 65)], 32, 0),
            // More labels than a block has threads.
            (vec![(420, 300)], 29, 7),
        ] {
            cases::check(&machine, &Viterbi { segments, classes, blank, topology }, F32);
        }
    }
}

//! `ctc_viterbi`: the best paths of all segments with backtracking, in one launch with a block for each segment.

use super::Cuda;
use super::buffer::Buffer;
use crate::engine::Tensor;
use crate::engine::backend::CtcOps;
use crate::engine::ctc::{CtcSegments, CtcSpans, CtcTopology};
use crate::engine::profile::Work;
use crate::error::Result;

/// Labels whose backpointers are packed into one word.
const WARP: usize = 32;

/// See [`CtcOps::ctc_viterbi`]: `log_probs` `[R, V]`.
pub(super) fn ctc_viterbi(
    be: &Cuda,
    out: &mut CtcSpans<Cuda>,
    log_probs: &Tensor<Cuda, f32>,
    segments: &CtcSegments<Cuda>,
    topology: CtcTopology,
) -> Result<()> {
    let places = segments.host_segments();
    let (count, labels, classes) = (places.len(), segments.labels.len(), log_probs.width());
    // As in ctc_viterbi.cu: words of backpointers for 32 labels, and floats of shared memory for each label.
    let (stem, kinds, numbers) = match topology {
        CtcTopology::Ctc => ("ctc_viterbi", 3, 4),
        CtcTopology::Trellis => ("ctc_viterbi_trellis", 1, 2),
    };
    let moves: usize = places.iter().map(|p| p.rows.len() * (p.labels.len() / WARP + 1) * kinds).sum();
    let longest = places.iter().map(|p| p.labels.len()).max().unwrap_or(0);
    let mut moves = Buffer::<u32>::uninitialised(&be.device, moves)?;
    let words = moves.len();
    let mut launch = be.device.launch(stem, "")?;
    launch.grid(count, 1, 1).block(256).shared(numbers * (longest + 2) * size_of::<f32>());
    launch.output(&mut out.start.buf, labels).output(&mut out.end.buf, labels).output(&mut out.score.buf, labels);
    launch.output(&mut out.total.buf, count).input(&log_probs.buf, log_probs.len());
    launch.input(&segments.places.buf, 4 * count).input(&segments.labels.buf, labels).output(&mut moves, words);
    launch.int(classes).int(segments.blank);
    // SAFETY: (1) start, end, score, total, log_probs, places, labels, moves, classes, blank, as ctc_viterbi.cu declares
    // them; (2) it touches start, end, score, labels [L], total [N], places [N, 4], the rows of log_probs [R, V] that the
    // places name, which ops.rs compared with R, and the words summed up above; (3) a block for each of N segments, with
    // the shared memory of the longest.
    unsafe { launch.run(Work::bytes(log_probs.len() * size_of::<f32>() + 2 * words * size_of::<u32>())) }
}

impl CtcOps for Cuda {
    fn ctc_viterbi(
        &self,
        out: &mut CtcSpans<Self>,
        log_probs: &Tensor<Self, f32>,
        segments: &CtcSegments<Self>,
        topology: CtcTopology,
    ) -> Result<()> {
        ctc_viterbi(self, out, log_probs, segments, topology)
    }
}

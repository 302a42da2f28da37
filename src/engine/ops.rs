//! Shape-checked entry points of the [`Backend`] primitives. Models call these functions, which check every shape once
//! for all backends.
//!
//! Every function returns [`Error::Shape`] for shapes that do not fit, and the errors of the device.

use super::backend::{Backend, Epilogue, StepRows};
use super::ctc::{CtcSegments, CtcSpans, CtcTopology};
use super::decode::DecodeState;
use super::profile::range;
use super::tensor::{Element, Tensor};
use crate::error::{Error, Result};

pub(super) fn wrong(op: &'static str, what: &'static str, expected: String, got: String) -> Error {
    Error::Shape { op, what, expected, got }
}

pub(super) fn check(op: &'static str, what: &'static str, got: &[usize], expected: &[usize]) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(wrong(op, what, format!("{expected:?}"), format!("{got:?}")))
}

/// Checks the shapes of a 1-D convolution without padding: `out` `[B, (F - W) / stride + 1, N]`, `x` `[B, F, C]`,
/// weight `[N, W * C]`, bias `[N]`.
pub(super) fn check_windows<B: Backend>(
    op: &'static str,
    [out, x]: [&[usize]; 2],
    (n, k): (usize, usize),
    bias: Option<&Tensor<B, f32>>,
    stride: usize,
) -> Result<()> {
    let &[batch, frames, width] = x else {
        return Err(wrong(op, "x", "[B, F, C]".into(), format!("{x:?}")));
    };
    if width == 0 || k == 0 || !k.is_multiple_of(width) || stride == 0 || k / width > frames {
        return Err(wrong(op, "x", format!("{k} = taps * C, taps <= F"), format!("{x:?}, stride {stride}")));
    }
    check(op, "out", out, &[batch, (frames - k / width) / stride + 1, n])?;
    bias.map_or(Ok(()), |bias| check(op, "bias", bias.shape(), &[n]))
}

fn check_len<B: Backend, T: Element>(
    op: &'static str,
    what: &'static str,
    tensor: &Tensor<B, T>,
    len: usize,
) -> Result<()> {
    check(op, what, &[tensor.len()], &[len])
}

fn check_heads(op: &'static str, width: usize, heads: usize) -> Result<()> {
    if heads > 0 && width.is_multiple_of(heads) {
        return Ok(());
    }
    Err(Error::Shape { op, what: "width", expected: format!("a multiple of {heads} heads"), got: format!("{width}") })
}

/// See [`Backend::log_mel`]. `out` `[B, F, M]`, `audio` `[B, 160 F]`.
pub fn log_mel<B: Backend>(be: &B, out: &mut Tensor<B>, audio: &Tensor<B, f32>, plan: &B::MelPlan) -> Result<()> {
    let _range = range("log_mel");
    let &[batch, frames, _] = out.shape() else {
        return Err(Error::Shape {
            op: "log_mel",
            what: "out",
            expected: "[B, F, M]".into(),
            got: format!("{:?}", out.shape()),
        });
    };
    check("log_mel", "audio", audio.shape(), &[batch, frames * crate::units::MelFrame::SAMPLES])?;
    be.log_mel(out, audio, plan)
}

/// See [`Backend::linear`]. Leading axes of `out` and `x` count as rows.
pub fn linear<B: Backend>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    weight: &B::Matrix,
    bias: Option<&Tensor<B, f32>>,
    epilogue: Epilogue,
) -> Result<()> {
    let _range = range("linear");
    let (n, k) = be.matrix_shape(weight);
    check("linear", "x", &[x.width()], &[k])?;
    check("linear", "out", &[out.rows(), out.width()], &[x.rows(), n])?;
    if let Some(bias) = bias {
        check_len("linear", "bias", bias, n)?;
    }
    be.linear(out, x, weight, bias, epilogue)
}

/// See [`Backend::linear_by_head`].
pub fn linear_by_head<B: Backend>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    weight: &B::Matrix,
    bias: Option<&Tensor<B, f32>>,
    heads: usize,
) -> Result<()> {
    let (n, k) = be.matrix_shape(weight);
    check_heads("linear_by_head", n, heads)?;
    check("linear_by_head", "x", &[x.width()], &[heads * k])?;
    check("linear_by_head", "out", out.shape(), &[x.rows(), n])?;
    if let Some(bias) = bias {
        check_len("linear_by_head", "bias", bias, n)?;
    }
    let _range = range("linear_by_head");
    be.linear_by_head(out, x, weight, bias, heads)
}

/// See [`Backend::conv1d`].
pub fn conv1d<B: Backend>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    weight: &B::Matrix,
    bias: Option<&Tensor<B, f32>>,
    stride: usize,
    epilogue: Epilogue,
) -> Result<()> {
    let _range = range("conv1d");
    let (n, k) = be.matrix_shape(weight);
    let (shape, width) = (x.shape().to_vec(), x.width());
    let odd_taps = width > 0 && k.is_multiple_of(width) && !(k / width).is_multiple_of(2);
    if shape.len() != 3 || stride == 0 || !odd_taps {
        return Err(Error::Shape {
            op: "conv1d",
            what: "x",
            expected: format!("[B, F, C] with {k} = taps * C, taps odd"),
            got: format!("{shape:?}, stride {stride}"),
        });
    }
    check("conv1d", "out", out.shape(), &[shape[0], shape[1].div_ceil(stride), n])?;
    if let Some(bias) = bias {
        check_len("conv1d", "bias", bias, n)?;
    }
    be.conv1d(out, x, weight, bias, stride, epilogue)
}

/// See [`Backend::layer_norm`].
pub fn layer_norm<B: Backend>(
    be: &B,
    out: &mut Tensor<B>,
    x: &Tensor<B>,
    gamma: &Tensor<B, f32>,
    beta: &Tensor<B, f32>,
    eps: f32,
) -> Result<()> {
    let _range = range("layer_norm");
    check("layer_norm", "out", out.shape(), x.shape())?;
    check_len("layer_norm", "gamma", gamma, x.width())?;
    check_len("layer_norm", "beta", beta, x.width())?;
    be.layer_norm(out, x, gamma, beta, eps)
}

/// See [`Backend::add_positions`].
pub fn add_positions<B: Backend>(be: &B, x: &mut Tensor<B>, table: &Tensor<B, f32>) -> Result<()> {
    let _range = range("add_positions");
    let &[_, frames, width] = x.shape() else {
        return Err(Error::Shape {
            op: "add_positions",
            what: "x",
            expected: "[B, T, C]".into(),
            got: format!("{:?}", x.shape()),
        });
    };
    check("add_positions", "table width", &[table.width()], &[width])?;
    if table.rows() < frames {
        return Err(Error::Shape {
            op: "add_positions",
            what: "table",
            expected: format!("at least {frames} rows"),
            got: format!("{:?}", table.shape()),
        });
    }
    be.add_positions(x, table)
}

/// See [`Backend::gather_rows`]. Not checked here: the caller must keep the indices in range.
pub fn gather_rows<B: Backend>(be: &B, out: &mut Tensor<B>, x: &Tensor<B>, index: &Tensor<B, i32>) -> Result<()> {
    let _range = range("gather_rows");
    check("gather_rows", "out", &[out.rows(), out.width()], &[index.len(), x.width()])?;
    be.gather_rows(out, x, index)
}

/// See [`Backend::attention`].
pub fn attention<B: Backend>(be: &B, out: &mut Tensor<B>, qkv: &Tensor<B>, heads: usize, scale: f32) -> Result<()> {
    let _range = range("attention");
    check_heads("attention", out.width(), heads)?;
    let mut expected = out.shape().to_vec();
    if let (3, Some(last)) = (expected.len(), expected.last_mut()) {
        *last *= 3;
    }
    check("attention", "qkv", qkv.shape(), &expected)?;
    be.attention(out, qkv, heads, scale)
}

/// See [`Backend::embed`]. Not checked here: the decoder must keep token ids and positions in range.
pub fn embed<B: Backend>(
    be: &B,
    out: &mut Tensor<B>,
    rows: &StepRows<B>,
    table: &B::Matrix,
    positions: &Tensor<B, f32>,
) -> Result<()> {
    let _range = range("embed");
    let (_, width) = be.matrix_shape(table);
    check("embed", "out", out.shape(), &[rows.num_rows(), width])?;
    check("embed", "positions width", &[positions.width()], &[width])?;
    be.embed(out, rows, table, positions)
}

/// See [`Backend::self_attention_step`].
#[allow(clippy::too_many_arguments)]
pub fn self_attention_step<B: Backend>(
    be: &B,
    out: &mut Tensor<B>,
    qkv: &Tensor<B>,
    cache: &mut B::SelfCache,
    rows: &StepRows<B>,
    lineage: &Tensor<B, i32>,
    scale: f32,
) -> Result<()> {
    let _range = range("self_attention_step");
    check("self_attention_step", "out rows", &[out.rows()], &[rows.num_rows()])?;
    check("self_attention_step", "qkv", qkv.shape(), &[out.rows(), 3 * out.width()])?;
    be.self_attention_step(out, qkv, cache, rows, lineage, scale)
}

/// See [`Backend::cross_attention_step`].
pub fn cross_attention_step<B: Backend>(
    be: &B,
    out: &mut Tensor<B>,
    q: &Tensor<B>,
    cache: &B::CrossCache,
    rows: &StepRows<B>,
    beams: usize,
    scale: f32,
) -> Result<()> {
    let _range = range("cross_attention_step");
    check("cross_attention_step", "out", out.shape(), q.shape())?;
    check("cross_attention_step", "rows", &[rows.num_rows()], &[q.rows()])?;
    be.cross_attention_step(out, q, cache, rows, beams, scale)
}

/// See [`Backend::absorbed_attention_step`].
pub fn absorbed_attention_step<B: Backend>(
    be: &B,
    out: &mut Tensor<B>,
    q: &Tensor<B>,
    cache: &B::EncodedCache,
    rows: &StepRows<B>,
    beams: usize,
    scale: f32,
) -> Result<()> {
    check("absorbed_attention_step", "out", out.shape(), q.shape())?;
    check("absorbed_attention_step", "rows", &[rows.num_rows()], &[q.rows()])?;
    let _range = range("absorbed_attention_step");
    be.absorbed_attention_step(out, q, cache, rows, beams, scale)
}

/// See [`Backend::logits`].
pub fn logits<B: Backend>(be: &B, out: &mut Tensor<B, f32>, x: &Tensor<B>, table: &B::Matrix) -> Result<()> {
    let _range = range("logits");
    let (vocab, width) = be.matrix_shape(table);
    check("logits", "x", &[x.width()], &[width])?;
    check("logits", "out", &[out.rows(), out.width()], &[x.rows(), vocab])?;
    be.logits(out, x, table)
}

/// See [`Backend::logit_rules`]. Not checked here: token ids in the state must be below the vocabulary size.
pub fn logit_rules<B: Backend>(
    be: &B,
    logits: &mut Tensor<B, f32>,
    rows: &StepRows<B>,
    state: &DecodeState<B>,
) -> Result<()> {
    let _range = range("logit_rules");
    check("logit_rules", "logits rows", &[logits.rows()], &[rows.num_rows()])?;
    be.logit_rules(logits, rows, state)
}

/// See [`Backend::pick_candidates`].
pub fn pick_candidates<B: Backend>(
    be: &B,
    state: &mut DecodeState<B>,
    logits: &Tensor<B, f32>,
    rows: &StepRows<B>,
) -> Result<()> {
    let _range = range("pick_candidates");
    check("pick_candidates", "logits rows", &[logits.rows()], &[rows.num_rows()])?;
    if logits.width() < state.sizes.candidates() {
        return Err(Error::Shape {
            op: "pick_candidates",
            what: "logits",
            expected: format!("at least {} tokens, twice the beams", state.sizes.candidates()),
            got: format!("{:?}", logits.shape()),
        });
    }
    be.pick_candidates(state, logits, rows)
}

/// See [`Backend::advance_search`].
pub fn advance_search<B: Backend>(be: &B, rows: &mut StepRows<B>, state: &mut DecodeState<B>) -> Result<()> {
    let _range = range("advance_search");
    be.advance_search(rows, state)
}

/// See [`Backend::token_probability`].
pub fn token_probability<B: Backend>(
    be: &B,
    out: &mut Tensor<B, f32>,
    logits: &Tensor<B, f32>,
    slot: &Tensor<B, i32>,
    token: usize,
) -> Result<()> {
    let _range = range("token_probability");
    check("token_probability", "slot", &[slot.len()], &[logits.rows()])?;
    if token >= logits.width() {
        return Err(Error::Shape {
            op: "token_probability",
            what: "token",
            expected: format!("below {}", logits.width()),
            got: format!("{token}"),
        });
    }
    be.token_probability(out, logits, slot, token)
}

/// See [`Backend::list_rows`].
pub fn list_rows<B: Backend>(be: &B, rows: &mut StepRows<B>, state: &DecodeState<B>) -> Result<()> {
    let _range = range("list_rows");
    be.list_rows(rows, state)
}

/// See [`Backend::pack_results`].
pub fn pack_results<B: Backend>(be: &B, out: &mut Tensor<B, i32>, state: &DecodeState<B>) -> Result<()> {
    let _range = range("pack_results");
    check("pack_results", "out", out.shape(), &[state.sizes.slots, state.sizes.result_width()])?;
    be.pack_results(out, state)
}

/// See [`Backend::ctc_viterbi`].
pub fn ctc_viterbi<B: Backend>(
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
    check_len("ctc_viterbi", "total", &out.total, segments.host_places().len())?;
    let rows = log_probs.rows();
    if let Some(place) = segments.host_places().iter().find(|place| place.rows.end > rows) {
        let (expected, got) = (format!("at least {} rows", place.rows.end), format!("{:?}", log_probs.shape()));
        return Err(Error::Shape { op: "ctc_viterbi", what: "log_probs", expected, got });
    }
    be.ctc_viterbi(out, log_probs, segments, topology)
}

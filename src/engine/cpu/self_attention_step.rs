//! `self_attention_step`: causal self-attention of the rows of a decode step, with the key-value cache.

use rayon::prelude::*;

use super::isa::{Isa, Kernel};
use super::softmax::exp_row;
use super::{Cpu, out_of_range};
use crate::engine::{StepRows, Tensor};
use crate::error::Result;

/// Fewest multiply-adds for which a step uses several threads.
const MIN_TASK: usize = 1 << 17;

/// Keys and values of the text positions of one decoder layer, both `[cache rows, L, C]`.
pub struct SelfCache {
    rows: usize,
    positions: usize,
    width: usize,
    heads: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl SelfCache {
    pub(super) fn new(rows: usize, positions: usize, width: usize, heads: usize) -> Self {
        let len = rows * positions * width;
        SelfCache { rows, positions, width, heads, keys: vec![0.0; len], values: vec![0.0; len] }
    }
}

/// See [`DecoderOps::self_attention_step`](crate::engine::backend::DecoderOps::self_attention_step): `out` `[R, C]`,
/// `qkv` `[R, 3 C]`, `lineage` `[cache rows, L]`.
pub(super) fn self_attention_step(
    cpu: &Cpu,
    out: &mut Tensor<Cpu>,
    qkv: &Tensor<Cpu>,
    cache: &mut SelfCache,
    rows: &StepRows<Cpu>,
    lineage: &Tensor<Cpu, i32>,
    scale: f32,
) -> Result<()> {
    let (num_rows, width, len) = (out.rows(), cache.width, out.len());
    let places = places(cache, rows, num_rows)?;
    for (r, (row, position)) in places.iter().enumerate() {
        let at = (row * cache.positions + position) * width;
        let qkv = &qkv.buf[r * 3 * width..(r + 1) * 3 * width];
        cache.keys[at..at + width].copy_from_slice(&qkv[width..2 * width]);
        cache.values[at..at + width].copy_from_slice(&qkv[2 * width..]);
    }
    let cache = &*cache;
    let mut tasks = Vec::with_capacity(num_rows);
    for (r, (out, (row, position))) in out.buf[..len].chunks_exact_mut(width).zip(places).enumerate() {
        let sources = sources(cache, lineage, row, position)?;
        tasks.push(Row { out, query: &qkv.buf[r * 3 * width..][..width], cache, sources, scale });
    }
    let work: usize = tasks.iter().map(|t| t.sources.len() * width).sum();
    if work < MIN_TASK {
        tasks.into_iter().for_each(|task| cpu.level.run(task));
    } else {
        cpu.threads.run(|| tasks.into_par_iter().for_each(|task| cpu.level.run(task)));
    }
    Ok(())
}

/// `(cache row, position)` of each row.
fn places(cache: &SelfCache, rows: &StepRows<Cpu>, num_rows: usize) -> Result<Vec<(usize, usize)>> {
    let op = "self_attention_step";
    let mut places = Vec::with_capacity(num_rows);
    for r in 0..num_rows {
        let row = usize::try_from(rows.row.buf[r]).ok().filter(|row| *row < cache.rows);
        let row = row.ok_or_else(|| out_of_range(op, "row", cache.rows, rows.row.buf[r]))?;
        let position = usize::try_from(rows.position.buf[r]).ok().filter(|p| *p < cache.positions);
        let position = position.ok_or_else(|| out_of_range(op, "position", cache.positions, rows.position.buf[r]))?;
        places.push((row, position));
    }
    Ok(places)
}

/// The offsets in the cache of positions `0 ..= position` of a row, in values.
fn sources(cache: &SelfCache, lineage: &Tensor<Cpu, i32>, row: usize, position: usize) -> Result<Vec<usize>> {
    let table = &lineage.buf[row * lineage.width()..][..=position];
    let offset = |(p, source): (usize, &i32)| {
        let source = usize::try_from(*source).ok().filter(|s| *s < cache.rows);
        source.map(|s| (s * cache.positions + p) * cache.width)
    };
    let found: Option<Vec<usize>> = table.iter().enumerate().map(offset).collect();
    found.ok_or_else(|| out_of_range("self_attention_step", "lineage", cache.rows, "an entry outside"))
}

/// Attention of one row, all heads.
struct Row<'a> {
    /// `[C]`
    out: &'a mut [f32],
    /// `[C]`
    query: &'a [f32],
    cache: &'a SelfCache,
    sources: Vec<usize>,
    scale: f32,
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa, const NV: usize>(self, isa: I) {
        let head_dim = self.cache.width / self.cache.heads;
        let num_positions = self.sources.len();
        // [H, positions]. The outer loop is over positions, so that the cache is read in whole rows.
        let mut scores = vec![0.0; self.cache.heads * num_positions];
        for (p, source) in self.sources.iter().enumerate() {
            let keys = &self.cache.keys[*source..source + self.cache.width];
            for (head, (query, key)) in self.query.chunks_exact(head_dim).zip(keys.chunks_exact(head_dim)).enumerate() {
                scores[head * num_positions + p] = dot(isa, query, key);
            }
        }
        for scores in scores.chunks_exact_mut(num_positions) {
            let sum = exp_row(isa, scores, self.scale);
            scores.iter_mut().for_each(|s| *s /= sum);
        }
        self.out.fill(0.0);
        for (p, source) in self.sources.iter().enumerate() {
            let values = &self.cache.values[*source..source + self.cache.width];
            for (head, (out, value)) in
                self.out.chunks_exact_mut(head_dim).zip(values.chunks_exact(head_dim)).enumerate()
            {
                add_scaled(isa, out, scores[head * num_positions + p], value);
            }
        }
    }
}

/// The dot product `a . b`, in an order that depends only on the length.
#[inline(always)]
fn dot<I: Isa>(isa: I, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_tail), (b, b_tail)) = (I::as_simd_f32s(a), I::as_simd_f32s(b));
    let mut sum = isa.splat_f32s(0.0);
    for (a, b) in a.iter().zip(b) {
        sum = isa.mul_add_f32s(*a, *b, sum);
    }
    a_tail.iter().zip(b_tail).fold(isa.reduce_sum_f32s(sum), |sum, (a, b)| sum + a * b)
}

/// `out += weight x`
#[inline(always)]
fn add_scaled<I: Isa>(isa: I, out: &mut [f32], weight: f32, x: &[f32]) {
    let ((out, out_tail), (x, x_tail)) = (I::as_mut_simd_f32s(out), I::as_simd_f32s(x));
    let weights = isa.splat_f32s(weight);
    for (o, x) in out.iter_mut().zip(x) {
        *o = isa.mul_add_f32s(weights, *x, *o);
    }
    for (o, x) in out_tail.iter_mut().zip(x_tail) {
        *o += weight * x;
    }
}

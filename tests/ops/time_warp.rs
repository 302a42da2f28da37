//! The primitives of `engine/backend/time_warp.rs` against references in f64.

use diarist::engine::Tensor;
use diarist::engine::cpu::Cpu;
use diarist::engine::time_warp::{self, Accumulate, DtwSegment, DtwSegments, HeadColumns};

use crate::common::{assert_close, assert_same, cpus, indices, random, tensor};

/// A case of `attention_weights` and `alignment_matrix`: two layers, and a text whose tokens are rows `first ..`.
struct Layers {
    frames: usize,
    tokens: usize,
    width: usize,
    first: usize,
    /// First columns of the queries and keys of each head, for both layers.
    heads: [Vec<[usize; 2]>; 2],
}

impl Layers {
    /// Columns and rows of the queries, and rows of the keys.
    fn sizes(&self) -> [usize; 3] {
        let columns = self.heads.iter().flatten().flatten().max().unwrap() + self.width;
        [columns, self.first + self.tokens + 2, self.frames + 3]
    }

    fn input(&self, layer: usize) -> (Vec<f32>, Vec<f32>) {
        let [columns, rows, frames] = self.sizes();
        let q = random(60 + layer as u64, rows * columns).iter().map(|v| 3.0 * v).collect();
        (q, random(70 + layer as u64, frames * columns))
    }

    /// The alignment matrix, and the attention weights of the last layer before normalisation.
    fn run(&self, cpu: &Cpu) -> (Vec<f32>, Vec<f32>) {
        let [columns, rows, frames] = self.sizes();
        let mut matrix = tensor(cpu, &[rows, frames], &vec![7.0; rows * frames]);
        let mut before = Accumulate::Overwrite;
        let mut last = Vec::new();
        for (layer, heads) in self.heads.iter().enumerate() {
            let (q, keys) = self.input(layer);
            let (q, keys) = (tensor(cpu, &[rows, columns], &q), tensor(cpu, &[frames, columns], &keys));
            let places = HeadColumns::new(cpu, heads.clone(), self.width).unwrap();
            let mut weights = tensor(
                cpu,
                &[heads.len(), self.tokens, self.frames],
                &vec![9.0; heads.len() * self.tokens * self.frames],
            );
            time_warp::attention_weights(cpu, &mut weights, &q, &keys, &places, self.first, 0.5).unwrap();
            last = weights.to_host(cpu).unwrap();
            time_warp::alignment_matrix(cpu, &mut matrix, &mut weights, self.first, 1.0 / 3.0, before).unwrap();
            before = Accumulate::Add;
        }
        (matrix.to_host(cpu).unwrap(), last)
    }

    /// Reference of `attention_weights` for one head.
    fn weights(&self, layer: usize, head: usize) -> Vec<Vec<f64>> {
        let ([columns, ..], (q, keys)) = (self.sizes(), self.input(layer));
        let [query, key] = self.heads[layer][head];
        let score = |i: usize, t: usize| {
            let products = (0..self.width)
                .map(|c| f64::from(q[(self.first + i) * columns + query + c]) * f64::from(keys[t * columns + key + c]));
            0.5 * products.sum::<f64>()
        };
        let row = |i: usize| {
            let weights: Vec<f64> = (0..self.frames).map(|t| score(i, t).exp()).collect();
            let sum: f64 = weights.iter().sum();
            weights.into_iter().map(|weight| weight / sum).collect()
        };
        (0..self.tokens).map(row).collect()
    }

    /// Reference of `alignment_matrix`.
    fn want(&self) -> Vec<f64> {
        let [_, rows, frames] = self.sizes();
        let mut matrix = vec![7.0; rows * frames];
        for i in self.first..self.first + self.tokens {
            matrix[i * frames..][..self.frames].fill(0.0);
        }
        for (layer, head) in (0..2).flat_map(|layer| (0..self.heads[layer].len()).map(move |head| (layer, head))) {
            let mut weights = self.weights(layer, head);
            for t in 0..self.frames {
                let mean = weights.iter().map(|row| row[t]).sum::<f64>() / self.tokens as f64;
                let variance = weights.iter().map(|row| (row[t] - mean).powi(2)).sum::<f64>() / self.tokens as f64;
                weights
                    .iter_mut()
                    .for_each(|row| row[t] = if variance > 0.0 { (row[t] - mean) / variance.sqrt() } else { 0.0 });
            }
            for (i, row) in weights.iter().enumerate() {
                for t in 0..self.frames {
                    matrix[(self.first + i) * frames + t] += median(row, t) / 3.0;
                }
            }
        }
        matrix
    }
}

/// Median of the seven values around `t`, with reflection at the ends; the value itself in rows of fewer than four.
fn median(row: &[f64], t: usize) -> f64 {
    if row.len() < 4 {
        return row[t];
    }
    let reflected = |at: i64| {
        let at = at.unsigned_abs() as usize;
        if at < row.len() { at } else { 2 * (row.len() - 1) - at }
    };
    let mut around: Vec<f64> = (t as i64 - 3..=t as i64 + 3).map(|at| row[reflected(at)]).collect();
    around.sort_by(f64::total_cmp);
    around[3]
}

#[test]
fn weights_and_matrix() {
    for (frames, tokens, width, first) in
        [(40, 9, 16, 0), (4, 2, 3, 5), (3, 6, 5, 1), (1, 4, 8, 0), (19, 1, 33, 2), (7, 5, 1, 0)]
    {
        let heads = [vec![[0, width], [width, 0]], vec![[2, 1]]];
        let layers = Layers { frames, tokens, width, first, heads };
        let case = format!("{frames} frames, {tokens} tokens of {width}");
        // With a single token or frame, normalisation leaves only rounding errors, so the matrix is not compared.
        let degenerate = frames == 1 || tokens == 1;
        for cpu in cpus() {
            let (matrix, weights) = layers.run(&cpu);
            let want: Vec<f64> = layers.weights(1, 0).concat();
            assert_close(&case, &weights, &want, 1e-6, 1e-5);
            if !degenerate {
                assert_close(&case, &matrix, &layers.want(), 2e-4, 1e-4);
            }
            assert!(matrix.iter().all(|value| value.is_finite()), "{case}");
            assert_same(&case, &matrix, &layers.run(&cpus()[0]).0);
        }
    }
}

/// Reference of `time_warp` in f64: the DTW recursion, then backtracking. As in openai-whisper, if the first two
/// predecessors tie below the third, the third is taken, for costs and path.
fn dtw_f64(matrix: &[f32], rows: usize, columns: usize) -> Vec<i32> {
    let mut cost = vec![vec![f64::INFINITY; columns + 1]; rows + 1];
    cost[0][0] = 0.0;
    let from = |cost: &[Vec<f64>], i: usize, j: usize| {
        let predecessors = [(i - 1, j - 1), (i - 1, j), (i, j - 1)];
        let [both, token, frame] = predecessors.map(|(i, j)| cost[i][j]);
        match () {
            () if both < token.min(frame) => predecessors[0],
            () if token < both.min(frame) => predecessors[1],
            () => predecessors[2],
        }
    };
    for i in 1..=rows {
        for j in 1..=columns {
            let (before, earlier) = from(&cost, i, j);
            cost[i][j] = cost[before][earlier] - f64::from(matrix[(i - 1) * columns + j - 1]);
        }
    }
    let (mut i, mut j) = (rows, columns);
    let mut starts = vec![0; rows];
    while i > 0 && j > 0 {
        starts[i - 1] = j as i32 - 1;
        (i, j) = from(&cost, i, j);
    }
    starts
}

/// Thousands of matrices, twenty per call. Values are multiples of 1/4, so that sums are exact and many paths tie.
#[test]
fn time_warp_matches_the_recursion() {
    for (call, cpu) in (0..120).flat_map(|call| cpus().map(|cpu| (call, cpu))) {
        let draws: Vec<usize> = random(80 + call, 40).iter().map(|v| ((v + 1.0) * 1000.0) as usize).collect();
        let (mut places, mut want, mut first) = (Vec::new(), Vec::new(), 0);
        let long = if call % 30 == 7 { 8 } else { 1 };
        let stride = 30 * long;
        let mut values: Vec<f32> = Vec::new();
        for draw in draws.chunks_exact(2) {
            let (rows, columns) = (1 + draw[0] % (12 * long), 1 + draw[1] % stride);
            let of_row = |i: usize| random(1000 * call + (first + i) as u64, stride);
            let matrix: Vec<f32> = (0..rows).flat_map(of_row).map(|v| (v * 4.0).round() / 4.0).collect();
            let own: Vec<f32> = matrix.chunks_exact(stride).flat_map(|row| row[..columns].to_vec()).collect();
            want.extend(dtw_f64(&own, rows, columns));
            places.push(DtwSegment { rows: first..first + rows, frames: columns });
            first += rows;
            values.extend(matrix);
        }
        let matrix = tensor(&cpu, &[first, stride], &values);
        let places = DtwSegments::new(&cpu, places).unwrap();
        let mut out = indices(&cpu, &vec![-1; first]);
        time_warp::time_warp(&cpu, &mut out, &matrix, &places).unwrap();
        assert_eq!(out.to_host(&cpu).unwrap(), want, "call {call}");
    }
}

#[test]
fn nan_and_infinity_do_not_lead_out_of_the_matrix() {
    for cpu in cpus() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let matrix = tensor(&cpu, &[5, 6], &[bad; 30]);
            let places = DtwSegments::new(&cpu, vec![DtwSegment { rows: 0..5, frames: 6 }]).unwrap();
            let mut out = indices(&cpu, &[-1; 5]);
            time_warp::time_warp(&cpu, &mut out, &matrix, &places).unwrap();
            let starts = out.to_host(&cpu).unwrap();
            assert!(starts.is_sorted() && starts[0] == 0 && starts[4] < 6, "{bad}: {starts:?}");
        }
    }
}

#[test]
fn label_probability() {
    let (rows, vocab, classes, first) = (5, 37, 30, 2);
    let logits: Vec<f32> = random(90, rows * vocab).iter().map(|v| 30.0 * v).collect();
    let labels: Vec<i32> = (0..8).map(|i| (i * 11) % classes as i32).collect();
    for cpu in cpus() {
        let mut out = tensor_of(&cpu, &[-1.0; 8]);
        let logits_on = tensor(&cpu, &[rows, vocab], &logits);
        time_warp::label_probability(&cpu, &mut out, &logits_on, &indices(&cpu, &labels), first, classes).unwrap();
        let want: Vec<f64> = (0..8)
            .map(|n: usize| {
                let Some(row) = n.checked_sub(first).filter(|row| *row < rows) else { return -1.0 };
                let weight = |class: usize| f64::from(logits[row * vocab + class]).exp();
                weight(labels[n] as usize) / (0..classes).map(weight).sum::<f64>()
            })
            .collect();
        assert_close("label_probability", &out.to_host(&cpu).unwrap(), &want, 1e-7, 1e-5);
    }
}

fn tensor_of(cpu: &Cpu, values: &[f32]) -> Tensor<Cpu, f32> {
    tensor(cpu, &[values.len()], values)
}

#[test]
fn wrong_shapes_are_refused() {
    let cpu = &cpus()[0];
    let matrix = tensor(cpu, &[4, 6], &[0.0; 24]);
    for (rows, frames) in [(0..5, 6), (0..4, 7), (2..2, 3), (0..4, 0)] {
        let places = DtwSegments::new(cpu, vec![DtwSegment { rows: rows.clone(), frames }]).unwrap();
        let mut out = indices(cpu, &vec![0; rows.len()]);
        let error = time_warp::time_warp(cpu, &mut out, &matrix, &places).unwrap_err().to_string();
        assert!(error.contains("time_warp"), "{error}");
    }
    let heads = HeadColumns::new(cpu, vec![[0, 4]], 3).unwrap();
    let mut weights = tensor(cpu, &[1, 2, 4], &[0.0; 8]);
    let error =
        time_warp::attention_weights(cpu, &mut weights, &matrix, &matrix, &heads, 0, 1.0).unwrap_err().to_string();
    assert!(error.contains("key"), "{error}");
}

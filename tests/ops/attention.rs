//! `attention` against a reference in f64.

use diarist::engine::cpu::Cpu;
use diarist::engine::{Tensor, ops};

use crate::common::*;

/// Reference in f64: `softmax(scale q k^T) v` of one query over `keys`, `values` `[T][D]`.
pub fn attend_f64(query: &[f32], keys: &[&[f32]], values: &[&[f32]], scale: f64) -> Vec<f64> {
    let dot = |key: &&[f32]| query.iter().zip(*key).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum::<f64>() * scale;
    let scores: Vec<f64> = keys.iter().map(dot).collect();
    let max = scores.iter().fold(f64::MIN, |a, b| a.max(*b));
    let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let channel = |d: usize| weights.iter().zip(values).map(|(w, v)| w * f64::from(v[d])).sum::<f64>() / sum;
    (0..query.len()).map(channel).collect()
}

fn attention(cpu: &Cpu, qkv: &[f32], shape: &[usize; 3], heads: usize, scale: f32) -> Vec<f32> {
    let mut out = Tensor::zeros(cpu, shape).unwrap();
    let qkv = tensor(cpu, &[shape[0], shape[1], 3 * shape[2]], qkv);
    ops::attention(cpu, &mut out, &qkv, heads, scale).unwrap();
    host(cpu, &out)
}

#[test]
fn attention_matches_f64() {
    for (batch, frames, heads, head_dim, scale) in
        [(1, 1, 1, 1, 1.0), (2, 31, 2, 8, 4.0), (1, 33, 3, 64, 0.125), (2, 257, 2, 64, 3.0), (1, 100, 1, 80, 0.5)]
    {
        let width = heads * head_dim;
        let qkv = random(20, batch * frames * 3 * width);
        let at = |b: usize, t: usize, which: usize, h: usize| {
            &qkv[((b * frames + t) * 3 + which) * width + h * head_dim..][..head_dim]
        };
        let mut want = Vec::new();
        for b in 0..batch {
            for t in 0..frames {
                for h in 0..heads {
                    let keys: Vec<&[f32]> = (0..frames).map(|t| at(b, t, 1, h)).collect();
                    let values: Vec<&[f32]> = (0..frames).map(|t| at(b, t, 2, h)).collect();
                    want.extend(attend_f64(at(b, t, 0, h), &keys, &values, f64::from(scale)));
                }
            }
        }
        let [one, two] = cpus();
        let shape = [batch, frames, width];
        let all = attention(&one, &qkv, &shape, heads, scale);
        assert_close(&format!("{frames} frames, {heads} x {head_dim}"), &all, &want, 1e-5, 1e-5);
        assert_same("threads", &attention(&two, &qkv, &shape, heads, scale), &all);
        let last = attention(&two, &qkv[(batch - 1) * frames * 3 * width..], &[1, frames, width], heads, scale);
        assert_same("last clip", &last, &all[(batch - 1) * frames * width..]);
    }
}

#[test]
fn attention_of_whisper_length() {
    let (frames, heads, head_dim) = (1500, 2, 64);
    let width = heads * head_dim;
    let qkv = random(21, frames * 3 * width);
    let got = attention(&cpus()[1], &qkv, &[1, frames, width], heads, 1.0);
    for t in [0, 1, 777, 1499] {
        let keys: Vec<&[f32]> = (0..frames).map(|t| &qkv[(t * 3 + 1) * width + 64..][..64]).collect();
        let values: Vec<&[f32]> = (0..frames).map(|t| &qkv[(t * 3 + 2) * width + 64..][..64]).collect();
        let want = attend_f64(&qkv[t * 3 * width + 64..][..64], &keys, &values, 1.0);
        assert_close(&format!("query {t}"), &got[t * width + 64..][..64], &want, 1e-5, 1e-5);
    }
}

#[test]
fn large_scores_do_not_overflow() {
    let qkv: Vec<f32> = random(22, 5 * 3 * 8).iter().map(|v| 100.0 * v).collect();
    let got = attention(&cpus()[0], &qkv, &[1, 5, 8], 1, 1.0);
    let keys: Vec<&[f32]> = (0..5).map(|t| &qkv[(t * 3 + 1) * 8..][..8]).collect();
    let values: Vec<&[f32]> = (0..5).map(|t| &qkv[(t * 3 + 2) * 8..][..8]).collect();
    let want: Vec<f64> = (0..5).flat_map(|t| attend_f64(&qkv[t * 24..][..8], &keys, &values, 1.0)).collect();
    assert_close("scores around 1e4", &got, &want, 1e-1, 1e-2);
}

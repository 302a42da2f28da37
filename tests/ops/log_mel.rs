//! `log_mel` against a reference in f64, with a discrete Fourier transform by its definition.

use diarist::engine::cpu::Cpu;
use diarist::engine::prelude::*;
use diarist::engine::{Tensor, ops};
use diarist::features::mel_filterbank;

use crate::common::*;

/// Reference in f64 for one clip: `[F, M]`, by the definition in `Backend::log_mel`.
fn log_mel_f64(audio: &[f32], n_mels: usize) -> Vec<f64> {
    let filters = mel_filterbank(n_mels);
    let sample = |at: isize| {
        let last = audio.len() as isize - 1;
        let at = at.abs();
        f64::from(audio[if at > last { 2 * last - at } else { at } as usize])
    };
    let tau = std::f64::consts::TAU;
    let mut out = Vec::new();
    for f in 0..audio.len() / 160 {
        let framed: Vec<f64> = (0..400)
            .map(|i| sample((160 * f + i) as isize - 200) * (0.5 - 0.5 * (tau * i as f64 / 400.0).cos()))
            .collect();
        let power: Vec<f64> = (0..201)
            .map(|bin| {
                let (mut re, mut im) = (0.0, 0.0);
                for (i, x) in framed.iter().enumerate() {
                    let phase = tau * ((bin * i) % 400) as f64 / 400.0;
                    re += x * phase.cos();
                    im -= x * phase.sin();
                }
                re * re + im * im
            })
            .collect();
        for row in filters.chunks_exact(201) {
            let sum: f64 = row.iter().zip(&power).map(|(w, p)| f64::from(*w) * p).sum();
            out.push(sum.max(1e-10).log10());
        }
    }
    let floor = out.iter().fold(f64::MIN, |a, b| a.max(*b)) - 8.0;
    out.iter().map(|v| (v.max(floor) + 4.0) / 4.0).collect()
}

fn log_mel(cpu: &Cpu, audio: &[f32], batch: usize, n_mels: usize) -> Vec<f32> {
    let samples = audio.len() / batch;
    let mut out = Tensor::zeros(cpu, &[batch, samples / 160, n_mels]).unwrap();
    let plan = cpu.mel_plan(n_mels).unwrap();
    ops::log_mel(cpu, &mut out, &tensor(cpu, &[batch, samples], audio), &plan).unwrap();
    host(cpu, &out)
}

#[test]
fn log_mel_matches_its_definition() {
    for (frames, n_mels) in [(2, 80), (31, 128), (203, 80)] {
        let samples = frames * 160;
        // A chirp, a quiet clip, and silence.
        let chirp = (0..samples).map(|i| (1e-5 * (i * i) as f32).sin() * 0.5);
        let noise = random(60, samples).into_iter().map(|v| 1e-3 * v);
        let audio: Vec<f32> = chirp.chain(noise).chain(std::iter::repeat_n(0.0, samples)).collect();
        let want: Vec<f64> = audio.chunks_exact(samples).flat_map(|clip| log_mel_f64(clip, n_mels)).collect();
        let [one, two] = cpus();
        let all = log_mel(&one, &audio, 3, n_mels);
        assert_close(&format!("{frames} frames, {n_mels} bands"), &all, &want, 1e-5, 0.0);
        assert_same("threads", &log_mel(&two, &audio, 3, n_mels), &all);
        let second = log_mel(&two, &audio[samples..2 * samples], 1, n_mels);
        assert_same("clip alone", &second, &all[frames * n_mels..2 * frames * n_mels]);
    }
}

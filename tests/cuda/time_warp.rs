//! Word timestamps by dynamic time warping: each primitive against the CPU, and whole texts.

use diarist::engine::Tensor;
use diarist::engine::cuda::{self, Cuda};
use diarist::engine::prelude::*;
use diarist::engine::time_warp::{self, Accumulate, DtwSegment, DtwSegments, HeadColumns};
use diarist::pipeline::{Input, Pipeline};
use diarist::vad::Detector;

use crate::cases::*;
use crate::driver::machine;
use crate::transcripts;

struct Weights {
    /// Heads, tokens, frames, columns of a head, first row.
    sizes: [usize; 5],
}

impl Case for Weights {
    fn name(&self) -> String {
        format!("attention_weights {:?}", self.sizes)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let [heads, tokens, frames, width, first] = self.sizes;
        let columns = heads * width + 1;
        let q = act(be, &[first + tokens + 1, columns], &random(60, (first + tokens + 1) * columns));
        let keys = act(be, &[frames + 2, columns], &random(61, (frames + 2) * columns));
        let places = (0..heads).map(|head| [head * width, (heads - 1 - head) * width + 1]).collect();
        let places = HeadColumns::new(be, places, width).unwrap();
        let mut weights = Tensor::zeros(be, &[heads, tokens, frames]).unwrap();
        time_warp::attention_weights(be, &mut weights, &q, &keys, &places, first, 2.0).unwrap();
        weights.to_host(be).unwrap()
    }
}

struct Matrix {
    /// Heads, tokens, frames, first row.
    sizes: [usize; 4],
}

impl Case for Matrix {
    fn name(&self) -> String {
        format!("alignment_matrix {:?}", self.sizes)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let [heads, tokens, frames, first] = self.sizes;
        let mut matrix =
            floats(be, &[first + tokens + 1, frames + 2], &random(62, (first + tokens + 1) * (frames + 2)));
        for before in [Accumulate::Overwrite, Accumulate::Add] {
            let values: Vec<f32> = random(63, heads * tokens * frames).iter().map(|v| v * v).collect();
            let mut weights = floats(be, &[heads, tokens, frames], &values);
            time_warp::alignment_matrix(be, &mut matrix, &mut weights, first, 0.5, before).unwrap();
        }
        matrix.to_host(be).unwrap()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn weights_and_matrix() {
    let machine = machine();
    for sizes in [[1, 1, 1, 1, 0], [2, 9, 33, 16, 3], [3, 4, 70, 40, 1]] {
        check(&machine, &Weights { sizes }, F32);
    }
    for sizes in [[1, 3, 1, 0], [2, 5, 3, 1], [2, 4, 4, 0], [3, 33, 70, 2], [1, 2, 300, 0]] {
        check(&machine, &Matrix { sizes }, F32);
    }
}

/// Texts of one launch: rows and frames of each.
struct Paths(Vec<(usize, usize)>);

impl Case for Paths {
    fn name(&self) -> String {
        format!("time_warp {:?}", self.0)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let rows: usize = self.0.iter().map(|text| text.0).sum();
        let stride = self.0.iter().map(|text| text.1).max().unwrap() + 1;
        // multiples of a quarter: sums are exact, and many paths tie
        let values: Vec<f32> = random(64, rows * stride).iter().map(|v| (v * 4.0).round() / 4.0).collect();
        let matrix = floats(be, &[rows, stride], &values);
        let mut first = 0;
        let mut places = Vec::new();
        for (rows, frames) in &self.0 {
            places.push(DtwSegment { rows: first..first + rows, frames: *frames });
            first += rows;
        }
        let places = DtwSegments::new(be, places).unwrap();
        let mut out = Tensor::zeros(be, &[rows]).unwrap();
        time_warp::time_warp(be, &mut out, &matrix, &places).unwrap();
        out.to_host(be).unwrap().into_iter().map(|frame| frame as f32).collect()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn paths() {
    let machine = machine();
    for texts in [
        vec![(1, 1)],
        vec![(5, 1), (1, 9), (31, 40), (32, 8), (33, 65)],
        // More tokens than a block has threads.
        vec![(3, 4), (290, 30)],
    ] {
        check(&machine, &Paths(texts), F32);
    }
}

struct Labels;

impl Case for Labels {
    fn name(&self) -> String {
        "label_probability".into()
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let logits: Vec<f32> = random(65, 5 * 600).iter().map(|v| 20.0 * v).collect();
        let mut out = floats(be, &[8], &[-1.0; 8]);
        let labels = ints(be, &[0, 1, 2, 300, 499, 500, 77, 3]);
        let logits = floats(be, &[5, 600], &logits);
        time_warp::label_probability(be, &mut out, &logits, &labels, 2, 500).unwrap();
        out.to_host(be).unwrap()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn label_probability() {
    let machine = machine();
    check(&machine, &Labels, F32);
}

/// The words of the first half of the built-in sample: text, start, end, score.
fn words<B: Backend>(be: &B, batch_size: usize) -> Vec<(String, f64, f64, f64)> {
    let mut options = transcripts::options(1);
    options.asr.word_timestamps = true;
    options.asr.batch_size = batch_size;
    let pipeline = Pipeline::builtin(be, Detector::Energy).unwrap();
    let samples = transcripts::first_half();
    let transcript = pipeline.transcribe(Input::Samples(&samples), &options, &mut ()).unwrap();
    let words = transcript.segments.into_iter().flat_map(|segment| segment.words.unwrap());
    words.map(|w| (w.word, w.start.unwrap().0, w.end.unwrap().0, w.score.unwrap())).collect()
}

/// For every type of the cross-attention cache: the words and scores of the CPU, and its times except for 16-bit
/// rounding.
#[test]
#[ignore = "needs a C++ compiler"]
fn words_of_the_sample() {
    let _machine = machine();
    let want = words(&diarist::engine::cpu::Cpu::new(None).unwrap(), 2);
    assert!(want.len() > 20, "{want:?}");
    for kind in [cuda::CrossCacheType::Activation, cuda::CrossCacheType::Int8, cuda::CrossCacheType::Absorbed] {
        let be: Cuda = open(F16);
        let be = be.with_cross_cache(kind);
        let got = words(&be, 3);
        let texts = |words: &[(String, f64, f64, f64)]| words.iter().map(|w| w.0.clone()).collect::<Vec<_>>();
        if kind != cuda::CrossCacheType::Int8 {
            assert_eq!(texts(&got), texts(&want), "{kind:?}");
            let near =
                got.iter().zip(&want).filter(|(a, b)| (a.1 - b.1).abs() < 0.05 && (a.2 - b.2).abs() < 0.05).count();
            assert!(near * 10 >= want.len() * 9, "{kind:?}: {near} of {}: {got:?}, want {want:?}", want.len());
        }
        assert_eq!(got, words(&be, 1), "{kind:?}: the batch shows");
    }
}

//! The primitives of wav2vec2, and a small wav2vec2, with clips of different lengths in one batch.

use std::path::Path;

use diarist::engine::prelude::*;
use diarist::engine::wav2vec2_ops::{self, Lengths, SampleConv};
use diarist::engine::weights::{HostMatrix, Weights};
use diarist::engine::{Epilogue, Tensor};
use diarist::models::wav2vec2::{Config, Wav2Vec2};

use crate::cases::*;
use crate::driver::machine;

/// The value of the padding beyond a clip's length, which must not affect results.
const FILLING: f32 = 1000.0;

fn ragged(seed: u64, lengths: &[usize], frames: usize, width: usize) -> Vec<f32> {
    let mut values = random(seed, lengths.len() * frames * width);
    for (clip, length) in values.chunks_exact_mut(frames * width).zip(lengths) {
        clip[length * width..].fill(FILLING);
    }
    values
}

struct ConvValid([usize; 5]);

impl Case for ConvValid {
    fn name(&self) -> String {
        format!("conv1d_valid {:?}", self.0)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let [frames, width, outputs, taps, stride] = self.0;
        let x = act(be, &[2, frames, width], &random(30, 2 * frames * width));
        let values = random(31, outputs * taps * width).iter().map(|v| v / 8.0).collect();
        let weight = be.matrix(&HostMatrix { values, rows: outputs, cols: taps * width }).unwrap();
        let bias = floats(be, &[outputs], &random(32, outputs));
        let mut out = Tensor::zeros(be, &[2, (frames - taps) / stride + 1, outputs]).unwrap();
        wav2vec2_ops::conv1d_valid(be, &mut out, &x, &weight, Some(&bias), stride, Epilogue::GeluErf).unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn conv1d_valid() {
    let machine = machine();
    for sizes in [[10, 1, 3, 10, 5], [333, 1, 32, 10, 5], [33, 8, 17, 3, 2], [70, 5, 4, 2, 2]] {
        check(&machine, &ConvValid(sizes), STORED_ONCE);
    }
}

fn sample_conv<B: Backend>(be: &B, [width, taps, stride]: [usize; 3], bias: bool) -> SampleConv<B> {
    let vector = |seed| floats(be, &[width], &random(seed, width));
    SampleConv {
        weight: floats(be, &[width, taps], &random(33, width * taps)),
        bias: bias.then(|| vector(36)),
        gamma: vector(34),
        beta: vector(35),
        stride,
        eps: 1e-5,
    }
}

struct SampleConvs([usize; 3]);

impl Case for SampleConvs {
    fn name(&self) -> String {
        format!("conv1d_channel_norm, conv1d_layer_norm {:?}", self.0)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        // More frames than a block of window_moments has, and a length that ends within one of its tiles.
        let ([width, taps, stride], lengths, frames) = (self.0, vec![2100, 1, 0, 333], 2100);
        let samples = (frames - 1) * stride + taps + (stride - 1);
        let x = act(be, &[4, samples, 1], &random(32, 4 * samples));
        let mut out = act(be, &[4, frames, width], &vec![FILLING; 4 * frames * width]);
        let lengths = Lengths::new(be, lengths).unwrap();
        wav2vec2_ops::conv1d_channel_norm(be, &mut out, &x, &sample_conv(be, self.0, false), &lengths).unwrap();
        let mut all = host(be, &out);
        for bias in [false, true] {
            wav2vec2_ops::conv1d_layer_norm(be, &mut out, &x, &sample_conv(be, self.0, bias)).unwrap();
            all.extend(host(be, &out));
        }
        all
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn convolutions_over_samples() {
    let machine = machine();
    for sizes in [[16, 10, 5], [7, 3, 2], [66, 16, 16], [1, 1, 1]] {
        check(&machine, &SampleConvs(sizes), STORED_ONCE);
    }
}

struct LayerNormGelu {
    width: usize,
}

impl Case for LayerNormGelu {
    fn name(&self) -> String {
        format!("layer_norm_gelu {}", self.width)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let x = act(be, &[3, 7, self.width], &random(36, 21 * self.width));
        let [gamma, beta] = [34, 35].map(|seed| floats(be, &[self.width], &random(seed, self.width)));
        let mut out = act(be, &[3, 7, self.width], &vec![FILLING; 21 * self.width]);
        wav2vec2_ops::layer_norm_gelu(be, &mut out, &x, &gamma, &beta, 1e-5).unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn layer_norm_gelu() {
    let machine = machine();
    for width in [1, 31, 32, 264] {
        check(&machine, &LayerNormGelu { width }, STORED_ONCE);
    }
}

struct PositionalConv([usize; 3]);

impl Case for PositionalConv {
    fn name(&self) -> String {
        format!("positional_conv {:?}", self.0)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let ([groups, width, taps], lengths, frames) = (self.0, vec![50, 0, 17], 50);
        let channels = width / groups;
        let x = act(be, &[3, frames, width], &ragged(37, &lengths, frames, width));
        let weights: Vec<B::Matrix> = (0..groups as u64)
            .map(|group| {
                let values = random(40 + group, channels * taps * channels).iter().map(|v| v / 16.0).collect();
                be.matrix(&HostMatrix { values, rows: channels, cols: taps * channels }).unwrap()
            })
            .collect();
        let bias = floats(be, &[width], &random(38, width));
        let mut out = act(be, &[3, frames, width], &vec![FILLING; 3 * frames * width]);
        wav2vec2_ops::positional_conv(be, &mut out, &x, &weights, &bias, &Lengths::new(be, lengths).unwrap()).unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn positional_conv() {
    let machine = machine();
    for sizes in [[1, 3, 5], [2, 32, 16], [3, 15, 8]] {
        // The result of the convolution is rounded once before it is added.
        check(&machine, &PositionalConv(sizes), ATTENTION);
    }
}

/// Width and heads.
struct AttentionWithin([usize; 2]);

impl Case for AttentionWithin {
    fn name(&self) -> String {
        format!("attention_within {:?}", self.0)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let ([width, heads], lengths, frames) = (self.0, vec![70, 1, 0, 65], 70);
        let qkv = act(be, &[4, frames, 3 * width], &ragged(39, &lengths, frames, 3 * width));
        let mut out = act(be, &[4, frames, width], &vec![FILLING; 4 * frames * width]);
        let lengths = Lengths::new(be, lengths).unwrap();
        wav2vec2_ops::attention_within(be, &mut out, &qkv, heads, 0.25, &lengths).unwrap();
        host(be, &out)
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn attention_within() {
    let machine = machine();
    // Head dimension 80 is that of the 1B model, 128 the largest.
    for sizes in [[32, 2], [160, 2], [128, 1], [144, 2]] {
        check(&machine, &AttentionWithin(sizes), ATTENTION);
    }
}

struct LogSoftmax {
    classes: usize,
    wildcard: Option<usize>,
}

impl Case for LogSoftmax {
    fn name(&self) -> String {
        format!("log_softmax {} {:?}", self.classes, self.wildcard)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let values: Vec<f32> = random(45, 19 * self.classes).iter().map(|v| 20.0 * v + 50.0).collect();
        let logits = floats(be, &[19, self.classes], &values);
        let bias = floats(be, &[self.classes], &random(46, self.classes));
        let columns = self.classes + usize::from(self.wildcard.is_some());
        let mut out = Tensor::zeros(be, &[19, columns]).unwrap();
        wav2vec2_ops::log_softmax(be, &mut out, &logits, &bias, self.wildcard).unwrap();
        out.to_host(be).unwrap()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn log_softmax() {
    let machine = machine();
    for (classes, wildcard) in [(2, Some(0)), (32, None), (33, Some(32)), (90, Some(7))] {
        check(&machine, &LogSoftmax { classes, wildcard }, F32);
    }
}

/// A narrow wav2vec2 with weights of [`Weights::random`].
struct Network {
    config: &'static str,
}

const BASE: &str = r#"{"model_type": "wav2vec2", "vocab_size": 12, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 64, "conv_dim": [16, 16, 16], "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 4, 4], "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}"#;
const LARGE: &str = r#"{"model_type": "wav2vec2", "vocab_size": 12, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 64, "conv_dim": [16, 16, 16], "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 4, 4], "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "layer", "conv_bias": true, "do_stable_layer_norm": true, "pad_token_id": 11}"#;

/// Long strides over the samples at first, as in the built-in aligner.
const WIDE: &str = r#"{"model_type": "wav2vec2", "vocab_size": 12, "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 64, "conv_dim": [16, 16], "conv_kernel": [160, 3],
    "conv_stride": [40, 2], "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    "feat_extract_norm": "layer", "conv_bias": true, "do_stable_layer_norm": true, "pad_token_id": 11}"#;

impl Network {
    fn emissions<B: Backend>(&self, be: &B, clips: &[&[f32]]) -> Vec<Vec<f32>> {
        let config = Config::parse(self.config, Path::new("config.json")).unwrap();
        let network = Wav2Vec2::load(be, config, &Weights::random(5), true).unwrap();
        let emissions = network.emissions(be, clips).unwrap();
        let (longest, columns) = (emissions.log_probs.shape()[1], emissions.log_probs.width());
        let all = emissions.log_probs.to_host(be).unwrap();
        let rows = |(clip, frames): (&[f32], &usize)| clip[..frames * columns].to_vec();
        all.chunks_exact(longest * columns).zip(&emissions.frames).map(rows).collect()
    }
}

impl Case for Network {
    fn name(&self) -> String {
        format!("wav2vec2 {}", self.config)
    }

    fn run<B: Backend>(&self, be: &B) -> Vec<f32> {
        let clip = random(50, 4000);
        let together = self.emissions(be, &[&clip, &clip[..1777]]);
        let alone = self.emissions(be, &[&clip[..1777]]);
        assert_eq!(together[1], alone[0], "a clip knows of its neighbour");
        together.concat()
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn a_network_as_a_whole() {
    let machine = machine();
    for config in [BASE, LARGE, WIDE] {
        check(&machine, &Network { config }, WHOLE_NETWORK);
    }
}

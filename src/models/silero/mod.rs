//! Silero VAD v6: the probability of speech in every 32 ms of a 16 kHz recording.
//!
//! Runs on the host whatever the device: about 0.7 million multiplications per 32 ms are a thousandth of the work of
//! the recogniser, and the recurrence is sequential over windows. One core processes about 250 s of audio per second
//! (a busy 2.8 GHz Xeon with AVX-512, 2026-11, 30 s recordings).
//!
//! | step | shape | |
//! |---|---|---|
//! | window | `[64 + 512 + 64]` | 64 samples of context, the window, reflection padding of 64 samples |
//! | `stft_conv` | `[4, 258]` | 256 samples wide, 128 apart; real and imaginary parts of 129 bins |
//! | magnitude | `[4, 129]` | |
//! | `conv1` .. `conv4` | `[4, 128]`, `[2, 64]`, `[1, 64]`, `[1, 128]` | 3 wide, zero-padded by one, ReLU |
//! | `lstm_cell` | `[128]` | state carried from window to window |
//! | `final_conv` | `[1]` | ReLU of the hidden state, linear, sigmoid |
//!
//! The weights are in Silero's file `silero_vad.onnx`. Its `silero_vad_16k.safetensors` has the same layout, but in
//! 6.2.3 other values. Both can be loaded; only the ONNX file gives the probabilities that WhisperX uses.
//!
//! Source: snakers4/silero-vad 6.2, 16 kHz branch (MIT).

mod onnx;

use std::path::Path;

use crate::engine::weights::Weights;
use crate::error::{Error, Result};

/// Samples per probability: 32 ms.
pub const WINDOW: usize = 512;

/// Samples of the previous window that precede each window as context.
const CONTEXT: usize = 64;
const STFT_WIDTH: usize = 256;
const STFT_HOP: usize = 128;
const BINS: usize = STFT_WIDTH / 2 + 1;
/// Samples of a window with its context and reflection padding.
const PADDED: usize = CONTEXT + WINDOW + CONTEXT;
/// Spectral frames of a window.
const FRAMES: usize = (PADDED - STFT_WIDTH) / STFT_HOP + 1;
const HIDDEN: usize = 128;
/// Windows per batch of the convolutions, so that each weight is loaded once for all of them.
const BATCH: usize = 64;

/// The network, ready to run.
pub struct Silero {
    stft: Dense,
    convs: [Conv; 4],
    lstm_input: Dense,
    lstm_state: Dense,
    head: Vec<f32>,
    head_bias: f32,
}

impl Silero {
    /// Reads the network from `silero_vad.onnx`, or from a safetensors file if `path` has that extension.
    ///
    /// # Errors
    /// [`Error::Weights`] naming the file if it is missing or damaged, and the tensor if it is missing or has another
    /// shape.
    pub fn open(path: &Path) -> Result<Self> {
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            let weights = Weights::open_file(path)?;
            return Self::load(|name, shape| weights.tensor(name, shape));
        }
        let bytes = std::fs::read(path).map_err(|e| Error::weights(path, "*", format!("cannot be read: {e}")))?;
        Self::from_onnx(path, &bytes)
    }

    /// Reads the network from the bytes of a `silero_vad.onnx`; `path` names it in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_onnx(path: &Path, bytes: &[u8]) -> Result<Self> {
        let weights = onnx::OnnxTensors::parse(path, bytes)?;
        Self::load(|name, shape| weights.tensor(path, name, shape))
    }

    fn load(tensor: impl Fn(&str, &[usize]) -> Result<Vec<f32>>) -> Result<Self> {
        let stft = tensor("stft_conv.weight", &[2 * BINS, 1, STFT_WIDTH])?;
        let mut bias = tensor("lstm_cell.bias_ih", &[4 * HIDDEN])?;
        let state_bias = tensor("lstm_cell.bias_hh", &[4 * HIDDEN])?;
        bias.iter_mut().zip(&state_bias).for_each(|(a, b)| *a += b);
        let input = tensor("lstm_cell.weight_ih", &[4 * HIDDEN, HIDDEN])?;
        let state = tensor("lstm_cell.weight_hh", &[4 * HIDDEN, HIDDEN])?;
        let conv = |name: &str, channels: [usize; 2], frames: [usize; 2], stride: usize| -> Result<Conv> {
            let weight = tensor(&format!("{name}.weight"), &[channels[1], channels[0], 3])?;
            let bias = tensor(&format!("{name}.bias"), &[channels[1]])?;
            Ok(Conv::new(&weight, &bias, channels, frames, stride))
        };
        Ok(Silero {
            stft: Dense::new(&stft, &[0.0; 2 * BINS], STFT_WIDTH),
            convs: [
                conv("conv1", [BINS, 128], [FRAMES, 4], 1)?,
                conv("conv2", [128, 64], [4, 2], 2)?,
                conv("conv3", [64, 64], [2, 1], 2)?,
                conv("conv4", [64, HIDDEN], [1, 1], 1)?,
            ],
            lstm_input: Dense::new(&input, &bias, HIDDEN),
            lstm_state: Dense::new(&state, &[0.0; 4 * HIDDEN], HIDDEN),
            head: tensor("final_conv.weight", &[1, HIDDEN, 1])?,
            head_bias: tensor("final_conv.bias", &[1])?[0],
        })
    }

    /// Probability of speech in each [`WINDOW`] of `samples` (16 kHz, in `[-1, 1]`), the last one padded with zeros:
    /// `ceil(samples / 512)` values in `[0, 1]`. Window `i` begins at sample `512 i`.
    ///
    /// Equal to onnxruntime on the published model within 1e-5.
    pub fn probabilities(&self, samples: &[f32]) -> Vec<f32> {
        // Compiled once per instruction set and chosen here at run time; every sum keeps its order, so the
        // probabilities are the same bits on each.
        pulp::Arch::new().dispatch(|| self.run(samples))
    }

    #[inline(always)]
    fn run(&self, samples: &[f32]) -> Vec<f32> {
        let num_windows = samples.len().div_ceil(WINDOW);
        let mut scratch = Scratch::new();
        let (mut hidden, mut cell) = ([0.0; HIDDEN], [0.0; HIDDEN]);
        let mut gates = vec![0.0; 4 * HIDDEN];
        let mut out = Vec::with_capacity(num_windows);
        for first in (0..num_windows).step_by(BATCH) {
            let windows = BATCH.min(num_windows - first);
            self.input_gates(samples, first, windows, &mut scratch);
            for input in scratch.gates[..windows * 4 * HIDDEN].chunks_exact(4 * HIDDEN) {
                self.lstm_state.apply(&mut gates, Rows::dense(1, 4 * HIDDEN), &hidden, Rows::dense(1, HIDDEN));
                gates.iter_mut().zip(input).for_each(|(g, x)| *g += x);
                lstm_cell(&gates, &mut hidden, &mut cell);
                let score: f32 = hidden.iter().zip(&self.head).map(|(h, w)| h.max(0.0) * w).sum();
                out.push(sigmoid(score + self.head_bias));
            }
        }
        out
    }

    /// Everything before the recurrence, for `windows` windows from index `first`: the input part of the LSTM's gates,
    /// `[windows, 512]`, into `scratch.gates`.
    #[inline(always)]
    fn input_gates(&self, samples: &[f32], first: usize, windows: usize, scratch: &mut Scratch) {
        for (i, padded) in scratch.audio[..windows * PADDED].chunks_exact_mut(PADDED).enumerate() {
            cut_window(padded, samples, (first + i) * WINDOW);
        }
        let frames = Rows { groups: windows, per_group: FRAMES, group: PADDED, step: STFT_HOP, offset: 0 };
        self.stft.apply(&mut scratch.spectrum, Rows::dense(windows * FRAMES, 2 * BINS), &scratch.audio, frames);
        let spectra = scratch.spectrum[..windows * FRAMES * 2 * BINS].chunks_exact(FRAMES * 2 * BINS);
        for (window, spectra) in scratch.layers[0].chunks_exact_mut((FRAMES + 2) * BINS).zip(spectra) {
            let magnitudes = window[BINS..].chunks_exact_mut(BINS);
            for (magnitude, parts) in magnitudes.zip(spectra.chunks_exact(2 * BINS)) {
                let (re, im) = parts.split_at(BINS);
                magnitude.iter_mut().zip(re.iter().zip(im)).for_each(|(m, (re, im))| *m = (re * re + im * im).sqrt());
            }
        }
        for (i, conv) in self.convs.iter().enumerate() {
            let (before, after) = scratch.layers.split_at_mut(i + 1);
            conv.apply(&mut after[0], &before[i], windows);
        }
        // The output of conv4 is one frame, between two frames of padding.
        let frame = Rows { groups: windows, per_group: 1, group: 3 * HIDDEN, step: 0, offset: HIDDEN };
        self.lstm_input.apply(&mut scratch.gates, Rows::dense(windows, 4 * HIDDEN), &scratch.layers[4], frame);
    }
}

/// Buffers of [`Silero::input_gates`], for [`BATCH`] windows.
struct Scratch {
    /// `[BATCH, 640]`
    audio: Vec<f32>,
    /// `[BATCH, 4, 258]`
    spectrum: Vec<f32>,
    /// Input of `conv1`, then the output of each convolution: `[BATCH, frames + 2, channels]`. The first and the last
    /// frame of a window are the zero padding and are never written.
    layers: [Vec<f32>; 5],
    /// `[BATCH, 512]`
    gates: Vec<f32>,
}

impl Scratch {
    fn new() -> Self {
        let layer = |frames: usize, channels: usize| vec![0.0; BATCH * (frames + 2) * channels];
        Scratch {
            audio: vec![0.0; BATCH * PADDED],
            spectrum: vec![0.0; BATCH * FRAMES * 2 * BINS],
            layers: [layer(FRAMES, BINS), layer(4, 128), layer(2, 64), layer(1, 64), layer(1, HIDDEN)],
            gates: vec![0.0; BATCH * 4 * HIDDEN],
        }
    }
}

/// Fills `padded` with context, window and reflection padding of the window that begins at sample `start`. Samples
/// outside the recording are zero.
#[inline(always)]
fn cut_window(padded: &mut [f32], samples: &[f32], start: usize) {
    padded.fill(0.0);
    let from = start.saturating_sub(CONTEXT);
    let until = samples.len().min(start + WINDOW);
    let at = from + CONTEXT - start;
    padded[at..at + until - from].copy_from_slice(&samples[from..until]);
    let (window, padding) = padded.split_at_mut(CONTEXT + WINDOW);
    // The last sample itself is not repeated, as in PyTorch's reflection padding.
    padding.iter_mut().zip(window.iter().rev().skip(1)).for_each(|(p, x)| *p = *x);
}

/// One step of an LSTM: `gates` `[4, 128]` holds the sums for input, forget, cell and output gate (PyTorch's order).
#[inline(always)]
fn lstm_cell(gates: &[f32], hidden: &mut [f32; HIDDEN], cell: &mut [f32; HIDDEN]) {
    for i in 0..HIDDEN {
        let input = sigmoid(gates[i]) * gates[2 * HIDDEN + i].tanh();
        cell[i] = sigmoid(gates[HIDDEN + i]) * cell[i] + input;
        hidden[i] = sigmoid(gates[3 * HIDDEN + i]) * cell[i].tanh();
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The layout of a matrix in a buffer: row `r` begins at `offset + (r / per_group) * group + (r % per_group) * step`.
/// Rows may overlap, so that a convolution is a matrix product without copying its input (implicit im2col).
#[derive(Clone, Copy)]
struct Rows {
    groups: usize,
    per_group: usize,
    group: usize,
    step: usize,
    offset: usize,
}

impl Rows {
    /// `rows` rows of `width`, one after the other.
    fn dense(rows: usize, width: usize) -> Self {
        Rows { groups: 1, per_group: rows, group: 0, step: width, offset: 0 }
    }

    #[inline(always)]
    fn start(&self, row: usize) -> usize {
        self.offset + row / self.per_group * self.group + row % self.per_group * self.step
    }
}

/// A convolution 3 wide over the frames of each window, zero-padded by one, then ReLU.
struct Conv {
    dense: Dense,
    /// Channels in and out.
    channels: [usize; 2],
    /// Frames in and out.
    frames: [usize; 2],
    stride: usize,
}

impl Conv {
    /// From `weight` `[outputs, inputs, 3]` and `bias` `[outputs]`.
    fn new(weight: &[f32], bias: &[f32], channels: [usize; 2], frames: [usize; 2], stride: usize) -> Self {
        let [inputs, outputs] = channels;
        // `[outputs, 3, inputs]`: taps outermost, as frames lie in memory.
        let by_tap: Vec<f32> = (0..outputs * 3 * inputs)
            .map(|i| (i / (3 * inputs), i / inputs % 3, i % inputs))
            .map(|(output, tap, input)| weight[(output * inputs + input) * 3 + tap])
            .collect();
        Conv { dense: Dense::new(&by_tap, bias, 3 * inputs), channels, frames, stride }
    }

    #[inline(always)]
    fn apply(&self, out: &mut [f32], x: &[f32], windows: usize) {
        let ([inputs, outputs], [frames_in, frames_out]) = (self.channels, self.frames);
        let group = (frames_in + 2) * inputs;
        let from = Rows { groups: windows, per_group: frames_out, group, step: self.stride * inputs, offset: 0 };
        let group = (frames_out + 2) * outputs;
        let to = Rows { groups: windows, per_group: frames_out, group, step: outputs, offset: outputs };
        self.dense.apply(out, to, x, from);
        out[..windows * group].iter_mut().for_each(|v| *v = v.max(0.0));
    }
}

/// Outputs per panel: the width of a register block.
const PANEL: usize = 16;
/// Rows per register block: each loaded weight is used this often.
const BLOCK: usize = 4;

/// A linear layer `out = x W^T + b`, with the weight packed in panels of [`PANEL`] outputs.
struct Dense {
    /// `[ceil(outputs / PANEL), inputs, PANEL]`, zero-padded beyond the last output.
    panels: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
}

impl Dense {
    /// From `weight` `[outputs, inputs]` and `bias` `[outputs]`.
    fn new(weight: &[f32], bias: &[f32], inputs: usize) -> Self {
        let mut panels = vec![0.0; bias.len().div_ceil(PANEL) * PANEL * inputs];
        for (output, row) in weight.chunks_exact(inputs).enumerate() {
            let panel = &mut panels[output / PANEL * PANEL * inputs..];
            for (input, value) in row.iter().enumerate() {
                panel[input * PANEL + output % PANEL] = *value;
            }
        }
        Dense { panels, bias: bias.to_vec(), inputs }
    }

    /// Reads rows `from` of `x`, writes rows `to` of `out`.
    #[inline(always)]
    fn apply(&self, out: &mut [f32], to: Rows, x: &[f32], from: Rows) {
        let rows = from.groups * from.per_group;
        let panels = self.panels.chunks_exact(PANEL * self.inputs).zip(self.bias.chunks(PANEL));
        for (p, (panel, bias)) in panels.enumerate() {
            let mut row = 0;
            while row < rows {
                let left = rows - row;
                let full = if left >= BLOCK { BLOCK } else { 1 };
                let mut put = |r: usize, sums: &[f32; PANEL]| {
                    let at = to.start(row + r) + p * PANEL;
                    let outs = out[at..at + bias.len()].iter_mut();
                    outs.zip(sums.iter().zip(bias)).for_each(|(o, (s, b))| *o = s + b);
                };
                let start = |r: usize| &x[from.start(row + r)..][..self.inputs];
                if full == BLOCK {
                    let sums = block([start(0), start(1), start(2), start(3)], panel);
                    sums.iter().enumerate().for_each(|(r, sums)| put(r, sums));
                } else {
                    put(0, &block([start(0)], panel)[0]);
                }
                row += full;
            }
        }
    }
}

/// Products of `R` rows with one panel. Each sum runs over the inputs in order, however many rows there are.
#[inline(always)]
fn block<const R: usize>(rows: [&[f32]; R], panel: &[f32]) -> [[f32; PANEL]; R] {
    let (panel, _) = panel.as_chunks::<PANEL>();
    // Checks the length of each row once, instead of at each product.
    let rows = rows.map(|row| &row[..panel.len()]);
    let mut sums = [[0.0; PANEL]; R];
    for (input, weights) in panel.iter().enumerate() {
        for r in 0..R {
            let x = rows[r][input];
            for c in 0..PANEL {
                sums[r][c] += x * weights[c];
            }
        }
    }
    sums
}

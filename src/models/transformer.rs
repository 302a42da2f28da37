//! Transformer blocks that Whisper and wav2vec2 share: loading of weights by name ([`Scope`]), linear layers, layer norm
//! and the feed-forward sublayer.

use crate::engine::weights::{HostMatrix, HostWeight, Weights};
use crate::engine::{Backend, Epilogue, Tensor, ops};
use crate::error::Result;

/// Epsilon of every layer norm: PyTorch's default, which Whisper and wav2vec2 use.
const EPS: f32 = 1e-5;

/// Loads tensors whose names have a common prefix onto a device.
pub(super) struct Scope<'a, B: Backend> {
    pub be: &'a B,
    pub weights: &'a Weights,
    pub prefix: String,
}

impl<'a, B: Backend> Scope<'a, B> {
    pub fn root(be: &'a B, weights: &'a Weights) -> Self {
        Scope { be, weights, prefix: "model".into() }
    }

    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        Scope { be: self.be, weights: self.weights, prefix: format!("{}.{name}", self.prefix) }
    }

    pub fn vector(&self, name: &str, len: usize) -> Result<Tensor<B, f32>> {
        self.table(name, &[len])
    }

    pub fn table(&self, name: &str, shape: &[usize]) -> Result<Tensor<B, f32>> {
        let values = self.weights.tensor(&format!("{}.{name}", self.prefix), shape)?;
        Tensor::from_host(self.be, shape, &values)
    }

    /// A weight of shape `shape`, output features first, in the number format of its file.
    pub fn host_weight(&self, name: &str, shape: &[usize]) -> Result<HostWeight> {
        self.weights.weight(&format!("{}.{name}", self.prefix), shape)
    }

    /// A linear layer `name.weight`, `name.bias`.
    pub fn linear(&self, name: &str, outputs: usize, inputs: usize) -> Result<Linear<B>> {
        self.linears(&[(name, Bias::Yes)], outputs, inputs)
    }

    /// A linear layer with each output, bias included, multiplied by a factor.
    pub fn scaled_linear(&self, name: &str, factors: &[f32], inputs: usize) -> Result<Linear<B>> {
        let mut weight = self.host_weight(&format!("{name}.weight"), &[factors.len(), inputs])?;
        weight.scale_rows(factors);
        let mut bias = self.weights.tensor(&format!("{}.{name}.bias", self.prefix), &[factors.len()])?;
        bias.iter_mut().zip(factors).for_each(|(bias, factor)| *bias *= factor);
        self.on_device(&weight, &bias)
    }

    /// Several linear layers over the same input, fused into one; their outputs are concatenated.
    pub fn linears(&self, names: &[(&str, Bias)], outputs: usize, inputs: usize) -> Result<Linear<B>> {
        let mut fused: Option<HostWeight> = None;
        let mut bias = vec![0.0; outputs * names.len()];
        for (i, (name, has_bias)) in names.iter().enumerate() {
            let weight = self.host_weight(&format!("{name}.weight"), &[outputs, inputs])?;
            match &mut fused {
                Some(fused) => fused.append(weight),
                None => fused = Some(weight),
            }
            if *has_bias == Bias::Yes {
                let values = self.weights.tensor(&format!("{}.{name}.bias", self.prefix), &[outputs])?;
                bias[i * outputs..][..outputs].copy_from_slice(&values);
            }
        }
        let none = HostWeight::Float(HostMatrix { values: Vec::new(), rows: 0, cols: inputs });
        self.on_device(&fused.unwrap_or(none), &bias)
    }

    /// A convolution `[N, C, taps]`, transposed to `[N, taps * C]` as
    /// [`MatrixOps::conv1d`](crate::engine::backend::MatrixOps::conv1d) expects it.
    pub fn conv1d(&self, name: &str, outputs: usize, inputs: usize, taps: usize) -> Result<Linear<B>> {
        let weight = self.host_weight(&format!("{name}.weight"), &[outputs, inputs, taps])?;
        let bias = self.weights.tensor(&format!("{}.{name}.bias", self.prefix), &[outputs])?;
        self.on_device(&weight.tap_by_tap(taps), &bias)
    }

    fn on_device(&self, weight: &HostWeight, bias: &[f32]) -> Result<Linear<B>> {
        Ok(Linear { weight: self.be.matrix(weight)?, bias: Tensor::from_host(self.be, &[bias.len()], bias)? })
    }

    pub fn layer_norm(&self, name: &str, width: usize) -> Result<LayerNorm<B>> {
        let scope = self.at(name);
        Ok(LayerNorm { gamma: scope.vector("weight", width)?, beta: scope.vector("bias", width)? })
    }
}

/// Whether a layer has a bias in the checkpoint: Whisper's key projections have none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Bias {
    Yes,
    No,
}

/// `y = x W^T + b`.
pub(super) struct Linear<B: Backend> {
    /// `[N, K]`.
    pub weight: B::Matrix,
    /// `[N]` f32.
    pub bias: Tensor<B, f32>,
}

impl<B: Backend> Linear<B> {
    pub fn run(&self, be: &B, out: &mut Tensor<B>, x: &Tensor<B>, epilogue: Epilogue) -> Result<()> {
        ops::linear(be, out, x, &self.weight, Some(&self.bias), epilogue)
    }
}

pub(super) struct LayerNorm<B: Backend> {
    /// `[C]` f32.
    gamma: Tensor<B, f32>,
    /// `[C]` f32.
    beta: Tensor<B, f32>,
}

impl<B: Backend> LayerNorm<B> {
    pub fn run(&self, be: &B, out: &mut Tensor<B>, x: &Tensor<B>) -> Result<()> {
        ops::layer_norm(be, out, x, &self.gamma, &self.beta, EPS)
    }
}

/// The feed-forward sublayer of a block, with GELU (the exact error function).
pub(super) struct FeedForward<B: Backend> {
    fc1: Linear<B>,
    fc2: Linear<B>,
}

/// Scratch memory of a sublayer over `R` rows.
pub(super) struct Scratch<'a, B: Backend> {
    /// `[R, C]`
    pub normed: &'a mut Tensor<B>,
    /// `[R, ffn]`
    pub inner: &'a mut Tensor<B>,
}

impl<B: Backend> FeedForward<B> {
    /// Loads the layers of these names: `[inner, width]` and `[width, inner]`.
    pub fn load(scope: &Scope<B>, [fc1, fc2]: [&str; 2], width: usize, inner: usize) -> Result<Self> {
        Ok(FeedForward { fc1: scope.linear(fc1, inner, width)?, fc2: scope.linear(fc2, width, inner)? })
    }

    /// Width of the hidden layer.
    pub fn inner(&self, be: &B) -> usize {
        be.matrix_shape(&self.fc1.weight).0
    }

    /// Pre-norm: `x += fc2(gelu(fc1(norm(x))))` for `x` `[R, C]`.
    pub fn pre_norm(&self, be: &B, norm: &LayerNorm<B>, x: &mut Tensor<B>, s: Scratch<B>) -> Result<()> {
        norm.run(be, s.normed, x)?;
        self.fc1.run(be, s.inner, s.normed, Epilogue::GeluErf)?;
        self.fc2.run(be, x, s.inner, Epilogue::Add)
    }

    /// Post-norm: `x = norm(normed + fc2(gelu(fc1(normed))))`. `s.normed` is the input, and is overwritten.
    pub fn post_norm(&self, be: &B, norm: &LayerNorm<B>, x: &mut Tensor<B>, s: Scratch<B>) -> Result<()> {
        self.fc1.run(be, s.inner, s.normed, Epilogue::GeluErf)?;
        self.fc2.run(be, s.normed, s.inner, Epilogue::Add)?;
        norm.run(be, x, s.normed)
    }
}

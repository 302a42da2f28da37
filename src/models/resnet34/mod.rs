//! WeSpeaker's ResNet34: speaker embeddings of the speakers in windows of some seconds.
//!
//! | step | shape, 10 s | |
//! |---|---|---|
//! | samples | `[S]` | 16 kHz |
//! | features | `[R, 80]` | Kaldi log-mel; frames that windows share are computed once |
//! | windows | `[N, 998, 80, 1]` | minus the mean of each band over the window |
//! | `conv1` | `[N, 998, 80, 32]` | 3 x 3 |
//! | `layer1` .. `layer4` | `[N, 125, 10, 256]` | residual blocks of two 3 x 3 convolutions; batch norms are folded |
//! | statistics | `[N, S, 2, 2560]` | mean and standard deviation over the frames in which each speaker is active |
//! | `seg_1` | `[N, S, 256]` | linear |
//!
//! Everything up to the statistics runs once per window, whatever the number of speakers, and is skipped for windows
//! without speech. The result of a window does not depend on the other windows. Widths, numbers of blocks and mel bands
//! are taken from the weights.
//!
//! Source: Wang et al. 2023 (arXiv:2210.17016); weight names and order of operations: pyannote.audio
//! `models/embedding/wespeaker` and `models/blocks/pooling.py` (MIT).

mod block;
mod embed;
mod load;
mod windows;

use std::path::Path;

use self::block::Block;
pub(crate) use self::load::named_by_pyannote;
use self::windows::{Masks, WindowSamples};
use crate::engine::embedding_ops::{self, Conv2dEpilogue};
use crate::engine::segmentation_ops::{self, Activation};
use crate::engine::{Backend, Tensor};
use crate::error::{Error, Result};
use crate::features::fbank;
pub use crate::models::embedding::nearest_frames;
use crate::models::files;

/// Windows whose features are computed at once.
const FEATURE_BATCH: usize = 64;

/// The network on a device.
pub struct ResNet34<B: Backend> {
    plan: B::FbankPlan,
    /// `M`: mel bands.
    bands: usize,
    conv1: B::Filter,
    blocks: Vec<Block<B>>,
    /// `[D, 2 * H * C]`, columns in the order of the statistics.
    seg_1: B::F32Matrix,
    /// `[D]`
    bias: Vec<f32>,
    bias_on_device: Tensor<B, f32>,
}

impl<B: Backend> ResNet34<B> {
    /// Loads pyannote's `pytorch_model.bin` (no code in it is executed), safetensors with the same names, WeSpeaker's
    /// `avg_model.pt`, or an ONNX file of the network. `path` is the file or its folder.
    ///
    /// # Errors
    /// [`Error::Weights`] for a checkpoint of another network, or a damaged one.
    pub fn open(be: &B, path: &Path) -> Result<Self> {
        Self::load(be, &named_by_pyannote(files::open(path)?))
    }

    /// `D`: dimensions of an embedding.
    pub fn size(&self) -> usize {
        self.bias.len()
    }

    /// The `min_num_frames` of pyannote's pipeline; see
    /// [`SpeakerEmbedding::min_frames`](crate::models::embedding::SpeakerEmbedding).
    pub fn min_frames(frames: usize, window: usize) -> usize {
        // pyannote searches for the smallest number of samples that its network accepts, which is one frame of
        // features.
        (frames * fbank::FRAME).div_ceil(window.max(1))
    }

    /// Embeddings `[N, S, D]` of `speakers` (`S`) speakers in each of the windows (`N`) of `window` samples that begin
    /// at `starts` in `samples` (16 kHz, in `[-1, 1]`, zeros past their end). `masks` `[N, S, F]`: in which of `F`
    /// equal frames of a window each speaker is active.
    ///
    /// The embedding of a speaker who is never active is the bias of the last layer, as in pyannote. A window that
    /// holds NaN or infinity gives NaN for all its speakers.
    ///
    /// # Errors
    /// [`Error::Config`] for windows shorter than one frame of features; [`Error::Diarization`] if the masks do not
    /// divide into `N * S` equal parts; those of the device.
    pub fn embed_masked_windows(
        &self,
        be: &B,
        samples: &[f32],
        starts: &[usize],
        window: usize,
        masks: &[bool],
        speakers: usize,
    ) -> Result<Vec<f32>> {
        let frames = fbank::frames(window);
        if frames == 0 {
            let rule = format!("a voice needs {} samples at least", fbank::FRAME);
            return Err(Error::config("window", window, rule));
        }
        let shapes_by_layer = self.shapes_by_layer(be, frames);
        let masks = Masks::new(masks, starts.len(), speakers, shapes_by_layer[shapes_by_layer.len() - 1][0])?;
        let mut embeddings = self.bias.repeat(starts.len() * speakers);
        // The windows with speech.
        let mut active = Vec::new();
        for (n, start) in starts.iter().enumerate() {
            let rest = samples.get(*start..).unwrap_or_default();
            if !rest[..rest.len().min(window)].iter().all(|v| v.is_finite()) {
                embeddings[n * speakers * self.size()..][..speakers * self.size()].fill(f32::NAN);
            } else if masks.any_active(n) {
                active.push(n);
            }
        }
        let batch = be.embedding_batch().clamp(1, active.len().max(1));
        let largest = shapes_by_layer.iter().map(|shape| shape.iter().product::<usize>()).max().unwrap_or_default();
        let scratch = || Tensor::zeros(be, &[if active.is_empty() { 0 } else { batch * largest }]);
        let mut scratch = [scratch()?, scratch()?, scratch()?];
        for windows in active.chunks(FEATURE_BATCH) {
            let starts: Vec<usize> = windows.iter().map(|n| starts[*n]).collect();
            let gathered = WindowSamples::new(samples, &starts, frames);
            let features = be.scope(|| self.features(be, &gathered.samples))?;
            for (windows, first) in windows.chunks(batch).zip(gathered.first.chunks(batch)) {
                let found = be.scope(|| self.batch(be, &mut scratch, frames, &features, first, &masks.of(windows)))?;
                let each = speakers * self.size();
                for (n, found) in windows.iter().zip(found.chunks_exact(each)) {
                    embeddings[n * each..][..each].copy_from_slice(found);
                }
            }
        }
        Ok(embeddings)
    }

    /// Features `[R, M]` of `samples` `[S]`.
    fn features(&self, be: &B, samples: &[f32]) -> Result<Tensor<B, f32>> {
        let samples = Tensor::from_host(be, &[samples.len()], samples)?;
        let mut features = Tensor::zeros(be, &[fbank::frames(samples.len()), self.bands])?;
        embedding_ops::fbank(be, &mut features, &samples, &self.plan)?;
        Ok(features)
    }

    /// Embeddings `[N, S, D]` of the windows whose features begin at the rows `first`; `masks` `[N, S, T']`.
    fn batch(
        &self,
        be: &B,
        [x, y, z]: &mut Pictures<B>,
        frames: usize,
        features: &Tensor<B, f32>,
        first: &[usize],
        masks: &[f32],
    ) -> Result<Vec<f32>> {
        let mut shape = [first.len(), frames, self.bands, 1];
        z.reshape(&shape)?;
        embedding_ops::centre_windows(be, z, features, first)?;
        shape[3] = be.filter_shape(&self.conv1).outputs;
        x.reshape(&shape)?;
        embedding_ops::conv2d(be, x, z, &self.conv1, Conv2dEpilogue::Relu)?;
        for block in &self.blocks {
            block.run(be, [x, y, z])?;
        }
        let &[windows, frames, bands, channels] = x.shape() else { return Ok(Vec::new()) };
        let speakers = masks.len() / (windows * frames);
        let masks = Tensor::from_host(be, &[windows, speakers, frames], masks)?;
        let mut statistics = Tensor::zeros(be, &[windows, speakers, 2, bands * channels])?;
        embedding_ops::masked_statistics(be, &mut statistics, x, &masks)?;
        statistics.reshape(&[windows, speakers, 2 * bands * channels])?;
        let mut embeddings = Tensor::zeros(be, &[windows, speakers, self.size()])?;
        let bias = Some(&self.bias_on_device);
        segmentation_ops::conv1d_f32(be, &mut embeddings, &statistics, &self.seg_1, bias, 1, Activation::None)?;
        embeddings.to_host(be)
    }

    /// Shape `[T, H, C]` of the feature map of a window after the first convolution and after each block.
    fn shapes_by_layer(&self, be: &B, frames: usize) -> Vec<[usize; 3]> {
        let first = be.filter_shape(&self.conv1);
        let mut shapes = vec![[frames, self.bands, first.outputs]];
        for block in &self.blocks {
            let [frames, bands, _] = shapes[shapes.len() - 1];
            let shape = be.filter_shape(&block.conv1);
            let [frames, bands] = shape.out([frames, bands]);
            shapes.push([frames, bands, shape.outputs]);
        }
        shapes
    }
}

/// Scratch for the feature maps of a batch.
type Pictures<B> = [Tensor<B>; 3];

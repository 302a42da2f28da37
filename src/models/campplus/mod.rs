//! CAM++, a small speaker embedding network; 3D-Speaker has published it for several languages.
//!
//! | step | shape, 10 s | |
//! |---|---|---|
//! | samples | `[S]` | 16 kHz |
//! | features | `[998, 80]` | Kaldi log-mel, minus the mean of each band over the clip |
//! | head | `[998, 10, 32]` | 3 x 3 convolutions in residual blocks, stride 2 over frequency only |
//! | time-delay layer | `[499, 128]` | 5 taps, stride 2 |
//! | block 1, 2, 3 | `[499, 512]`, `1024`, `1024` | 12, 24 and 16 layers, each appends 32 channels |
//! | transit 1, 2, 3 | `[499, 256]`, `512`, `512` | linear, halves the channels |
//! | statistics | `[2, 512]` | mean and standard deviation over time |
//! | dense | `[192]` | linear |
//!
//! A layer of a block is a linear layer to 128 channels, a convolution with three taps to 32 channels, and gates for
//! these 32, which are computed from the mean over the clip and the mean over each second. Batch norms before a layer
//! are kept; those after a layer are folded into it. Clips of different lengths are batched without padding; the result
//! of a clip does not depend on the others. All numbers are f32 on every device.
//!
//! Source: Wang et al. 2023 (arXiv:2303.00332); weight names and order of operations: 3D-Speaker
//! `speakerlab/models/campplus/{DTDNN,layers}.py` (Apache-2.0).

mod embed;
mod head;
mod layer;
mod load;
mod spans;

use std::path::Path;

use self::head::Head;
use self::layer::{DenseBlock, Linear};
use crate::engine::campplus_ops::{self, ClipConv, ClipConvEpilogue, Clips};
use crate::engine::segmentation_ops::{self, Activation};
use crate::engine::{Backend, Tensor};
use crate::error::Result;
use crate::models::files;

/// Stride of the time-delay layer, in frames of features.
const STRIDE: usize = 2;
/// Minimum frames of features of an embedding: they give two frames after the time-delay layer, the fewest with a
/// deviation.
const FEWEST_FRAMES: usize = STRIDE + 1;

/// The network on a device.
pub struct CamPlus<B: Backend> {
    plan: B::FbankPlan,
    /// `M`: mel bands.
    bands: usize,
    head: Head<B>,
    tdnn: Linear<B>,
    /// Taps of `tdnn`.
    taps: usize,
    blocks: Vec<DenseBlock<B>>,
    /// `[D, 2 * C]`
    dense: B::F32Matrix,
    /// `[D]`
    bias: Tensor<B, f32>,
}

/// Working memory for a batch.
struct Scratch<B: Backend> {
    /// Feature maps `[R, H, C]` of the head.
    pictures: [Tensor<B, f32>; 3],
    /// Channels of a dense block `[R', C]`: of the current one and of the next one.
    wide: [Tensor<B, f32>; 2],
    /// `[R', 128]` channels within a layer.
    narrow: Tensor<B, f32>,
}

impl<B: Backend> CamPlus<B> {
    /// Loads 3D-Speaker's state dict (`.pt`, `.bin`; no code in it is executed), safetensors with the same names, or an
    /// ONNX file of the network. `path` is the file or its folder.
    ///
    /// # Errors
    /// [`Error::Weights`](crate::Error::Weights) for a checkpoint of another network, or a damaged one.
    pub fn open(be: &B, path: &Path) -> Result<Self> {
        let weights = files::open(path)?;
        Self::load(be, &weights)
    }

    /// `D`: dimensions of an embedding.
    pub fn size(&self) -> usize {
        self.bias.len()
    }

    /// Working memory for batches of at most `frames` frames of features.
    fn scratch(&self, be: &B, frames: usize) -> Result<Scratch<B>> {
        let picture = || Tensor::zeros(be, &[frames * self.bands * self.head.channels(be)]);
        let rows = frames.div_ceil(STRIDE) + frames / FEWEST_FRAMES;
        let widest = self.blocks.iter().map(DenseBlock::width).max().unwrap_or_default();
        let narrow = self.blocks.iter().map(|block| block.narrow(be)).max().unwrap_or_default();
        Ok(Scratch {
            pictures: [picture()?, picture()?, picture()?],
            wide: [Tensor::zeros(be, &[rows * widest])?, Tensor::zeros(be, &[rows * widest])?],
            narrow: Tensor::zeros(be, &[rows * narrow])?,
        })
    }

    /// Embeddings `[N, D]` of clips, whose frames are the rows `rows` `[R]` of the features `[F, M]`.
    fn batch(
        &self,
        be: &B,
        scratch: &mut Scratch<B>,
        features: &Tensor<B, f32>,
        rows: &[usize],
        clips: &Clips<B>,
    ) -> Result<Vec<f32>> {
        let [x, _, z] = &mut scratch.pictures;
        z.reshape(&[rows.len(), self.bands, 1])?;
        campplus_ops::centre_clips(be, z, features, rows, clips)?;
        // The first convolution reads from the last feature map and writes to the first.
        self.head.first(be, x, z, clips)?;
        self.head.run(be, &mut scratch.pictures, clips)?;
        let head = &mut scratch.pictures[0];
        let width = head.len() / rows.len();
        head.reshape(&[rows.len(), width])?;
        let halved = clips.strided(be, STRIDE)?;
        let [x, y] = &mut scratch.wide;
        x.reshape(&[halved.rows(), self.blocks[0].width()])?;
        let tdnn = ClipConv { stride: STRIDE, ..self.tdnn.conv(self.taps, ClipConvEpilogue::Relu) };
        campplus_ops::clip_conv(be, x, head, &tdnn, [clips, &halved])?;
        for (i, block) in self.blocks.iter().enumerate() {
            let next = self.blocks.get(i + 1).map_or(block.outputs(be), DenseBlock::width);
            block.run(be, x, &mut scratch.narrow, &halved)?;
            y.reshape(&[halved.rows(), next])?;
            block.transit(be, y, x, &halved)?;
            std::mem::swap(x, y);
        }
        let mut statistics = Tensor::zeros(be, &[clips.count(), 2, x.width()])?;
        campplus_ops::clip_statistics(be, &mut statistics, x, &halved)?;
        statistics.reshape(&[1, clips.count(), 2 * x.width()])?;
        let mut out = Tensor::zeros(be, &[1, clips.count(), self.size()])?;
        segmentation_ops::conv1d_f32(be, &mut out, &statistics, &self.dense, Some(&self.bias), 1, Activation::None)?;
        out.to_host(be)
    }
}

//! The traits that a device implements: [`Device`] for memory and streams, and one trait per family of ops.
//!
//! | trait | ops | default bodies |
//! |---|---|---|
//! | [`Device`] | memory, copies, streams, recorded op sequences | |
//! | [`MatrixOps`] | products with a weight, embedding lookup | convolutions, from products |
//! | [`MelOps`] | log-mel spectrogram | on the host |
//! | [`TransformerOps`] | layer norm, positions, attention | on the host |
//! | [`DecoderOps`] | key-value caches and attention over them | on the host |
//! | [`SearchOps`] | beam search and sampling | on the host |
//! | [`CtcOps`] | CTC forced alignment | on the host |
//! | [`TimeWarpOps`] | token times from cross-attention | on the host |
//! | [`Wav2Vec2Ops`] | convolutions over samples, padded batches | on the host; convolutions, from products |
//! | [`SegmentationOps`] | SincNet and LSTM of speaker segmentation | on the host |
//! | [`CampplusOps`] | CAM++ speaker embeddings | on the host |
//! | [`EmbeddingOps`] | ResNet speaker embeddings | on the host |
//! | [`Cluster`] | speaker clustering | on the host |
//!
//! No family requires another one. A new device implements [`Device`] and the required methods of [`MatrixOps`], and
//! everything runs; then family after family moves to the device. [`Backend`] is the union of all families: models and
//! stages are generic over it.
//!
//! Letters in shapes: `B` batch, `S` samples, `M` mel bins, `F` mel frames, `T` encoder frames, `L` text positions,
//! `C` width, `H` heads, `D` head dimension, `V` vocabulary, `R` rows of a decoder pass, `K` beams.
//! Implementations may rely on the shape checks of the free functions beside each trait (also reachable through
//! [`ops`](super::ops)), the only callers of these methods.
//!
//! Every output row must depend only on its own inputs. The order in which its terms are added must not depend on the
//! number of other rows: results are bit-identical for every batch size (`tests/ops_cpu.rs`, `tests/transcribe.rs`).

pub mod campplus_ops;
mod clips;
pub mod ctc;
pub mod decode;
pub mod decoder_ops;
pub mod device;
pub mod element;
pub mod embedding_ops;
pub mod filter;
pub mod host;
pub mod matrix_ops;
pub mod mel_ops;
pub mod search_ops;
pub mod segmentation_ops;
mod shape;
pub mod step_rows;
pub mod tensor;
pub mod time_warp;
pub mod transformer_ops;
pub mod wav2vec2_ops;

pub use super::cluster::Cluster;
pub use campplus_ops::CampplusOps;
pub use ctc::CtcOps;
pub use decoder_ops::{CrossKind, DecoderOps};
pub use device::Device;
pub use element::Element;
pub use embedding_ops::EmbeddingOps;
pub use host::HostForm;
pub use matrix_ops::{Epilogue, MatrixOps};
pub use mel_ops::MelOps;
pub use search_ops::SearchOps;
pub use segmentation_ops::SegmentationOps;
pub use step_rows::StepRows;
pub use tensor::Tensor;
pub use time_warp::TimeWarpOps;
pub use transformer_ops::TransformerOps;
pub use wav2vec2_ops::Wav2Vec2Ops;

/// A device with all families of ops. Implemented for every type that has them.
pub trait Backend:
    MatrixOps
    + MelOps
    + TransformerOps
    + DecoderOps
    + SearchOps
    + CtcOps
    + TimeWarpOps
    + Wav2Vec2Ops
    + SegmentationOps
    + CampplusOps
    + EmbeddingOps
    + Cluster
{
}

impl<B> Backend for B where
    B: MatrixOps
        + MelOps
        + TransformerOps
        + DecoderOps
        + SearchOps
        + CtcOps
        + TimeWarpOps
        + Wav2Vec2Ops
        + SegmentationOps
        + CampplusOps
        + EmbeddingOps
        + Cluster
{
}

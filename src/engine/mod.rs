//! The compute engine: tensors, the traits of devices and of their operations ([`backend`]), the CPU and the CUDA
//! backend, and the readers of checkpoints.
//!
//! Models and stages are generic over [`Backend`] and never name a device. The functions of [`ops`], and those beside
//! the traits, check every shape once, then call the backend, which relies on these checks.

pub mod backend;
pub mod cluster;
pub mod cpu;
pub mod cuda;
pub mod ops;
pub mod profile;
pub mod weights;

pub use backend::{Backend, CrossKind, Element, Epilogue, StepRows, Tensor};
pub use backend::{
    campplus_ops, ctc, decode, embedding_ops, filter, segmentation_ops, tensor, time_warp, wav2vec2_ops,
};

/// The traits of all op families, for code that calls ops of a concrete device.
pub mod prelude {
    pub use super::backend::{
        Backend, CampplusOps, Cluster, CtcOps, DecoderOps, Device, EmbeddingOps, MatrixOps, MelOps, SearchOps,
        SegmentationOps, TimeWarpOps, TransformerOps, Wav2Vec2Ops,
    };
}

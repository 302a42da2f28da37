//! How things are computed: tensors, the short list of primitives a device must offer ([`Backend`]), and weights.
//!
//! Models and stages are generic over [`Backend`] and never name a device. The functions of [`ops`] check every shape
//! once and then call the backend, which trusts them.

pub mod backend;
pub mod cluster;
pub mod cpu;
pub mod ctc;
pub mod cuda;
pub mod decode;
pub mod dense;
pub mod embedding_ops;
pub mod filter;
pub mod ops;
pub mod profile;
pub mod segmentation_ops;
pub mod tensor;
pub mod time_warp;
pub mod wav2vec2_ops;
pub mod weights;

pub use backend::{Backend, CrossKind, Epilogue, StepRows};
pub use tensor::{Element, Tensor};

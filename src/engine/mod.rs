//! The compute engine: tensors, the primitive operations (ops) every device implements ([`Backend`]), and the readers
//! of checkpoints.
//!
//! Models and stages are generic over [`Backend`] and never name a device. The functions of [`ops`] check every shape
//! once, then call the backend, which relies on these checks.

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

//! The networks: independent of the device, generic over [`Backend`](crate::engine::Backend), with the tensor names of
//! the published checkpoints.

pub mod campplus;
mod checkpoint;
pub mod embedding;
mod files;
pub mod onnx;
pub mod pyannet;
pub mod resnet34;
pub mod silero;
mod transformer;
pub mod wav2vec2;
pub mod whisper;

//! The networks, written once: device-free, generic over [`Backend`](crate::engine::Backend), with the weight names of
//! the published checkpoints.

pub mod pyannet;
pub mod resnet34;
pub mod silero;
pub mod wav2vec2;
pub mod whisper;

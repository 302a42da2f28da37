//! What the networks hear: spectral features and their constants.

pub mod fbank;
pub mod mel;

pub use mel::mel_filterbank;

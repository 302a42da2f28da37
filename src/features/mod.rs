//! Spectral features of the networks: log-mel spectrograms and filterbanks.

pub mod fbank;
pub mod mel;

pub use mel::mel_filterbank;

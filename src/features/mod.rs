//! Spectral features: mel filterbanks of Whisper and of Kaldi (speaker embeddings).

pub mod fbank;
pub mod mel;

pub use mel::mel_filterbank;

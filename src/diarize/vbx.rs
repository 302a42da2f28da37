//! VBx: variational Bayesian clustering of PLDA features, which also estimates the number of speakers.
//!
//! The implementation is a primitive of the [engine](crate::engine::cluster), because each backend has its own.

pub use crate::engine::cluster::{Vbx, VbxOptions, start};

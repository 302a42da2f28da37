//! VBx: how many speakers there are and which voice is whose, by variational Bayes over PLDA features.
//!
//! What it is made of is a primitive of the [engine](crate::engine::cluster), since a GPU has its own.

pub use crate::engine::cluster::{Vbx, VbxOptions, start};

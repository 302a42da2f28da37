//! Every op of the CPU backend against the plainest loop in f64, over odd sizes; and every row computed alone against
//! the same row computed in a batch, bit for bit.

#[path = "ops/absorbed.rs"]
mod absorbed;
#[path = "ops/attention.rs"]
mod attention;
#[path = "ops/common.rs"]
mod common;
#[path = "ops/ctc.rs"]
mod ctc;
#[path = "ops/dense.rs"]
mod dense;
#[path = "common/mod.rs"]
mod golden;
#[path = "ops/log_mel.rs"]
mod log_mel;
#[path = "ops/products.rs"]
mod products;
#[path = "ops/residual.rs"]
mod residual;
#[path = "ops/steps.rs"]
mod steps;
#[path = "ops/time_warp.rs"]
mod time_warp;
#[path = "ops/waveform.rs"]
mod waveform;

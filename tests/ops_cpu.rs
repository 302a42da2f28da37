//! Every op of the CPU backend against a reference in f64, with sizes that are not multiples of the blocking. Every row
//! computed alone must be bit-identical to the same row in a batch.

#[path = "ops/absorbed.rs"]
mod absorbed;
#[path = "ops/attention.rs"]
mod attention;
#[path = "ops/campplus_ops.rs"]
mod campplus_ops;
#[path = "ops/common.rs"]
mod common;
#[path = "ops/ctc.rs"]
mod ctc;
#[path = "ops/embedding_ops.rs"]
mod embedding_ops;
#[path = "common/mod.rs"]
mod golden;
#[path = "ops/log_mel.rs"]
mod log_mel;
#[path = "ops/products.rs"]
mod products;
#[path = "ops/steps.rs"]
mod steps;
#[path = "ops/time_warp.rs"]
mod time_warp;
#[path = "ops/wav2vec2_ops.rs"]
mod wav2vec2_ops;

//! The models that a command line asks for, ready to run.

use std::ops::ControlFlow;

use diarist::Result;
use diarist::engine::cpu::{Cpu, WeightType};
use diarist::hub::{Fetching, Hub, Source};
use diarist::pipeline::Pipeline;
use diarist::vad::Detector;

use super::console::Bar;
use super::options::Model;
use super::values::ComputeType;
use super::{hub, interrupt};

/// The models of one run.
pub type Engine = Pipeline<Cpu>;

/// Finds the model, fetches it if need be, and loads it.
///
/// # Errors
/// Those of the hub and of the model's files.
pub fn load(model: &Model, detector: Detector) -> Result<Engine> {
    let hub = hub(model.model_dir.clone(), model.model_cache_only, model.hf_token.clone());
    let source = obtain(&hub, &model.model)?;
    let cpu = Cpu::new(threads(model.threads))?.with_weights(weight_type(model));
    Pipeline::load(&cpu, &source, detector)
}

/// `None` is one per core. More than that gain nothing, and many more wait for each other: 11 s of sound took 0.2 s with 2
/// threads on two cores, 11 s with 1000, and with 4000 was not done after a minute.
fn threads(asked: usize) -> Option<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (1..cores).contains(&asked).then_some(asked)
}

/// The model's files, fetched if need be under a progress bar.
fn obtain(hub: &Hub, model: &str) -> Result<Source> {
    let bar = Bar::bytes();
    hub.obtain(model, &mut |state: &Fetching| {
        bar.set(&state.file, state.done, state.total);
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
}

fn weight_type(model: &Model) -> WeightType {
    match (model.compute_type, model.fp16) {
        (ComputeType::Float32, _) | (_, Some(false)) => WeightType::F32,
        (ComputeType::Float16, _) | (_, Some(true)) => WeightType::F16,
        (ComputeType::Int8, _) => WeightType::Int8,
        (ComputeType::Default, None) => WeightType::Auto,
    }
}

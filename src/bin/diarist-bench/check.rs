//! Correctness checks of the benchmark. No time is reported for a device whose results are wrong.

use diarist::asr::clips::{ClipInput, Clips};
use diarist::asr::prompt::Prompt;
use diarist::asr::slots::Slots;
use diarist::engine::cpu::Cpu;
use diarist::engine::weights::Weights;
use diarist::models::whisper::{GenerationConfig, Whisper};
use diarist::{Error, Result};

use crate::args::Args;
use crate::job::{self, Job};
use crate::machine::Machine;
use crate::shapes;

/// Comparison of a small random model on the device and on the CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    /// Relative difference of the logits over the whole vocabulary, |device - CPU| / |CPU|.
    pub logits_error: f64,
    /// Number of tokens before the first difference from the CPU's tokens, added up over all windows.
    pub equal_tokens: usize,
    /// Number of all tokens.
    pub tokens: usize,
}

/// Tolerances of the logits (relative norm), a few times the rounding error through four layers: activations with 11
/// significant bits, with 8, and int8 weights.
const TOLERANCES: [(f64, &str); 3] = [(4e-3, "float16"), (2.5e-2, "bfloat16"), (4e-2, "int8")];
const WINDOWS: usize = 3;
const TOKENS: usize = 16;

/// Runs a small model with random weights on the device and, in f32, on the CPU.
///
/// Greedy decoding diverges as soon as two tokens are nearly equally likely. With low precision that happens early and
/// is not an error, so half of the tokens must be equal with float16, and none with the other types.
///
/// # Errors
/// [`Error::Config`] if the results differ by more than the tolerance.
pub fn against_the_processor<B: Machine>(args: &Args, be: &B) -> Result<Checked> {
    let storage = if args.weights == "int8" { "int8" } else { args.compute_type.as_str() };
    let tolerance = TOLERANCES.iter().find(|(_, name)| *name == storage).map_or(0.0, |(tolerance, _)| *tolerance);
    let ((want_logits, want), (logits, tokens)) = (small_run(&Cpu::new(None)?)?, small_run(be)?);
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut want_logits.iter().zip(&logits).map(|(want, got)| f64::from(got - want)));
    let logits_error = difference / norm(&mut want_logits.iter().map(|want| f64::from(*want)));
    let equal =
        |(want, got): (&Vec<u32>, &Vec<u32>)| want.iter().zip(got).take_while(|(want, got)| want == got).count();
    let equal_tokens = want.iter().zip(&tokens).map(equal).sum();
    let checked = Checked { logits_error, equal_tokens, tokens: WINDOWS * TOKENS };
    let diverged = storage == "float16" && 2 * equal_tokens < checked.tokens;
    if diverged || !(logits_error <= tolerance) {
        let rule = format!("computes something else than the processor, {checked:?}; nothing is timed");
        return Err(Error::config("device", be.describe(), rule));
    }
    Ok(checked)
}

/// The logits after the first token, and the tokens of each window.
fn small_run<B: Machine>(be: &B) -> Result<(Vec<f32>, Vec<Vec<u32>>)> {
    let config = shapes::config("micro")?;
    let model = Whisper::load(be, config, GenerationConfig::default(), &Weights::random(1))?;
    let special = shapes::special(model.config.vocab_size);
    let prompt = Prompt { len: 2, tokens: vec![special.sot, special.no_timestamps], sot: 0 };
    let windows = job::side_by_side(WINDOWS, 2 * model.config.max_source_positions);
    let job = Job { special, prompt, windows, batch: 2, tokens: TOKENS, beam: 1 };
    let clips = job::clips(&model, WINDOWS)?;
    let mut slots = Slots::new(&model, special, &job.options(), &job.suppressed(), 1)?;
    let mut encoder = model.encoder_scratch(1)?;
    clips.encode(&model, &mut encoder, &mut ClipInput::default(), &job.windows[..1])?;
    slots.load(&[0], &mut encoder)?;
    let logits = slots.logits_after(special.sot, &[0])?.pop().unwrap_or_default();
    Ok((logits, job.run(&model, &clips)?))
}

/// Checks batch invariance: the first window decoded alone must give the same tokens as in the batch.
///
/// # Errors
/// [`Error::Config`] naming the first token that differs.
pub fn alone<B: Machine>(model: &Whisper<B>, job: &Job, clips: &Clips<B>, tokens: &[Vec<u32>]) -> Result<()> {
    if job.windows.len() < 2 {
        return Ok(());
    }
    let first = Job { windows: job.windows[..1].to_vec(), batch: 1, ..job.clone() };
    let alone = first.run(model, clips)?;
    if alone[0] == tokens[0] {
        return Ok(());
    }
    let at = alone[0].iter().zip(&tokens[0]).position(|(alone, among)| alone != among);
    Err(Error::config(
        "batch",
        job.batch,
        format!("the first window reads differently by itself, from token {at:?} on"),
    ))
}

/// Checks that two runs give the same result.
///
/// # Errors
/// [`Error::Config`] naming the first window that differs.
pub fn repeated<T: PartialEq>(before: &[T], now: &[T]) -> Result<()> {
    if before == now {
        return Ok(());
    }
    let at = before.iter().zip(now).position(|(before, now)| before != now);
    Err(Error::config("runs", 2, format!("the same work gave another result, from window {at:?} on; nothing is timed")))
}

//! `diarist vad`: voice activity detection; prints speech spans, and the chunks that the recogniser would get.

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use diarist::Result;
use diarist::engine::cpu::Cpu;
use diarist::types::{Chunk, Span};
use diarist::units::Seconds;
use diarist::vad::{Detector, VadOptions, merge};
use serde_json::{Value, json};

use super::console::{self, Bar};
use super::{convert, interrupt, log, options, stdin};

/// Options of `vad`.
#[derive(Args, Debug)]
#[command(after_help = "Prints one JSON object, times in seconds from the start of the recording:
  {\"speech\": [{\"start\": 0.33, \"end\": 4.02}, ...],
   \"chunks\": [{\"start\": 0.33, \"end\": 27.9, \"segments\": [{\"start\": 0.33, \"end\": 4.02}, ...]}, ...]}
speech: what the method finds, before merging. chunks: the same after merging to at most --chunk-size.")]
pub struct VadArgs {
    /// A recording; - is stdin.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    vad: options::Vad,
    #[command(flatten)]
    audio: options::Audio,
}

/// Prints the speech and the chunks of one recording.
///
/// # Errors
/// Errors of reading the recording, and of loading or running the network.
pub fn run(args: &VadArgs) -> Result<()> {
    let options = convert::vad(&args.vad, VadOptions::default())?;
    let network = convert::network(&args.vad, &super::hub(None, false, None))?;
    let detector = Detector::load(&Cpu::new(None)?, convert::method(&args.vad), &network)?;
    let bar = Bar::recording();
    let name = stdin::name(&args.file).display().to_string();
    stdin::check(&args.file)?;
    let about = log::recording(stdin::name(&args.file));
    let audio = stdin::decode(&args.file, &convert::audio(&args.audio), |progress| {
        bar.set(&name, tenths(progress.decoded), progress.total.map_or(0, tenths));
        if interrupt::asked() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    drop(about);
    let speech = detector.speech(&audio.samples, &options)?;
    let chunks = merge::merge_chunks(&speech, options.chunk_size);
    drop(bar);
    let speech: Vec<Value> = speech.iter().map(span).collect();
    let chunks: Vec<Value> = chunks.iter().map(chunk).collect();
    console::line(&format!("{{\"speech\": {},\n \"chunks\": {}}}", Value::from(speech), Value::from(chunks)));
    Ok(())
}

fn tenths(time: Seconds) -> u64 {
    (time.0 * 10.0) as u64
}

fn span(span: &Span) -> Value {
    json!({"start": span.start.round_ms(), "end": span.end.round_ms()})
}

fn chunk(chunk: &Chunk) -> Value {
    let segments: Vec<Value> = chunk.segments.iter().map(span).collect();
    json!({"start": chunk.span.start.round_ms(), "end": chunk.span.end.round_ms(), "segments": segments})
}

//! Segments while the recording is still being heard, and the whole transcript as JSON.

use diarist::align::AlignOptions;
use diarist::api::Recording;
use diarist::config::Options;
use diarist::output::json;
use diarist::pipeline::WordTimes;
use diarist::{Engine, Result, assets};

fn main() -> Result<()> {
    let engine = Engine::builder().build()?;
    let recording = match std::env::args().nth(1) {
        Some(file) => Recording::Path(file.into()),
        None => Recording::Bytes(assets::SAMPLE.to_vec(), "the sample".into()),
    };
    let options = Options { words: WordTimes::Aligned(AlignOptions::default()), ..Options::default() };
    // Dropping `segments` before the end would stop the work.
    let mut segments = engine.segments(recording, options);
    for segment in &mut segments {
        println!("{:7.2} {}", segment.start.0, segment.text.trim());
    }
    // Words have their times when all segments are there: alignment is a stage of its own.
    println!("{}", json::json(&segments.transcript()?)?);
    Ok(())
}

//! The shortest program: a recording in, `[SPEAKER]: text` out.

use std::path::Path;

use diarist::align::AlignOptions;
use diarist::config::Options;
use diarist::output::text;
use diarist::pipeline::{Input, SpeakerOptions, WordTimes};
use diarist::{Engine, Result, assets};

fn main() -> Result<()> {
    // Loading takes as long as reading the weights; do it once.
    let engine = Engine::builder().model("builtin").diarizer("builtin").build()?;
    let options = Options {
        // With the times of words each of them gets its speaker, and segments are cut where the speaker changes.
        words: WordTimes::Aligned(AlignOptions::default()),
        speakers: Some(SpeakerOptions::default()),
        ..Options::of_model("builtin")
    };
    let file = std::env::args().nth(1);
    let recording = match &file {
        Some(file) => Input::Path(Path::new(file)),
        None => Input::Bytes(assets::SAMPLE, "the sample"),
    };
    let transcript = engine.transcribe(recording, &options)?;
    print!("{}", text::txt(&transcript));
    Ok(())
}

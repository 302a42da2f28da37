//! Speech, speakers and word times, each alone.

use diarist::align::AlignOptions;
use diarist::api::Recording;
use diarist::config::Options;
use diarist::pipeline::SpeakerOptions;
use diarist::types::Segment;
use diarist::vad::VadMethod;
use diarist::{Engine, Result, assets};

fn main() -> Result<()> {
    // A diarizer would find speech, too; here loudness does.
    let engine = Engine::builder().diarizer("builtin").speech(VadMethod::Energy, "").build()?;
    let recording = match std::env::args().nth(1) {
        Some(file) => Recording::Path(file.into()),
        None => Recording::Bytes(assets::SAMPLE.to_vec(), "the sample".into()),
    };
    let options = Options::default();

    let chunks = engine.speech(recording.as_input(), &options, &mut ())?;
    println!("{} chunks of speech", chunks.len());

    let found = engine.diarize(recording.as_input(), &SpeakerOptions::default(), &mut ())?;
    for turn in &found.turns {
        println!("{:7.2} to {:7.2}: {}", turn.span.start.0, turn.span.end.0, turn.speaker);
    }

    // A text that is known already needs no recogniser; this one comes from it all the same.
    let known = engine.transcribe(recording.as_input(), &options)?.segments;
    let texts =
        known.iter().map(|s| Segment { start: s.start, end: s.end, text: s.text.clone(), ..Segment::default() });
    let aligned = engine.align(recording.as_input(), texts.collect(), "en", &AlignOptions::default(), &mut ())?;
    for word in aligned.iter().flat_map(|segment| segment.words.iter().flatten()) {
        println!("{:7.2} {}", word.start.unwrap_or_default().0, word.word);
    }
    Ok(())
}

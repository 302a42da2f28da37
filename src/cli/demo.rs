//! `diarist demo`: transcribes the built-in sample with the built-in models, without any file or download.

use std::path::Path;
use std::time::Instant;

use diarist::align::AlignOptions;
use diarist::api::CrossCache;
use diarist::api::compute::OtherModels;
use diarist::config::Options;
use diarist::diarize::words::WordOptions;
use diarist::hub::{BUILTIN, DiarizerSource, Source};
use diarist::pipeline::{Input, SpeakerOptions, Speakers, WordTimes};
use diarist::types::Word;
use diarist::vad::Detector;
use diarist::{Result, assets};

use super::console;
use super::options::Compute;
use super::progress::{Lines, Watch, line};

/// Prints the sample's transcript with speakers, the start of each word, and the speed.
///
/// # Errors
/// [`diarist::Error::Cancelled`], and errors of opening or running the device. Other errors mean that the program was
/// built from damaged assets.
pub fn run(compute: &Compute) -> Result<()> {
    let start = Instant::now();
    let backend = super::engine::open(compute, CrossCache::default())?;
    let speakers = Speakers { diarizer: backend.diarizer(&DiarizerSource::Builtin)?, gallery: None };
    let beside = OtherModels { speakers: Some(speakers), ..OtherModels::default() };
    let engine = backend.engine(&Source::Builtin, Detector::Energy, beside)?;
    let sample = Input::Bytes(assets::SAMPLE, "conversation.flac");
    let mut watch = Watch::new(Path::new("the sample"), Lines::Silent, false);
    let words = WordTimes::Aligned(AlignOptions::default());
    let word_options = WordOptions { fill_nearest: true, smooth: true, ..WordOptions::default() };
    let speakers = Some(SpeakerOptions { words: word_options, ..SpeakerOptions::default() });
    let options = Options { words, speakers, ..Options::of_model(BUILTIN) };
    let transcript = engine.transcribe_with_observer(sample, &options, &mut watch)?;
    drop(watch);
    for segment in &transcript.segments {
        console::line(&line(segment));
    }
    console::line("\nWhen each word begins, in seconds:");
    for segment in &transcript.segments {
        let words = segment.words.iter().flatten();
        let with_start =
            |word: &Word| word.start.map_or_else(|| word.word.clone(), |at| format!("{:.2} {}", at.0, word.word));
        console::line(&format!("  {}", words.map(with_start).collect::<Vec<_>>().join("  ")));
    }
    let (audio, wall) = (transcript.duration.0, start.elapsed().as_secs_f64());
    console::line("");
    console::line(&format!("{audio:.1} s of audio in {wall:.1} s: {:.1} times real time.", audio / wall));
    console::line(
        "The built-in model knows about 650 English words. With a real one, your recordings:\n  \
         diarist transcribe --model large-v3-turbo talk.mp3\n  \
         diarist models",
    );
    Ok(())
}

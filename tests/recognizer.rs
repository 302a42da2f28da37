//! Another implementation of [`Recognizer`] (greedy CTC decoding with wav2vec2) in the whole pipeline, with words and
//! speakers.

use std::path::Path;
use std::sync::Arc;

use diarist::align::AlignOptions;
use diarist::asr::{AsrOptions, AsrResult, Capabilities, Chunks, Observer, Recognizer, WhisperRecognizer};
use diarist::assets::{ALIGNER, SAMPLE, SAMPLE_SCRIPT};
use diarist::audio::{DecodeOptions, decode_bytes, ignore_progress};
use diarist::config::Options;
use diarist::diarize::Diarizer;
use diarist::diarize::diarizer::OnDevice;
use diarist::engine::cpu::Cpu;
use diarist::engine::weights::Weights;
use diarist::models::wav2vec2::{Config, Wav2Vec2};
use diarist::pipeline::{Aligners, Input, Pipeline, SpeakerOptions, Speakers, WordTimes};
use diarist::score::errors;
use diarist::types::{Segment, TimeSource};
use diarist::units::{SAMPLE_RATE, Seconds};
use diarist::vad::Detector;
use diarist::{Error, Result};
use serde_json::Value;

/// Greedy CTC decoding: the most probable class of every frame, without repetitions and blanks.
struct GreedyCtc {
    be: Cpu,
    network: Wav2Vec2<Cpu>,
    /// The character of each class; none for blanks and other special tokens. The delimiter is a space.
    characters: Vec<Option<char>>,
}

impl GreedyCtc {
    fn builtin(be: &Cpu) -> Self {
        let config = Config::parse(ALIGNER.config, Path::new("builtin")).unwrap();
        let vocabulary: Value = serde_json::from_str(ALIGNER.vocabulary).unwrap();
        let mut characters = vec![None; config.vocab_size];
        for (token, class) in vocabulary.as_object().unwrap() {
            let mut letters = token.chars();
            if let (Some(letter), None) = (letters.next(), letters.next()) {
                characters[class.as_u64().unwrap() as usize] = Some(if letter == '|' { ' ' } else { letter });
            }
        }
        let weights = Weights::from_static("builtin", ALIGNER.weights).unwrap();
        let network = Wav2Vec2::load(be, config, &weights, true).unwrap();
        GreedyCtc { be: be.clone(), network, characters }
    }

    /// Tokens and text of one chunk.
    fn decode(&self, samples: &[f32]) -> Result<(Vec<u32>, String)> {
        let emissions = self.network.emissions(&self.be, &[samples])?;
        let classes = self.characters.len();
        let values = emissions.log_probs.to_host(&self.be)?;
        // The last column is the wildcard.
        let frames = values.chunks_exact(classes + 1).take(emissions.frames[0]);
        let best = frames.map(|frame| (1..classes).fold(0, |best, at| if frame[at] > frame[best] { at } else { best }));
        let mut classes: Vec<usize> = best.collect();
        classes.dedup();
        let tokens = classes.into_iter().filter(|class| self.characters[*class].is_some());
        let tokens: Vec<u32> = tokens.map(|class| class as u32).collect();
        let text = tokens.iter().filter_map(|token| self.characters[*token as usize]).collect::<String>();
        Ok((tokens, text.trim().to_owned()))
    }
}

impl Recognizer for GreedyCtc {
    fn capabilities(&self) -> Capabilities {
        Capabilities { window: Seconds(20.0), word_times: false, only_language: Some("en".into()) }
    }

    fn detect_language(
        &self,
        _: &Arc<Vec<f32>>,
        _: Chunks,
        _: &AsrOptions,
        _: &mut dyn Observer,
    ) -> Result<Option<(String, Option<f64>)>> {
        Ok(Some(("en".into(), None)))
    }

    fn recognise(
        &self,
        samples: &Arc<Vec<f32>>,
        chunks: Chunks,
        _: &AsrOptions,
        observer: &mut dyn Observer,
    ) -> Result<AsrResult> {
        let Chunks::Speech(chunks) = chunks else {
            return Err(Error::config("vad", "none", "this recogniser needs chunks of speech"));
        };
        let mut segments = Vec::new();
        for (at, chunk) in chunks.iter().enumerate() {
            if observer.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let sample = |seconds: Seconds| ((seconds.0 * SAMPLE_RATE as f64) as usize).min(samples.len());
            let (tokens, text) = self.decode(&samples[sample(chunk.span.start)..sample(chunk.span.end)])?;
            let (start, end) = (chunk.span.start, chunk.span.end);
            segments.push(Segment { start, end, text, tokens, ..Segment::default() });
            observer.chunk(&segments[at..], (at + 1) as f64 / chunks.len() as f64);
        }
        Ok(AsrResult { segments, language: "en".into(), language_probability: None })
    }
}

fn letter(character: char) -> Option<char> {
    character.is_ascii_alphabetic().then(|| character.to_ascii_lowercase())
}

#[test]
fn a_ctc_recogniser_works_in_the_whole_pipeline() {
    let be = Cpu::new(None).unwrap();
    let diarizer = Diarizer::builtin(&be).unwrap();
    let pipeline = Pipeline {
        be: be.clone(),
        recognizer: GreedyCtc::builtin(&be),
        detector: Detector::Energy,
        aligners: Aligners::builtin(),
        speakers: Some(Speakers { diarizer: Box::new(OnDevice { be, diarizer }), gallery: None }),
    };
    let samples =
        decode_bytes(SAMPLE, "conversation.flac", &DecodeOptions::default(), ignore_progress).unwrap().samples;
    let options = Options {
        words: WordTimes::Aligned(AlignOptions::default()),
        speakers: Some(SpeakerOptions::default()),
        ..Options::default()
    };
    let transcript = pipeline.transcribe(Input::Samples(&samples), &options, &mut ()).unwrap();

    let script: Value = serde_json::from_str(SAMPLE_SCRIPT).unwrap();
    // The small network emits few spaces, so letters are compared instead of words.
    let letters = |texts: Vec<&str>| texts.concat().chars().filter_map(letter).collect::<Vec<char>>();
    let spoken =
        letters(script["turns"].as_array().unwrap().iter().map(|turn| turn["text"].as_str().unwrap()).collect());
    let found = letters(transcript.word_segments.iter().map(|word| word.word.as_str()).collect());
    let error_rate = errors(&spoken, &found).rate();
    assert!(error_rate < 0.4, "{error_rate}: {found:?}");
    assert_eq!(transcript.language.as_deref(), Some("en"));
    assert!(transcript.segments.iter().any(|segment| !segment.tokens.is_empty()));
    assert!(
        transcript.word_segments.iter().all(|word| word.source == Some(TimeSource::Aligned) && word.speaker.is_some())
    );
    assert!(transcript.turns.len() > 10 && transcript.diarization.is_some());
}

/// The capabilities of a recogniser determine the stages. Whisper supports word times, so its language is detected
/// first.
#[test]
fn capabilities_of_whisper_are_those_of_its_checkpoint() {
    let pipeline: Pipeline<Cpu, WhisperRecognizer<Cpu>> =
        Pipeline::builtin(&Cpu::new(None).unwrap(), Detector::Energy).unwrap();
    let found = pipeline.recognizer.capabilities();
    assert_eq!((found.window, found.word_times, found.only_language.as_deref()), (Seconds(10.0), true, Some("en")));
}

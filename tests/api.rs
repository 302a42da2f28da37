//! The front door: an engine built by name gives what its stages give, from any thread.

use diarist::align::AlignOptions;
use diarist::api::{Compute, ComputeType, Device, Recording};
use diarist::config::Options;
use diarist::diarize::Gallery;
use diarist::engine::cpu::Cpu;
use diarist::hub::{Hub, Network};
use diarist::output::json;
use diarist::pipeline::{Input, Observer, Pipeline, SpeakerOptions, WordTimes};
use diarist::types::{Segment, Transcript};
use diarist::units::Seconds;
use diarist::vad::{Detector, VadMethod, VadOptions};
use diarist::{Engine, EngineBuilder, Error, Result, assets, audio};

const SAMPLE: Input = Input::Bytes(assets::SAMPLE, "conversation.flac");

fn builder() -> EngineBuilder {
    Engine::builder().device(Device::Cpu)
}

/// A few chunks, so that there is more than one to hear of.
fn options() -> Options {
    Options { vad: VadOptions { chunk_size: Seconds(5.0), ..VadOptions::default() }, ..Options::default() }
}

/// Stops once it has heard `most` segments.
#[derive(Default)]
struct Ears {
    heard: Vec<Segment>,
    stages: Vec<&'static str>,
    most: Option<usize>,
}

impl Observer for Ears {
    fn segments(&mut self, segments: &[Segment]) {
        self.heard.extend_from_slice(segments);
    }

    fn finished(&mut self, stage: &'static str, _: std::time::Duration) {
        self.stages.push(stage);
    }

    fn is_cancelled(&self) -> bool {
        self.most.is_some_and(|most| self.heard.len() >= most)
    }
}

#[test]
fn an_engine_may_be_shared() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<Engine>();
    fn sent<T: Send + 'static>() {}
    sent::<diarist::api::Segments>();
    sent::<EngineBuilder>();
}

#[test]
fn what_hides_the_device_changes_nothing() {
    let engine = builder().build().unwrap();
    let pipeline = Pipeline::builtin(&Cpu::new(None).unwrap(), Detector::Energy).unwrap();
    let options = Options { words: WordTimes::Aligned(AlignOptions::default()), ..options() };
    let want = pipeline.transcribe(SAMPLE, &options, &mut ()).unwrap();
    assert_eq!(engine.transcribe(SAMPLE, &options).unwrap(), want);
    let written = json::json(&want).unwrap();
    let back: Transcript = serde_json::from_str(&written).unwrap();
    assert!(json::json(&back).unwrap() == written && back.segments.len() == want.segments.len(), "{written}");
    assert!(engine.device().starts_with("CPU") && !engine.uses_gpu());
    assert_eq!(engine.available_memory().unwrap(), None);
}

#[test]
fn a_recording_may_be_a_path_bytes_or_samples() {
    let engine = builder().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.flac");
    std::fs::write(&path, assets::SAMPLE).unwrap();
    let sound = audio::decode(&path, &Options::default().audio, |_| std::ops::ControlFlow::Continue(())).unwrap();
    let of = |recording: Recording| engine.transcribe(recording.as_input(), &options()).unwrap();
    let want = of(path.into());
    assert_eq!(of(Recording::Bytes(assets::SAMPLE.to_vec(), "x".into())), want);
    assert_eq!(of(sound.samples.into()), want);
    assert!(want.segments.len() > 3);
}

#[test]
fn segments_come_one_by_one_and_then_the_whole() {
    let engine = builder().build().unwrap();
    let want = engine.transcribe(SAMPLE, &options()).unwrap();
    let recording = Recording::Bytes(assets::SAMPLE.to_vec(), "sample".into());
    let mut segments = engine.segments(recording, options());
    let found: Vec<Segment> = segments.by_ref().collect();
    assert_eq!(found, want.segments);
    assert_eq!(segments.transcript().unwrap(), want);
    let nothing = engine.segments(Recording::Path("no such file".into()), options());
    assert!(matches!(nothing.transcript(), Err(Error::Stage { stage: "audio", .. })));
}

#[test]
fn an_iterator_that_is_stopped_stops_the_work() {
    let engine = builder().build().unwrap();
    let sound = audio::decode_bytes(assets::SAMPLE, "sample", &Options::default().audio, |_| {
        std::ops::ControlFlow::Continue(())
    });
    // Long enough that the first segment is there long before the last one.
    let recording = Recording::Samples(sound.unwrap().samples.repeat(20));
    let mut segments = engine.segments(recording, options());
    assert!(segments.next().is_some());
    let work = segments.stop().unwrap_err();
    assert!(matches!(work, Error::Cancelled), "{work}");
}

#[test]
fn an_observer_hears_of_everything_and_may_stop() {
    let engine = builder().build().unwrap();
    let mut ears = Ears::default();
    let transcript = engine.transcribe_with_observer(SAMPLE, &options(), &mut ears).unwrap();
    assert_eq!((ears.heard, ears.stages), (transcript.segments, vec!["audio", "vad", "asr"]));
    let mut impatient = Ears { most: Some(1), ..Ears::default() };
    let stopped = engine.transcribe_with_observer(SAMPLE, &options(), &mut impatient).unwrap_err();
    assert!(is_cancelled(&stopped), "{stopped}");
}

fn is_cancelled(error: &Error) -> bool {
    match error {
        Error::Stage { source, .. } => is_cancelled(source),
        other => matches!(other, Error::Cancelled),
    }
}

#[test]
fn stages_alone_are_those_of_the_whole() {
    let engine = builder().diarizer("builtin").speech(VadMethod::Energy, "").build().unwrap();
    let speakers = SpeakerOptions::default();
    let words = WordTimes::Aligned(AlignOptions::default());
    let options = Options { speakers: Some(speakers), words, ..options() };
    let whole = engine.transcribe(SAMPLE, &options).unwrap();
    let found = engine.diarize(SAMPLE, &options, &mut ()).unwrap();
    assert_eq!(found.turns, whole.turns);
    assert!(found.speakers() > 1);
    let plain = Options { speakers: None, words: WordTimes::None, ..options.clone() };
    let known = engine.transcribe(SAMPLE, &plain).unwrap().segments;
    let starts: Vec<Seconds> = known.iter().map(|segment| segment.start).collect();
    let chunks = engine.speech(SAMPLE, &options, &mut ()).unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.span.start.round_ms()).collect::<Vec<_>>(), starts);
    let aligned = engine.align(SAMPLE, known, "English", &options, &mut ()).unwrap();
    let want = engine.transcribe(SAMPLE, &Options { speakers: None, ..options }).unwrap();
    assert_eq!(aligned, want.segments);
}

#[test]
fn what_cannot_be_had_is_said_before_anything_is_heard() {
    let refused = |builder: EngineBuilder| builder.build().map(|_| ()).unwrap_err();
    let offline = Hub { network: Network::Forbidden, ..Hub::from_env() };
    assert!(matches!(refused(builder().model("enormous").hub(offline.clone())), Error::Config { option: "model", .. }));
    assert!(matches!(refused(builder().model("org/none").hub(offline.clone())), Error::Hub { .. }));
    assert!(matches!(refused(builder().model("./nowhere").hub(offline)), Error::Model { .. }));
    let gallery = Gallery::new(vec![("ann".into(), vec![1.0, 0.0])]).unwrap();
    assert!(matches!(refused(builder().gallery(gallery)), Error::Config { option: "speakers", .. }));
    assert!(matches!(refused(builder().compute_type(ComputeType::Bfloat16)), Error::Config { .. }));
    let card = Compute { device: Device::Cuda(99), ..Compute::default() };
    assert!(matches!(refused(Engine::builder().compute(card)), Error::Config { option: "device", .. }));
    let engine = builder().build().unwrap();
    let none = engine.diarize(SAMPLE, &Options::default(), &mut ()).unwrap_err();
    assert!(matches!(none, Error::Config { option: "diarize", .. }), "{none}");
    let klingon = engine.align(SAMPLE, Vec::new(), "de", &Options::default(), &mut ());
    assert!(klingon.is_err());
}

#[test]
fn an_aligner_can_be_loaded_beforehand() -> Result<()> {
    let offline =
        Hub { network: Network::Forbidden, model_dir: None, cache: None, torch_cache: None, ..Hub::from_env() };
    let engine = builder().hub(offline).build()?;
    assert_eq!(engine.load_aligner("en")?, None);
    assert!(engine.load_aligner("de")?.is_some_and(|reason| reason.contains("not on this machine")));
    Ok(())
}

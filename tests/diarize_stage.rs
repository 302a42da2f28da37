//! The stage of diarization: samples to turns, against pyannote's pipeline with the same networks, and against the parts called
//! one window and one speaker at a time; and recordings in which there is nothing to tell apart.

mod common;

use std::collections::HashSet;
use std::path::Path;

use common::pipeline::{self, CENTROID, VBX};
use common::seeded;
use diarist::diarize::diarizer::{DynDiarizer, OnDevice};
use diarist::diarize::recipe::{Method, Recipe};
use diarist::diarize::{Bounds, Clustering, Diarizer, Embeddings, Options, WindowGrid, diarize, powerset};
use diarist::engine::cpu::Cpu;
use diarist::models::pyannet::PyanNet;
use diarist::models::resnet34::ResNet34;
use diarist::types::Turn;
use diarist::units::{FrameGrid, SAMPLE_RATE, Seconds};
use diarist::watch::Watch;
use diarist::{Error, vad};
use serde_json::Value;

fn cpu() -> Cpu {
    Cpu::new(Some(2)).unwrap()
}

/// A folder with a pipeline of random weights.
fn folder(config: &str, seconds: f64, powerset: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    pipeline::write(folder.path(), config, &pipeline::segmentation(seconds, powerset));
    folder
}

/// Noise that gets louder and softer.
fn audio(samples: usize) -> Vec<f32> {
    let gains = [1.0, 0.25, 0.5, 0.0625];
    seeded::audio_f32(900, samples).iter().enumerate().map(|(i, sample)| sample * gains[i / 24_000 % 4]).collect()
}

/// Counts, and stops when told to.
#[derive(Default)]
struct Counting {
    told: Vec<(f64, f64)>,
    stop_at: Option<f64>,
}

impl Watch for Counting {
    fn progress(&mut self, done: Seconds, total: Seconds) {
        self.told.push((done.0, total.0));
    }

    fn is_cancelled(&self) -> bool {
        self.stop_at.is_some_and(|at| self.told.last().is_some_and(|(done, _)| *done >= at))
    }
}

/// Windows and voices one by one, with samples put into a window of their own, and then the functions on arrays.
#[test]
fn the_stage_is_its_parts_window_by_window() {
    let config =
        CENTROID.replace("threshold: 0.70", "threshold: 0.05").replace("min_cluster_size: 12", "min_cluster_size: 1");
    for (seconds, is_powerset) in [(4.0, true), (5.0, false)] {
        let (folder, be, samples) = (folder(&config, seconds, is_powerset), cpu(), audio(13 * SAMPLE_RATE + 777));
        let got = Diarizer::open(&be, folder.path()).unwrap();
        let got = got.diarize(&be, &samples, &Options::default(), &mut ()).unwrap();
        assert_eq!(got, by_hand(&be, folder.path(), &samples), "{seconds} s");
        assert!(got.turns.len() > 5 && got.speakers() > 1, "{} turns, {} speakers", got.turns.len(), got.speakers());
    }
}

fn by_hand(be: &Cpu, folder: &Path, samples: &[f32]) -> diarist::diarize::Diarization {
    let network = PyanNet::open(be, &folder.join("segmentation")).unwrap();
    let embedding = ResNet34::open(be, &folder.join("embedding")).unwrap();
    let window = network.specification().window;
    let step = window / 10;
    let grid = FrameGrid { start: 0.0, step: 270.0 / 16e3, duration: 991.0 / 16e3 };
    let clock = WindowGrid {
        window: window as f64 / 16e3,
        step: step as f64 / 16e3,
        frame_step: grid.step,
        frame: grid.duration,
    };
    let mut starts = vec![0];
    while starts.last().unwrap() + window < samples.len() {
        starts.push(starts.last().unwrap() + step);
    }
    let cut = |start: usize| -> Vec<f32> {
        let heard = &samples[start..samples.len().min(start + window)];
        heard.iter().copied().chain(std::iter::repeat(0.0)).take(window).collect()
    };
    let scores: Vec<f32> =
        starts.iter().flat_map(|s| network.scores(be, &cut(*s), window).unwrap().to_host(be).unwrap()).collect();
    let decided = if network.specification().outputs() == 7 {
        powerset::decide(clock, &scores, network.frames(), 3, 2).unwrap()
    } else {
        let active = scores.iter().map(|score| *score > 0.5).collect();
        diarist::diarize::Segmentation::new(clock, network.frames(), 3, active).unwrap()
    };
    let voices = || {
        let least = ResNet34::<Cpu>::min_frames(network.frames(), window);
        let mut voices = Vec::new();
        for (w, start) in starts.iter().enumerate() {
            for speaker in 0..3 {
                let is_active = decided.active_frames(w, speaker) > 0;
                let mask = decided.embedding_mask(w, speaker, least);
                let voice = embedding.embed_masked_windows(be, &cut(*start), &[0], window, &mask, 1).unwrap();
                // Where the window has others, the stage hears this one's silence, which counts for nothing.
                let nobody = (0..3).all(|speaker| decided.active_frames(w, speaker) == 0);
                voices.extend(if nobody { vec![0.0; pipeline::SIZE] } else { voice });
                assert!(is_active || mask.iter().all(|frame| !frame));
            }
        }
        Embeddings::new(3, pipeline::SIZE, voices)
    };
    let Recipe { method: Method::Centroid { threshold, min_size }, version, .. } = Recipe::open(folder).unwrap() else {
        panic!("another method")
    };
    let options = Options { end: Some(Seconds::from_samples(samples.len())), ..Options::default() };
    let found = diarize(&decided, voices, &Clustering::Centroid { threshold, min_size }, &options).unwrap();
    diarist::diarize::Diarization { version: Some(version), ..found }
}

/// The turns of a golden, as (start, end, label).
fn triples(value: &Value) -> Vec<(f64, f64, &str)> {
    let triple = |turn: &'_ Value| (turn[0].as_f64().unwrap(), turn[1].as_f64().unwrap());
    let labelled = |turn| {
        let (start, end) = triple(turn);
        (start, end, turn[2].as_str().unwrap())
    };
    value.as_array().unwrap().iter().map(labelled).collect()
}

/// Share of frames and labels on which turns do not agree with a golden's.
fn differing(got: &[Turn], want: &[(f64, f64, &str)], end: f64) -> f64 {
    let frame = |time: f64| (time.min(end) * 16e3 / 270.0).round() as usize;
    let spans = |start: f64, stop: f64, label: &str| {
        (frame(start)..frame(stop)).map(|at| (at, label.to_owned())).collect::<Vec<_>>()
    };
    let got: HashSet<_> = got.iter().flat_map(|t| spans(t.span.start.0, t.span.end.0, &t.speaker)).collect();
    let want: HashSet<_> = want.iter().flat_map(|(start, stop, label)| spans(*start, *stop, label)).collect();
    got.symmetric_difference(&want).count() as f64 / want.len() as f64
}

/// Networks of random weights have frames in which two sets of speakers are equally likely but for the last digits: those
/// fall one way in torch and the other here.
const FLIPPED: f64 = 0.001;

#[test]
fn turns_are_those_of_pyannotes_pipeline() {
    check_turns("centroid");
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_turns_are_those_of_pyannotes_pipeline_with_vbx() {
    check_turns("vbx");
}

fn check_turns(clustering: &str) {
    let golden = common::json("diarize/stage.json");
    let samples = audio(golden["seconds"].as_u64().unwrap() as usize * SAMPLE_RATE);
    let (be, mut compared, mut worst) = (cpu(), 0, 0.0f64);
    for case in golden["cases"].as_array().unwrap().iter().filter(|case| case["clustering"] == clustering) {
        let folder = tempfile::tempdir().unwrap();
        write_case(folder.path(), &golden, case);
        let number = |key: &str| case[key].as_u64().map(|n| n as usize);
        let bounds = Bounds::new(number("num_speakers"), number("min_speakers"), number("max_speakers")).unwrap();
        let options = Options { bounds, ..Options::default() };
        let got = Diarizer::open(&be, folder.path()).unwrap().diarize(&be, &samples, &options, &mut ()).unwrap();
        let end = samples.len() as f64 / SAMPLE_RATE as f64;
        for (got, want) in [(&got.turns, &case["turns"]), (&got.exclusive, &case["exclusive"])] {
            let other = differing(got, &triples(want), end);
            eprintln!("{} {}: {other:.5} of the frames differ", case["segmentation"], case["clustering"]);
            worst = worst.max(other);
        }
        let voices = case["voices"].as_array().unwrap();
        assert_eq!(got.embeddings.len(), voices.len(), "{case}");
        for (got, want) in got.embeddings.iter().zip(voices) {
            // Nobody is alone for long enough, where pyannote's mean of nothing is no number; or more labels than clusters, where
            // pyannote has zeros.
            if want.as_array().is_none_or(|want| want.iter().all(|x| x.as_f64() == Some(0.0))) {
                assert_eq!(*got, None);
                continue;
            }
            let got = got.as_ref().expect("an embedding");
            let want: Vec<f32> = want.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
            let got: Vec<f32> = got.iter().take(want.len()).map(|x| *x as f32).collect();
            common::assert_close("voice", &got, &want, 2e-4, 0.0);
        }
        compared += 1;
    }
    assert!(worst <= FLIPPED, "{worst} of the frames differ");
    assert_eq!(compared, if clustering == "vbx" { 1 } else { 3 });
}

/// Writes the pipeline of a golden's case.
fn write_case(folder: &Path, golden: &Value, case: &Value) {
    let text = |key: &str| case[key].as_str().unwrap();
    let mut config = if text("clustering") == "vbx" { VBX } else { CENTROID }.to_owned();
    let mut put = |from: &str, to: String| {
        assert!(config.contains(from), "{from}");
        config = config.replace(from, &to);
    };
    put(
        if text("clustering") == "vbx" { "threshold: 0.6" } else { "threshold: 0.7045654963945799" },
        format!("threshold: {}", case["threshold"]),
    );
    if text("clustering") == "centroid" {
        put("min_cluster_size: 12", format!("min_cluster_size: {}", case["min_cluster_size"]));
    }
    if let Some(seconds) = case["min_duration_off"].as_f64() {
        put("min_duration_off: 0.0", format!("min_duration_off: {seconds}"));
    }
    if let Some(threshold) = case["segmentation_threshold"].as_f64() {
        put("  segmentation:\n    min", format!("  segmentation:\n    threshold: {threshold}\n    min"));
    }
    if case["exclude_overlap"] == false {
        put("exclude_overlap: true", "exclude_overlap: false".into());
    }
    pipeline::write(folder, &config, &golden["segmentation"][text("segmentation")]);
    assert_eq!(golden["embedding"], pipeline::embedding());
    if text("clustering") == "vbx" {
        let plda = common::shared("models/plda");
        std::fs::create_dir_all(folder.join("plda")).unwrap();
        for file in ["plda.npz", "xvec_transform.npz"] {
            std::fs::copy(plda.join(file), folder.join("plda").join(file)).unwrap();
        }
    }
}

#[test]
fn where_nobody_speaks_there_are_no_turns() {
    let (folder, be) = (folder(CENTROID, 4.0, true), cpu());
    let diarizer = Diarizer::open(&be, folder.path()).unwrap();
    for samples in [vec![], vec![0.0; 20 * SAMPLE_RATE], audio(SAMPLE_RATE / 5)] {
        let found = diarizer.diarize(&be, &samples, &Options::default(), &mut ()).unwrap();
        let nothing = diarist::diarize::Diarization { version: Some(diarizer.version().clone()), ..Default::default() };
        assert_eq!(found, nothing, "{} samples", samples.len());
        let error = diarizer.embed_speaker(&be, &samples, &mut ()).unwrap_err();
        assert!(error.to_string().contains("nobody"), "{error}");
    }
}

#[test]
fn a_short_recording_has_turns_that_end_with_it() {
    let (folder, be) = (folder(CENTROID, 4.0, true), cpu());
    let samples = audio(SAMPLE_RATE * 3 / 2);
    let found =
        Diarizer::open(&be, folder.path()).unwrap().diarize(&be, &samples, &Options::default(), &mut ()).unwrap();
    assert!(!found.turns.is_empty());
    assert!(found.turns.iter().all(|turn| turn.span.start < turn.span.end && turn.span.end.0 <= 1.5), "{found:?}");
}

#[test]
fn bounds_and_numbers_that_cannot_be_are_refused() {
    let be = cpu();
    let centroid = folder(CENTROID, 4.0, true);
    let diarizer = Diarizer::open(&be, centroid.path()).unwrap();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut samples = audio(5 * SAMPLE_RATE);
        samples[70_000] = bad;
        let error = diarizer.diarize(&be, &samples, &Options::default(), &mut ()).unwrap_err().to_string();
        assert!(error.contains("sample 70000"), "{error}");
        assert!(diarizer.embed_speaker(&be, &samples, &mut ()).is_err());
    }
    assert!(Bounds::new(None, Some(3), Some(2)).unwrap_err().to_string().contains("max_speakers"));
    // Six seconds have a handful of voices; of centroid clustering pyannote asks for as many as there are.
    let options = Options { bounds: Bounds { min: 500, max: 500 }, ..Options::default() };
    let found = diarizer.diarize(&be, &audio(6 * SAMPLE_RATE), &options, &mut ()).unwrap();
    assert!((1..50).contains(&found.speakers()), "{}", found.speakers());
    assert!(found.warnings[0].contains("`num_speakers` 500 cannot be met"), "{:?}", found.warnings);
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_vbx_finds_as_many_speakers_as_there_can_be() {
    let be = cpu();
    let plda = common::shared("models/plda");
    let options = Options { bounds: Bounds { min: 500, max: 500 }, ..Options::default() };
    let vbx = folder(VBX, 4.0, true);
    std::os::unix::fs::symlink(plda, vbx.path().join("plda")).unwrap();
    let diarizer = Diarizer::open(&be, vbx.path()).unwrap();
    let found = diarizer.diarize(&be, &audio(6 * SAMPLE_RATE), &options, &mut ()).unwrap();
    assert!((1..50).contains(&found.speakers()), "{}", found.speakers());
    assert!(found.warnings[0].contains("`num_speakers` 500 cannot be met"), "{:?}", found.warnings);
}

#[test]
fn one_speaker_alone_is_one_speaker() {
    let (folder, be) = (folder(CENTROID, 4.0, true), cpu());
    let options = Options { bounds: Bounds::new(Some(1), None, None).unwrap(), ..Options::default() };
    let found =
        Diarizer::open(&be, folder.path()).unwrap().diarize(&be, &audio(12 * SAMPLE_RATE), &options, &mut ()).unwrap();
    assert!(found.speakers() == 1 && found.turns.iter().all(|turn| turn.speaker == "SPEAKER_00"), "{found:?}");
}

#[test]
fn progress_reaches_the_end_and_work_can_be_stopped() {
    let (folder, be, samples) = (folder(CENTROID, 4.0, true), cpu(), audio(40 * SAMPLE_RATE));
    let diarizer = Diarizer::open(&be, folder.path()).unwrap();
    let mut watch = Counting::default();
    diarizer.diarize(&be, &samples, &Options::default(), &mut watch).unwrap();
    assert!(watch.told.len() >= 5 && watch.told.is_sorted_by(|a, b| a.0 <= b.0), "{:?}", watch.told);
    assert_eq!(watch.told.last(), Some(&(40.0, 40.0)));
    for share in [0.0, 5.0, 25.0] {
        let mut watch = Counting { stop_at: Some(share), ..Counting::default() };
        watch.told.push((0.0, 40.0));
        let stopped = diarizer.diarize(&be, &samples, &Options::default(), &mut watch);
        assert!(matches!(stopped, Err(Error::Cancelled)), "{share}");
        assert!(watch.told.last().unwrap().0 < 40.0, "{:?}", watch.told);
    }
}

/// Speech that the diarizer hears anyway is what `--vad pyannote` finds with the same network.
#[test]
fn speech_is_that_of_the_network_alone() {
    for (seconds, is_powerset) in [(4.0, true), (5.0, false)] {
        let (folder, be, samples) = (folder(CENTROID, seconds, is_powerset), cpu(), audio(30 * SAMPLE_RATE));
        let heard = Diarizer::open(&be, folder.path()).unwrap().segment(&be, &samples, &mut ()).unwrap();
        let options = vad::VadOptions { chunk_size: Seconds(7.0), ..vad::VadOptions::default() };
        let network = folder.path().join("segmentation");
        let detector = vad::Detector::load(&be, vad::VadMethod::Pyannote, &network).unwrap();
        let end = Seconds::from_samples(samples.len());
        let got = vad::chunks_of_scores(&heard.speech, heard.grid, end, &options).unwrap();
        assert_eq!(got, detector.chunks(&samples, &options).unwrap());
        assert!(!got.is_empty());
    }
}

#[test]
fn a_voice_is_found_again() {
    let (folder, be) = (folder(CENTROID, 4.0, true), cpu());
    let diarizer = OnDevice { diarizer: Diarizer::open(&be, folder.path()).unwrap(), be };
    let samples = audio(20 * SAMPLE_RATE);
    let voice = diarizer.embed_speaker(&samples, &mut ()).unwrap();
    assert!(voice.len() == pipeline::SIZE && voice.iter().all(|x| x.is_finite()));
    let options = Options { bounds: Bounds::new(Some(1), None, None).unwrap(), ..Options::default() };
    let mut found = diarizer.diarize(&samples, &options, &mut ()).unwrap();
    let gallery = diarist::diarize::Gallery::new(vec![("Anna".into(), voice)]).unwrap();
    assert_eq!(gallery.rename(&mut found).unwrap(), ["Anna"]);
    assert!(found.turns.iter().chain(&found.exclusive).all(|turn| turn.speaker == "Anna"));
}

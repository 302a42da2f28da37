//! The stage of diarization: samples to turns, against pyannote's pipeline with the same networks, and against the parts called
//! one window and one speaker at a time; and recordings in which there is nothing to tell apart.

mod common;

use std::path::{Path, PathBuf};

use common::pipeline::{self, CENTROID, VBX};
use common::seeded;
use diarist::diarize::diarizer::{FindSpeakers, OnDevice};
use diarist::diarize::folder::{Method, Place, Recipe};
use diarist::diarize::{Bounds, Clock, Clustering, Diarizer, Options, Voices, diarize, powerset};
use diarist::engine::cpu::Cpu;
use diarist::models::pyannet::PyanNet;
use diarist::models::resnet34::ResNet34;
use diarist::units::{FrameGrid, SAMPLE_RATE, Seconds};
use diarist::watch::Watch;
use diarist::{Error, vad};

fn cpu() -> Cpu {
    Cpu::new(Some(2)).unwrap()
}

/// A folder with a pipeline of random weights.
fn folder(config: &str, seconds: f64, powerset: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    pipeline::write(folder.path(), config, &pipeline::segmentation(seconds, powerset));
    folder
}

/// Noise that changes its character, so that not every window sounds the same.
fn audio(samples: usize) -> Vec<f32> {
    let mut audio = seeded::audio_f32(900, samples);
    for (i, sample) in audio.iter_mut().enumerate() {
        let slow = (i / 24_000) as f32;
        *sample *= 0.2 + 0.8 * ((slow * 1.7).sin().abs());
    }
    audio
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
    let config = CENTROID.replace("threshold: 0.70", "threshold: 0.05").replace("min_cluster_size: 12", "min_cluster_size: 1");
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
    let clock = Clock { window: window as f64 / 16e3, step: step as f64 / 16e3, frame_step: grid.step, frame: grid.duration };
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
                let mask = decided.voice_mask(w, speaker, least);
                let voice = embedding.voices(be, &cut(*start), &[0], window, &mask, 1).unwrap();
                // Where the window has others, the stage hears this one's silence, which counts for nothing.
                let nobody = (0..3).all(|speaker| decided.active_frames(w, speaker) == 0);
                voices.extend(if nobody { vec![0.0; pipeline::SIZE] } else { voice });
                assert!(is_active || mask.iter().all(|frame| !frame));
            }
        }
        Voices::new(3, pipeline::SIZE, voices)
    };
    let Method::Centroid { threshold, min_size } = Recipe::open(folder).unwrap().method else { panic!("another method") };
    let options = Options { end: Some(Seconds::from_samples(samples.len())), ..Options::default() };
    diarize(&decided, voices, &Clustering::Centroid { threshold, min_size }, &options).unwrap()
}

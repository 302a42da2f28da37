//! The search without end against the device's, which remembers everything; and windows against one pass.

use diarist::align::long::{Limits, LongSearch};
use diarist::align::windows::{WINDOW, batches, windows};
use diarist::align::{LabelSpan, Refusal, Utterance, follow};
use diarist::engine::Tensor;
use diarist::engine::cpu::Cpu;
use diarist::engine::ctc::CtcTopology;
use diarist::models::wav2vec2::{Clip, Config};

use super::common::{assert_close, seeded};
use super::{network, small_config};

const CLASSES: usize = 12;

/// Labels, and rows in which they are said one after another with pauses, dimly: normalised random log-probabilities with some
/// favour for what is said.
fn speech(seed: u64, count: usize, dim: f32) -> (Vec<i32>, Vec<f32>) {
    let draw = |name: &str, i: usize| seeded::bits(seed, name, i as u64);
    let labels: Vec<i32> = (0..count).map(|i| 1 + (draw("label", i) % (CLASSES as u64 - 1)) as i32).collect();
    let mut said = Vec::new();
    for (i, label) in labels.iter().enumerate() {
        said.extend(std::iter::repeat_n(0, 1 + (draw("pause", i) % 4) as usize));
        said.extend(std::iter::repeat_n(*label as usize, 1 + (draw("hold", i) % 3) as usize));
    }
    let mut log_probs = Vec::new();
    for (t, class) in said.iter().enumerate() {
        let score = |c: usize| {
            let noise = (draw("noise", t * CLASSES + c) >> 40) as f32 / (1 << 24) as f32;
            3.0 * noise + if c == *class { dim } else { 0.0 }
        };
        let scores: Vec<f32> = (0..CLASSES).map(score).collect();
        let sum = scores.iter().map(|score| score.exp()).sum::<f32>().ln();
        log_probs.extend(scores.iter().map(|score| score - sum));
    }
    (labels, log_probs)
}

fn search(labels: &[i32], log_probs: &[f32], limits: Limits) -> Result<Vec<LabelSpan>, Refusal> {
    let mut search = LongSearch::new(labels, 0, log_probs.len() / CLASSES, limits)?;
    // In pieces, as windows come.
    log_probs.chunks(700 * CLASSES).for_each(|rows| search.rows(rows, CLASSES));
    search.finish()
}

fn exact(labels: &[i32], log_probs: &[f32]) -> Vec<LabelSpan> {
    let cpu = Cpu::new(Some(2)).unwrap();
    let rows = log_probs.len() / CLASSES;
    let log_probs = Tensor::from_host(&cpu, &[rows, CLASSES], log_probs).unwrap();
    follow(&cpu, &log_probs, &[Utterance { rows: 0..rows, labels }], 0, CtcTopology::Ctc).unwrap().remove(0).unwrap()
}

fn assert_same(got: &[LabelSpan], want: &[LabelSpan]) {
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(got.rows == want.rows && (got.score - want.score).abs() < 1e-5, "label {i}: {got:?}, want {want:?}");
    }
}

#[test]
fn the_path_is_that_of_a_search_that_remembers_everything() {
    for (seed, count, dim) in [(1, 1, 1.0), (2, 40, 0.5), (3, 900, 1.0), (4, 2500, 2.0), (5, 2500, 0.0)] {
        let (labels, log_probs) = speech(seed, count, dim);
        assert_same(&search(&labels, &log_probs, Limits::default()).unwrap(), &exact(&labels, &log_probs));
    }
}

#[test]
fn a_narrow_band_and_a_short_memory_follow_clear_speech() {
    let (labels, log_probs) = speech(6, 4000, 6.0);
    let want = exact(&labels, &log_probs);
    // A hundredth of the labels; and a memory of some two thousand rows, so that much is decided before all paths agree.
    let narrow = Limits { width: 40, ..Limits::default() };
    assert_same(&search(&labels, &log_probs, narrow).unwrap(), &want);
    let short = Limits { width: 400, history: 400_000 };
    assert_same(&search(&labels, &log_probs, short).unwrap(), &want);
    // Whatever is given up, every label has rows, in order.
    let (labels, log_probs) = speech(7, 3000, 0.0);
    for limits in [Limits { width: 1, history: 1 }, Limits { width: 30, history: 100_000 }] {
        let spans = search(&labels, &log_probs, limits).unwrap();
        assert_eq!(spans.len(), labels.len());
        assert!(spans.iter().all(|span| !span.rows.is_empty() && span.score > 0.0));
        assert!(spans.windows(2).all(|pair| pair[0].rows.end <= pair[1].rows.start));
    }
}

#[test]
fn what_cannot_be_said_is_refused() {
    let (labels, log_probs) = speech(8, 30, 1.0);
    let rows = log_probs.len() / CLASSES;
    assert_eq!(search(&[], &log_probs, Limits::default()), Err(Refusal::NoLabels));
    let repeats = labels.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let needed = labels.len() + repeats;
    let few = &log_probs[..(needed - 1) * CLASSES];
    assert_eq!(search(&labels, few, Limits::default()), Err(Refusal::TooLong { needed, rows: needed - 1 }));
    assert_same(
        &search(&labels, &log_probs[..needed * CLASSES], Limits { width: 3, history: 1 }).unwrap(),
        &exact(&labels, &log_probs[..needed * CLASSES]),
    );
    for never in [f32::NEG_INFINITY, f32::NAN] {
        let silent = vec![never; rows * CLASSES];
        assert_eq!(search(&labels, &silent, Limits::default()), Err(Refusal::Impossible));
    }
}

#[test]
fn windows_keep_every_row_once() {
    let config = Config::parse(&small_config().to_string(), std::path::Path::new("config.json")).unwrap();
    for samples in [400, 16_000, WINDOW, WINDOW + 1, 2 * WINDOW - 17, 7 * WINDOW + 12_345] {
        let windows = windows(&config, samples);
        assert_eq!(windows.len(), samples.div_ceil(WINDOW));
        let mut row = 0;
        for window in &windows {
            assert!(window.samples.start % config.hop() == 0 && window.samples.end <= samples);
            assert!(window.rows.end <= config.frames(window.samples.len()));
            assert_eq!(window.samples.start / config.hop() + window.rows.start, row, "{samples}: {window:?}");
            row += window.rows.len();
            assert!(window.samples.len() <= WINDOW + 2 * 3 * 16_000 + config.field());
        }
        assert_eq!(row, config.frames(samples));
    }
}

#[test]
fn rows_of_a_window_are_those_of_one_pass() {
    // Without attention to all of a recording, and with a positional convolution narrower than the context, a row in a window's
    // middle hears exactly what it hears in one pass.
    let cpu = Cpu::new(Some(2)).unwrap();
    let mut shape = small_config();
    shape["num_hidden_layers"] = 0.into();
    for normalise in [false, true] {
        let network = network(&cpu, &shape, 7, normalise);
        let audio = seeded::audio_f32(600, 2 * WINDOW + 5000);
        let (classes, whole) = (30, network.emissions(&cpu, &[&audio]).unwrap().log_probs.to_host(&cpu).unwrap());
        let level = network.level(&audio);
        let mut stitched = Vec::new();
        for window in windows(network.config(), audio.len()) {
            let clip = Clip { samples: &audio[window.samples], level };
            let rows = network.emissions_of_clips(&cpu, &[clip]).unwrap().log_probs.to_host(&cpu).unwrap();
            stitched.extend_from_slice(&rows[window.rows.start * classes..window.rows.end * classes]);
        }
        assert_close("stitched", &stitched, &whole, 1e-4, 0.0);
    }
}

#[test]
fn batches_are_alike_in_length_and_bounded() {
    let lengths = [5, 90, 40, 41, 5, 200, 39];
    let batches = batches(&lengths, 100);
    // One longer than the bound is alone.
    assert_eq!(batches, [vec![5], vec![1], vec![3, 2], vec![6, 0], vec![4]]);
}

//! The online CTC search against an exact one in f64, and emissions in windows against those of a single pass.

use std::ops::Range;

use diarist::align::long::{Limits, LongSearch};
use diarist::align::windows::{WINDOW, batches, windows};
use diarist::align::{LabelSpan, Refusal};
use diarist::engine::cpu::Cpu;
use diarist::models::wav2vec2::{Clip, Config};

use super::common::{assert_close, seeded};
use super::{network, small_config};

const CLASSES: usize = 12;

/// Random labels, and emissions for them: normalised random log-probabilities in which the logit of the true class is
/// higher by `margin`. Labels last 1 to 3 rows, with 1 to 4 rows of blank before each.
fn speech(seed: u64, count: usize, margin: f32) -> (Vec<i32>, Vec<f32>) {
    let draw = |name: &str, i: usize| seeded::bits(seed, name, i as u64);
    let labels: Vec<i32> = (0..count).map(|i| 1 + (draw("label", i) % (CLASSES as u64 - 1)) as i32).collect();
    let mut classes = Vec::new();
    for (i, label) in labels.iter().enumerate() {
        classes.extend(std::iter::repeat_n(0, 1 + (draw("pause", i) % 4) as usize));
        classes.extend(std::iter::repeat_n(*label as usize, 1 + (draw("hold", i) % 3) as usize));
    }
    let mut log_probs = Vec::new();
    for (t, class) in classes.iter().enumerate() {
        let score = |c: usize| {
            let noise = (draw("noise", t * CLASSES + c) >> 40) as f32 / (1 << 24) as f32;
            3.0 * noise + if c == *class { margin } else { 0.0 }
        };
        let scores: Vec<f32> = (0..CLASSES).map(score).collect();
        let sum = scores.iter().map(|score| score.exp()).sum::<f32>().ln();
        log_probs.extend(scores.iter().map(|score| score - sum));
    }
    (labels, log_probs)
}

fn search(labels: &[i32], log_probs: &[f32], limits: Limits) -> Result<Vec<LabelSpan>, Refusal> {
    let mut search = LongSearch::new(labels, 0, log_probs.len() / CLASSES, limits)?;
    // In groups of rows, as the windows supply them.
    log_probs.chunks(700 * CLASSES).for_each(|rows| search.rows(rows, CLASSES));
    search.finish()
}

/// The best path by an exact Viterbi search in f64 that keeps all backpointers.
fn exact(labels: &[i32], log_probs: &[f32]) -> Vec<LabelSpan> {
    // The usual CTC states: even ones are blanks.
    let states = 2 * labels.len() + 1;
    let class = |state: usize| if state.is_multiple_of(2) { 0 } else { labels[state / 2] as usize };
    let mut score = vec![f64::NEG_INFINITY; states];
    let mut steps: Vec<Vec<u8>> = Vec::new();
    for (t, row) in log_probs.chunks_exact(CLASSES).enumerate() {
        let before = std::mem::replace(&mut score, vec![f64::NEG_INFINITY; states]);
        let mut back = vec![0; states];
        for state in 0..states {
            let skips = state % 2 == 1 && state > 1 && class(state) != class(state - 2);
            let from = (0..=2).filter(|step| *step <= state && (*step < 2 || skips));
            let from = from.map(|step| (before[state - step], step));
            let (best, step) = from.reduce(|a, b| if b.0 > a.0 { b } else { a }).unwrap();
            let best = if t == 0 { if state < 2 { 0.0 } else { f64::NEG_INFINITY } } else { best };
            score[state] = best + f64::from(row[class(state)]);
            back[state] = step as u8;
        }
        steps.push(back);
    }
    let mut state = if score[states - 1] > score[states - 2] { states - 1 } else { states - 2 };
    let mut found = vec![(Range { start: usize::MAX, end: 0 }, 0.0); labels.len()];
    for (t, back) in steps.iter().enumerate().rev() {
        if state % 2 == 1 {
            let (rows, sum) = &mut found[state / 2];
            *rows = rows.start.min(t)..rows.end.max(t + 1);
            *sum += f64::from(log_probs[t * CLASSES + class(state)].exp());
        }
        state -= if t == 0 { 0 } else { back[state] as usize };
    }
    found.into_iter().map(|(rows, sum)| LabelSpan { score: (sum / rows.len() as f64) as f32, rows }).collect()
}

/// Log-probability of a path.
fn total(spans: &[LabelSpan], labels: &[i32], log_probs: &[f32]) -> f64 {
    let mut class = vec![0; log_probs.len() / CLASSES];
    for (span, label) in spans.iter().zip(labels) {
        class[span.rows.clone()].fill(*label as usize);
    }
    class.iter().enumerate().map(|(t, class)| f64::from(log_probs[t * CLASSES + class])).sum()
}

fn assert_same(got: &[LabelSpan], want: &[LabelSpan]) {
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(got.rows == want.rows && (got.score - want.score).abs() < 1e-5, "label {i}: {got:?}, want {want:?}");
    }
}

#[test]
fn the_path_is_that_of_an_exact_search() {
    for (seed, count, margin) in [(1, 1, 1.0), (2, 40, 0.5), (3, 900, 1.0), (4, 2500, 2.0), (5, 2500, 0.0)] {
        let (labels, log_probs) = speech(seed, count, margin);
        let (got, want) = (search(&labels, &log_probs, Limits::default()).unwrap(), exact(&labels, &log_probs));
        let [got_total, want_total] = [&got, &want].map(|spans| total(spans, &labels, &log_probs));
        assert!((got_total - want_total).abs() < 1e-4, "{count}: {got_total}, want {want_total}");
        // Rounding in f32 may resolve a near tie differently.
        let differ = got.iter().zip(&want).filter(|(got, want)| got.rows != want.rows).count();
        assert!(got.len() == want.len() && differ <= count / 1000, "{count}: {differ} labels have other rows");
    }
}

#[test]
fn a_narrow_band_and_a_short_history_suffice_for_clear_speech() {
    let (labels, log_probs) = speech(6, 4000, 6.0);
    let want = exact(&labels, &log_probs);
    // A band of a hundredth of the labels. Then a history of about two thousand rows, so that many rows are emitted
    // before all paths share them.
    let narrow = Limits { width: 40, ..Limits::default() };
    assert_same(&search(&labels, &log_probs, narrow).unwrap(), &want);
    let short = Limits { width: 400, history: 400_000 };
    assert_same(&search(&labels, &log_probs, short).unwrap(), &want);
    // Whatever is pruned, every label has rows, in order.
    let (labels, log_probs) = speech(7, 3000, 0.0);
    for limits in [Limits { width: 1, history: 1 }, Limits { width: 30, history: 100_000 }] {
        let spans = search(&labels, &log_probs, limits).unwrap();
        assert_eq!(spans.len(), labels.len());
        assert!(spans.iter().all(|span| !span.rows.is_empty() && span.score > 0.0));
        assert!(spans.windows(2).all(|pair| pair[0].rows.end <= pair[1].rows.start));
    }
}

#[test]
fn impossible_utterances_are_refused() {
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
    // Without attention, and with a positional convolution narrower than the context, the receptive field of a row in
    // the middle of a window is inside the window. So its emissions are those of a single pass.
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
fn batches_have_similar_lengths_and_a_bound() {
    let lengths = [5, 90, 40, 41, 5, 200, 39];
    let batches = batches(&lengths, 100);
    // A clip longer than the bound is alone in its batch.
    assert_eq!(batches, [vec![5], vec![1], vec![3, 2], vec![6, 0], vec![4]]);
}

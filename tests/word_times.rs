//! Word times from cross-attention against openai-whisper: alignment matrices and DTW paths of random models, splitting
//! of text into words, heuristic corrections of random times; then whole transcripts. Goldens:
//! `tests/reference/word_times.py`.

#![allow(clippy::unwrap_used)] // tests may panic

mod common;
#[path = "word_times/transcripts.rs"]
mod transcripts;

use std::ops::Range;

use common::seeded::{self, Layout};
use common::tokenizer::{published, special_tokens};
use common::{Golden, assert_close};
use diarist::asr::AsrOptions;
use diarist::asr::clips::Clips;
use diarist::asr::prompt::Prompt;
use diarist::asr::scheduler::Scheduler;
use diarist::asr::slots::{Decode, Decoded, Slots, Suppressed};
use diarist::asr::source::{Clip, Source};
use diarist::asr::token_times::{KnownText, TokenTimes};
use diarist::asr::word_times::{Spacing, Timing, add_words, split_words, timings};
use diarist::engine::cpu::{Cpu, CrossCacheType};
use diarist::engine::prelude::*;
use diarist::engine::time_warp::{DtwSegment, DtwSegments, time_warp};
use diarist::engine::{StepRows, Tensor};
use diarist::models::whisper::{KnownTokens, Whisper};
use diarist::types::{Segment, TimeSource};
use diarist::units::Seconds;
use diarist::{Result, asr};
use serde_json::Value;

/// The kinds of cross-attention cache that do not change results. (The int8 cache changes them slightly.)
const CROSS: [CrossCacheType; 2] = [CrossCacheType::F32, CrossCacheType::Absorbed];

fn count(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn ids(value: &Value) -> Vec<u32> {
    list(value).iter().map(|id| count(id) as u32).collect()
}

fn load(model: &Value, cross: CrossCacheType) -> Whisper<Cpu> {
    let folder = tempfile::tempdir().unwrap();
    seeded::write_checkpoint(folder.path(), &model["config"], Layout::F16);
    if !model["alignment_heads"].is_null() {
        let generation = serde_json::json!({ "alignment_heads": model["alignment_heads"] });
        std::fs::write(folder.path().join("generation_config.json"), generation.to_string()).unwrap();
    }
    Whisper::open(&Cpu::new(None).unwrap().with_cross_cache(cross), folder.path()).unwrap()
}

fn features(model: &Whisper<Cpu>, case: &Value) -> Vec<f32> {
    let seed = count(&case["features_seed"]) as u64;
    seeded::features(seed, model.config.num_mel_bins, 2 * model.config.max_source_positions)
}

/// All input tokens of the decoder.
fn input_tokens(case: &Value, vocab: usize) -> Vec<u32> {
    let special = special_tokens(vocab);
    let mut tokens = ids(&case["task"]);
    tokens.push(special.no_timestamps);
    tokens.extend(ids(&case["tokens"]));
    tokens.push(special.eot);
    tokens
}

/// The alignment matrix of all texts in one pass, `[R, T]`: the rows of the texts one after another.
fn matrix(model: &Whisper<Cpu>, cases: &[&Value]) -> Tensor<Cpu, f32> {
    let be = &model.be;
    let cross = model.cross_kind(1);
    let mut caches = model.caches(cases.len(), 1, cross).unwrap();
    let mut encoder = model.encoder_scratch(1).unwrap();
    let (mut token, mut position, mut row, mut lineage) = (vec![], vec![], vec![], vec![]);
    let (mut encoded, mut rows): (Vec<Tensor<Cpu>>, Vec<Range<usize>>) = (vec![], vec![]);
    for (slot, case) in cases.iter().enumerate() {
        be.write_act(&mut encoder.mel.buf, 0, &features(model, case)).unwrap();
        model.encode_mel(&mut encoder, 1).unwrap();
        model.fill_slots(&mut caches, &[slot], &mut encoder).unwrap();
        let out = encoder.out.to_host(be).unwrap();
        encoded.push(Tensor::from_host(be, encoder.out.shape(), &out).unwrap());
        let tokens = input_tokens(case, model.config.vocab_size);
        rows.push(token.len()..token.len() + tokens.len());
        position.extend(0..tokens.len() as i32);
        row.extend(vec![slot as i32; tokens.len()]);
        token.extend(tokens.iter().map(|&id| id as i32));
        lineage.extend(vec![slot as i32; model.config.max_target_positions]);
    }
    let mut step = StepRows::zeros(be, token.len()).unwrap();
    be.write(&mut step.token.buf, 0, &token).unwrap();
    be.write(&mut step.position.buf, 0, &position).unwrap();
    be.write(&mut step.row.buf, 0, &row).unwrap();
    let lineage = Tensor::from_host(be, &[cases.len(), model.config.max_target_positions], &lineage).unwrap();
    let mut scratch = model.decoder_scratch(token.len(), cross).unwrap();
    let mut pass = model.alignment_pass(token.len(), 100, cross).unwrap();
    let frames = |case: &Value| count(&case["mel_frames"]) / 2;
    let texts = cases.iter().zip(&rows).zip(&encoded);
    let known: Vec<KnownTokens<Cpu>> = texts
        .map(|((case, rows), encoded)| KnownTokens { rows: rows.clone(), frames: frames(case), encoded })
        .collect();
    model.decode_aligning(&mut scratch, &mut caches, &step, &lineage, &known, &mut pass).unwrap();
    pass.matrix
}

/// Rows of the text within its part of the matrix: one for each token, and one for end-of-text.
fn text_rows(case: &Value) -> Range<usize> {
    let task = list(&case["task"]).len();
    task..task + list(&case["tokens"]).len() + 1
}

#[test]
fn the_alignment_matrix_is_the_references() {
    let golden = common::json("word_times/models.json");
    let matrices = Golden::open("word_times/matrices.safetensors");
    let cases = list(&golden["cases"]);
    for (name, config) in golden["models"].as_object().unwrap() {
        for cross in CROSS {
            let model = load(config, cross);
            let cases: Vec<&Value> = cases.iter().filter(|case| case["model"] == **name).collect();
            let (together, stride) = (matrix(&model, &cases), model.config.max_source_positions);
            let mut first = 0;
            for case in cases {
                let key = case["name"].as_str().unwrap();
                let (shape, want) = matrices.f32(key);
                let columns = |all: &Tensor<Cpu, f32>, first: usize| -> Vec<f32> {
                    let rows = text_rows(case).map(|row| (first + row) * stride);
                    rows.flat_map(|at| all.buf[at..at + shape[1]].to_vec()).collect()
                };
                let got = columns(&together, first);
                assert_close(&format!("{key} {cross:?}"), &got, &want, 1e-4, 1e-4);
                assert_eq!(got, columns(&matrix(&model, &[case]), 0), "{key} {cross:?}: depends on the batch");
                first += input_tokens(case, model.config.vocab_size).len();
            }
        }
    }
}

/// A source of clips with known texts: token times are requested for these, not for the texts that the search finds.
struct Known<'a> {
    cases: &'a [&'a Value],
    /// Clip ids; the next one is last.
    order: Vec<usize>,
    window: usize,
    prompt: Prompt,
    times: Vec<Option<TokenTimes>>,
}

impl Source for Known<'_> {
    fn next(&mut self) -> Option<Clip> {
        let id = self.order.pop()?;
        Some(Clip { id, range: id * self.window..(id + 1) * self.window, detect_language: false })
    }

    fn begin(&mut self, id: usize, _: Option<&[f32]>) -> Result<Option<Decode>> {
        Ok(Some(Decode { prompt: self.prompt.clone(), temperature: 0.0, stream: [id as u32, 0] }))
    }

    fn finish(&mut self, _: usize, _: Decoded) -> Result<Option<Decode>> {
        Ok(None)
    }

    fn text_to_align(&mut self, id: usize) -> Option<KnownText> {
        let case = self.cases[id];
        let frames = count(&case["mel_frames"]) / 2;
        Some(KnownText { task: ids(&case["task"]), tokens: ids(&case["tokens"]), frames })
    }

    fn set_token_times(&mut self, id: usize, times: TokenTimes) -> Result<()> {
        assert!(self.times[id].replace(times).is_none(), "timed twice");
        Ok(())
    }

    fn is_cancelled(&self) -> bool {
        false
    }
}

/// The token times of all texts, computed in `slots` slots.
fn times(model: &Whisper<Cpu>, cases: &[&Value], slots: usize, beams: usize, order: Vec<usize>) -> Vec<TokenTimes> {
    let window = 2 * model.config.max_source_positions;
    let mut values: Vec<f32> = cases.iter().flat_map(|case| features(model, case)).collect();
    let (mels, frames) = (model.config.num_mel_bins, cases.len() * window);
    values.resize((frames + 1) * mels, 0.0);
    let mut mel = Tensor::zeros(&model.be, &[frames + 1, mels]).unwrap();
    model.be.write_act(&mut mel.buf, 0, &values).unwrap();

    let special = special_tokens(model.config.vocab_size);
    let options =
        AsrOptions { word_timestamps: true, beam_size: beams, max_new_tokens: Some(5), ..AsrOptions::default() };
    let slots = Slots::new(model, special, &options, &Suppressed::default(), slots).unwrap();
    let mut scheduler = Scheduler::new(model, slots, &options, special.sot).unwrap();
    let prompt = Prompt { tokens: vec![special.sot, special.no_timestamps], sot: 0, len: 2 };
    let mut source = Known { cases, order, window, prompt, times: vec![None; cases.len()] };
    scheduler.run(&Clips::Recording { mel, frames }, &mut source).unwrap();
    source.times.into_iter().map(|times| times.expect("times of every clip")).collect()
}

#[test]
fn token_times_are_the_references_in_any_batch() {
    let golden = common::json("word_times/models.json");
    let cases = list(&golden["cases"]);
    for (name, config) in golden["models"].as_object().unwrap() {
        for cross in CROSS {
            let model = load(config, cross);
            let cases: Vec<&Value> = cases.iter().filter(|case| case["model"] == **name).collect();
            let forwards: Vec<usize> = (0..cases.len()).rev().collect();
            let alone = times(&model, &cases, 1, 1, forwards.clone());
            for (case, times) in cases.iter().zip(&alone) {
                let starts: Vec<usize> = times.starts.iter().map(|frame| frame.0).collect();
                let want: Vec<usize> = list(&case["starts"]).iter().map(count).collect();
                assert_eq!(starts, want, "{} {cross:?}", case["name"]);
                let got: Vec<f32> = times.probabilities.iter().map(|p| *p as f32).collect();
                let want: Vec<f32> = list(&case["probabilities"]).iter().map(|p| number(p) as f32).collect();
                assert_close(&case["name"].to_string(), &got, &want, 1e-5, 1e-3);
            }
            let backwards = (0..cases.len()).collect();
            assert_eq!(
                alone,
                times(&model, &cases, cases.len(), 1, backwards),
                "{name} {cross:?}: depends on the batch"
            );
            assert_eq!(alone, times(&model, &cases, 2, 3, forwards), "{name} {cross:?}: depends on the beams");
        }
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_words_of_token_times_are_the_references() {
    let golden = common::json("word_times/models.json");
    for (name, config) in golden["models"].as_object().unwrap() {
        for cross in CROSS {
            let model = load(config, cross);
            let cases: Vec<&Value> = list(&golden["cases"]).iter().filter(|case| case["model"] == **name).collect();
            let found = times(&model, &cases, 1, 1, (0..cases.len()).collect());
            cases.iter().zip(&found).for_each(|(case, times)| compare_words(&model, case, times));
        }
    }
}

fn compare_words(model: &Whisper<Cpu>, case: &Value, times: &TokenTimes) {
    let tokenizer = published(model.config.vocab_size);
    let spacing = Spacing::of(case["language"].as_str(), asr::Task::Transcribe);
    let got = timings(&tokenizer, &ids(&case["tokens"]), spacing, times).unwrap();
    let want: Vec<Timing> = list(&case["words"]).iter().map(timing).collect();
    assert_eq!(got.len(), want.len(), "{}", case["name"]);
    for (got, want) in got.iter().zip(&want) {
        assert!((got.probability - want.probability).abs() < 1e-4, "{}: {got:?}, want {want:?}", case["name"]);
        assert_eq!(*got, Timing { probability: got.probability, ..want.clone() }, "{}", case["name"]);
    }
}

/// `[word, tokens, start, end, probability]`
fn timing(value: &Value) -> Timing {
    Timing {
        word: value[0].as_str().unwrap().to_owned(),
        tokens: count(&value[1]),
        start: Seconds(number(&value[2])),
        end: Seconds(number(&value[3])),
        probability: number(&value[4]),
    }
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_words_of_texts_are_the_references() {
    let golden = common::json("word_times/words.json");
    for vocab in [51865, 51864] {
        let tokenizer = published(vocab);
        for case in list(&golden["splits"]).iter().filter(|case| count(&case["vocab"]) == vocab) {
            let spacing = Spacing::of(case["language"].as_str(), asr::Task::Transcribe);
            let words = split_words(&tokenizer, &ids(&case["tokens"]), spacing).unwrap();
            let texts: Vec<&str> = words.iter().map(|word| &word.word[..]).collect();
            let want: Vec<&str> = list(&case["words"]).iter().map(|word| word.as_str().unwrap()).collect();
            assert_eq!(texts, want, "{vocab} {}", case["language"]);
            let counts: Vec<usize> = words.iter().map(|word| word.tokens.len()).collect();
            assert_eq!(counts, list(&case["counts"]).iter().map(count).collect::<Vec<_>>(), "{want:?}");
        }
        // No token is lost, even if the text is not valid UTF-8.
        let broken: Vec<u32> = (100..256).chain(94..100).collect();
        let words = split_words(&tokenizer, &broken, Spacing::Spaces).unwrap();
        assert_eq!(words.iter().flat_map(|word| word.tokens.clone()).collect::<Vec<_>>(), broken);
    }
    assert_eq!(Spacing::of(Some("ja"), asr::Task::Translate), Spacing::Spaces);
}

#[test]
fn corrections_of_random_times_are_the_references() {
    const TEXT: u32 = 7;
    const STAMP: u32 = 50300;
    /// Tolerance for the rounding of the JSON parser.
    const READ: f64 = 1e-9;
    let golden = common::json("word_times/words.json");
    let mut changed = 0;
    for (number_of_case, case) in list(&golden["heuristics"]).iter().enumerate() {
        let spans = |key: &str| -> Vec<[f64; 2]> {
            list(&case[key]).iter().map(|span| [number(&span[0]), number(&span[1])]).collect()
        };
        let (before, after) = (spans("before"), spans("after"));
        let mut segments: Vec<Segment> = list(&case["counts"])
            .iter()
            .zip(&before)
            .map(|(tokens, &[start, end])| {
                let tokens = std::iter::repeat_n(TEXT, count(tokens)).chain([STAMP]).collect();
                Segment { start: Seconds(start), end: Seconds(end), tokens, ..Segment::default() }
            })
            .collect();
        let drawn: Vec<Timing> = list(&case["alignment"]).iter().map(timing).collect();
        let (offset, last_speech) = (Seconds(number(&case["offset"])), Seconds(number(&case["last_speech"])));
        add_words(50256, &mut segments, drawn, offset, last_speech);
        for (segment, [start, end]) in segments.iter().zip(&after) {
            let (got, near) = ([segment.start.0, segment.end.0], |a: f64, b: f64| (a - b).abs() <= READ);
            assert!(near(got[0], *start) && near(got[1], *end), "case {number_of_case}: {got:?}, want {after:?}");
        }
        changed += usize::from(before != after);
        for (segment, want) in segments.iter().zip(list(&case["words"])) {
            let words = segment.words.as_ref().unwrap();
            let want = list(want).iter().filter(|word| !word[0].as_str().unwrap().trim().is_empty());
            let want: Vec<&Value> = want.collect();
            assert_eq!(words.len(), want.len(), "case {number_of_case}");
            for (word, want) in words.iter().zip(want) {
                assert_eq!(word.word, want[0].as_str().unwrap().trim(), "case {number_of_case}");
                let got = [word.start.unwrap().0, word.end.unwrap().0, word.score.unwrap()];
                let near = got.iter().zip(1..).all(|(got, i)| (got - number(&want[i])).abs() <= READ);
                assert!(near, "case {number_of_case}: {got:?}, want {want}");
            }
            assert!(words.iter().all(|word| word.source == Some(TimeSource::Dtw)));
        }
    }
    assert!(changed > 100, "only {changed} cases change a segment");
}

/// The first frame of each token on the DTW path through a matrix `[rows, columns]`.
fn warp(be: &Cpu, matrix: &[f32], rows: usize, columns: usize) -> Vec<usize> {
    let matrix = Tensor::from_host(be, &[rows, columns], matrix).unwrap();
    let places = DtwSegments::new(be, vec![DtwSegment { rows: 0..rows, frames: columns }]).unwrap();
    let mut out = Tensor::zeros(be, &[rows]).unwrap();
    time_warp(be, &mut out, &matrix, &places).unwrap();
    out.to_host(be).unwrap().into_iter().map(|frame| frame as usize).collect()
}

#[test]
fn dtw_paths_are_the_references() {
    let be = Cpu::new(Some(1)).unwrap();
    for case in list(&common::json("word_times/words.json")["warps"]) {
        let rows = list(&case["matrix"]);
        let values: Vec<f32> = rows.iter().flat_map(|row| list(row).iter().map(|v| number(v) as f32)).collect();
        let want: Vec<usize> = list(&case["starts"]).iter().map(count).collect();
        assert_eq!(warp(&be, &values, rows.len(), values.len() / rows.len()), want, "{rows:?}");
    }
}

//! Greedy search against transformers, beam search and language detection against CTranslate2, on random checkpoints;
//! independence of results from the batch.

#![allow(clippy::unwrap_used)] // tests may panic

mod common;

use std::collections::HashMap;
use std::ops::Range;

use common::seeded::{self, Layout};
use common::tokenizer::special_tokens;
use diarist::asr::AsrOptions;
use diarist::asr::clips::Clips;
use diarist::asr::language;
use diarist::asr::prompt::Prompt;
use diarist::asr::scheduler::Scheduler;
use diarist::asr::slots::{Decode, Decoded, Slots, Suppressed};
use diarist::asr::source::{Clip, Source};
use diarist::engine::Tensor;
use diarist::engine::cpu::{Cpu, CrossCacheType};
use diarist::engine::prelude::*;
use diarist::models::whisper::Whisper;
use diarist::{Error, Result};
use serde_json::Value;

fn count(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|id| count(id) as u32).collect()
}

/// Both kinds of cross-attention; the tokens are the reference's with either.
const CROSS: [CrossCacheType; 2] = [CrossCacheType::F32, CrossCacheType::Absorbed];

fn load(config: &Value, cross: CrossCacheType) -> Whisper<Cpu> {
    let folder = tempfile::tempdir().unwrap();
    seeded::write_checkpoint(folder.path(), config, Layout::F16);
    Whisper::open(&Cpu::new(None).unwrap().with_cross_cache(cross), folder.path()).unwrap()
}

/// A clip for each feature seed.
fn clips(model: &Whisper<Cpu>, seeds: &[u64]) -> (Clips<'static, Cpu>, Vec<Range<usize>>) {
    let (mels, window) = (model.config.num_mel_bins, 2 * model.config.max_source_positions);
    let mut values: Vec<f32> = seeds.iter().flat_map(|&seed| seeded::features(seed, mels, window)).collect();
    let frames = seeds.len() * window;
    values.resize((frames + 1) * mels, 0.0);
    let mut mel = Tensor::zeros(&model.be, &[frames + 1, mels]).unwrap();
    model.be.write_act(&mut mel.buf, 0, &values).unwrap();
    let ranges = (0..seeds.len()).map(|i| i * window..(i + 1) * window).collect();
    (Clips::Recording { mel, frames }, ranges)
}

/// The prompt of `tokens`: it ends with the last task token; the tokens after it are the forced prefix.
fn prompt_of(tokens: &[u32], vocab: usize) -> Prompt {
    let special = special_tokens(vocab);
    let sot = tokens.iter().position(|&id| id == special.sot).expect("a start");
    let task = tokens[sot..].iter().take_while(|id| (special.sot..=special.no_timestamps).contains(id)).count();
    Prompt { tokens: tokens.to_vec(), sot, len: sot + task }
}

/// A source of clips with one search each.
struct Script {
    ranges: Vec<Range<usize>>,
    searches: Vec<Decode>,
    /// Clip ids; the next one is last.
    order: Vec<usize>,
    found: Vec<Option<Decoded>>,
    cancel_after: usize,
}

impl Source for Script {
    fn next(&mut self) -> Option<Clip> {
        let id = self.order.pop()?;
        Some(Clip { id, range: self.ranges[id].clone(), detect_language: false })
    }

    fn begin(&mut self, id: usize, _: Option<&[f32]>) -> Result<Option<Decode>> {
        Ok(Some(self.searches[id].clone()))
    }

    fn finish(&mut self, id: usize, decoded: Decoded) -> Result<Option<Decode>> {
        assert!(self.found[id].replace(decoded).is_none(), "finished twice");
        Ok(None)
    }

    fn is_cancelled(&self) -> bool {
        self.found.iter().flatten().count() >= self.cancel_after
    }
}

/// The composition of a batch, on which results must not depend.
#[derive(Clone, Copy)]
struct Batch {
    slots: usize,
    backwards: bool,
    steps_per_readback: usize,
}

const ANY_BATCH: Batch = Batch { slots: 3, backwards: false, steps_per_readback: 1 };

fn decode(
    model: &Whisper<Cpu>,
    options: &AsrOptions,
    suppressed: &Suppressed,
    seeds: &[u64],
    searches: &[Decode],
    batch: Batch,
) -> Vec<Decoded> {
    let special = special_tokens(model.config.vocab_size);
    let slots = Slots::new(model, special, options, suppressed, batch.slots).unwrap();
    let mut scheduler = Scheduler::new(model, slots, options, special.sot).unwrap();
    scheduler.set_steps_per_readback(batch.steps_per_readback);
    let (clips, ranges) = clips(model, seeds);
    let mut order: Vec<usize> = (0..seeds.len()).collect();
    if !batch.backwards {
        order.reverse(); // the next one is last
    }
    let found = vec![None; seeds.len()];
    let mut script = Script { ranges, searches: searches.to_vec(), order, found, cancel_after: usize::MAX };
    scheduler.run(&clips, &mut script).unwrap();
    script.found.into_iter().map(|found| found.expect("every clip is decoded")).collect()
}

#[test]
fn greedy_matches_transformers() {
    CROSS.into_iter().for_each(greedy_matches);
}

fn greedy_matches(cross: CrossCacheType) {
    let golden = common::json("whisper/greedy.json");
    let cases = golden["cases"].as_array().expect("cases");
    let mut compared = 0;
    for (name, config) in golden["configs"].as_object().expect("configs") {
        let model = load(config, cross);
        let vocab = model.config.vocab_size;
        for option in ["plain", "suppress", "timestamps"] {
            let cases: Vec<&Value> = cases.iter().filter(|c| c["config"] == **name && c["option"] == option).collect();
            let first = cases[0];
            let options = AsrOptions {
                beam_size: 1,
                temperatures: vec![0.0],
                without_timestamps: first["timestamps"] == false,
                max_initial_timestamp: count(&first["max_initial_timestamp_index"]) as f64 / 50.0,
                max_new_tokens: Some(count(&first["max_new_tokens"])),
                ..AsrOptions::default()
            };
            let suppressed =
                Suppressed { always: ids(&first["suppress_tokens"]), begin: ids(&first["begin_suppress_tokens"]) };
            let seeds: Vec<u64> = cases.iter().map(|case| count(&case["features_seed"]) as u64).collect();
            let prompt = prompt_of(&ids(&first["prompt"]), vocab);
            let searches = vec![Decode { prompt, temperature: 0.0, stream: [0, 0] }; seeds.len()];
            let found = decode(&model, &options, &suppressed, &seeds, &searches, ANY_BATCH);
            for (case, found) in cases.iter().zip(found) {
                let mut want = ids(&case["tokens"]);
                want.pop_if(|last| *last == special_tokens(vocab).eot);
                assert_eq!(found.tokens, want, "{name} {option} {} {cross:?}", case["features_seed"]);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, cases.len());
}

/// The options of a case of `beam.json`; `None` for cases that are deliberately different here.
fn beam_options(case: &Value, prompt: &Prompt) -> Option<(AsrOptions, Suppressed)> {
    let options = &case["options"];
    let number = |key: &str| options[key].as_f64().expect("a number");
    let most = count(&options["max_length"]);
    let limit = (most / 2).min(most + 1 - prompt.len);
    if limit <= prompt.prefix().len() {
        return None; // the limit leaves no token to decode, which prompts do not allow here
    }
    if number("length_penalty") == 0.0 && number("num_hypotheses") > 1.0 {
        return None; // CTranslate2 continues the search for further hypotheses; here only the best one is returned
    }
    let options = AsrOptions {
        beam_size: count(&options["beam_size"]),
        patience: number("patience"),
        length_penalty: number("length_penalty"),
        repetition_penalty: number("repetition_penalty"),
        no_repeat_ngram_size: count(&options["no_repeat_ngram_size"]),
        temperatures: vec![0.0],
        max_initial_timestamp: number("max_initial_timestamp_index") / 50.0,
        max_new_tokens: Some(limit),
        ..AsrOptions::default()
    };
    let lists = &case["options"];
    let suppressed = Suppressed { always: ids(&lists["suppress_tokens"]), begin: ids(&lists["begin_suppress_tokens"]) };
    Some((options, suppressed))
}

#[test]
fn beam_matches_ctranslate2() {
    CROSS.into_iter().for_each(beam_matches);
}

fn beam_matches(cross: CrossCacheType) {
    let golden = common::json("whisper/beam.json");
    let models: HashMap<&str, Whisper<Cpu>> = golden["configs"]
        .as_object()
        .expect("configs")
        .iter()
        .map(|(name, config)| (&name[..], load(config, cross)))
        .collect();
    let (mut compared, mut left_out) = (0, 0);
    for case in golden["cases"].as_array().expect("cases") {
        let name = case["config"].as_str().expect("a name");
        let model = &models[name];
        let prompt = prompt_of(&ids(&case["prompt"]), model.config.vocab_size);
        let Some((mut options, suppressed)) = beam_options(case, &prompt) else {
            left_out += 1;
            continue;
        };
        let last = prompt.tokens[prompt.len - 1];
        options.without_timestamps = last == special_tokens(model.config.vocab_size).no_timestamps;
        let results = case["results"].as_array().expect("results");
        let seeds: Vec<u64> = results.iter().map(|result| count(&result["features_seed"]) as u64).collect();
        let searches = vec![Decode { prompt, temperature: 0.0, stream: [0, 0] }; seeds.len()];
        let found = decode(model, &options, &suppressed, &seeds, &searches, ANY_BATCH);
        for (found, want) in found.iter().zip(results) {
            let what =
                format!("{name} | {cross:?} | {} | {} | {}", case["kind"], case["options"], want["features_seed"]);
            assert_eq!(found.tokens, ids(&want["sequences"][0]), "{what}");
            if let Some(score) = want["scores"][0].as_f64() {
                let got = f64::from(found.sum) / (found.tokens.len() as f64).powf(options.length_penalty);
                assert!((got - score).abs() <= 1e-3 * score.abs().max(1.0), "{what}: score {got}, want {score}");
            }
            let (got, want) = (found.no_speech_prob.expect("a probability"), want["no_speech_prob"].as_f64().unwrap());
            assert!((got / want).ln().abs() <= 1e-3, "{what}: no-speech {got}, want {want}");
            compared += 1;
        }
    }
    assert_eq!((compared, left_out), (201, 5));
}

#[test]
#[ignore = "needs ../shared"]
fn needs_shared_languages_match_ctranslate2() {
    let tokenizer = common::tokenizer::published(51865);
    let golden = common::json("whisper/beam.json");
    let config = "multilingual-64";
    let model = load(&golden["configs"][config], CrossCacheType::Auto);
    let options = AsrOptions { temperatures: vec![0.0], ..AsrOptions::default() };
    let slots = Slots::new(&model, tokenizer.special, &options, &Suppressed::default(), 1).unwrap();
    let mut scheduler = Scheduler::new(&model, slots, &options, tokenizer.special.sot).unwrap();
    for case in golden["languages"].as_array().expect("languages").iter().filter(|case| case["config"] == config) {
        let (clips, ranges) = clips(&model, &[count(&case["features_seed"]) as u64]);
        let logits = scheduler.logits_at_start(&clips, ranges[0].clone()).unwrap();
        let ranked = language::rank(&tokenizer, &logits);
        assert_eq!(ranked.len(), count(&case["languages"]));
        for (got, want) in ranked.iter().zip(case["best"].as_array().expect("languages")) {
            assert_eq!(got.code, want[0].as_str().expect("a code"));
            let want = want[1].as_f64().expect("a probability");
            assert!((got.probability / want).ln().abs() <= 1e-3, "{}: {}, want {want}", got.code, got.probability);
        }
    }
}

/// Searches with prompts of different lengths, with and without forced prefixes, by beam search and by sampling.
fn mixed(model: &Whisper<Cpu>) -> (AsrOptions, Vec<u64>, Vec<Decode>) {
    let special = special_tokens(model.config.vocab_size);
    let options = AsrOptions {
        beam_size: 3,
        best_of: 4,
        temperatures: vec![0.0, 0.8],
        max_new_tokens: Some(24),
        seed: 5,
        ..AsrOptions::default()
    };
    let seeds: Vec<u64> = (500..508).collect();
    let searches = (0..seeds.len())
        .map(|i| {
            let mut tokens = Vec::new();
            if i % 3 > 0 {
                tokens.push(special.sot_prev.unwrap());
                tokens.extend((0..5 * i as u32).map(|k| 440 + k));
            }
            tokens.extend([special.sot, special.no_timestamps]);
            tokens.extend((0..i as u32 % 2 * 3).map(|k| 300 + k));
            let temperature = if i % 4 < 2 { 0.0 } else { 0.8 };
            Decode { prompt: prompt_of(&tokens, model.config.vocab_size), temperature, stream: [i as u32, 1] }
        })
        .collect();
    (options, seeds, searches)
}

/// A random checkpoint whose transcripts end after different numbers of tokens.
fn small_model(cross: CrossCacheType) -> Whisper<Cpu> {
    let mut config = common::json("whisper/greedy.json")["configs"]["english-64"].clone();
    config["weights"]["eot_gain"] = 3.0.into();
    load(&config, cross)
}

#[test]
fn results_do_not_depend_on_the_batch() {
    CROSS.into_iter().for_each(check_independence_of_the_batch);
}

fn check_independence_of_the_batch(cross: CrossCacheType) {
    let model = small_model(cross);
    let (options, seeds, searches) = mixed(&model);
    let suppressed = Suppressed { always: vec![1, 2, 7], begin: vec![220, 50256] };
    let run = |batch| decode(&model, &options, &suppressed, &seeds, &searches, batch);
    let alone = run(Batch { slots: 1, backwards: false, steps_per_readback: 1 });
    let lengths: Vec<usize> = alone.iter().map(|found| found.tokens.len()).collect();
    assert!(
        lengths.iter().any(|len| *len != lengths[0]),
        "all have the same length, so slots are never refilled: {lengths:?}"
    );
    for (slots, backwards, steps_per_readback) in
        [(3, false, 1), (3, true, 1), (8, false, 1), (8, true, 5), (2, true, 7)]
    {
        let found = run(Batch { slots, backwards, steps_per_readback });
        for (i, (found, alone)) in found.iter().zip(&alone).enumerate() {
            assert_eq!(found, alone, "clip {i} in {slots} slots, backwards {backwards}");
            assert_eq!(found.sum.to_bits(), alone.sum.to_bits());
        }
    }
}

#[test]
fn samples_depend_on_seed_and_stream_only() {
    let model = small_model(CrossCacheType::Auto);
    let (options, seeds, searches) = mixed(&model);
    let hot: Vec<Decode> = searches.iter().map(|search| Decode { temperature: 1.0, ..search.clone() }).collect();
    let none = Suppressed::default();
    let first = decode(&model, &options, &none, &seeds, &hot, ANY_BATCH);
    assert_eq!(first, decode(&model, &options, &none, &seeds, &hot, ANY_BATCH));
    let other = AsrOptions { seed: 6, ..options.clone() };
    assert_ne!(first, decode(&model, &other, &none, &seeds, &hot, ANY_BATCH));
    // The same audio and prompt with different streams.
    let streams: Vec<Decode> = (0..3).map(|i| Decode { stream: [i, 0], ..hot[0].clone() }).collect();
    let found = decode(&model, &options, &none, &[500; 3], &streams, ANY_BATCH);
    assert!(found[0] != found[1] || found[1] != found[2]);
}

#[test]
fn more_samples_are_never_worse() {
    let model = small_model(CrossCacheType::Auto);
    let (options, seeds, searches) = mixed(&model);
    let hot: Vec<Decode> = searches.iter().map(|search| Decode { temperature: 1.0, ..search.clone() }).collect();
    let score = |found: &Decoded| f64::from(found.sum) / found.tokens.len() as f64;
    let best_of = |n| {
        let options = AsrOptions { best_of: n, ..options.clone() };
        decode(&model, &options, &Suppressed::default(), &seeds, &hot, ANY_BATCH)
    };
    let (one, four) = (best_of(1), best_of(4));
    assert!(one.iter().zip(&four).all(|(one, four)| score(four) >= score(one)), "sample 0 is among the four");
    assert_ne!(one, four);
}

#[test]
fn limits_and_forced_prefixes_are_respected() {
    let model = small_model(CrossCacheType::Auto);
    let (options, seeds, searches) = mixed(&model);
    for most in [1, 4, 24] {
        let options = AsrOptions { max_new_tokens: Some(most), ..options.clone() };
        let found = decode(&model, &options, &Suppressed::default(), &seeds, &searches, ANY_BATCH);
        for (found, search) in found.iter().zip(&searches) {
            let prefix = search.prompt.prefix();
            assert!(found.tokens.starts_with(prefix));
            assert!(found.tokens.len() <= most.max(prefix.len() + 1));
            assert!(found.sum < 0.0 && found.no_speech_prob.is_some_and(|p| (0.0..=1.0).contains(&p)));
        }
    }
}

#[test]
fn cancellation_ends_decoding() {
    let model = small_model(CrossCacheType::Auto);
    let (options, seeds, searches) = mixed(&model);
    let special = special_tokens(model.config.vocab_size);
    let slots = Slots::new(&model, special, &options, &Suppressed::default(), 2).unwrap();
    let mut scheduler = Scheduler::new(&model, slots, &options, special.sot).unwrap();
    let (clips, ranges) = clips(&model, &seeds);
    let order = (0..seeds.len()).collect();
    let mut script = Script { ranges, searches, order, found: vec![None; seeds.len()], cancel_after: 3 };
    assert!(matches!(scheduler.run(&clips, &mut script), Err(Error::Cancelled)));
    let finished = script.found.iter().flatten().count();
    assert!((3..=4).contains(&finished), "{finished}");
}

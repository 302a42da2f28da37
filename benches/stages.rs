//! Benchmarks of the stages of transcription, with the built-in model on the built-in conversation.
//!
//! `cargo bench --bench stages` reports time, and seconds of audio per second as elements. Silero is measured only if
//! `silero_vad.onnx` is in `$DIARIST_SHARED/models/silero` (default `../shared`). The built-in network is tiny; for the
//! speed of published models see `benches/peers/` and `benches/ops.rs`.

#![allow(missing_docs)] // criterion's macro generates an undocumented function

use std::path::{Path, PathBuf};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use diarist::assets::SAMPLE;
use diarist::audio::{DecodeOptions, decode_bytes, ignore_progress};
use diarist::config::Options;
use diarist::engine::cpu::Cpu;
use diarist::engine::prelude::*;
use diarist::engine::{StepRows, Tensor, ops};
use diarist::pipeline::{Input, Pipeline};
use diarist::units::{MelFrame, SAMPLE_RATE};
use diarist::vad::{Detector, VadMethod, VadOptions};

/// The conversation, 16 kHz mono.
fn conversation() -> Vec<f32> {
    decode_bytes(SAMPLE, "conversation.flac", &DecodeOptions::default(), ignore_progress).expect("the sample").samples
}

fn pipeline() -> Pipeline<Cpu> {
    Pipeline::builtin(&Cpu::new(None).expect("threads start"), Detector::Energy).expect("the built-in model")
}

/// A group whose throughput is in seconds of audio.
fn group<'a>(c: &'a mut Criterion, name: &str, samples: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements((samples / SAMPLE_RATE) as u64));
    group
}

fn audio(c: &mut Criterion) {
    let options = DecodeOptions::default();
    let mut group = group(c, "audio", conversation().len());
    group.bench_function("flac", |b| b.iter(|| decode_bytes(SAMPLE, "conversation.flac", &options, ignore_progress)));
}

fn vad(c: &mut Criterion) {
    let (samples, cpu) = (conversation(), Cpu::new(None).expect("threads"));
    let shared = std::env::var_os("DIARIST_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let network = shared.join("models/silero/silero_vad.onnx");
    let mut group = group(c, "vad", samples.len());
    for method in [VadMethod::Energy, VadMethod::Silero] {
        // Silero is skipped without its file.
        let Ok(detector) = Detector::load(&cpu, method, &network) else { continue };
        group.bench_function(method.to_string(), |b| b.iter(|| detector.chunks(&samples, &VadOptions::default())));
    }
}

/// The conversation, padded or cut to one Whisper window: `[1, S]`.
fn window(pipeline: &Pipeline<Cpu>) -> Tensor<Cpu> {
    let mut samples = conversation();
    samples.resize(pipeline.recognizer.whisper.config.window_samples(), 0.0);
    Tensor::from_host(&pipeline.recognizer.whisper.be, &[1, samples.len()], &samples).expect("the values fit the shape")
}

fn features(c: &mut Criterion) {
    let pipeline = pipeline();
    let (be, audio, mels) =
        (&pipeline.recognizer.whisper.be, window(&pipeline), pipeline.recognizer.whisper.config.num_mel_bins);
    let plan = be.mel_plan(mels).expect("bands");
    let mut mel = Tensor::zeros(be, &[1, audio.len() / MelFrame::SAMPLES, mels]).expect("memory");
    let mut group = group(c, "log_mel", audio.len());
    group.bench_function("one window", |b| b.iter(|| ops::log_mel(be, &mut mel, &audio, &plan)));
}

fn encoder(c: &mut Criterion) {
    let pipeline = pipeline();
    let (model, audio) = (&pipeline.recognizer.whisper, window(&pipeline));
    let mut scratch = model.encoder_scratch(1).expect("memory");
    model.encode(&mut scratch, &audio).expect("a window");
    let mut group = group(c, "encoder", audio.len());
    // `encode` above has computed the spectrogram.
    group.bench_function("one window", |b| b.iter(|| model.encode_mel(&mut scratch, 1)));
}

/// One decode step, decoder and logits, for each of `slots` chunks at position 20.
fn decode_step(c: &mut Criterion) {
    const POSITION: i32 = 20;
    let pipeline = pipeline();
    let (model, be) = (&pipeline.recognizer.whisper, &pipeline.recognizer.whisper.be);
    let mut encoded = model.encoder_scratch(1).expect("memory");
    model.encode(&mut encoded, &window(&pipeline)).expect("a window");
    let positions = model.config.max_target_positions;
    let mut group = c.benchmark_group("decode_step");
    for slots in [1, 8] {
        let mut caches = model.caches(slots, 1, model.cross_kind(1)).expect("memory");
        for slot in 0..slots {
            model.fill_slots(&mut caches, &[slot], &mut encoded).expect("the slot exists");
        }
        let own: Vec<i32> = (0..slots * positions).map(|i| (i / positions) as i32).collect();
        let lineage = Tensor::from_host(be, &[slots, positions], &own).expect("the values fit");
        let mut rows = StepRows::zeros(be, slots).expect("memory");
        be.write(&mut rows.row.buf, 0, &(0..slots as i32).collect::<Vec<_>>()).expect("the values fit");
        be.write(&mut rows.position.buf, 0, &vec![POSITION; slots]).expect("the values fit");
        let mut scratch = model.decoder_scratch(slots, model.cross_kind(1)).expect("memory");
        let mut logits = Tensor::zeros(be, &[slots, model.config.vocab_size]).expect("memory");
        group.throughput(Throughput::Elements(slots as u64));
        group.bench_function(format!("{slots} slots"), |b| {
            b.iter(|| {
                model.decode(&mut scratch, &mut caches, &rows, &lineage)?;
                model.logits(&mut logits, &scratch.hidden)
            });
        });
    }
}

fn whole(c: &mut Criterion) {
    let (pipeline, options) = (pipeline(), Options::default());
    let mut group = group(c, "pipeline", conversation().len());
    group.sample_size(10);
    group.bench_function("conversation", |b| {
        b.iter(|| pipeline.transcribe(Input::Bytes(SAMPLE, "conversation.flac"), &options, &mut ()));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(2));
    targets = audio, vad, features, encoder, decode_step, whole
}
criterion_main!(benches);

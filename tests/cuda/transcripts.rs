//! Transcription of whole recordings on the CUDA backend, and its memory use.

use std::ops::ControlFlow;

use diarist::align::AlignOptions;
use diarist::asr::memory::Plan;
use diarist::asr::{self, Chunks};
use diarist::assets::SAMPLE;
use diarist::audio;
use diarist::config::Options;
use diarist::engine::CrossKind;
use diarist::engine::cpu::Cpu;
use diarist::engine::cuda::{self, Cuda};
use diarist::engine::prelude::*;
use diarist::pipeline::{Input, Pipeline, WordTimes};
use diarist::types::Segment;
use diarist::units::Seconds;
use diarist::vad::Detector;

use crate::cases::{Bf16, F16, open};
use crate::driver::{Machine, machine};

pub fn options(beam_size: usize) -> Options {
    let mut options = Options::default();
    options.vad.chunk_size = Seconds(5.0);
    options.asr.beam_size = beam_size;
    options.asr.language = Some("en".into());
    options
}

/// The first half of the built-in sample, for speed; it still has more chunks than three slots.
pub fn first_half() -> Vec<f32> {
    let read = audio::decode_bytes(SAMPLE, "sample", &audio::DecodeOptions::default(), |_| ControlFlow::Continue(()));
    let mut samples = read.unwrap().samples;
    samples.truncate(samples.len() / 2);
    samples
}

/// The text and times of the built-in sample.
pub fn transcribe<B: Backend>(be: &B, options: &Options) -> Result<Vec<String>, diarist::Error> {
    texts(&Pipeline::builtin(be, Detector::Energy)?, Input::Bytes(SAMPLE, "sample"), options)
}

fn texts<B: Backend>(pipeline: &Pipeline<B>, input: Input, options: &Options) -> Result<Vec<String>, diarist::Error> {
    let transcript = pipeline.transcribe(input, options, &mut ())?;
    Ok(transcript.segments.iter().map(|s| format!("{:.2} {:.2} {}", s.start.0, s.end.0, s.text)).collect())
}

#[test]
#[ignore = "needs a C++ compiler"]
fn the_sample_transcribes_as_on_the_cpu() {
    let _machine = machine();
    for beam_size in [1, 5] {
        let options = options(beam_size);
        let want = transcribe(&Cpu::new(None).unwrap(), &options).unwrap();
        assert!(want.len() >= 4, "{want:?}");
        assert_eq!(transcribe(&open(F16), &options).unwrap(), want, "f16, beam {beam_size}");
        let absorbed = open(F16).with_cross_cache(cuda::CrossCacheType::Absorbed);
        assert_eq!(transcribe(&absorbed, &options).unwrap(), want, "f16, absorbed, beam {beam_size}");
    }
    let options = options(1);
    let want = transcribe(&Cpu::new(None).unwrap(), &options).unwrap();
    let compact: Cuda = open(F16);
    let compact = compact.with_cross_cache(cuda::CrossCacheType::Int8);
    assert_eq!(transcribe(&compact, &options).unwrap().len(), want.len(), "int8 cross cache");
    assert_eq!(transcribe(&open(Bf16), &options).unwrap().len(), want.len(), "bf16");
}

/// The text does not depend on the number of chunks decoded at once, nor on when the second stream runs.
#[test]
#[ignore = "needs a C++ compiler"]
fn text_does_not_depend_on_the_batch() {
    let machine = machine();
    let samples = first_half();
    for kind in [cuda::CrossCacheType::Activation, cuda::CrossCacheType::Absorbed] {
        let pipeline = Pipeline::builtin(&open(F16).with_cross_cache(kind), Detector::Energy).unwrap();
        let of = |batch_size: usize| {
            let mut options = options(2);
            options.asr.batch_size = batch_size;
            texts(&pipeline, Input::Samples(&samples), &options).unwrap()
        };
        let want = of(1);
        assert!(want.len() > 3, "more chunks than slots: {want:?}");
        for batch_size in [3, 8] {
            for hasty in [0, 1] {
                machine.call("emulator_set_hasty", hasty);
                assert_eq!(of(batch_size), want, "{kind:?}, batch {batch_size}, hasty {hasty}");
            }
        }
        machine.call("emulator_set_hasty", 0);
    }
}

/// Between the first chunk and the last the host never lets the device run out of work, whatever the number of steps,
/// readbacks and refilled slots. The emulator counts the calls that do.
#[test]
#[ignore = "needs a C++ compiler"]
fn the_device_never_waits_for_the_host() {
    let machine = machine();
    if !machine.is_emulated() {
        return;
    }
    struct Count<'a>(&'a Machine, Vec<u64>);
    impl asr::Observer for Count<'_> {
        fn chunk(&mut self, _: &[Segment], _: f64) {
            self.1.push(self.0.count("emulator_standstills"));
        }
    }
    let pipeline = Pipeline::builtin(&open(F16), Detector::Energy).unwrap();
    for (batch_size, beam_size) in [(1, 1), (2, 3)] {
        let mut options = options(beam_size);
        options.asr.batch_size = batch_size;
        let mut seen = Count(&machine, Vec::new());
        // On this thread, so that the count is that of the moment at which a chunk finishes.
        let audio = audio::decode_bytes(SAMPLE, "sample", &options.audio, |_| ControlFlow::Continue(())).unwrap();
        let chunks = Detector::Energy.chunks(&audio.samples, &options.vad).unwrap();
        let (model, tokenizer, chunks) =
            (&pipeline.recognizer.whisper, &pipeline.recognizer.tokenizer, Chunks::Speech(&chunks));
        asr::transcribe(model, tokenizer, &audio.samples, chunks, &options.asr, &mut seen).unwrap();
        assert!(seen.1.len() >= 4, "{:?}", seen.1);
        assert!(seen.1.iter().all(|count| *count == seen.1[0]), "batch {batch_size}: {:?}", seen.1);
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn memory_does_not_grow_from_file_to_file() {
    let machine = machine();
    let be = open(F16);
    let pipeline = Pipeline::builtin(&be, Detector::Energy).unwrap();
    let (mut seen, samples) = (Vec::new(), first_half());
    for _ in 0..3 {
        pipeline.transcribe(Input::Samples(&samples), &options(1), &mut ()).unwrap();
        seen.push((be.memory_use().used, machine.allocated()));
    }
    assert_eq!(seen[1], seen[2]);
    drop(pipeline);
    drop(be);
    assert_eq!(machine.allocated(), 0, "memory that nobody gave back");
}

/// The estimated memory is never less than decoding takes, and not much more.
#[test]
#[ignore = "needs a C++ compiler"]
fn memory_is_planned_before_it_is_taken() {
    let _machine = machine();
    let samples = first_half();
    for kind in [cuda::CrossCacheType::Activation, cuda::CrossCacheType::Absorbed] {
        for (batch_size, beam_size, language, word_timestamps) in
            [(8, 5, Some("en"), false), (1, 1, Some("en"), true), (3, 2, None, false), (4, 1, None, true)]
        {
            let be = open(F16).with_cross_cache(kind);
            let pipeline = Pipeline::builtin(&be, Detector::Energy).unwrap();
            let loaded = be.memory_use().used;
            let mut options = options(beam_size);
            options.asr.batch_size = batch_size;
            options.asr.language = language.map(Into::into);
            options.asr.word_timestamps = word_timestamps;
            let chunks = pipeline.transcribe(Input::Samples(&samples), &options, &mut ()).unwrap().segments.len();
            let taken = be.memory_use().peak - loaded;
            let slots = options.asr.batch_size.min(chunks);
            let cross = pipeline.recognizer.whisper.cross_kind(beam_size);
            let plan =
                Plan::new(&pipeline.recognizer.whisper.config, &options.asr, slots, 2, be.encoder_batch(), cross)
                    .total();
            assert!(taken <= plan, "{kind:?}, batch {batch_size}: {taken} bytes were taken, {plan} planned");
            assert!(
                plan <= taken + taken / 4,
                "{kind:?}, batch {batch_size}: {taken} bytes were taken, {plan} planned"
            );
        }
    }
}

/// Without voice activity detection: consecutive windows over the whole recording.
#[test]
#[ignore = "needs a C++ compiler"]
fn sequential_windows_transcribe_as_on_the_cpu() {
    let machine = machine();
    fn windows<B: Backend>(be: &B) -> Vec<String> {
        let mut options = options(1);
        options.asr.temperatures = vec![0.0];
        let pipeline = Pipeline::builtin(be, Detector::None).unwrap();
        let input = Input::Bytes(diarist::assets::SAMPLE, "sample");
        let transcript = pipeline.transcribe(input, &options, &mut ()).unwrap();
        transcript.segments.iter().map(|s| format!("{:.2} {:.2} {}", s.start.0, s.end.0, s.text)).collect()
    }
    let want = windows(&Cpu::new(None).unwrap());
    assert!(want.len() >= 3, "{want:?}");
    for hasty in [0, 1] {
        machine.call("emulator_set_hasty", hasty);
        assert_eq!(windows(&open(F16)), want, "hasty {hasty}");
    }
    machine.call("emulator_set_hasty", 0);
}

/// With memory for two chunks at once instead of seven, the text is the same.
#[test]
#[ignore = "needs a C++ compiler"]
fn a_smaller_batch_fits_less_memory() {
    let _machine = machine();
    let be = open(F16);
    let want = transcribe(&be, &options(1)).unwrap();
    let config = Pipeline::builtin(&be, Detector::Energy).unwrap();
    let weights = be.memory_use().used;
    let two =
        Plan::new(&config.recognizer.whisper.config, &options(1).asr, 2, 2, be.encoder_batch(), CrossKind::Projected)
            .total();
    let small = Cuda::new(0, F16, Some(weights + two)).unwrap();
    assert_eq!(transcribe(&small, &options(1)).unwrap(), want);
    assert!(small.memory_use().peak <= weights + two);
}

#[test]
#[ignore = "needs a C++ compiler"]
fn a_memory_limit_is_kept() {
    let _machine = machine();
    let be = Cuda::new(0, F16, Some(1 << 20)).unwrap();
    let error = transcribe(&be, &options(1)).expect_err("a megabyte is too little").to_string();
    assert!(error.contains("memory"), "{error}");
}

/// Concurrent callers with different options each get the text that they would get alone, whenever the second stream
/// runs.
#[test]
#[ignore = "needs a C++ compiler"]
fn concurrent_callers_get_the_text_they_get_alone() {
    let machine = machine();
    let pipeline = Pipeline::builtin(&open(F16), Detector::Energy).unwrap();
    let of = |i: usize| {
        let mut options = options(2);
        options.asr.batch_size = 3;
        options.asr.max_new_tokens = Some(4 + i);
        options.asr.language = (i != 1).then(|| "en".into());
        options.words = if i == 2 { WordTimes::Aligned(AlignOptions::default()) } else { WordTimes::None };
        options
    };
    let samples = first_half();
    let run = |i: usize| pipeline.transcribe(Input::Samples(&samples), &of(i), &mut ()).unwrap();
    let want: Vec<_> = (0..4).map(run).collect();
    assert!(want[0].segments.len() > 3, "more chunks than slots");
    for hasty in [0, 1] {
        machine.call("emulator_set_hasty", hasty);
        let run = &run;
        std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4).map(|i| scope.spawn(move || run(i))).collect();
            for (caller, want) in callers.into_iter().zip(&want) {
                assert_eq!(caller.join().unwrap(), *want, "hasty {hasty}");
            }
        });
    }
    machine.call("emulator_set_hasty", 0);
}

//! Whole recordings through the CUDA engine, and what happens when the device fails.

use diarist::asr::memory::Plan;
use diarist::config::Options;
use diarist::engine::Backend;
use diarist::engine::cpu::Cpu;
use diarist::engine::cuda::{self, Cuda};
use diarist::pipeline::{Input, Pipeline};
use diarist::units::Seconds;
use diarist::vad::Detector;
use half::{bf16, f16};

use crate::cases::open;
use crate::driver::machine;

pub fn options(beam_size: usize) -> Options {
    let mut options = Options::default();
    options.vad.chunk_size = Seconds(5.0);
    options.asr.beam_size = beam_size;
    options.asr.language = Some("en".into());
    options
}

/// The text and times of the built-in sample.
pub fn transcribe<B: Backend>(be: &B, options: &Options) -> Result<Vec<String>, diarist::Error> {
    let pipeline = Pipeline::builtin(be, Detector::Energy)?;
    let input = Input::Bytes(diarist::assets::SAMPLE, "sample");
    let transcript = pipeline.transcribe(input, options, &mut ())?;
    Ok(transcript.segments.iter().map(|s| format!("{:.2} {:.2} {}", s.start.0, s.end.0, s.text)).collect())
}

#[test]
fn the_sample_reads_as_on_the_cpu() {
    let Some(_machine) = machine() else { return };
    for beam_size in [1, 5] {
        let options = options(beam_size);
        let want = transcribe(&Cpu::new(None).unwrap(), &options).unwrap();
        assert!(want.len() >= 4, "{want:?}");
        assert_eq!(transcribe(&open::<f16>(), &options).unwrap(), want, "f16, beam {beam_size}");
    }
    let options = options(1);
    let want = transcribe(&Cpu::new(None).unwrap(), &options).unwrap();
    let compact: Cuda<f16> = open();
    let compact = compact.with_cross_cache(cuda::CrossCacheType::Int8);
    assert_eq!(transcribe(&compact, &options).unwrap().len(), want.len(), "int8 cross cache");
    assert_eq!(transcribe(&open::<bf16>(), &options).unwrap().len(), want.len(), "bf16");
}

#[test]
fn the_batch_changes_nothing() {
    let Some(_machine) = machine() else { return };
    let be = open::<f16>();
    let of = |batch_size: usize| {
        let mut options = options(2);
        options.asr.batch_size = batch_size;
        transcribe(&be, &options).unwrap()
    };
    let want = of(1);
    for batch_size in [3, 8] {
        assert_eq!(of(batch_size), want, "batch {batch_size}");
    }
}

#[test]
fn nothing_grows_from_file_to_file() {
    let Some(machine) = machine() else { return };
    let be = open::<f16>();
    let pipeline = Pipeline::builtin(&be, Detector::Energy).unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let input = Input::Bytes(diarist::assets::SAMPLE, "sample");
        pipeline.transcribe(input, &options(1), &mut ()).unwrap();
        seen.push((be.memory_use().used, machine.allocated()));
    }
    assert_eq!(seen[1], seen[2]);
    drop(pipeline);
    drop(be);
    assert_eq!(machine.allocated(), 0, "memory that nobody gave back");
}

/// Every launch and every allocation may be the one that fails: an error that says so, no hang, no leak, and the next device
/// is as good as new.
#[test]
fn a_failing_device_is_an_error() {
    let Some(machine) = machine() else { return };
    if !machine.is_emulated() {
        return;
    }
    const LAUNCH_FAILED: i32 = 719;
    const OUT_OF_MEMORY: i32 = 2;
    for (kind, code, text) in [("launch", LAUNCH_FAILED, "code 719"), ("alloc", OUT_OF_MEMORY, "out of device memory")]
    {
        for n in [1, 2, 40, 90] {
            machine.fail_after(kind, n, code);
            let result = Cuda::<f16>::new(0, None).and_then(|be| transcribe(&be, &options(1)));
            machine.call("emulator_clear_error", 0);
            let error = result.expect_err("a failure that nobody noticed").to_string();
            assert!(error.contains(text), "{kind} {n}: {error}");
            assert_eq!(machine.allocated(), 0, "{kind} {n}: memory that nobody gave back");
        }
    }
    assert!(transcribe(&open::<f16>(), &options(1)).is_ok());
}

#[test]
fn a_device_that_is_not_there_is_named() {
    let Some(_machine) = machine() else { return };
    let error = Cuda::<f16>::new(99, None).map(|_| ()).expect_err("no hundred cards").to_string();
    assert!(error.contains("99"), "{error}");
}

/// The plan made before decoding against what decoding took: never less, and not much more.
#[test]
fn memory_is_planned_before_it_is_taken() {
    let Some(_machine) = machine() else { return };
    let be = open::<f16>();
    let pipeline = Pipeline::builtin(&be, Detector::Energy).unwrap();
    let loaded = be.memory_use().used;
    let options = options(5);
    let input = Input::Bytes(diarist::assets::SAMPLE, "sample");
    let chunks = pipeline.transcribe(input, &options, &mut ()).unwrap().segments.len();
    let taken = be.memory_use().peak - loaded;
    let slots = options.asr.batch_size.min(chunks);
    let plan = Plan::new(&pipeline.whisper.config, &options.asr, slots, 2, be.encoder_batch()).total();
    assert!(taken <= plan, "{taken} bytes were taken, {plan} planned");
    assert!(plan <= taken + taken / 4, "{taken} bytes were taken, {plan} planned");
}

/// With room for two chunks at once instead of seven, the text is the same.
#[test]
fn a_smaller_batch_fits_less_memory() {
    let Some(_machine) = machine() else { return };
    let be = open::<f16>();
    let want = transcribe(&be, &options(1)).unwrap();
    let config = Pipeline::builtin(&be, Detector::Energy).unwrap();
    let weights = be.memory_use().used;
    let two = Plan::new(&config.whisper.config, &options(1).asr, 2, 2, be.encoder_batch()).total();
    let small = Cuda::<f16>::new(0, Some(weights + two)).unwrap();
    assert_eq!(transcribe(&small, &options(1)).unwrap(), want);
    assert!(small.memory_use().peak <= weights + two);
}

#[test]
fn a_memory_limit_is_kept() {
    let Some(_machine) = machine() else { return };
    let be = Cuda::<f16>::new(0, Some(1 << 20)).unwrap();
    let error = transcribe(&be, &options(1)).expect_err("a megabyte is too little").to_string();
    assert!(error.contains("memory"), "{error}");
}

//! Device failures: an error that names the cause, finished results kept, no deadlock, no leak, and a device that works
//! when it is opened again.

use diarist::asr::memory::Plan;
use diarist::engine::CrossKind;
use diarist::engine::cuda::Cuda;
use diarist::engine::prelude::*;
use diarist::pipeline::{Input, Observer, Pipeline};
use diarist::types::Segment;
use diarist::vad::Detector;
use diarist::{Error, Result};

use crate::cases::{F16, open};
use crate::driver::{Machine, machine};
use crate::transcripts::{options, transcribe};

const OUT_OF_MEMORY: i32 = 2;
const ECC_UNCORRECTABLE: i32 = 214;
const LAUNCH_FAILED: i32 = 719;

/// The error of a transcription of the sample in which the `n`-th call of a kind fails; the device is opened anew.
fn failing(machine: &Machine, kind: &str, n: u64, code: i32, work: impl FnOnce() -> Result<()>) -> Error {
    machine.fail_after(kind, n, code);
    let result = work();
    machine.call("emulator_clear_error", 0);
    let error = result.err().unwrap_or_else(|| panic!("{kind} {n}: a failure that nobody noticed"));
    assert_eq!(machine.allocated(), 0, "{kind} {n}: memory that nobody gave back");
    assert_eq!(machine.count("emulator_host_allocations"), 0, "{kind} {n}: page-locked memory that nobody gave back");
    error
}

/// Every launch, allocation and copy may fail, when it is queued or when it is executed, early and late.
#[test]
#[ignore = "needs a C++ compiler"]
fn a_failing_device_is_an_error() {
    let machine = machine();
    if !machine.is_emulated() {
        return;
    }
    let work = || Cuda::new(0, F16, None).and_then(|be| transcribe(&be, &options(1)).map(|_| ()));
    machine.call("emulator_reset_counts", 0);
    work().unwrap();
    let [launches, allocations] =
        ["emulator_launch_count", "emulator_allocation_count"].map(|name| machine.count(name));
    assert!(launches > 500 && allocations > 100, "{launches} launches, {allocations} allocations");
    let late = |count: u64| [1, 2, count / 3, count * 3 / 4];
    let copies = [1, 2, 50, 150];
    // A launch that fails during graph capture runs again without a graph, so only early failures are errors.
    for (kind, times, code, text) in [
        ("launch", [1, 2, 40, 90], LAUNCH_FAILED, "code 719"),
        ("alloc", late(allocations), OUT_OF_MEMORY, "out of device memory"),
        ("copy", copies, LAUNCH_FAILED, "code 719"),
        ("execution", late(launches), ECC_UNCORRECTABLE, "code 214"),
    ] {
        for n in times {
            let error = failing(&machine, kind, n, code, work).to_string();
            assert!(error.contains(text), "{kind} {n}: {error}");
        }
    }
    assert!(transcribe(&open(F16), &options(1)).is_ok());
}

/// Collects the reported segments.
#[derive(Default)]
struct Kept(Vec<Segment>);

impl Observer for Kept {
    fn segments(&mut self, segments: &[Segment]) {
        self.0.extend_from_slice(segments);
    }
}

/// If the device is lost during a transcription, the chunks that were finished before have been reported as usual.
#[test]
#[ignore = "needs a C++ compiler"]
fn segments_finished_before_a_failure_are_kept() {
    let machine = machine();
    if !machine.is_emulated() {
        return;
    }
    let mut options = options(1);
    options.asr.batch_size = 1;
    let work = |kept: &mut Kept| {
        let pipeline = Pipeline::builtin(&open(F16), Detector::Energy)?;
        let input = Input::Bytes(diarist::assets::SAMPLE, "sample");
        pipeline.transcribe(input, &options, kept).map(|_| ())
    };
    machine.call("emulator_reset_counts", 0);
    let mut whole = Kept::default();
    work(&mut whole).unwrap();
    let launches = machine.count("emulator_launch_count");
    let mut kept = Kept::default();
    let error = failing(&machine, "execution", launches * 3 / 4, LAUNCH_FAILED, || work(&mut kept)).to_string();
    assert!(error.starts_with("asr: ") && error.contains("DIARIST_SYNC=1 names the kernel"), "{error}");
    assert!(!kept.0.is_empty() && kept.0.len() < whole.0.len(), "{} of {} segments", kept.0.len(), whole.0.len());
    assert_eq!(kept.0, whole.0[..kept.0.len()]);
}

/// If the device is lost, all concurrent callers get the error, and so do later callers. A single failed launch or copy
/// is an error for at least one of them, and the device works again afterwards.
#[test]
#[ignore = "needs a C++ compiler"]
fn all_callers_get_the_error_of_a_failed_device() {
    let machine = machine();
    if !machine.is_emulated() {
        return;
    }
    let caller = |pipeline: &Pipeline<Cuda>| {
        let input = Input::Bytes(diarist::assets::SAMPLE, "sample");
        pipeline.transcribe(input, &options(1), &mut ()).map(|_| ())
    };
    for (kind, n, code, text) in [
        ("execution", 300, ECC_UNCORRECTABLE, "code 214"),
        ("launch", 1, LAUNCH_FAILED, "code 719"),
        ("copy", 20, LAUNCH_FAILED, "code 719"),
    ] {
        let pipeline = Pipeline::builtin(&open(F16), Detector::Energy).unwrap();
        machine.fail_after(kind, n, code);
        let heard: Vec<Result<()>> = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| caller(&pipeline))).collect();
            callers.into_iter().map(|caller| caller.join().expect("no panic")).collect()
        });
        let errors: Vec<String> = heard.into_iter().filter_map(|result| result.err()).map(|e| e.to_string()).collect();
        assert!(errors.iter().any(|error| error.starts_with("asr: ") && error.contains(text)), "{kind}: {errors:?}");
        // A single failure may affect only one batch of callers; a lost device stays lost.
        if kind == "execution" {
            assert_eq!(errors.len(), 4, "{errors:?}");
            assert!(caller(&pipeline).is_err());
        }
        machine.call("emulator_clear_error", 0);
        assert!(caller(&pipeline).is_ok(), "{kind}: the next one finds a device that works");
        drop(pipeline);
        assert_eq!(machine.allocated(), 0, "{kind}: memory that nobody gave back");
        assert_eq!(machine.count("emulator_host_allocations"), 0, "{kind}: page-locked memory");
    }
}

#[test]
#[ignore = "needs a C++ compiler"]
fn a_device_that_is_not_there_is_named() {
    let _machine = machine();
    let error = Cuda::new(99, F16, None).map(|_| ()).expect_err("no hundred cards").to_string();
    assert!(error.contains("99"), "{error}");
}

/// The weights fit but the caches of a single chunk do not: the error gives the bytes wanted, the bytes free, and the
/// purpose.
#[test]
#[ignore = "needs a C++ compiler"]
fn a_context_too_long_for_the_memory_is_refused() {
    let _machine = machine();
    let mut options = options(5);
    let (weights, config) = {
        let be = open(F16);
        let pipeline = Pipeline::builtin(&be, Detector::Energy).unwrap();
        (be.memory_use().used, pipeline.recognizer.whisper.config.clone())
    };
    let plan = |options: &diarist::config::Options| {
        Plan::new(&config, &options.asr, 1, size_of::<u16>(), open(F16).encoder_batch(), CrossKind::Projected).total()
    };
    let needed = plan(&options);
    let limited = |room: u64| Cuda::new(0, F16, Some(weights + room)).unwrap();
    match transcribe(&limited(needed - 1), &options).unwrap_err() {
        Error::Stage { stage: "asr", source } => match *source {
            Error::OutOfMemory { wanted, free, during } => {
                assert_eq!((wanted, free), (needed, needed - 1));
                assert!(during.contains("a single chunk") && during.contains("`beam_size`"), "{during}");
            }
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
    assert!(transcribe(&limited(needed), &options).is_ok());
    // More beams need larger caches.
    options.asr.beam_size = 64;
    assert!(plan(&options) > needed);
    assert!(transcribe(&limited(needed), &options).unwrap_err().to_string().contains("memory"));
}

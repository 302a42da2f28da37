//! NVTX ranges named after stages and ops, and the range of `cuProfilerStart` and `cuProfilerStop`.

use std::collections::BTreeMap;

use diarist::config::Options;
use diarist::engine::prelude::*;
use diarist::engine::{Tensor, ops};
use diarist::pipeline::{Input, Pipeline};
use diarist::units::Seconds;
use diarist::vad::Detector;

use crate::cases::{F16, act, ints, open, random};
use crate::driver::machine;

/// For each thread, the paths of its ranges (`asr/step/linear`) and how often each was opened.
///
/// Panics if a range is closed that is not open, or is left open.
fn paths(ranges: &[(String, String)]) -> BTreeMap<String, usize> {
    let mut open: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut seen = BTreeMap::new();
    for (thread, range) in ranges {
        let stack = open.entry(thread).or_default();
        match range.strip_prefix('+') {
            Some(name) => {
                stack.push(name);
                *seen.entry(stack.join("/")).or_insert(0) += 1;
            }
            None => assert!(stack.pop().is_some(), "a range was closed that is not open"),
        }
    }
    assert!(open.values().all(Vec::is_empty), "ranges that stay open: {open:?}");
    seen
}

#[test]
#[ignore = "needs a C++ compiler"]
fn ranges_are_named_like_stages_and_ops() {
    let machine = machine();
    if !machine.is_emulated() {
        return;
    }
    let be = open(F16);
    let pipeline = Pipeline::builtin(&be, Detector::Energy).unwrap();
    let mut options = Options::default();
    options.vad.chunk_size = Seconds(5.0);
    options.asr.beam_size = 2;
    options.asr.language = Some("en".into());
    machine.call("emulator_listen", 1);
    let input = Input::Bytes(diarist::assets::SAMPLE, "sample");
    pipeline.transcribe(input, &options, &mut ()).unwrap();
    machine.call("emulator_listen", 0);
    let seen = paths(&machine.ranges());
    let layers = pipeline.recognizer.whisper.config.decoder_layers;
    for (path, least) in [
        ("audio", 1),
        ("vad", 1),
        ("asr", 1),
        // On the thread that decodes for all callers.
        ("slots", 1),
        ("slots/encode/log_mel", 1),
        ("slots/encode/conv1d", 2),
        ("slots/encode/attention", layers),
        ("slots/fill_slots/cross_store", layers),
        ("slots/start/decode/embed", 1),
        ("slots/start/token_probability", 1),
        ("slots/step", 10),
        ("slots/step/decode/self_attention_step", layers),
        ("slots/step/decode/cross_attention_step", layers),
        ("slots/step/advance_search", 1),
        ("slots/look/pack_results", 5),
        ("slots/collect", 5),
    ] {
        let times = seen.get(path).copied().unwrap_or(0);
        assert!(times >= least, "{path}: {times} times; seen: {seen:#?}");
    }
    assert_eq!(["audio", "vad", "asr"].map(|stage| seen[stage]), [1, 1, 1]);
    // A step that is replayed as a graph has no ranges for its ops.
    assert!(seen["slots/step/advance_search"] < seen["slots/step"], "{seen:#?}");
}

/// An op that fails closes its range.
#[test]
#[ignore = "needs a C++ compiler"]
fn a_failed_op_closes_its_range() {
    let machine = machine();
    let be = open(F16);
    let x = act(&be, &[2, 8], &random(1, 16));
    let mut out = Tensor::zeros(&be, &[3, 8]).unwrap();
    machine.call("emulator_listen", 1);
    assert!(ops::gather_rows(&be, &mut out, &x, &ints(&be, &[0, 1])).is_err());
    be.fork(|| ops::add_positions(&be, &mut out, &Tensor::zeros(&be, &[3, 8])?)).map(|_| ()).unwrap_err();
    machine.call("emulator_listen", 0);
    if machine.is_emulated() {
        assert_eq!(paths(&machine.ranges()), BTreeMap::from([("gather_rows".into(), 1), ("add_positions".into(), 1)]));
    }
}

/// Exactly the work inside `with_profiler` is profiled.
#[test]
#[ignore = "needs a C++ compiler"]
fn the_profiler_range_has_exactly_the_work() {
    let machine = machine();
    let be = open(F16);
    let x = act(&be, &[2, 8], &random(1, 16));
    let mut out = Tensor::zeros(&be, &[2, 8]).unwrap();
    let index = ints(&be, &[0, 1]);
    let mut copy = |times: usize| (0..times).try_for_each(|_| ops::gather_rows(&be, &mut out, &x, &index));
    let before = machine.count("emulator_profiled_launches");
    copy(3).unwrap();
    be.with_profiler(|| copy(5)).unwrap();
    copy(7).unwrap();
    be.synchronize().unwrap();
    if machine.is_emulated() {
        assert_eq!(machine.count("emulator_profiled_launches") - before, 5);
    }
}

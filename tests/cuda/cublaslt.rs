//! Products by cuBLASLt: the library on a card that has it, a stand-in that obeys the descriptors to the letter elsewhere.

use diarist::engine::cuda::{Activation, Cuda, Gemm};
use diarist::engine::weights::HostMatrix;
use diarist::engine::{Backend, Epilogue, Tensor, cuda, ops};
use half::f16;

use crate::cases::*;
use crate::driver::{Machine, machine};
use crate::networks::Linear;
use crate::transcripts::{options, transcribe};

/// The sum is rounded before the GELU, and the bias before it is added: two roundings more.
const ROUNDED_TWICE: [Tolerance; 2] = [Tolerance { atol: 2e-3, rtol: 2e-3 }, Tolerance { atol: 1.6e-2, rtol: 1.6e-2 }];

fn by_cublaslt<A: Activation>(cuda: Cuda<A>) -> Cuda<A> {
    cuda.with_gemm(Gemm::CublasLt).unwrap_or_else(|error| panic!("cuBLASLt was there a moment ago: {error}"))
}

/// How many products the stand-in got while `f` ran; on a card nobody counts.
fn counted(machine: &Machine, f: impl FnOnce()) -> Option<u64> {
    let before = machine.cublaslt_products();
    f();
    machine.is_emulated().then(|| machine.cublaslt_products() - before)
}

#[test]
#[ignore = "needs a C++ compiler"]
fn products_by_cublaslt() {
    let machine = machine();
    if !machine.has_cublaslt() {
        return;
    }
    // frames of clips, and rows of a decode step
    let sizes = [(1, 1, 1), (31, 8, 33), (33, 64, 30), (129, 96, 130), (1500, 16, 8), (17, 31, 16), (2, 200, 51)];
    let epilogues = [Epilogue::Store, Epilogue::GeluErf, Epilogue::Add];
    for (i, (rows, width, features)) in sizes.into_iter().enumerate() {
        for (j, shape) in [vec![1, rows, width], vec![rows, width]].into_iter().enumerate() {
            let case = Linear { shape, features, epilogue: epilogues[(i + j) % 3] };
            let served = counted(&machine, || check_on(&machine, &case, ROUNDED_TWICE, by_cublaslt, by_cublaslt));
            assert!(served.is_none_or(|count| count == 6), "{}: {served:?} products", case.name());
        }
    }
}

/// Where the library has no algorithm, and for int8 weights, our own kernel multiplies.
#[test]
#[ignore = "needs a C++ compiler"]
fn what_cublaslt_cannot_do_is_done() {
    let machine = machine();
    if !machine.has_cublaslt() {
        return;
    }
    let case = Linear { shape: vec![1, 9, 40], features: 31, epilogue: Epilogue::GeluErf };
    let served = counted(&machine, || check_on(&machine, &case, ROUNDED_TWICE, by_cublaslt, by_cublaslt));
    assert!(served.is_none_or(|count| count == 0), "{served:?}");
    let int8 = cuda::WeightType::Int8;
    let case = Linear { shape: vec![1, 9, 40], features: 32, epilogue: Epilogue::Store };
    let served = counted(&machine, || {
        check_on(&machine, &case, INT8, |c| by_cublaslt(c).with_weights(int8), |c| by_cublaslt(c).with_weights(int8))
    });
    assert!(served.is_none_or(|count| count == 0), "{served:?}");
}

/// The stand-in recommends another algorithm for every number of rows: only who sticks to one passes.
#[test]
#[ignore = "needs a C++ compiler"]
fn the_algorithm_does_not_depend_on_the_rows() {
    let machine = machine();
    if !machine.has_cublaslt() {
        return;
    }
    let be = by_cublaslt(open::<f16>());
    let (width, features, rows) = (160, 48, 38);
    let (x, values) = sensitive_to_order(rows, features, width);
    let weight = be.matrix(&HostMatrix { values, rows: features, cols: width }).unwrap();
    let run = |frames: bool, x: &[f32]| {
        let shape = |last| if frames { vec![1, x.len() / width, last] } else { vec![x.len() / width, last] };
        let mut out = Tensor::zeros(&be, &shape(features)).unwrap();
        ops::linear(&be, &mut out, &act(&be, &shape(width), x), &weight, None, Epilogue::Store).unwrap();
        host(&be, &out)
    };
    for frames in [true, false] {
        let all = run(frames, &x);
        assert!(all.iter().any(|v| *v != 0.0), "nothing was rounded: the order of additions cannot be seen");
        for r in [0, 8, 31, 36] {
            let alone = run(frames, &x[r * width..(r + 1) * width]);
            assert_eq!(alone, all[r * features..(r + 1) * features], "row {r}, frames: {frames}");
        }
    }
}

/// A whole recording, its decode steps recorded and replayed; the working memory is counted and given back.
#[test]
#[ignore = "needs a C++ compiler"]
fn the_sample_reads_the_same_by_cublaslt() {
    let machine = machine();
    if !machine.has_cublaslt() {
        return;
    }
    let options = options(1);
    let want = transcribe(&open::<f16>(), &options).unwrap();
    let served = counted(&machine, || {
        let be = by_cublaslt(open::<f16>());
        assert!(be.memory_use().used >= 32 << 20, "the working memory is not counted: {:?}", be.memory_use());
        assert_eq!(transcribe(&be, &options).unwrap(), want);
    });
    // the encoder's, and those of a decode step before it is replayed
    assert!(served.is_none_or(|count| count > 50), "{served:?}");
    assert_eq!(machine.allocated(), 0, "memory that nobody gave back");
}

/// Under a limit that has no room for it, the library is an error that says so, not a crash.
#[test]
#[ignore = "needs a C++ compiler"]
fn the_working_memory_is_planned() {
    let machine = machine();
    if !machine.has_cublaslt() {
        return;
    }
    let small = Cuda::<f16>::new(0, Some(1 << 20)).unwrap();
    let error = small.with_gemm(Gemm::CublasLt).map(|_| ()).expect_err("a megabyte is too little").to_string();
    assert!(error.contains("memory"), "{error}");
    assert_eq!(machine.allocated(), 0, "memory that nobody gave back");
}

/// No card has been measured: nothing is left to the library unasked.
#[test]
#[ignore = "needs a C++ compiler"]
fn auto_is_our_own_until_a_card_was_measured() {
    let machine = machine();
    if !machine.has_cublaslt() || !machine.is_emulated() {
        return;
    }
    let case = Linear { shape: vec![1, 9, 40], features: 48, epilogue: Epilogue::Store };
    let served = counted(&machine, || check(&machine, &case, STORED_ONCE));
    assert_eq!(served, Some(0));
}

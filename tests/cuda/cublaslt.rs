//! Products by cuBLASLt: the installed library on a GPU, otherwise an emulation that follows the descriptors exactly.

use diarist::engine::cuda::{Activation, Cuda, Gemm};
use diarist::engine::weights::HostMatrix;
use diarist::engine::{Backend, Epilogue, Tensor, cuda, ops};
use half::f16;

use crate::cases::*;
use crate::driver::{Machine, machine};
use crate::networks::Linear;
use crate::transcripts::{options, transcribe};

/// The sum is rounded before GELU, and the bias before it is added: two more roundings.
const ROUNDED_TWICE: [Tolerance; 2] = [Tolerance { atol: 2e-3, rtol: 2e-3 }, Tolerance { atol: 1.6e-2, rtol: 1.6e-2 }];

fn by_cublaslt<A: Activation>(cuda: Cuda<A>) -> Cuda<A> {
    cuda.with_gemm(Gemm::CublasLt).unwrap_or_else(|error| panic!("cuBLASLt was there a moment ago: {error}"))
}

/// Number of products the emulated cuBLASLt computed while `f` ran; `None` on a GPU, where there is no counter.
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
    // frames of windows, and rows of a decode step
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

/// Products for which cuBLASLt has no algorithm, and int8 weights, use our own kernel.
#[test]
#[ignore = "needs a C++ compiler"]
fn unsupported_products_use_our_kernel() {
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

/// The emulated cuBLASLt recommends another algorithm for every number of rows, so this passes only if one is kept.
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

/// A whole recording with graph replay; the workspace counts as used memory and is freed.
#[test]
#[ignore = "needs a C++ compiler"]
fn the_sample_transcribes_the_same_with_cublaslt() {
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
    // those of the encoder, and those of a decode step before its graph is replayed
    assert!(served.is_none_or(|count| count > 50), "{served:?}");
    assert_eq!(machine.allocated(), 0, "memory that nobody gave back");
}

/// A memory limit below the workspace gives an error that says so.
#[test]
#[ignore = "needs a C++ compiler"]
fn the_workspace_respects_the_memory_limit() {
    let machine = machine();
    if !machine.has_cublaslt() {
        return;
    }
    let small = Cuda::<f16>::new(0, Some(1 << 20)).unwrap();
    let error = small.with_gemm(Gemm::CublasLt).map(|_| ()).expect_err("a megabyte is too little").to_string();
    assert!(error.contains("memory"), "{error}");
    assert_eq!(machine.allocated(), 0, "memory that nobody gave back");
}

/// Without measurements, `auto` uses our own kernels for everything.
#[test]
#[ignore = "needs a C++ compiler"]
fn auto_uses_our_kernels_without_measurements() {
    let machine = machine();
    if !machine.has_cublaslt() || !machine.is_emulated() {
        return;
    }
    let case = Linear { shape: vec![1, 9, 40], features: 48, epilogue: Epilogue::Store };
    let served = counted(&machine, || check(&machine, &case, STORED_ONCE));
    assert_eq!(served, Some(0));
}

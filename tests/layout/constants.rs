//! Constants that the host and the kernels must agree on: block sizes, strides, limits.

use super::files;

/// Host file and constant, kernel file and constant. Host files are relative to `src`, kernel files to `kernels`.
const PAIRS: [[&str; 4]; 30] = [
    ["engine/cuda/matrix.rs", "K_STEP", "matrix.cuh", "K_STEP"],
    ["engine/cuda/search.rs", "MAX_BEAMS", "search.cuh", "MAX_BEAMS"],
    ["engine/cuda/linear.rs", "TILE", "gemm.cuh", "TILE"],
    ["engine/cuda/linear.rs", "STEP_FEATURES", "linear_step.cuh", "FEATURES"],
    ["engine/cuda/attention.rs", "QUERIES", "attention.cu", "QUERIES"],
    ["engine/cuda/conv2d.rs", "PIXELS", "conv2d.cu", "PIXELS"],
    ["engine/cuda/conv2d.rs", "STAGES", "conv2d.cu", "STAGES"],
    ["engine/cuda/conv2d.rs", "FIRST_PIXELS", "conv2d.cu", "FIRST_PIXELS"],
    ["engine/cuda/conv2d.rs", "CHANNELS", "matrix.cuh", "K_STEP"],
    ["engine/cuda/absorbed_attention_step.rs", "SPLIT", "absorbed_attention_step.cu", "SPLIT"],
    ["engine/cuda/absorbed_attention_step.rs", "QUERIES", "absorbed_attention_step.cu", "QUERIES"],
    ["engine/cuda/absorbed_attention_step.rs", "TILE", "absorbed_attention_step.cu", "TILE"],
    ["engine/cuda/absorbed_attention_step.rs", "MAX_CLIPS", "decode_rows.cuh", "MAX_CLIPS"],
    ["engine/cuda/cross_attention_step.rs", "SPLIT", "cross_attention_step.cu", "SPLIT"],
    ["engine/cuda/cross_attention_step.rs", "PARTIAL", "online_softmax.cuh", "PARTIAL"],
    ["engine/cuda/cross_attention_step.rs", "MAX_CLIPS", "decode_rows.cuh", "MAX_CLIPS"],
    ["engine/cuda/time_warp.rs", "TOKENS", "attention_weights.cu", "TOKENS"],
    ["engine/cuda/time_warp.rs", "THREADS", "time_warp.cu", "THREADS"],
    ["engine/cuda/time_warp.rs", "KINDS", "time_warp.cu", "KINDS"],
    ["engine/cuda/segmentation_ops.rs", "HIDDEN", "lstm.cu", "HIDDEN"],
    ["engine/cuda/segmentation_ops.rs", "CLIPS", "lstm.cu", "CLIPS"],
    ["engine/cuda/cluster.rs", "ROWS", "linkage.cuh", "ROWS"],
    ["engine/cuda/average_linkage.rs", "ROWS", "linkage.cuh", "ROWS"],
    ["engine/cuda/log_mel.rs", "FRAMES", "log_mel.cu", "FRAMES"],
    ["engine/cuda/fbank.rs", "FRAMES", "fbank.cu", "FRAMES"],
    ["engine/backend/wav2vec2_ops.rs", "MAX_SAMPLE_TAPS", "sample_conv.cuh", "TAPS"],
    ["engine/backend/clips.rs", "SEGMENT", "segment_context.cu", "SEGMENT"],
    ["engine/backend/clips.rs", "SEGMENT", "clip_conv.cu", "SEGMENT"],
    ["engine/backend/time_warp.rs", "MEDIAN_WIDTH", "alignment_matrix.cu", "MEDIAN"],
    ["engine/cluster.rs", "LANES", "linkage.cuh", "LANES"],
];

/// The value of a sum of literals.
fn value(text: &str) -> Option<u64> {
    text.split('+').map(|term| term.trim().replace('_', "").parse::<u64>().ok()).sum()
}

/// The value of `const NAME: TYPE = ..;`.
fn of_host(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.contains(&format!("const {name}: ")))?;
    value(line.split_once('=')?.1.split(';').next()?)
}

/// The value of `NAME = ..` in a declaration `const int A = .., NAME = ..;`.
fn of_kernel(text: &str, name: &str) -> Option<u64> {
    let declarations = text.lines().filter_map(|line| line.trim().strip_prefix("const int ")?.split(';').next());
    let mut all = declarations.flat_map(|declaration| declaration.split(','));
    all.find_map(|part| part.split_once('=').filter(|(key, _)| key.trim() == name).and_then(|(_, text)| value(text)))
}

#[test]
fn host_and_kernels_have_the_same_constants() {
    for [host, name, kernel, kernel_name] in PAIRS {
        let [host_text, kernel_text] = [format!("src/{host}"), format!("kernels/{kernel}")]
            .map(|file| files(&file, &[".rs", ".cu", ".cuh"]).remove(0).text);
        let (want, got) = (of_host(&host_text, name), of_kernel(&kernel_text, kernel_name));
        assert!(want.is_some(), "{name} of src/{host} is not read right");
        assert_eq!(got, want, "{kernel_name} of kernels/{kernel}, {name} of src/{host}");
    }
}

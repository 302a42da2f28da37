// label_probability: the probability of each token of a given text after the tokens before it (teacher forcing).
//
// Shapes   out [N] f32 · logits [R,V] f32 · labels [N] i32
// Math     out[first + r] = exp(logits[r, labels[first + r]] - ln(sum(exp(logits[r, .. classes])))), sums in f32
// Launch   grid R, block 256
// Traffic  R*classes*4 B, twice: the second time from the L2
// Order    of the sum depends on classes only
// Edge     a label outside 0 .. classes has probability 0
// Oracle   engine/cpu/time_warp.rs
// Source   openai-whisper timing.py::find_alignment
#include "search.cuh"

extern "C" __global__ void __launch_bounds__(256)
    label_probability(float* __restrict__ out, const float* __restrict__ logits, const int* __restrict__ labels, int vocab,
                      int first, int classes) {
    SHARED(float, per_warp, 256 / WARP);
    const float* row = logits + int64(blockIdx.x) * vocab;
    const float normalizer = search::log_sum_exp(row, 0, classes, per_warp);
    const int at = first + blockIdx.x, label = labels[at];
    if (threadIdx.x == 0) out[at] = label >= 0 && label < classes ? expf(row[label] - normalizer) : 0.0f;
}
EXPORT(label_probability)

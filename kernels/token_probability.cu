// token_probability: the softmax probability of one token in some rows of logits, stored by slot.
//
// Shapes   out [S] f32 · logits [R,V] f32 · slot [R] i32
// Math     out[slot[r]] = exp(logits[r,token] - max) / sum(exp(logits[r] - max)), sums in f32
// Launch   grid R, block 256
// Traffic  R*V*4 B, twice: the second time from the L2
// Order    of the sum depends on V only
// Edge     a row whose slot is outside of S is skipped; so the host selects rows
// Oracle   engine/cpu/token_probability.rs
#include "search.cuh"

extern "C" __global__ void __launch_bounds__(256)
    token_probability(float* __restrict__ out, const float* __restrict__ logits, const int* __restrict__ slot, int slots, int vocab,
                      int token) {
    SHARED(float, per_warp, 256 / WARP);
    const int to = slot[blockIdx.x];
    if (to < 0 || to >= slots) return;
    const float* row = logits + int64(blockIdx.x) * vocab;
    const float normalizer = search::log_sum_exp(row, 0, vocab, per_warp);
    if (threadIdx.x == 0) out[to] = expf(row[token] - normalizer);
}
EXPORT(token_probability)

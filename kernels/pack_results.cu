// pack_results: collects the results of all searches in one array, so that one copy transfers them to the host.
//
// Shapes   out [S, 4 + K + G] i32: done, best_length, best_sum and no_speech as bits, live [K], best_tokens [G] · state: search.cuh
// Launch   grid S, block 128
// Traffic  8*S*(4+K+G) B; bound by latency
// Oracle   engine/cpu/pack_results.rs
#include "search.cuh"

extern "C" __global__ void __launch_bounds__(128)
    pack_results(int* __restrict__ out, const float* __restrict__ no_speech, search::State s) {
    const int slot = blockIdx.x, width = 4 + s.beams + s.new_tokens;
    int* row = out + int64(slot) * width;
    if (threadIdx.x == 0) {
        row[0] = s.done[slot];
        row[1] = s.best_length[slot];
        row[2] = __float_as_int(s.best_sum[slot]);
        row[3] = __float_as_int(no_speech[slot]);
    }
    for (int i = threadIdx.x; i < s.beams; i += 128) row[4 + i] = s.live[slot * s.beams + i];
    for (int i = threadIdx.x; i < s.new_tokens; i += 128) row[4 + s.beams + i] = s.best_tokens[int64(slot) * s.new_tokens + i];
}
EXPORT(pack_results)

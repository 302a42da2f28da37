// time_warp: dynamic time warping with backtracking for a batch of texts: the first frame of every token.
//
// Shapes   out [N] i32 · matrix [R,T] f32 · places [B,4] i32 (first row, rows, frames, rows of the texts before) ·
//          steps u32 scratch, the backtrace: two words for each anti-diagonal and 32 tokens of a text
// Math     cost[i,t] = best - matrix[i,t]; best = cost[i-1,t-1] if it is less than both others, else cost[i-1,t] if it
//          is less than both others, else cost[i,t-1], even if the first two are equal and less. f32; as in the
//          reference
// Launch   grid B, block 256: all cells of anti-diagonal i + t in parallel, 32 adjacent tokens per warp, whose two
//          ballots encode the steps; one barrier per anti-diagonal. Dynamic shared memory: three anti-diagonals, 12 B
//          per token of the longest text
// Traffic  rows * frames * 4.25 B per text; bound by the latency of rows + frames anti-diagonals
// Edge     NaN cannot lead the backtrace out of the matrix
// Oracle   engine/cpu/time_warp.rs, same sums, so the same frames
// Source   openai-whisper timing.py (dtw_cpu, backtrace)
#include "device.cuh"

namespace warping {

const int THREADS = 256, BOTH = 0, TOKEN = 1, KINDS = 2;

__device__ __forceinline__ float never() { return __uint_as_float(0x7f800000u); }

// The text of one block.
struct Text {
    const float* matrix;
    int stride, tokens, frames, words;
    uint32* steps;

    __device__ __forceinline__ uint32* word(int i, int t) const {
        return steps + (int64(i + t) * words + i / WARP) * KINDS;
    }
};

__device__ __forceinline__ int words_of(int tokens) { return (tokens + WARP - 1) / WARP; }

__device__ Text text(const float* matrix, const int* places, uint32* steps, int stride) {
    int64 before = 0;
    for (int n = 0; n < int(blockIdx.x); n++)
        before += int64(places[4 * n + 1] + places[4 * n + 2] - 1) * words_of(places[4 * n + 1]) * KINDS;
    const int* place = places + 4 * blockIdx.x;
    return {matrix + int64(place[0]) * stride, stride, place[1], place[2], words_of(place[1]), steps + before};
}

// `cost` is three anti-diagonals of [tokens].
__device__ void forward(const Text& x, float* cost) {
    const int lane = threadIdx.x % WARP;
    for (int d = 0; d < x.tokens + x.frames - 1; d++) {
        float* now = cost + d % 3 * x.tokens;
        const float *last = cost + (d + 2) % 3 * x.tokens, *last_but_one = cost + (d + 1) % 3 * x.tokens;
        const int begin = max(0, d - x.frames + 1), end = min(d, x.tokens - 1);
        for (int first = begin / WARP * WARP + (threadIdx.x - lane); first <= end; first += THREADS) {
            const int i = first + lane, t = d - i;
            bool both_ways = false, token_only = false;
            if (i >= begin && i <= end) {
                const float both = i > 0 && t > 0 ? last_but_one[i - 1] : (d == 0 ? 0.0f : never());
                const float token = i > 0 ? last[i - 1] : never(), frame = t > 0 ? last[i] : never();
                both_ways = both < token && both < frame;
                token_only = token < both && token < frame;
                now[i] = (both_ways ? both : token_only ? token : frame) - x.matrix[int64(i) * x.stride + t];
            }
            const uint32 both_votes = __ballot_sync(FULL_WARP, both_ways), token_votes = __ballot_sync(FULL_WARP, token_only);
            if (lane == 0) {
                uint32* word = x.steps + (int64(d) * x.words + first / WARP) * KINDS;
                word[BOTH] = both_votes;
                word[TOKEN] = token_votes;
            }
        }
        __syncthreads();
    }
}

// Runs on one thread, because each step depends on the one before.
__device__ void back(const Text& x, int* out) {
    int i = x.tokens - 1, t = x.frames - 1;
    for (;;) {
        out[i] = t;
        if (i == 0 && t == 0) return;
        const uint32* word = x.word(i, t);
        const bool both = word[BOTH] >> (i % WARP) & 1, token = word[TOKEN] >> (i % WARP) & 1;
        if (i == 0) {
            t--;
        } else if (t == 0) {
            i--;
        } else {
            i -= both || token;
            t -= both || !token;
        }
    }
}

}  // namespace warping

extern "C" __global__ void __launch_bounds__(warping::THREADS)
    time_warp(int* __restrict__ out, const float* __restrict__ matrix, const int* __restrict__ places, uint32* __restrict__ steps,
              int stride) {
    SHARED_DYNAMIC(float, cost);
    const warping::Text x = warping::text(matrix, places, steps, stride);
    warping::forward(x, cost);
    if (threadIdx.x == 0) warping::back(x, out + places[4 * blockIdx.x + 3]);
}
EXPORT(time_warp)

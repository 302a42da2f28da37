// masked_statistics: mean and standard deviation over time, weighted by the mask of each speaker of a window.
//
// Shapes   out [N,S,2,K] f32 · x [N,T,K] T, K even · masks [N,S,T] f32
// Math     with the mask w of a speaker, v = sum w + eps: m = sum w x / v, deviation = sqrt(sum w (x - m)^2 / (v - sum
//          w^2 / v + eps)). In f32
// Launch   grid (ceil(K/64), N), block 256: 32 pairs of columns x 8 frames at a time
// Traffic  2*N*T*K B: four speakers share each read, and the second pass over the block's T*128 B is read from the L1
// Order    of the sums depends on T only
// Oracle   engine/cpu/masked_statistics.rs
// Source   pyannote.audio models/blocks/pooling.py::StatsPool
#include "device.cuh"

namespace masked_statistics_ {

const int ROWS = 8, SPEAKERS = 4;

// Adds the eight partial sums of every column and speaker, in order; parts [ROWS, SPEAKERS, 2, WARP].
__device__ __forceinline__ void reduce(float (&sums)[SPEAKERS][2], float* parts, int lane, int row) {
    __syncthreads();
#pragma unroll
    for (int s = 0; s < SPEAKERS; s++)
#pragma unroll
        for (int c = 0; c < 2; c++) parts[((row * SPEAKERS + s) * 2 + c) * WARP + lane] = sums[s][c];
    __syncthreads();
#pragma unroll
    for (int s = 0; s < SPEAKERS; s++)
#pragma unroll
        for (int c = 0; c < 2; c++) {
            sums[s][c] = 0;
            for (int r = 0; r < ROWS; r++) sums[s][c] += parts[((r * SPEAKERS + s) * 2 + c) * WARP + lane];
        }
}

template <class T>
__device__ __forceinline__ void run(float* out, const T* x, const float* masks, int frames, int width, int speakers, float eps) {
    SHARED(float, parts, ROWS * SPEAKERS * 2 * WARP);
    SHARED(float, totals, SPEAKERS * 2);
    const int lane = threadIdx.x % WARP, row = threadIdx.x / WARP, column = blockIdx.x * 64 + 2 * lane;
    const bool exists = column < width;
    x += int64(blockIdx.y) * frames * width + (exists ? column : 0);
    masks += int64(blockIdx.y) * speakers * frames;
    out += int64(blockIdx.y) * speakers * 2 * width + column;
    for (int first = 0; first < speakers; first += SPEAKERS) {
        const int count = min(SPEAKERS, speakers - first);
        if (row < count) {  // a warp for each speaker's mask
            float sum = 0, squares = 0;
            for (int t = lane; t < frames; t += WARP) {
                const float w = masks[(first + row) * frames + t];
                sum += w;
                squares = fmaf(w, w, squares);
            }
            sum = warp_sum(sum) + eps;
            squares = warp_sum(squares);
            if (lane == 0) {
                totals[2 * row] = sum;
                totals[2 * row + 1] = fmaxf(sum - squares / sum, 0.0f) + eps;  // may be negative by rounding
            }
        }
        float means[SPEAKERS][2] = {}, squares[SPEAKERS][2] = {};
        auto each = [&](auto add) {
            for (int t = row; exists && t < frames; t += ROWS) {
                const uint32 pair = *reinterpret_cast<const uint32*>(x + int64(t) * width);
#pragma unroll
                for (int s = 0; s < SPEAKERS; s++) {
                    const float w = s < count ? masks[(first + s) * frames + t] : 0.0f;
                    add(s, 0, w, unpack<T>(pair, 0));
                    add(s, 1, w, unpack<T>(pair, 1));
                }
            }
        };
        each([&](int s, int c, float w, float v) { means[s][c] = fmaf(w, v, means[s][c]); });
        reduce(means, parts, lane, row);
#pragma unroll
        for (int s = 0; s < SPEAKERS; s++)
#pragma unroll
            for (int c = 0; c < 2; c++) means[s][c] = s < count ? means[s][c] / totals[2 * s] : 0.0f;
        each([&](int s, int c, float w, float v) {
            const float apart = v - means[s][c];
            squares[s][c] = fmaf(w, apart * apart, squares[s][c]);
        });
        reduce(squares, parts, lane, row);
        // Every warp has all sums; warp s stores those of speaker s.
#pragma unroll
        for (int s = 0; s < SPEAKERS; s++) {
            if (s != row || s >= count || !exists) continue;
            float* to = out + int64(first + s) * 2 * width;
#pragma unroll
            for (int c = 0; c < 2; c++) {
                to[c] = means[s][c];
                to[width + c] = sqrtf(squares[s][c] / totals[2 * s + 1]);
            }
        }
        // No barrier is needed: a total is overwritten by the warp that was the last to read it.
    }
}

}  // namespace masked_statistics_

#define INSTANCE(T)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                                      \
        masked_statistics_##T(float* __restrict__ out, const T* __restrict__ x, const float* __restrict__ masks,           \
                              int frames, int width, int speakers, float eps) {                                            \
        masked_statistics_::run<T>(out, x, masks, frames, width, speakers, eps);                                           \
    }                                                                                                                      \
    EXPORT(masked_statistics_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

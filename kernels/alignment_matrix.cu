// alignment_matrix: normalises and median-filters the attention weights of some heads and adds them to a text's matrix.
//
// Shapes   matrix [R,T] f32 · weights [A,L,F] f32
// Math     alignment_normalise, in place: weights[a,i,t] = (weights[a,i,t] - mean) / std over the L tokens, 0 if the
//          std is 0; alignment_matrix: matrix[first + i, t] (+)= share * sum over a of the median of the 7 frames
//          around t, reflected at both ends; with fewer than 4 frames there is no median filter
// Launch   grid (ceil(F / 256), A), then (ceil(F / 256), L), block 256: one frame per thread
// Traffic  A*L*F*4 B, read four times and written once
// Order    of the sums depends on L and A only
// Oracle   engine/cpu/time_warp.rs
// Source   openai-whisper timing.py (find_alignment, median_filter)
#include "device.cuh"

namespace alignment_matrix_of {

const int THREADS = 256, MEDIAN = 7;

// Median of seven values, by sorting them.
__device__ __forceinline__ float median(float (&x)[MEDIAN]) {
#pragma unroll
    for (int end = MEDIAN - 1; end > 0; end--) {
#pragma unroll
        for (int i = 0; i < end; i++) {
            const float low = fminf(x[i], x[i + 1]), high = fmaxf(x[i], x[i + 1]);
            x[i] = low;
            x[i + 1] = high;
        }
    }
    return x[MEDIAN / 2];
}

__device__ __forceinline__ float smoothed(const float* row, int t, int frames) {
    if (frames <= MEDIAN / 2) return row[t];
    float around[MEDIAN];
#pragma unroll
    for (int i = 0; i < MEDIAN; i++) {
        const int at = abs(t + i - MEDIAN / 2);
        around[i] = row[at < frames ? at : 2 * (frames - 1) - at];
    }
    return median(around);
}

}  // namespace alignment_matrix_of

extern "C" __global__ void __launch_bounds__(alignment_matrix_of::THREADS)
    alignment_normalise(float* __restrict__ weights, int tokens, int frames) {
    const int t = blockIdx.x * alignment_matrix_of::THREADS + threadIdx.x;
    if (t >= frames) return;
    float* column = weights + int64(blockIdx.y) * tokens * frames + t;
    float mean = 0.0f, variance = 0.0f;
    for (int i = 0; i < tokens; i++) mean += column[int64(i) * frames];
    mean /= tokens;
    for (int i = 0; i < tokens; i++) {
        const float off = column[int64(i) * frames] - mean;
        variance += off * off;
    }
    const float scale = variance > 0.0f ? 1.0f / sqrtf(variance / tokens) : 0.0f;
    for (int i = 0; i < tokens; i++) column[int64(i) * frames] = (column[int64(i) * frames] - mean) * scale;
}
EXPORT(alignment_normalise)

extern "C" __global__ void __launch_bounds__(alignment_matrix_of::THREADS)
    alignment_matrix(float* __restrict__ matrix, const float* __restrict__ weights, int heads, int tokens, int frames, int stride,
                     int first, int add, float share) {
    const int t = blockIdx.x * alignment_matrix_of::THREADS + threadIdx.x;
    if (t >= frames) return;
    float sum = 0.0f;
    for (int a = 0; a < heads; a++)
        sum += alignment_matrix_of::smoothed(weights + (int64(a) * tokens + blockIdx.y) * frames, t, frames);
    float* to = matrix + int64(first + int(blockIdx.y)) * stride + t;
    *to = share * sum + (add ? *to : 0.0f);
}
EXPORT(alignment_matrix)

// attention_weights: cross-attention weights of selected heads of one decoder layer in one clip, for word timestamps.
//
// Shapes   out [A,L,F] f32 · q [R,Q] · keys [T,K] · heads [A,2] i32 (first column in q, first column in keys), `width` columns each
// Math     out[a,i] = softmax over the first F frames of scale * (q[first + i] . keys[t]); products and sums in f32
// Launch   grid (ceil(L / 4), A), block 256: a block has 4 tokens, which share each read of a key; a warp processes
//          every eighth frame, its lanes the columns. Dynamic shared memory: the 4 queries, 16 * width B
// Traffic  keys F*width*2 B for every 4 tokens, all but the first time from the L2; out L*F*4 B, three times
// Order    of the sums depends on width and F only
// Oracle   engine/cpu/time_warp.rs
// Source   openai-whisper timing.py::find_alignment
#include "device.cuh"

namespace attention_weights {

const int THREADS = 256, WARPS = THREADS / WARP, TOKENS = 4;

// Softmax of one row of scores in place, by one warp.
__device__ __forceinline__ void softmax(float* row, int frames, int lane) {
    float largest = row[0];
    for (int t = lane; t < frames; t += WARP) largest = fmaxf(largest, row[t]);
    largest = warp_max(largest);
    float sum = 0.0f;
    for (int t = lane; t < frames; t += WARP) {
        row[t] = expf(row[t] - largest);
        sum += row[t];
    }
    sum = warp_sum(sum);
    for (int t = lane; t < frames; t += WARP) row[t] /= sum;
}

template <class T>
__device__ void run(float* __restrict__ out, const T* __restrict__ q, const T* __restrict__ keys, const int* __restrict__ heads,
                    int tokens, int frames, int q_stride, int key_stride, int width, int first, float scale) {
    SHARED_DYNAMIC(float, queries);
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const int token = blockIdx.x * TOKENS, count = min(TOKENS, tokens - token);
    const int q_column = heads[2 * blockIdx.y], key_column = heads[2 * blockIdx.y + 1];
    for (int i = threadIdx.x; i < TOKENS * width; i += THREADS) {
        const int row = i / width;
        queries[i] = row < count ? to_float(q[int64(first + token + row) * q_stride + q_column + i % width]) : 0.0f;
    }
    __syncthreads();
    float* scores = out + (int64(blockIdx.y) * tokens + token) * frames;
    for (int t = warp; t < frames; t += WARPS) {
        const T* key = keys + int64(t) * key_stride + key_column;
        float sums[TOKENS] = {};
        for (int c = lane; c < width; c += WARP) {
            const float k = to_float(key[c]);
#pragma unroll
            for (int i = 0; i < TOKENS; i++) sums[i] += queries[i * width + c] * k;
        }
#pragma unroll
        for (int i = 0; i < TOKENS; i++) {
            const float score = scale * warp_sum(sums[i]);
            if (lane == 0 && i < count) scores[int64(i) * frames + t] = score;
        }
    }
    __syncthreads();
    if (warp < count) softmax(scores + int64(warp) * frames, frames, lane);
}

}  // namespace attention_weights

#define INSTANCE(T)                                                                                                               \
    extern "C" __global__ void __launch_bounds__(attention_weights::THREADS)                                                      \
        attention_weights_##T(float* __restrict__ out, const T* __restrict__ q, const T* __restrict__ keys,                       \
                              const int* __restrict__ heads, int tokens, int frames, int q_stride, int key_stride, int width,    \
                              int first, float scale) {                                                                           \
        attention_weights::run(out, q, keys, heads, tokens, frames, q_stride, key_stride, width, first, scale);                  \
    }                                                                                                                             \
    EXPORT(attention_weights_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

// conv1d_layer_norm: the first layer of wav2vec2-large in one pass over its output: a convolution over samples, a norm
// of each frame over its channels, and GELU.
//
// Shapes   out [B,T,N] T, T = (F - W)/step + 1, N at most 512 · x [B,F] T · w [N,W] f32, W at most 16 · bias [N] f32 or null ·
//          gamma,beta [N] f32
// Math     gelu_erf((y - mean) / sqrt(var + eps) * gamma + beta), y = w.x[step t ..] + bias; mean and variance over the
//          channels, in two passes over registers
// Launch   grid (ceil(T/8), B), block N/2 in whole warps: two channels of 8 frames per thread
// Traffic  2*B*T*N B written, the samples read once; memory-bound: 2*B*T*N*16 flops
// Edge     taps beyond W are zeros
// Oracle   engine/cpu/sample_conv.rs
// Source   transformers modeling_wav2vec2.py::Wav2Vec2LayerNormConvLayer
// Journal  docs/kernels/sample-conv.md
#include "sample_conv.cuh"

namespace conv1d_layer_norm {

using namespace sample_conv;

const int GROUP = 8;  // frames per block
const int WARPS = 8;  // upper bound

// Block-wide sums, one for each frame of the group; the order depends on the number of channels only.
template <class F>
__device__ __forceinline__ void block_sums(float (&sums)[GROUP], float* parts, F f) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
#pragma unroll
    for (int i = 0; i < GROUP; i++) {
        const float sum = warp_sum(f(i));
        if (lane == 0) parts[warp * GROUP + i] = sum;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < GROUP; i++) {
        sums[i] = 0;
        for (int w = 0; w < int(blockDim.x) / WARP; w++) sums[i] += parts[w * GROUP + i];
    }
}

template <class T>
__device__ __forceinline__ void run(T* out, const T* x, const float* w, const float* bias, const float* gamma, const float* beta,
                                    int samples, int frames, int width, int taps, int step, float eps) {
    SHARED(float, window, GROUP * STEP + TAPS);
    SHARED(float, sum_parts, WARPS * GROUP);
    SHARED(float, square_parts, WARPS * GROUP);
    const int first = blockIdx.x * GROUP, channel = 2 * threadIdx.x;
    load(window, x + int64(blockIdx.y) * samples, first, GROUP, samples, step);
    __syncthreads();
    float y[2][GROUP];
    bool exists[2];
#pragma unroll
    for (int c = 0; c < 2; c++) {
        exists[c] = channel + c < width;
        float weight[TAPS];
#pragma unroll
        for (int k = 0; k < TAPS; k++) weight[k] = exists[c] && k < taps ? w[int64(channel + c) * taps + k] : 0.0f;
        const float shift = exists[c] && bias ? bias[channel + c] : 0.0f;
#pragma unroll
        for (int f = 0; f < GROUP; f++) {
            y[c][f] = shift;
#pragma unroll
            for (int k = 0; k < TAPS; k++) y[c][f] += weight[k] * window[f * step + k];
        }
    }
    float means[GROUP], scales[GROUP];
    block_sums(means, sum_parts, [&](int f) { return y[0][f] + y[1][f]; });
#pragma unroll
    for (int f = 0; f < GROUP; f++) means[f] /= width;
    block_sums(scales, square_parts, [&](int f) {
        const float a = exists[0] ? y[0][f] - means[f] : 0.0f, b = exists[1] ? y[1][f] - means[f] : 0.0f;
        return a * a + b * b;
    });
    const float gain[2] = {exists[0] ? gamma[channel] : 0.0f, exists[1] ? gamma[channel + 1] : 0.0f};
    const float shift[2] = {exists[0] ? beta[channel] : 0.0f, exists[1] ? beta[channel + 1] : 0.0f};
    out += (int64(blockIdx.y) * frames + first) * width;
#pragma unroll
    for (int f = 0; f < GROUP; f++) {
        if (first + f >= frames) break;
        const float scale = rsqrtf(scales[f] / width + eps);
        store(out + int64(f) * width, channel, width, gelu_erf((y[0][f] - means[f]) * scale * gain[0] + shift[0]),
              gelu_erf((y[1][f] - means[f]) * scale * gain[1] + shift[1]));
    }
}

}  // namespace conv1d_layer_norm

#define INSTANCE(T)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                                     \
        conv1d_layer_norm_##T(T* __restrict__ out, const T* __restrict__ x, const float* __restrict__ w,                  \
                              const float* __restrict__ bias, const float* __restrict__ gamma,                            \
                              const float* __restrict__ beta, int samples, int frames, int width, int taps, int step,     \
                              float eps) {                                                                                \
        conv1d_layer_norm::run<T>(out, x, w, bias, gamma, beta, samples, frames, width, taps, step, eps);                 \
    }                                                                                                                     \
    EXPORT(conv1d_layer_norm_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

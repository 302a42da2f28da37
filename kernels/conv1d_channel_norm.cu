// conv1d_channel_norm: the first layer of wav2vec2-base in one pass over its output: a convolution over samples, a norm
// of each channel over the valid frames of its clip, and GELU. Three launches.
//
// Shapes   out [B,T,N] T, T = (F - W)/step + 1, N at most 512 · x [B,F] T · w [N,W] f32, W at most 16 · gamma,beta [N] f32 ·
//          lengths [B] i32, in frames · moments [B,P,152] f64 · affine [B,2,N] f32
// Math     gelu_erf((y - mean) / sqrt(var + eps) * gamma + beta), y = w.x[step t ..]. Over the frames of a clip the
//          mean of y is w.m and its variance w^T (R - m m^T) w, where m and R are the mean and the second moments of
//          the windows: W + W (W + 1) / 2 numbers instead of N T. In f64, because R - m m^T cancels. A bias of the
//          convolution has no effect
// Launch   window_moments grid (P, B), block 160, P = ceil(T/2048); channel_affine grid (ceil(N/128), B), block 128;
//          conv1d_channel_norm grid (ceil(T/64), B), block N/2 in whole warps: two channels per thread
// Traffic  2*B*T*N B written, the samples read twice; memory-bound: 2*B*T*N*16 flops
// Edge     frames beyond a clip's length become 0; taps beyond W are zeros
// Oracle   engine/cpu/sample_conv.rs
// Source   transformers modeling_wav2vec2.py::Wav2Vec2GroupNormConvLayer
// Journal  docs/kernels/sample-conv.md
#include "sample_conv.cuh"

namespace conv1d_channel_norm {

using namespace sample_conv;

const int PART = 2048, TILE = 256;          // frames per block of window_moments, and per load to shared memory
const int MOMENTS = TAPS + TAPS * (TAPS + 1) / 2;

// The taps j <= k of second moment `i`; the first TAPS moments are the means.
__device__ __forceinline__ void pair(int i, int& j, int& k) {
    i -= TAPS;
    for (j = 0; i >= TAPS - j; j++) i -= TAPS - j;
    k = j + i;
}

template <class T>
__device__ __forceinline__ void window_moments(double* moments, const T* x, const int* lengths, int samples, int step) {
    SHARED(float, window, TILE * STEP + TAPS);
    const int i = threadIdx.x, length = lengths[blockIdx.y];
    int j = i, k = i;
    if (i >= TAPS && i < MOMENTS) pair(i, j, k);
    x += int64(blockIdx.y) * samples;
    double sum = 0;
    for (int first = blockIdx.x * PART; first < min(length, int(blockIdx.x + 1) * PART); first += TILE) {
        __syncthreads();
        load(window, x, first, TILE, samples, step);
        __syncthreads();
        if (i >= MOMENTS) continue;
        const int frames = min(TILE, length - first);
        for (int f = 0; f < frames; f++) {
            const double a = window[f * step + j];
            sum += i < TAPS ? a : a * double(window[f * step + k]);
        }
    }
    if (i < MOMENTS) moments[(int64(blockIdx.y) * gridDim.x + blockIdx.x) * MOMENTS + i] = sum;
}

__device__ __forceinline__ void channel_affine(float* affine, const double* moments, const float* w, const float* gamma,
                                               const float* beta, const int* lengths, int width, int taps, int parts, float eps) {
    SHARED(double, mean, MOMENTS);
    const int length = lengths[blockIdx.y], channel = blockIdx.x * blockDim.x + threadIdx.x;
    moments += int64(blockIdx.y) * parts * MOMENTS;
    for (int i = threadIdx.x; i < MOMENTS; i += blockDim.x) {
        double sum = 0;
        for (int p = 0; p < parts; p++) sum += moments[p * MOMENTS + i];
        mean[i] = length > 0 ? sum / length : 0.0;
    }
    __syncthreads();
    if (channel >= width) return;
    w += int64(channel) * taps;
    double centre = 0, variance = 0;
    for (int j = 0; j < taps; j++) centre += double(w[j]) * mean[j];
    for (int j = 0, i = TAPS; j < TAPS; j++)
        for (int k = j; k < TAPS; k++, i++)
            if (k < taps) variance += (j == k ? 1.0 : 2.0) * double(w[j]) * double(w[k]) * (mean[i] - mean[j] * mean[k]);
    const float scale = gamma[channel] * rsqrtf(float(variance > 0 ? variance : 0.0) + eps);
    affine += int64(blockIdx.y) * 2 * width;
    affine[channel] = scale;
    affine[width + channel] = beta[channel] - float(centre) * scale;
}

template <class T>
__device__ __forceinline__ void run(T* out, const T* x, const float* w, const float* affine, const int* lengths, int samples,
                                    int frames, int width, int taps, int step) {
    SHARED(float, window, FRAMES * STEP + TAPS);
    const int first = blockIdx.x * FRAMES, channel = 2 * threadIdx.x, length = lengths[blockIdx.y];
    load(window, x + int64(blockIdx.y) * samples, first, FRAMES, samples, step);
    __syncthreads();
    affine += int64(blockIdx.y) * 2 * width;
    float weight[2][TAPS], shift[2];
#pragma unroll
    for (int c = 0; c < 2; c++) {
        const bool exists = channel + c < width;
        const float scale = exists ? affine[channel + c] : 0.0f;
        shift[c] = exists ? affine[width + channel + c] : 0.0f;
#pragma unroll
        for (int k = 0; k < TAPS; k++) weight[c][k] = exists && k < taps ? w[int64(channel + c) * taps + k] * scale : 0.0f;
    }
    out += (int64(blockIdx.y) * frames + first) * width;
    for (int f = 0; f < min(FRAMES, frames - first); f++, out += width) {
        float y[2] = {shift[0], shift[1]};
#pragma unroll
        for (int k = 0; k < TAPS; k++) {
            const float v = window[f * step + k];
            y[0] += weight[0][k] * v;
            y[1] += weight[1][k] * v;
        }
        const bool exists = first + f < length;
        store(out, channel, width, exists ? gelu_erf(y[0]) : 0.0f, exists ? gelu_erf(y[1]) : 0.0f);
    }
}

}  // namespace conv1d_channel_norm

extern "C" __global__ void __launch_bounds__(128)
    channel_affine(float* __restrict__ affine, const double* __restrict__ moments, const float* __restrict__ w,
                   const float* __restrict__ gamma, const float* __restrict__ beta, const int* __restrict__ lengths, int width,
                   int taps, int parts, float eps) {
    conv1d_channel_norm::channel_affine(affine, moments, w, gamma, beta, lengths, width, taps, parts, eps);
}
EXPORT(channel_affine)

#define INSTANCE(T)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(160)                                                                      \
        window_moments_##T(double* __restrict__ moments, const T* __restrict__ x, const int* __restrict__ lengths,         \
                           int samples, int step) {                                                                        \
        conv1d_channel_norm::window_moments<T>(moments, x, lengths, samples, step);                                        \
    }                                                                                                                      \
    EXPORT(window_moments_##T)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256)                                                                      \
        conv1d_channel_norm_##T(T* __restrict__ out, const T* __restrict__ x, const float* __restrict__ w,                 \
                                const float* __restrict__ affine, const int* __restrict__ lengths, int samples, int frames, \
                                int width, int taps, int step) {                                                           \
        conv1d_channel_norm::run<T>(out, x, w, affine, lengths, samples, frames, width, taps, step);                       \
    }                                                                                                                      \
    EXPORT(conv1d_channel_norm_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

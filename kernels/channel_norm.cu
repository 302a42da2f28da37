// channel_norm: each channel of each clip to mean 0 and variance 1 over the clip's own frames, then scaled and shifted.
//
// Shapes   x [B,F,C] T, in place · gamma,beta [C] f32 · lengths [B] i32
// Math     (x - mean) / sqrt(var + eps) * gamma + beta; mean and variance over frames < length, in f64, two passes
// Launch   grid (ceil(C/32), B), block 256 = 8 warps: a lane is a channel, a warp takes every eighth frame
// Traffic  8*B*F*C B: read three times, written once; memory-bound
// Edge     frames past a clip's length become 0
// Oracle   engine/cpu/waveform.rs
// Source   Wu & He 2018 (arXiv:1803.08494) with one channel a group; the first layer of wav2vec2-base
#include "device.cuh"

namespace channel_norm {

const int WARPS = 8;

template <class T>
__device__ __forceinline__ void run(T* x, const float* gamma, const float* beta, const int* lengths, int frames, int width,
                                    float eps) {
    SHARED(double, parts, WARPS * WARP);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, channel = blockIdx.x * WARP + lane;
    const int length = lengths[blockIdx.y];
    const bool exists = channel < width;
    x += int64(blockIdx.y) * frames * width + channel;
    double moments[2] = {0, 0};
    for (int pass = 0; pass < 2; pass++) {
        double sum = 0;
        if (exists)
            for (int f = warp; f < length; f += WARPS) {
                const double d = double(to_float(x[int64(f) * width])) - moments[0];
                sum += pass == 0 ? d : d * d;
            }
        __syncthreads();
        parts[warp * WARP + lane] = sum;
        __syncthreads();
        double total = 0;
        for (int i = 0; i < WARPS; i++) total += parts[i * WARP + lane];
        moments[pass] = length > 0 ? total / length : 0.0;
    }
    if (!exists) return;
    const float mean = float(moments[0]), scale = gamma[channel] * rsqrtf(float(moments[1]) + eps), shift = beta[channel];
    for (int f = warp; f < frames; f += WARPS) {
        T& value = x[int64(f) * width];
        value = from_float<T>(f < length ? (to_float(value) - mean) * scale + shift : 0.0f);
    }
}

}  // namespace channel_norm

#define INSTANCE(T)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256)                                                               \
        channel_norm_##T(T* __restrict__ x, const float* __restrict__ gamma, const float* __restrict__ beta,        \
                         const int* __restrict__ lengths, int frames, int width, float eps) {                       \
        channel_norm::run<T>(x, gamma, beta, lengths, frames, width, eps);                                          \
    }                                                                                                               \
    EXPORT(channel_norm_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

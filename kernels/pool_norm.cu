// pool_norm: max pooling over three frames, instance norm and leaky ReLU of SincNet. overlap_pool_norm: the same over
// the absolute values of overlapping windows of x, each with its own scale and shift.
//
// Shapes   out [B,F/3,C] f32 · x [B,F,C] f32, or [R,C] in which window b has frames b hop .. b hop + F · gamma,beta,sums [C]
//          f32 · affine [B,2] f32
// Math     y = max of 3 of x, or of |scale x + shift sum|; leaky_relu((y - mean) / sqrt(var + eps) gamma + beta), mean
//          and variance over the frames of a channel. Sums in f64
// Launch   grid (ceil(C/32), B), block 256: 32 channels x 8 frames at a time
// Traffic  4*B*(F + 3 F/3)*C B; memory-bound. Pooled values are kept in `out` between the passes; each thread reads
//          only its own
// Order    of the sums depends on F only
// Oracle   engine/cpu/pool_norm.rs
// Source   pyannote.audio sincnet.py::SincNet.forward
#include "device.cuh"

namespace pool_norm_ {

const int ROWS = 8;

// Sum of the eight partial sums of each channel, in order, returned to all threads of the channel.
__device__ __forceinline__ double reduce(double* parts, double part, int lane, int row) {
    __syncthreads();
    parts[row * WARP + lane] = part;
    __syncthreads();
    double sum = 0;
    for (int r = 0; r < ROWS; r++) sum += parts[r * WARP + lane];
    return sum;
}

template <class Pooled>
__device__ __forceinline__ void run(float* out, const float* gamma, const float* beta, int frames, int width, float eps,
                                    float leak, Pooled pooled) {
    SHARED(double, parts, ROWS * WARP);
    const int lane = threadIdx.x % WARP, row = threadIdx.x / WARP, channel = blockIdx.x * WARP + lane;
    const bool exists = channel < width;
    out += int64(blockIdx.y) * frames * width + channel;
    double sum = 0;
    for (int t = row; exists && t < frames; t += ROWS) {
        const float v = pooled(t, channel);
        out[int64(t) * width] = v;
        sum += v;
    }
    const double mean = reduce(parts, sum, lane, row) / frames;
    sum = 0;
    for (int t = row; exists && t < frames; t += ROWS) {
        const double apart = double(out[int64(t) * width]) - mean;
        sum += apart * apart;
    }
    const double variance = reduce(parts, sum, lane, row) / frames;
    if (!exists) return;
    const float scale = float(double(gamma[channel]) / sqrt(variance + double(eps)));
    const float shift = float(double(beta[channel]) - mean * double(scale));
    for (int t = row; t < frames; t += ROWS) {
        const float y = out[int64(t) * width] * scale + shift;
        out[int64(t) * width] = y > 0 ? y : leak * y;
    }
}

__device__ __forceinline__ float largest(float a, float b, float c) {
    const float ab = a > b ? a : b;
    return ab > c ? ab : c;
}

}  // namespace pool_norm_

// `frames`: of `out`; `clip`: frames of x per window.
extern "C" __global__ void __launch_bounds__(256)
    pool_norm(float* __restrict__ out, const float* __restrict__ x, const float* __restrict__ gamma,
              const float* __restrict__ beta, int frames, int clip, int width, float eps, float leak) {
    x += int64(blockIdx.y) * clip * width;
    pool_norm_::run(out, gamma, beta, frames, width, eps, leak, [&](int t, int channel) {
        const float* frame = x + int64(3 * t) * width + channel;
        return pool_norm_::largest(frame[0], frame[width], frame[2 * width]);
    });
}
EXPORT(pool_norm)

extern "C" __global__ void __launch_bounds__(256)
    overlap_pool_norm(float* __restrict__ out, const float* __restrict__ x, const float* __restrict__ gamma,
                      const float* __restrict__ beta, const float* __restrict__ affine, const float* __restrict__ sums,
                      int frames, int hop, int width, float eps, float leak) {
    x += int64(blockIdx.y) * hop * width;
    const float scale = affine[2 * blockIdx.y], shift = affine[2 * blockIdx.y + 1];
    pool_norm_::run(out, gamma, beta, frames, width, eps, leak, [&](int t, int channel) {
        const float* frame = x + int64(3 * t) * width + channel;
        const float offset = shift * sums[channel];
        return pool_norm_::largest(fabsf(scale * frame[0] + offset), fabsf(scale * frame[width] + offset),
                                   fabsf(scale * frame[2 * width] + offset));
    });
}
EXPORT(overlap_pool_norm)

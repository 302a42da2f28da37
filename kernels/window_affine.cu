// window_affine: scale and shift that normalise each window of a recording to mean `beta` and standard deviation
// `gamma`.
//
// Shapes   out [B,2] f32 · samples [S] f32, S >= (B-1) step + window; window b begins at sample b step
// Math     scale = gamma / sqrt(var + eps), shift = beta - mean scale; sums in f64, two passes
// Launch   grid B, block 256
// Traffic  4*B*window B twice, nine tenths of it from the L2 if windows overlap by that much; memory-bound
// Order    of the sums depends on `window` only
// Oracle   engine/cpu/segmentation_ops.rs
// Source   torch.nn.InstanceNorm1d over the samples, pyannote.audio sincnet.py::SincNet
#include "device.cuh"

namespace window_affine_ {

const int THREADS = 256;

// Sum of f over a window, returned to all threads.
template <class F>
__device__ __forceinline__ double sum(double* parts, int window, F f) {
    double part = 0;
    for (int i = threadIdx.x; i < window; i += THREADS) part += f(i);
    __syncthreads();
    parts[threadIdx.x] = part;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    __syncthreads();
    return parts[0];
}

}  // namespace window_affine_

extern "C" __global__ void __launch_bounds__(256)
    window_affine(float* __restrict__ out, const float* __restrict__ samples, int window, int64 step, float gamma, float beta,
                  float eps) {
    SHARED(double, parts, window_affine_::THREADS);
    samples += int64(blockIdx.x) * step;
    const double mean = window_affine_::sum(parts, window, [&](int i) { return double(samples[i]); }) / window;
    const double variance = window_affine_::sum(parts, window, [&](int i) {
        const double apart = double(samples[i]) - mean;
        return apart * apart;
    }) / window;
    if (threadIdx.x > 0) return;
    const double scale = double(gamma) / sqrt(variance + double(eps));
    out[2 * int64(blockIdx.x)] = float(scale);
    out[2 * int64(blockIdx.x) + 1] = float(double(beta) - mean * scale);
}
EXPORT(window_affine)

// layer_norm: normalises each row to mean 0 and variance 1, then applies gamma and beta; layer_norm_gelu adds GELU.
//
// Shapes   out,x [R,C] T · gamma,beta [C] f32
// Math     (x - mean) / sqrt(var + eps) * gamma + beta; mean and variance in f32, two passes over the row
// Launch   grid ceil(R/8), block 256 = 8 warps, one row each. A row is a few KB at most, so the second and third reads
//          hit the L1
// Traffic  4*R*C B; memory-bound
// Edge     C not a multiple of 8 is processed element by element; warps beyond row R do nothing
// Oracle   engine/cpu/layer_norm.rs
// Source   Ba et al. 2016 (arXiv:1607.06450), as torch.nn.LayerNorm
#include "matrix.cuh"

namespace layer_norm {

// Sum over a row of f(x), in an order that depends on C only.
template <class T, class F>
__device__ __forceinline__ float row_sum(const T* x, int width, int lane, F f) {
    float sum = 0;
    if (width % 8 == 0) {
        const uint4* vectors = reinterpret_cast<const uint4*>(x);
        for (int i = lane; i < width / 8; i += WARP) {
            float v[8];
            unpack_8<T>(v, vectors[i]);
#pragma unroll
            for (int j = 0; j < 8; j++) sum += f(v[j]);
        }
    } else {
        for (int i = lane; i < width; i += WARP) sum += f(to_float(x[i]));
    }
    return warp_sum(sum);
}

template <class T, bool GELU>
__device__ __forceinline__ void run(T* out, const T* x, const float* gamma, const float* beta, int rows, int width, float eps) {
    int row = blockIdx.x * 8 + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= rows) return;
    x += int64(row) * width;
    out += int64(row) * width;
    float mean = row_sum(x, width, lane, [](float v) { return v; }) / width;
    float variance = row_sum(x, width, lane, [mean](float v) { return (v - mean) * (v - mean); }) / width;
    float scale = rsqrtf(variance + eps);
    auto finished = [&](float v, int i) {
        v = (v - mean) * scale * gamma[i] + beta[i];
        return GELU ? gelu_erf(v) : v;
    };
    if (width % 8 == 0) {
        for (int i = lane; i < width / 8; i += WARP) {
            float v[8];
            unpack_8<T>(v, reinterpret_cast<const uint4*>(x)[i]);
#pragma unroll
            for (int j = 0; j < 8; j++) v[j] = finished(v[j], 8 * i + j);
            reinterpret_cast<uint4*>(out)[i] = pack_8<T>(v);
        }
    } else {
        for (int i = lane; i < width; i += WARP) out[i] = from_float<T>(finished(to_float(x[i]), i));
    }
}

}  // namespace layer_norm

#define INSTANCE(T)                                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                             \
        layer_norm_##T(T* __restrict__ out, const T* __restrict__ x, const float* __restrict__ gamma,             \
                       const float* __restrict__ beta, int rows, int width, float eps) {                          \
        layer_norm::run<T, false>(out, x, gamma, beta, rows, width, eps);                                         \
    }                                                                                                             \
    EXPORT(layer_norm_##T)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                             \
        layer_norm_gelu_##T(T* __restrict__ out, const T* __restrict__ x, const float* __restrict__ gamma,        \
                            const float* __restrict__ beta, int rows, int width, float eps) {                     \
        layer_norm::run<T, true>(out, x, gamma, beta, rows, width, eps);                                          \
    }                                                                                                             \
    EXPORT(layer_norm_gelu_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

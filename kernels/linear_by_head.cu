// linear_by_head: the rows of a decode step times one weight per head, that is, a block-diagonal linear layer.
//
// Shapes   out [R,H,N] T · x [R,H,K] T · w [H N,stride] T or int8 · bias [H N] f32 or null · scales [H N] f32 (int8 only)
// Math     out[r,h] = x[r,h] w[h]^T + bias[h]; f32 sums on tensor cores, as in linear_step.cuh
// Launch   grid (ceil(N/16), ceil(R/(8 TILES)), H), block 256 = 8 warps, or 64 = 2 warps for K <= 64 (`narrow`), which
//          has only two k steps; TILES 1 or 4
// Traffic  2*H*N*K + 2*R*H*(K+N) B; bound by the weight
// Edge     any R, N, K
// Order    depends on K only
// Oracle   engine/cpu/linear_by_head.rs
// Journal  docs/kernels/attention.md
#include "linear_step.cuh"

namespace linear_by_head {

template <class T, class W, int TILES, int WARPS>
__device__ __forceinline__ void run(T* out, const T* x, const W* w, const float* scales, const float* bias, int rows, int features,
                                    int width, int stride) {
    const int head = blockIdx.z, heads = gridDim.z;
    const int64 first = int64(head) * features;
    linear_step::run<T, W, T, TILES, WARPS>(out + first, x + int64(head) * width, w + first * stride, scales ? scales + first : nullptr,
                                            bias ? bias + first : nullptr, rows, features, width, stride, heads * features,
                                            heads * width, STORE);
}

}  // namespace linear_by_head

#define INSTANCE_OF(T, NAME, TILES, WARPS)                                                                                  \
    extern "C" __global__ void __launch_bounds__(32 * WARPS)                                                                \
        linear_by_head_##NAME##_##T(T* __restrict__ out, const T* __restrict__ x, const T* __restrict__ w,                  \
                                    const float* __restrict__ bias, int rows, int features, int width, int stride) {        \
        linear_by_head::run<T, T, TILES, WARPS>(out, x, w, nullptr, bias, rows, features, width, stride);                   \
    }                                                                                                                       \
    EXPORT(linear_by_head_##NAME##_##T)                                                                                     \
    extern "C" __global__ void __launch_bounds__(32 * WARPS)                                                                \
        linear_by_head_int8_##NAME##_##T(T* __restrict__ out, const T* __restrict__ x, const int8* __restrict__ w,          \
                                         const float* __restrict__ scales, const float* __restrict__ bias, int rows,        \
                                         int features, int width, int stride) {                                             \
        linear_by_head::run<T, int8, TILES, WARPS>(out, x, w, scales, bias, rows, features, width, stride);                 \
    }                                                                                                                       \
    EXPORT(linear_by_head_int8_##NAME##_##T)
#define INSTANCE(T)               \
    INSTANCE_OF(T, 1, 1, 8)       \
    INSTANCE_OF(T, 4, 4, 8)       \
    INSTANCE_OF(T, narrow_1, 1, 2) \
    INSTANCE_OF(T, narrow_4, 4, 2)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE
#undef INSTANCE_OF

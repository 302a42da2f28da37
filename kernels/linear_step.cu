// linear_step, logits: a linear layer over the few rows of a decode step; bound by reading the weight once.
//
// Shapes   out [R,N] T (logits: f32) · x [R,K] T · w [N,stride] T or int8 · bias [N] f32 or null · scales [N] f32 (int8 only)
// Math     out = epilogue(x w^T + bias); f32 sums on tensor cores, weights as the 16-row operand, rows of x as the 8-column one
// Launch   grid (ceil(N/16), ceil(R/(8 TILES))), block 256 = 8 warps; warp i takes k steps i, i + 8, ..., the eight partial sums
//          are added in the order of the warps. `linear_step_TILES`: 1, 2 or 4 groups of 8 rows share one read of the weight
// Traffic  2*N*K + 2*R*(K+N) B; bound by the weight
// Edge     any R, N, K; lanes beyond feature N read the last feature and do not store
// Order    depends on K only, not on R or TILES: a row's result does not depend on the other rows
// Oracle   engine/cpu/linear.rs, engine/cpu/logits.rs
// Journal  docs/kernels/gemm.md
#include "linear_step.cuh"

#define INSTANCE_OF(T, TILES)                                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                                       \
        linear_step_##TILES##_##T(T* out, const T* __restrict__ x, const T* __restrict__ w, const float* __restrict__ bias, \
                                  int rows, int features, int width, int stride, int epilogue) {                            \
        linear_step::run<T, T, T, TILES>(out, x, w, nullptr, bias, rows, features, width, stride, features,                 \
                                         width, epilogue);                                                                  \
    }                                                                                                                       \
    EXPORT(linear_step_##TILES##_##T)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                                       \
        linear_step_int8_##TILES##_##T(T* out, const T* __restrict__ x, const int8* __restrict__ w,                         \
                                       const float* __restrict__ scales, const float* __restrict__ bias, int rows,          \
                                       int features, int width, int stride, int epilogue) {                                 \
        linear_step::run<T, int8, T, TILES>(out, x, w, scales, bias, rows, features, width, stride, features,               \
                                            width, epilogue);                                                               \
    }                                                                                                                       \
    EXPORT(linear_step_int8_##TILES##_##T)                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                                       \
        logits_##TILES##_##T(float* __restrict__ out, const T* __restrict__ x, const T* __restrict__ w, int rows,           \
                             int features, int width, int stride) {                                                         \
        linear_step::run<T, T, float, TILES>(out, x, w, nullptr, nullptr, rows, features, width, stride, features,          \
                                             width, STORE);                                                                 \
    }                                                                                                                       \
    EXPORT(logits_##TILES##_##T)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                                       \
        logits_int8_##TILES##_##T(float* __restrict__ out, const T* __restrict__ x, const int8* __restrict__ w,             \
                                  const float* __restrict__ scales, int rows, int features, int width, int stride) {        \
        linear_step::run<T, int8, float, TILES>(out, x, w, scales, nullptr, rows, features, width, stride, features,        \
                                                width, STORE);                                                              \
    }                                                                                                                       \
    EXPORT(logits_int8_##TILES##_##T)
#define INSTANCE(T) INSTANCE_OF(T, 1) INSTANCE_OF(T, 2) INSTANCE_OF(T, 4)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE
#undef INSTANCE_OF

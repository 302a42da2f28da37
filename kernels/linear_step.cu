// linear_step: a layer over the few rows of a decode step; also the logits. Reads the weight once, at memory speed.
//
// Shapes   out [R,N] T (logits: f32) · x [R,K] T · w [N,stride] T or int8 · bias [N] f32 or null · scales [N] f32 (int8 only)
// Math     out = epilogue(x w^T + bias); f32 sums on tensor cores, weights as the 16-row operand, rows of x as the 8-column one
// Launch   grid (ceil(N/16), ceil(R/(8 TILES))), block 256 = 8 warps; warp i takes k steps i, i + 8, ..., the eight partial sums
//          are added in the order of the warps. `linear_step_TILES`: 1, 2 or 4 groups of 8 rows share one read of the weight
// Traffic  2*N*K + 2*R*(K+N) B; bound by the weight
// Edge     any R, N, K; a feature past N reads the last one and is not stored
// Order    depends on K alone, never on R or TILES: a row's result is the same in any company
// Oracle   engine/cpu/linear.rs, engine/cpu/logits.rs
// Journal  docs/kernels/gemm.md
#include "matrix.cuh"

namespace linear_step {

const int WARPS = 8, FEATURES = 16;

__device__ __forceinline__ float previous(const float* out) { return *out; }
template <class T>
__device__ __forceinline__ float previous(const T* out) {
    return to_float(*out);
}

template <class T, class W, class Out, int TILES>
__device__ __forceinline__ void run(Out* out, const T* x, const W* w, const float* scales, const float* bias, int rows, int features,
                                    int width, int stride, int epilogue) {
    SHARED(float, partial, WARPS * FEATURES * 8 * TILES);
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const int first_n = blockIdx.x * FEATURES, first_r = blockIdx.y * 8 * TILES;
    const W* upper = w + int64(min(first_n + g, features - 1)) * stride;
    const W* lower = w + int64(min(first_n + g + 8, features - 1)) * stride;
    float sums[TILES][4] = {};
#pragma unroll 4
    for (int k = warp * K_STEP + 8 * t; k < stride; k += WARPS * K_STEP) {
        uint4 a = load_weights<T>(upper, k), b = load_weights<T>(lower, k);
#pragma unroll
        for (int j = 0; j < TILES; j++) {
            int row = first_r + 8 * j + g;
            uint4 v = make_uint4(0, 0, 0, 0);
            if (row < rows) v = load_activations(x + int64(row) * width, k, width);
            multiply<T>(sums[j], a, b, v);
        }
    }
#pragma unroll
    for (int j = 0; j < TILES; j++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            partial[(warp * 8 * TILES + 8 * j + 2 * t + e % 2) * FEATURES + g + 8 * (e / 2)] = sums[j][e];
    __syncthreads();
    for (int i = threadIdx.x; i < 8 * TILES * FEATURES; i += WARPS * WARP) {
        int row = first_r + i / FEATURES, n = first_n + i % FEATURES;
        if (row >= rows || n >= features) continue;
        float sum = 0;
#pragma unroll
        for (int p = 0; p < WARPS; p++) sum += partial[p * 8 * TILES * FEATURES + i];
        if (scales) sum *= scales[n];
        Out* place = out + int64(row) * features + n;
        float residual = epilogue == ADD ? previous(place) : 0.0f;
        *place = from_float<Out>(finish(sum, bias ? bias[n] : 0.0f, epilogue, residual));
    }
}

}  // namespace linear_step

#define INSTANCE_OF(T, TILES)                                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                                       \
        linear_step_##TILES##_##T(T* out, const T* __restrict__ x, const T* __restrict__ w, const float* __restrict__ bias, \
                                  int rows, int features, int width, int stride, int epilogue) {                            \
        linear_step::run<T, T, T, TILES>(out, x, w, nullptr, bias, rows, features, width, stride, epilogue);                \
    }                                                                                                                       \
    EXPORT(linear_step_##TILES##_##T)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                                       \
        linear_step_int8_##TILES##_##T(T* out, const T* __restrict__ x, const int8* __restrict__ w,                         \
                                       const float* __restrict__ scales, const float* __restrict__ bias, int rows,          \
                                       int features, int width, int stride, int epilogue) {                                 \
        linear_step::run<T, int8, T, TILES>(out, x, w, scales, bias, rows, features, width, stride, epilogue);              \
    }                                                                                                                       \
    EXPORT(linear_step_int8_##TILES##_##T)                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                                       \
        logits_##TILES##_##T(float* __restrict__ out, const T* __restrict__ x, const T* __restrict__ w, int rows,           \
                             int features, int width, int stride) {                                                         \
        linear_step::run<T, T, float, TILES>(out, x, w, nullptr, nullptr, rows, features, width, stride, STORE);            \
    }                                                                                                                       \
    EXPORT(logits_##TILES##_##T)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                                       \
        logits_int8_##TILES##_##T(float* __restrict__ out, const T* __restrict__ x, const int8* __restrict__ w,             \
                                  const float* __restrict__ scales, int rows, int features, int width, int stride) {        \
        linear_step::run<T, int8, float, TILES>(out, x, w, scales, nullptr, rows, features, width, stride, STORE);          \
    }                                                                                                                       \
    EXPORT(logits_int8_##TILES##_##T)
#define INSTANCE(T) INSTANCE_OF(T, 1) INSTANCE_OF(T, 2) INSTANCE_OF(T, 4)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE
#undef INSTANCE_OF

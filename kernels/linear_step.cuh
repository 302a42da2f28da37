// The rows of a decode step times a weight: one block computes 16 features of 8 TILES rows. Warp i computes k steps
// i, i + WARPS, ...; the partial sums are added in the order of the warps. So the order of additions depends on K and
// WARPS only, not on the number of rows or on TILES.
#pragma once
#include "matrix.cuh"

namespace linear_step {

const int FEATURES = 16;

__device__ __forceinline__ float previous(const float* out) { return *out; }
template <class T>
__device__ __forceinline__ float previous(const T* out) {
    return to_float(*out);
}

// `out_stride` and `x_stride` are the distances between rows.
template <class T, class W, class Out, int TILES, int WARPS = 8>
__device__ __forceinline__ void run(Out* out, const T* x, const W* w, const float* scales, const float* bias, int rows, int features,
                                    int width, int stride, int out_stride, int x_stride, int epilogue) {
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
            if (row < rows) v = load_activations(x + int64(row) * x_stride, k, width);
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
        Out* place = out + int64(row) * out_stride + n;
        float residual = epilogue == ADD ? previous(place) : 0.0f;
        *place = from_float<Out>(finish(sum, bias ? bias[n] : 0.0f, epilogue, residual));
    }
}

}  // namespace linear_step

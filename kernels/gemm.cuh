// Tiled matrix product of activations and a weight: out[r,n] = epilogue(sum_k x(r,k) w[n,k] + bias[n]).
//
// `linear`, `conv1d` and `positional_conv` differ only in how row r of the activations is addressed; each provides a
// struct with a `load` function for that.
//
// Tile     128 features x 128 rows x 32 k, 4 warps of 64 x 64, three pipeline stages: 48 KiB of shared memory, so that
//          two blocks fit on an SM of every GPU from sm_80 on; 128 sums per thread
// Order    k ascends in steps of 32 for every element: results do not depend on the tile or the number of rows
// Journal  docs/kernels/gemm.md
#pragma once
#include "matrix.cuh"

namespace gemm {

const int TILE = 128, STAGES = 3, THREADS = 128;
const int OPERAND = TILE * K_STEP;         // elements of one operand's stage
const int STAGE_BYTES = 2 * OPERAND * 2;   // both operands, 16-bit
const int SUM_STRIDE = TILE + 4;           // floats; 4 of padding against bank conflicts
const int SHARED_BYTES = STAGES * STAGE_BYTES;  // reused for 64 rows of sums: 64 * 132 * 4 B
static_assert(64 * SUM_STRIDE * 4 <= SHARED_BYTES, "the sums must fit where the stages were");

// Loads k0 .. k0 + 31 of 128 rows of one operand into shared memory; thread i loads the 16-byte chunks i, i + 128, ...
template <class T, class Rows>
__device__ __forceinline__ void load_tile(T* shared, const Rows& rows, int64 first, int k0) {
#pragma unroll
    for (int i = threadIdx.x; i < OPERAND / 8; i += THREADS) rows.load(shared + 8 * i, first + i / 4, k0 + 8 * (i % 4));
}

// Rows of a weight stored in the type of the activations.
template <class T>
struct WeightRows {
    const T* w;
    int64 features;
    int stride;
    __device__ __forceinline__ void load(T* shared, int64 row, int k) const {
        bool exists = row < features;
        cp_async_16(shared, exists ? w + row * stride + k : w, exists ? 16 : 0);
    }
};

// Rows of an int8 weight. They are converted to T on the way, through registers; the epilogue applies the scale.
template <class T>
struct QuantizedRows {
    const int8* w;
    int64 features;
    int stride;
    __device__ __forceinline__ void load(T* shared, int64 row, int k) const {
        uint4 v = make_uint4(0, 0, 0, 0);
        if (row < features) v = load_weights<T>(w + row * stride, k);
        *reinterpret_cast<uint4*>(shared) = v;
    }
};

template <class T, class W>
struct WeightOf;
template <class T>
struct WeightOf<T, T> {
    typedef WeightRows<T> Rows;
};
template <class T>
struct WeightOf<T, int8> {
    typedef QuantizedRows<T> Rows;
};

// Output, bias, scales and sizes of a product.
template <class T>
struct Output {
    T* out;              // [R,N]
    const float* bias;   // [N] or null
    const float* scales; // [N] or null
    int64 rows;
    int features;
    int epilogue;
};

// Stores eight features of one row.
template <class T>
__device__ __forceinline__ void store(const Output<T>& o, const float* sums, int64 row, int n) {
    T* out = o.out + row * o.features + n;
    bool vector = n + 8 <= o.features && (reinterpret_cast<uint64>(out) & 15) == 0;
    float residual[8] = {}, y[8];
    if (vector && o.epilogue == ADD) unpack_8<T>(residual, *reinterpret_cast<const uint4*>(out));
#pragma unroll
    for (int i = 0; i < 8; i++) {
        if (n + i >= o.features) break;
        if (!vector && o.epilogue == ADD) residual[i] = to_float(out[i]);
        float sum = o.scales ? sums[i] * o.scales[n + i] : sums[i];
        y[i] = finish(sum, o.bias ? o.bias[n + i] : 0.0f, o.epilogue, residual[i]);
        if (!vector) out[i] = from_float<T>(y[i]);
    }
    if (vector) *reinterpret_cast<uint4*>(out) = pack_8<T>(y);
}

template <class T, class Weights, class Activations>
__device__ __forceinline__ void run(const Output<T>& o, const Weights& weights, const Activations& activations, int stride) {
    SHARED_DYNAMIC(T, shared);
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const int warp_n = threadIdx.x / WARP % 2 * 64, warp_r = threadIdx.x / WARP / 2 * 64;
    const int first_n = blockIdx.x * TILE;
    const int64 first_r = int64(blockIdx.y) * TILE;
    float sums[4][8][4] = {};  // [16 features][8 rows][fragment]

    const int steps = stride / K_STEP;
    auto fetch = [&](int step) {
        if (step < steps) {
            T* stage = shared + step % STAGES * 2 * OPERAND;
            load_tile(stage, weights, first_n, step * K_STEP);
            load_tile(stage + OPERAND, activations, first_r, step * K_STEP);
        }
        cp_async_commit();  // an empty group keeps one group per step
    };
    fetch(0);
    fetch(1);
    for (int step = 0; step < steps; step++) {
        cp_async_wait<1>();
        __syncthreads();  // this stage is complete, and no warp still reads the one that is overwritten next
        fetch(step + 2);
        const T* w = shared + step % STAGES * 2 * OPERAND;
        const T* x = w + OPERAND;
        uint4 b[8];
#pragma unroll
        for (int j = 0; j < 8; j++) b[j] = *reinterpret_cast<const uint4*>(x + (warp_r + 8 * j + g) * K_STEP + 8 * t);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const T* rows = w + (warp_n + 16 * i + g) * K_STEP + 8 * t;
            uint4 upper = *reinterpret_cast<const uint4*>(rows);
            uint4 lower = *reinterpret_cast<const uint4*>(rows + 8 * K_STEP);
#pragma unroll
            for (int j = 0; j < 8; j++) multiply<T>(sums[i][j], upper, lower, b[j]);
        }
    }
    cp_async_wait<0>();

    // A lane's sums are spread over rows; shared memory rearranges them into rows for 16-byte stores, 64 rows at a
    // time.
    float* staged = reinterpret_cast<float*>(shared);
    for (int half = 0; half < TILE; half += 64) {
        __syncthreads();
        if (warp_r == half) {
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 8; j++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        staged[(8 * j + 2 * t + e % 2) * SUM_STRIDE + warp_n + 16 * i + g + 8 * (e / 2)] = sums[i][j][e];
        }
        __syncthreads();
        for (int i = threadIdx.x; i < 64 * TILE / 8; i += THREADS) {
            int row = i / (TILE / 8), n = i % (TILE / 8) * 8;
            if (first_r + half + row < o.rows && first_n + n < o.features)
                store(o, staged + row * SUM_STRIDE + n, first_r + half + row, first_n + n);
        }
    }
}

}  // namespace gemm

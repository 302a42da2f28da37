// c[64,64] = a[64,k] b[64,k]^T on tensor cores, with every matrix instruction of device.cuh.
#include "device.cuh"

// One block of 128 threads, 16 rows per warp. `wait`: whether to wait for the copies.
template <class T, bool transposed_b>
__device__ __forceinline__ void matmul(float* __restrict__ c, const T* __restrict__ a, const T* __restrict__ b, int k, int wait) {
    SHARED(T, a_tile, 2 * 64 * 40);  // two stages of [64, 32], rows of 40
    SHARED_DYNAMIC(T, b_tile);       // the same; where `b` is [k, 64]: two stages of [32, 72]
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    float sums[8][4] = {};
    auto fetch = [&](int stage, int first) {
        for (int i = threadIdx.x; i < 64 * 4; i += 128) {
            int row = i / 4, column = i % 4 * 8;
            cp_async_16(&a_tile[stage * 64 * 40 + row * 40 + column], &a[row * k + first + column]);
            if (!transposed_b) cp_async_16(&b_tile[stage * 64 * 40 + row * 40 + column], &b[row * k + first + column]);
        }
        for (int i = threadIdx.x; transposed_b && i < 32 * 8; i += 128) {
            int row = i / 8, column = i % 8 * 8;
            cp_async_16(&b_tile[stage * 32 * 72 + row * 72 + column], &b[(first + row) * 64 + column]);
        }
        cp_async_commit();
    };
    fetch(0, 0);
    for (int first = 0, stage = 0; first < k; first += 32, stage ^= 1) {
        if (first + 32 < k) {
            fetch(stage ^ 1, first + 32);
            if (wait) cp_async_wait<1>();
        } else if (wait) {
            cp_async_wait<0>();
        }
        __syncthreads();
        for (int inner = 0; inner < 32; inner += 16) {
            uint32 a_part[4];
            ldmatrix_x4(a_part, &a_tile[stage * 64 * 40 + (warp * 16 + lane % 16) * 40 + inner + lane / 16 * 8]);
            for (int j = 0; j < 8; j += 2) {
                // Matrices: columns j, upper and lower half of k; columns j + 1, the same.
                uint32 b_part[4];
                int column = (j + lane / 16) * 8, half = lane / 8 % 2 * 8;
                if (transposed_b) {
                    ldmatrix_x4_trans(b_part, &b_tile[stage * 32 * 72 + (inner + half + lane % 8) * 72 + column]);
                } else {
                    ldmatrix_x4(b_part, &b_tile[stage * 64 * 40 + (column + lane % 8) * 40 + inner + half]);
                }
                mma_16x8x16<T>(sums[j], a_part, {b_part[0], b_part[1]});
                mma_16x8x16<T>(sums[j + 1], a_part, {b_part[2], b_part[3]});
            }
        }
        __syncthreads();
    }
    for (int j = 0; j < 8; j++) {
        int row = warp * 16 + lane / 4, column = j * 8 + lane % 4 * 2;
        for (int i = 0; i < 4; i++) c[(row + i / 2 * 8) * 64 + column + i % 2] = sums[j][i];
    }
}

#define INSTANCE(T)                                                                                                     \
    extern "C" __global__ void __launch_bounds__(128)                                                                   \
        matmul_##T(float* __restrict__ c, const T* __restrict__ a, const T* __restrict__ b, int k, int wait) {           \
        matmul<T, false>(c, a, b, k, wait);                                                                             \
    }                                                                                                                   \
    EXPORT(matmul_##T)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128)                                                                   \
        matmul_transposed_##T(float* __restrict__ c, const T* __restrict__ a, const T* __restrict__ b, int k, int wait) { \
        matmul<T, true>(c, a, b, k, wait);                                                                              \
    }                                                                                                                   \
    EXPORT(matmul_transposed_##T)
FOR_EACH_ACTIVATION(INSTANCE)

// Only tensor-core instructions, for measurements: 4 warps, `steps` times 8 instructions each.
extern "C" __global__ void mma_speed(float* __restrict__ out, int steps) {
    uint32 a[4] = {0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00}, b[2] = {0x3c003c00, 0x3c003c00};
    float sums[8][4] = {};
    for (int step = 0; step < steps; step++) {
        for (int j = 0; j < 8; j++) mma_16x8x16<f16>(sums[j], a, b);
    }
    out[blockIdx.x * blockDim.x + threadIdx.x] = sums[0][0] + sums[7][3];
}
EXPORT(mma_speed)

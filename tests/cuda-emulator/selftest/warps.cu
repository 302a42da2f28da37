// Shuffles, votes, atomics and number formats: each thread writes its results.
#include "device.cuh"

// out[32, 12]
extern "C" __global__ void shuffles(int* __restrict__ out) {
    int lane = threadIdx.x;
    int* row = out + lane * 12;
    row[0] = __shfl_sync(FULL_WARP, lane * 10, 5);
    row[1] = __shfl_up_sync(FULL_WARP, lane, 3);
    row[2] = __shfl_down_sync(FULL_WARP, lane, 3, 8);
    row[3] = int(__shfl_xor_sync(FULL_WARP, float(lane), 16));
    row[4] = int(__ballot_sync(FULL_WARP, lane % 3 == 0));
    row[5] = __any_sync(FULL_WARP, lane == 7) + 2 * __all_sync(FULL_WARP, lane < 31);
    row[6] = int(warp_sum(float(lane)));
    row[7] = int(warp_max<8>(float(lane)));
    row[8] = int(__shfl_sync(FULL_WARP, uint64(lane) << 40, lane ^ 1) >> 40);
    // The halves of a warp synchronise separately, in two different branches.
    if (lane < 16) {
        row[9] = __shfl_xor_sync(0x0000ffffu, lane, 1);
    } else {
        row[9] = __shfl_sync(0xffff0000u, lane * 2, 20);
    }
    row[10] = __syncthreads_count(lane < 11);
    row[11] = __syncthreads_or(lane == 3) + 2 * __syncthreads_and(lane < 99);
}
EXPORT(shuffles)

// counters[4] of all blocks; out[0]: the sum over blocks, written by the last block to finish
extern "C" __global__ void atomics(uint32* __restrict__ counters, float* __restrict__ sum, uint32* __restrict__ partial, uint32* __restrict__ out) {
    atomicAdd(&counters[0], 1u);
    atomicMax(&counters[1], blockIdx.x * blockDim.x + threadIdx.x);
    atomicAdd(sum, 0.5f);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = blockIdx.x + 1;
        __threadfence();
        if (atomicAdd(&counters[2], 1u) == gridDim.x - 1) {
            uint32 total = 0;
            for (uint32 i = 0; i < gridDim.x; i++) total += partial[i];
            *out = total;
        }
    }
}
EXPORT(atomics)

// Conversions of x[n]; and of all 65536 patterns into f32.
extern "C" __global__ void conversions(uint16* __restrict__ halves, uint16* __restrict__ brains, float* __restrict__ wide, const float* __restrict__ x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        halves[i] = from_float<f16>(x[i]).bits;
        brains[i] = from_float<bf16>(x[i]).bits;
    }
    if (i < 65536) wide[i] = to_float(f16{uint16(i)});
}
EXPORT(conversions)

struct Sizes {
    int rows, columns;
    float scale;
};
// Arguments of several sizes are passed unchanged.
extern "C" __global__ void arguments(float* __restrict__ out, uint8 small, Sizes sizes, double wide, int64 many) {
    *out = float(small) + float(sizes.rows * sizes.columns) * sizes.scale + float(wide) + float(many);
}
EXPORT(arguments)

extern "C" __global__ void add_one(float* __restrict__ x, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] += 1.0f;
}
EXPORT(add_one)

// Kernels with one mistake each.
#include "device.cuh"

extern "C" __global__ void write_behind(float* __restrict__ x, int n) { x[n] = float(threadIdx.x); }
EXPORT(write_behind)

extern "C" __global__ void write_before(float* __restrict__ x) { x[-1] = 1.0f; }
EXPORT(write_before)

extern "C" __global__ void read_behind(float* __restrict__ out, const float* __restrict__ x, int n) { *out = x[n]; }
EXPORT(read_behind)

extern "C" __global__ void copy_one(float* __restrict__ out, const float* __restrict__ x) { *out = *x; }
EXPORT(copy_one)

extern "C" __global__ void read_vector(uint4* __restrict__ out, const uint8* __restrict__ x, int offset) {
    *out = load_once(reinterpret_cast<const uint4*>(x + offset));
}
EXPORT(read_vector)

extern "C" __global__ void unwritten_shared(float* __restrict__ out) {
    SHARED(float, values, 32);
    if (threadIdx.x != 3) values[threadIdx.x] = 1.0f;
    __syncwarp();
    out[threadIdx.x] = values[threadIdx.x];
}
EXPORT(unwritten_shared)

extern "C" __global__ void write_behind_shared(float* __restrict__ out, int i) {
    SHARED(float, values, 33);
    SHARED(float, others, 32);
    values[i] = 1.0f;
    others[threadIdx.x] = 2.0f;
    out[threadIdx.x] = others[threadIdx.x];
}
EXPORT(write_behind_shared)

extern "C" __global__ void too_much_shared(float* __restrict__ out) {
    SHARED(float, values, 12289);
    values[threadIdx.x] = 1.0f;
    *out = values[threadIdx.x];
}
EXPORT(too_much_shared)

// A barrier in a branch that half of a block executes.
extern "C" __global__ void divergent_barrier(float* __restrict__ out) {
    if (threadIdx.x < 48) __syncthreads();
    out[threadIdx.x] = 1.0f;
}
EXPORT(divergent_barrier)

// Half of a warp waits in a shuffle, the other half at the block's barrier.
extern "C" __global__ void divergent_shuffle(int* __restrict__ out) {
    int x = threadIdx.x;
    if (threadIdx.x < 16) {
        x = __shfl_xor_sync(FULL_WARP, x, 1);
    } else {
        __syncthreads();
    }
    out[threadIdx.x] = x;
}
EXPORT(divergent_shuffle)

extern "C" __global__ void mma_by_half_a_warp(float* __restrict__ out) {
    uint32 a[4] = {}, b[2] = {};
    float sums[4] = {};
    if (threadIdx.x < 16) mma_16x8x16<f16>(sums, a, b);
    out[threadIdx.x] = sums[0];
}
EXPORT(mma_by_half_a_warp)

extern "C" __global__ void divide(int* __restrict__ out, int by) { *out = 7 / by; }
EXPORT(divide)

extern "C" __global__ void deep(float* __restrict__ out, int i) {
    volatile float values[1 << 17];
    for (int j = 0; j < 1 << 17; j++) values[j] = float(i);
    *out = values[i];
}
EXPORT(deep)

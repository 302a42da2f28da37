// Block-wide sums, correct and incorrect.
#include "device.cuh"

// partial[block] = sum of the block's 256 elements of x[n]
extern "C" __global__ void block_sum(float* __restrict__ partial, const float* __restrict__ x, int n) {
    SHARED(float, sums, 256);
    int i = blockIdx.x * 256 + threadIdx.x;
    sums[threadIdx.x] = i < n ? x[i] : 0.0f;
    __syncthreads();
    for (int step = 128; step > 0; step /= 2) {
        if (threadIdx.x < step) sums[threadIdx.x] += sums[threadIdx.x + step];
        __syncthreads();
    }
    if (threadIdx.x == 0) partial[blockIdx.x] = sums[0];
}
EXPORT(block_sum)

// Without the barrier in the loop.
extern "C" __global__ void block_sum_without_barrier(float* __restrict__ partial, const float* __restrict__ x, int n) {
    SHARED(float, sums, 256);
    int i = blockIdx.x * 256 + threadIdx.x;
    sums[threadIdx.x] = i < n ? x[i] : 0.0f;
    __syncthreads();
    for (int step = 128; step > 0; step /= 2) {
        if (threadIdx.x < step) sums[threadIdx.x] += sums[threadIdx.x + step];
    }
    if (threadIdx.x == 0) partial[blockIdx.x] = sums[0];
}
EXPORT(block_sum_without_barrier)

// Lanes exchange values through shared memory; without __syncwarp a warp does not run in lockstep.
extern "C" __global__ void neighbours(float* __restrict__ out, int with_barrier) {
    SHARED(float, values, 32);
    values[threadIdx.x] = float(threadIdx.x);
    if (with_barrier) __syncwarp();
    out[threadIdx.x] = values[(threadIdx.x + 1) % 32];
}
EXPORT(neighbours)

// Tiles that are overwritten while other threads still read them, unless both barriers are there.
extern "C" __global__ void tile_sums(float* __restrict__ out, const float* __restrict__ x, int tiles, int second_barrier) {
    SHARED(float, tile, 128);
    float sum = 0.0f;
    for (int t = 0; t < tiles; t++) {
        tile[threadIdx.x] = x[t * 128 + threadIdx.x];
        __syncthreads();
        for (int i = 0; i < 128; i++) sum += tile[i];
        if (second_barrier) __syncthreads();
    }
    out[threadIdx.x] = sum;
}
EXPORT(tile_sums)

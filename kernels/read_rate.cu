// read_rate: measures memory read bandwidth: a kernel that reads an array and does almost nothing else.
//
// Shapes   sums [8*blocks] f32 · x [count] f32, count a multiple of 4
// Math     sums[w] = sum of the floats that warp w reads, so that the compiler cannot remove a read
// Launch   grid ceil(count/16384), block 256: a block reads 64 KiB, four independent 16-byte loads a thread at a time
// Traffic  4*count B read; the upper bound for every kernel on the same GPU
// Oracle   the same sum in f64 (bin/diarist-bench/machine.rs)
// Source   engine/cuda/read_rate.rs
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(256) read_rate(float* __restrict__ sums, const float* __restrict__ x, int64 count) {
    const uint4* vectors = reinterpret_cast<const uint4*>(x);
    int64 end = min(count / 4, (int64(blockIdx.x) + 1) * 4096);
    float sum = 0;
    for (int64 i = int64(blockIdx.x) * 4096 + threadIdx.x; i < end; i += 1024) {
        uint4 v[4];
#pragma unroll
        for (int j = 0; j < 4; j++) v[j] = i + 256 * j < end ? load_once(vectors + i + 256 * j) : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            sum += (__uint_as_float(v[j].x) + __uint_as_float(v[j].y)) + (__uint_as_float(v[j].z) + __uint_as_float(v[j].w));
        }
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) sums[blockIdx.x * 8 + threadIdx.x / WARP] = sum;
}
EXPORT(read_rate)

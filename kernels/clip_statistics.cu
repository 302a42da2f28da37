// clip_statistics: mean and standard deviation over the frames of each clip; clips have different lengths.
//
// Shapes   out [clips,2,K] f32 · x [R,K] f32 · starts [clips+1] i32
// Math     mean m = sum x / T, deviation sqrt(sum (x - m)^2 / (T - 1)): NaN for a clip of one frame; sums in f32
// Launch   grid (ceil(K/32), clips), block 256: 32 columns x 8 rows at a time
// Traffic  4*R*K B from memory, and once more from the L2
// Order    of the sums depends on the clip's length only
// Oracle   engine/cpu/campplus_ops.rs
// Source   3D-Speaker speakerlab/models/campplus/layers.py: statistics_pooling
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(256)
    clip_statistics(float* __restrict__ out, const float* __restrict__ x, const int* __restrict__ starts, int width) {
    const int ROWS = 8;
    SHARED(float, parts, ROWS * WARP);
    const int lane = threadIdx.x % WARP, row = threadIdx.x / WARP, column = blockIdx.x * WARP + lane;
    const int begin = starts[blockIdx.y], end = starts[blockIdx.y + 1];
    const bool exists = column < width;
    float sum = 0;
    for (int r = begin + row; exists && r < end; r += ROWS) sum += x[int64(r) * width + column];
    parts[row * WARP + lane] = sum;
    __syncthreads();
    sum = 0;
    for (int r = 0; r < ROWS; r++) sum += parts[r * WARP + lane];
    const float mean = sum / (end - begin);
    float squares = 0;
    for (int r = begin + row; exists && r < end; r += ROWS) {
        const float apart = x[int64(r) * width + column] - mean;
        squares = fmaf(apart, apart, squares);
    }
    __syncthreads();  // the parts of the mean have been read
    parts[row * WARP + lane] = squares;
    __syncthreads();
    if (!exists || row != 0) return;
    squares = 0;
    for (int r = 0; r < ROWS; r++) squares += parts[r * WARP + lane];
    float* to = out + int64(blockIdx.y) * 2 * width + column;
    to[0] = mean;
    to[width] = sqrtf(squares / (end - begin - 1));
}
EXPORT(clip_statistics)

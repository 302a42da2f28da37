// centre_clips: gathers the features of clips of different lengths and subtracts the mean of each band over the clip.
//
// Shapes   out [R,M] f32 · features [F,M] f32 · index [R] i32, the row of features of each row of out · starts [clips+1] i32
// Math     out[r,m] = features[index[r], m] - mean over the clip's rows of the same; sums in f32
// Launch   grid (ceil(M/32), clips), block 256: 32 bands x 8 rows at a time
// Traffic  4*(2*R*M) B; the second pass reads the features from the L2
// Order    of the sums depends on the clip's length only
// Oracle   engine/cpu/campplus_ops.rs
// Source   3D-Speaker speakerlab/process/processor.py: FBank with mean_nor
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(256)
    centre_clips(float* __restrict__ out, const float* __restrict__ features, const int* __restrict__ index,
                 const int* __restrict__ starts, int bands) {
    const int ROWS = 8;
    SHARED(float, parts, ROWS * WARP);
    const int lane = threadIdx.x % WARP, row = threadIdx.x / WARP, band = blockIdx.x * WARP + lane;
    const int begin = starts[blockIdx.y], end = starts[blockIdx.y + 1];
    const bool exists = band < bands;
    float sum = 0;
    for (int r = begin + row; exists && r < end; r += ROWS) sum += features[int64(index[r]) * bands + band];
    parts[row * WARP + lane] = sum;
    __syncthreads();
    sum = 0;
    for (int r = 0; r < ROWS; r++) sum += parts[r * WARP + lane];
    const float mean = sum / (end - begin);
    if (!exists) return;
    for (int r = begin + row; r < end; r += ROWS)
        out[int64(r) * bands + band] = features[int64(index[r]) * bands + band] - mean;
}
EXPORT(centre_clips)

// segment_context: for each segment of 100 frames, the mean over its frames plus the mean over all frames of its clip.
//
// Shapes   out [S,K] f32 · x [R,K] f32 · starts,segments [clips+1] i32: first row and first segment of each clip
// Math     out[s] = mean of x over the rows of s + mean of x over the rows of its clip; the last segment of a clip may be
//          shorter, and is divided by the rows it has; sums in f32
// Launch   grid (ceil(K/32), clips), block 256: 32 columns x 8 rows at a time
// Traffic  4*(R*K + 2*S*K) B
// Order    of the sums depends on the clip's length only
// Oracle   engine/cpu/campplus_ops.rs
// Source   3D-Speaker speakerlab/models/campplus/layers.py: CAMLayer
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(256)
    segment_context(float* __restrict__ out, const float* __restrict__ x, const int* __restrict__ starts,
                    const int* __restrict__ segments, int width) {
    const int ROWS = 8, SEGMENT = 100;
    SHARED(float, parts, ROWS * WARP);
    const int lane = threadIdx.x % WARP, row = threadIdx.x / WARP, column = blockIdx.x * WARP + lane;
    const int begin = starts[blockIdx.y], end = starts[blockIdx.y + 1];
    const int first = segments[blockIdx.y], last = segments[blockIdx.y + 1];
    const bool exists = column < width;
    float total = 0;
    for (int s = first; s < last; s++) {
        const int from = begin + (s - first) * SEGMENT, to = min(from + SEGMENT, end);
        float sum = 0;
        for (int r = from + row; exists && r < to; r += ROWS) sum += x[int64(r) * width + column];
        parts[row * WARP + lane] = sum;
        __syncthreads();
        sum = 0;
        for (int r = 0; r < ROWS; r++) sum += parts[r * WARP + lane];
        total += sum;
        if (exists && row == 0) out[int64(s) * width + column] = sum / (to - from);
        __syncthreads();  // the parts are read before the next ones are written
    }
    if (!exists || row != 0) return;
    const float mean = total / (end - begin);
    for (int s = first; s < last; s++) out[int64(s) * width + column] += mean;
}
EXPORT(segment_context)

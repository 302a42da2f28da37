// conv1d_f32: convolution over time in f32, also over samples; with one tap it is a linear layer.
//
// Shapes   out [B,T,N] f32, T = (F - W)/step + 1 · x [B,F,C] f32 · w [N,W C] f32, tap by tap, channels contiguous within a
//          tap · bias [N] f32 or null
// Math     out[b,t] = activation(sum over k of x[b, step t ..][k] w[:, k] + bias). Row t of x is a contiguous run of
//          memory, and rows may overlap. FMA, k ascending for every element: results do not depend on the tile or the
//          number of rows
// Launch   grid (ceil(N/64), ceil(B T/128)), block 256: 8 rows x 4 features per thread
// Traffic  2*B*T*N*W*C flops at the rate of the f32 units; 12 KiB shared memory
// Edge     rows, features and k beyond their ends are zeros
// Oracle   engine/cpu/segmentation_ops.rs
// Source   torch.nn.functional.conv1d, without tensor cores, because thresholds are applied to the results
#include "device.cuh"

namespace conv1d_f32_ {

const int ROWS = 128, FEATURES = 64, DEPTH = 16, THREADS = 256;
const int ROW_STRIDE = ROWS + 4, FEATURE_STRIDE = FEATURES + 4;  // 16-byte aligned, spread over the banks
const int LOADS = ROWS / (THREADS / DEPTH);                      // rows of a step that a thread loads

__device__ __forceinline__ float activated(float v, int activation, float leak) {
    if (activation == 1) return v > 0 ? v : leak * v;
    if (activation == 2) return 1.0f / (1.0f + expf(-v));
    if (activation == 3) return v < 0 ? 0.0f : v;  // NaN stays
    return v;
}

}  // namespace conv1d_f32_

// `rows` = B T; `clip` = F C, `hop` = step C, in elements of x; `activation` 0 none, 1 leaky ReLU, 2 sigmoid, 3 ReLU.
extern "C" __global__ void __launch_bounds__(256)
    conv1d_f32(float* __restrict__ out, const float* __restrict__ x, const float* __restrict__ w,
               const float* __restrict__ bias, int64 rows, int features, int width, int out_frames, int64 clip, int64 hop,
               int activation, float leak) {
    using namespace conv1d_f32_;
    SHARED(float, x_tile, DEPTH * ROW_STRIDE);
    SHARED(float, w_tile, DEPTH * FEATURE_STRIDE);
    const int64 first_row = int64(blockIdx.y) * ROWS;
    const int first_feature = blockIdx.x * FEATURES;
    const int depth = threadIdx.x % DEPTH, lane = threadIdx.x / DEPTH;  // what this thread loads
    const int my_row = threadIdx.x / 16 * 8, my_feature = threadIdx.x % 16 * 4;
    int64 begin[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int64 row = first_row + lane + i * (THREADS / DEPTH);
        begin[i] = row < rows ? row / out_frames * clip + row % out_frames * hop : -1;
    }
    float sums[8][4] = {};
    for (int k0 = 0; k0 < width; k0 += DEPTH) {
        const int k = k0 + depth;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < LOADS; i++)
            x_tile[depth * ROW_STRIDE + lane + i * (THREADS / DEPTH)] =
                begin[i] >= 0 && k < width ? x[begin[i] + k] : 0.0f;
#pragma unroll
        for (int i = 0; i < FEATURES / (THREADS / DEPTH); i++) {
            const int feature = lane + i * (THREADS / DEPTH);
            const bool exists = first_feature + feature < features && k < width;
            w_tile[depth * FEATURE_STRIDE + feature] = exists ? w[int64(first_feature + feature) * width + k] : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int d = 0; d < DEPTH; d++) {
            const float4* xs = reinterpret_cast<const float4*>(x_tile + d * ROW_STRIDE + my_row);
            const float4 low = xs[0], high = xs[1];
            const float4 ws = *reinterpret_cast<const float4*>(w_tile + d * FEATURE_STRIDE + my_feature);
            const float xv[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
            const float wv[4] = {ws.x, ws.y, ws.z, ws.w};
#pragma unroll
            for (int r = 0; r < 8; r++)
#pragma unroll
                for (int n = 0; n < 4; n++) sums[r][n] = fmaf(xv[r], wv[n], sums[r][n]);
        }
    }
#pragma unroll
    for (int r = 0; r < 8; r++) {
        const int64 row = first_row + my_row + r;
        if (row >= rows) break;
#pragma unroll
        for (int n = 0; n < 4; n++) {
            const int feature = first_feature + my_feature + n;
            if (feature >= features) break;
            const float v = sums[r][n] + (bias ? bias[feature] : 0.0f);
            out[row * features + feature] = activated(v, activation, leak);
        }
    }
}
EXPORT(conv1d_f32)

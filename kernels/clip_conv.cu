// clip_conv: 1-D or 2-D convolution in f32 over clips of different lengths, with fused norm, bias, ReLU and gates.
//
// Shapes   out [R' H',out_width] f32, of which N columns are written · x [R H,x_width] f32, of which the first C
//          columns are read · w [N,W V C] f32: taps over time, then over frequency, then channels · bias [N] or null ·
//          scale,shift [C] or null · other: null, gates [S,N] or a residual of the shape of out ·
//          in_starts,out_starts,segments [clips+1] i32 · clip_of_row [R'] i32
// Math     frame t, band h of a clip: sum over taps i,j and channels c of x[s t + d (i - W/2), u h + j - V/2, c] w[:, i, j, c],
//          zeros outside the clip and the bands; with a scale, x is first replaced by relu(x scale + shift). Then the
//          bias is added; then nothing, or ReLU, or times the gates of the frame's segment of 100 frames, or plus
//          `other` and ReLU
// Launch   grid (ceil(R' H'/P), ceil(N/F)), block 256: F = 64, P = 128, or F = 32, P = 256; 8 rows x 4 features per
//          thread
// Traffic  2*R'*H'*N*W*V*C flops at the rate of the f32 units; up to 27 KiB shared memory
// Order    k = (i,j,c) ascending by FMA for every element whatever its tile: results depend on the clip only
// Edge     rows, features and k beyond their ends are zeros
// Oracle   engine/cpu/clip_conv.rs, engine/cpu/conv2d.rs
// Source   torch.nn.functional.conv1d and conv2d, without tensor cores, because thresholds are applied to distances
//          between embeddings
#include "device.cuh"

namespace clip_conv_ {

const int DEPTH = 16, THREADS = 256, SEGMENT = 100;

// Passed by value; mirrors `Sizes` of engine/cuda/campplus_ops.rs.
struct Sizes {
    int rows;  // R' H'
    int features, channels, depth;  // N, C, W V C
    int x_width, out_width;
    int bands, out_bands;  // H, H'
    int frame_stride, band_stride, dilation;
    int frame_taps, band_taps;
    int finish;  // 0 none, 1 ReLU, 2 gates, 3 add and ReLU
};

template <int F>
__device__ __forceinline__ void run(float* out, const float* x, const float* w, const float* bias, const float* scale,
                                    const float* shift, const float* other, const int* in_starts, const int* out_starts,
                                    const int* segments, const int* clip_of_row, const Sizes& sizes) {
    const int LANES = F / 4, P = THREADS / LANES * 8;  // threads along the features; rows of the tile
    const int ROW_STRIDE = P + 4, FEATURE_STRIDE = F + 4;  // 16-byte aligned, spread over the banks
    SHARED(float, x_tile, DEPTH * ROW_STRIDE);
    SHARED(float, w_tile, DEPTH * FEATURE_STRIDE);
    // For each row of the tile: the clip's first and last row of x, the frame and band under the centre tap, the
    // segment.
    SHARED(int, begin, P);
    SHARED(int, end, P);
    SHARED(int, frame, P);
    SHARED(int, band, P);
    SHARED(int, segment, P);
    const int first_row = blockIdx.x * P, first_feature = blockIdx.y * F;
    for (int i = threadIdx.x; i < P; i += THREADS) {
        const int row = first_row + i, at = row / sizes.out_bands;
        const bool exists = row < sizes.rows;
        const int clip = exists ? clip_of_row[at] : 0, t = exists ? at - out_starts[clip] : 0;
        begin[i] = in_starts[clip];
        end[i] = exists ? in_starts[clip + 1] : in_starts[clip];  // empty range: no frame is inside
        frame[i] = in_starts[clip] + t * sizes.frame_stride;
        band[i] = row % sizes.out_bands * sizes.band_stride;
        segment[i] = segments[clip] + t / SEGMENT;
    }
    const int depth = threadIdx.x % DEPTH, lane = threadIdx.x / DEPTH;  // what this thread loads
    const int my_row = threadIdx.x / LANES * 8, my_feature = threadIdx.x % LANES * 4;
    float sums[8][4] = {};
    for (int k0 = 0; k0 < sizes.depth; k0 += DEPTH) {
        const int k = k0 + depth, tap = k / sizes.channels, channel = k % sizes.channels;
        const int over_time = (tap / sizes.band_taps - sizes.frame_taps / 2) * sizes.dilation;
        const int over_bands = tap % sizes.band_taps - sizes.band_taps / 2;
        const float times = scale && k < sizes.depth ? scale[channel] : 1.0f;
        const float plus = shift && k < sizes.depth ? shift[channel] : 0.0f;
        __syncthreads();
        for (int i = lane; i < P; i += THREADS / DEPTH) {
            const int t = frame[i] + over_time, h = band[i] + over_bands;
            float v = 0;
            if (k < sizes.depth && t >= begin[i] && t < end[i] && h >= 0 && h < sizes.bands) {
                v = x[(int64(t) * sizes.bands + h) * sizes.x_width + channel];
                if (scale) v = fmaxf(fmaf(v, times, plus), 0.0f);
            }
            x_tile[depth * ROW_STRIDE + i] = v;
        }
        for (int i = lane; i < F; i += THREADS / DEPTH) {
            const bool exists = first_feature + i < sizes.features && k < sizes.depth;
            w_tile[depth * FEATURE_STRIDE + i] = exists ? w[int64(first_feature + i) * sizes.depth + k] : 0.0f;
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
        const int row = first_row + my_row + r;
        if (row >= sizes.rows) break;
#pragma unroll
        for (int n = 0; n < 4; n++) {
            const int feature = first_feature + my_feature + n;
            if (feature >= sizes.features) break;
            const int64 at = int64(row) * sizes.out_width + feature;
            float v = sums[r][n] + (bias ? bias[feature] : 0.0f);
            if (sizes.finish == 2) v *= other[int64(segment[my_row + r]) * sizes.features + feature];
            if (sizes.finish == 3) v += other[at];
            if (sizes.finish == 1 || sizes.finish == 3) v = v < 0 ? 0.0f : v;  // NaN stays
            out[at] = v;
        }
    }
}

}  // namespace clip_conv_

#define INSTANCE(F)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                                      \
        clip_conv_##F(float* __restrict__ out, const float* __restrict__ x, const float* __restrict__ w,                   \
                      const float* __restrict__ bias, const float* __restrict__ scale, const float* __restrict__ shift,    \
                      const float* __restrict__ other, const int* __restrict__ in_starts,                                  \
                      const int* __restrict__ out_starts, const int* __restrict__ segments,                                \
                      const int* __restrict__ clip_of_row, clip_conv_::Sizes sizes) {                                      \
        clip_conv_::run<F>(out, x, w, bias, scale, shift, other, in_starts, out_starts, segments, clip_of_row, sizes);     \
    }                                                                                                                      \
    EXPORT(clip_conv_##F)
INSTANCE(32)
INSTANCE(64)
#undef INSTANCE

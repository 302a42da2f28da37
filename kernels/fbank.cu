// fbank: log-mel filterbank features as in Kaldi, computed from samples.
//
// Shapes   out [R,M] f32 · samples [S] f32, S >= 160 (R - 1) + 400 · taper [400] f32, the window function · turn [512]:
//          cosine and sine of 2 pi i / 512 · filterbank as bands: row m is `weights[offset[m] ..]` over bins `first[m]
//          .. first[m] + count[m]`, all below 256
// Math     frame r = samples 160 r .. 160 r + 400 times `gain`, minus their mean; preemphasis y[i] -= 0.97 y[i - 1]
//          (y[0] uses itself); taper; zero-padded to 512; power spectrum; mel bands; ln of at least `floor`. All in f32
// Launch   grid ceil(R/8), block 256: a warp for each frame
// Traffic  4*(S + R*M) B. The FFT of 512 real numbers is one of 256 complex numbers: 4 radix-4 passes in shared memory,
//          two butterflies per lane and pass: about 15 kFLOP per frame, 5.4 GFLOP per hour of audio
// Order    depends on the frame only
// Oracle   engine/cpu/fbank.rs
// Source   Kaldi feat/feature-fbank.cc; Stockham's self-sorting transform
#include "device.cuh"

namespace fbank_ {

const int FRAME = 400, SHIFT = 160, FFT = 512, HALF = FFT / 2, FRAMES = 8;

__device__ __forceinline__ float2 times(float2 a, float2 b) {
    return make_float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}
__device__ __forceinline__ float2 plus(float2 a, float2 b) { return make_float2(a.x + b.x, a.y + b.y); }
__device__ __forceinline__ float2 minus(float2 a, float2 b) { return make_float2(a.x - b.x, a.y - b.y); }

// One radix-4 pass over 256 numbers: groups of four transforms of length `done` become one of length 4 `done`.
__device__ __forceinline__ void pass(float2* to, const float2* from, const float2* turn, int done, int lane) {
#pragma unroll
    for (int j = lane; j < HALF / 4; j += WARP) {
        const int k = j % done, step = k * (FFT / (4 * done));
        float2 v[4];
#pragma unroll
        for (int r = 0; r < 4; r++) {
            const float2 w = turn[r * step];  // conjugated for the forward transform
            v[r] = times(from[j + r * (HALF / 4)], make_float2(w.x, -w.y));
        }
        const float2 even = plus(v[0], v[2]), odd = minus(v[0], v[2]), more = plus(v[1], v[3]), less = minus(v[1], v[3]);
        float2* out = to + j / done * (4 * done) + k;
        out[0] = plus(even, more);
        out[done] = make_float2(odd.x + less.y, odd.y - less.x);
        out[2 * done] = minus(even, more);
        out[3 * done] = make_float2(odd.x - less.y, odd.y + less.x);
    }
    __syncwarp();
}

}  // namespace fbank_

extern "C" __global__ void __launch_bounds__(256)
    fbank(float* __restrict__ out, const float* __restrict__ samples, const float* __restrict__ taper,
          const float2* __restrict__ turn, const int* __restrict__ first, const int* __restrict__ count,
          const int* __restrict__ offset, const float* __restrict__ weights, int64 rows, int bands, float gain,
          float preemphasis, float floor) {
    using namespace fbank_;
    SHARED(float2, table, FFT);
    SHARED(float, window, FRAME);
    SHARED(float2, work, FRAMES * 2 * HALF);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    for (int i = threadIdx.x; i < FFT; i += 256) table[i] = turn[i];
    for (int i = threadIdx.x; i < FRAME; i += 256) window[i] = taper[i];
    __syncthreads();
    const int64 row = int64(blockIdx.x) * FRAMES + warp;
    if (row >= rows) return;
    const float* x = samples + row * SHIFT;
    float2 *a = work + warp * 2 * HALF, *b = a + HALF;

    float sum = 0;
    for (int i = lane; i < FRAME; i += WARP) sum += x[i] * gain;
    const float mean = warp_sum(sum) / FRAME;
    float* flat = reinterpret_cast<float*>(a);
    for (int i = lane; i < FFT; i += WARP) {
        float v = 0;
        if (i < FRAME) {
            const float now = x[i] * gain - mean, before = x[i > 0 ? i - 1 : 0] * gain - mean;
            v = (now - preemphasis * before) * window[i];
        }
        flat[i] = v;
    }
    __syncwarp();
    pass(b, a, table, 1, lane);
    pass(a, b, table, 4, lane);
    pass(b, a, table, 16, lane);
    pass(a, b, table, 64, lane);
    // Even samples are the real parts, odd ones the imaginary parts: separates their spectra and combines them.
    float* power = reinterpret_cast<float*>(b);
    for (int k = lane; k < HALF; k += WARP) {
        const float2 z = a[k], mirror = a[(HALF - k) % HALF];
        const float2 even = make_float2(0.5f * (z.x + mirror.x), 0.5f * (z.y - mirror.y));
        const float2 odd = make_float2(0.5f * (z.y + mirror.y), 0.5f * (mirror.x - z.x));
        const float2 bin = plus(even, times(odd, make_float2(table[k].x, -table[k].y)));
        power[k] = bin.x * bin.x + bin.y * bin.y;
    }
    __syncwarp();
    for (int m = lane; m < bands; m += WARP) {
        const float *w = weights + offset[m], *p = power + first[m];
        float energy = 0;
        for (int i = 0; i < count[m]; i++) energy = fmaf(w[i], p[i], energy);
        out[row * bands + m] = logf(fmaxf(energy, floor));
    }
}
EXPORT(fbank)

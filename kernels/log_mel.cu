// log_mel: Whisper's log-mel spectrogram, computed from samples.
//
// Shapes   out [B,F,M] T · audio [B,160 F] f32 in [-1,1] · window,cosines,sines [400] f32 · logs [B,F,M] f32 scratch ·
//          clip_max [B] u32 scratch, zeroed · filterbank as bands: row m is `weights[offset[m] ..]` over bins
//          `first[m] .. first[m] + count[m]`
// Math     frame f = samples 160 f - 200 .. 160 f + 200, reflected at the ends, times a Hann window; power of 201
//          frequencies; mel bands; log10 of at least 1e-10, at least the clip's maximum - 8, (x + 4) / 4. All in f32
// Launch   log_mel_power: grid (ceil(F/8), B), block 256 · log_mel_normalize: grid (ceil(F M / 1024), B), block 256
// Traffic  4*B*160*F + 8*B*F*M + 2*B*F*M B; bound by arithmetic: 201*199*4 flops per frame after folding, 0.5 GFLOP for
//          a clip of 30 s. A product with the DFT matrix is simpler than an FFT of length 400 and costs microseconds
// Edge     frames past F are computed from zeros and not stored; a clip has more than 200 samples (checked by the caller)
// Oracle   engine/cpu/log_mel.rs (f64); tests/ops/tolerance.rs
// Source   openai/whisper audio.py::log_mel_spectrogram
#include "device.cuh"

namespace log_mel {

const int WINDOW = 400, BINS = 201, HOP = 160;
const int FRAMES = 8;  // frames per block, which share each twiddle factor read from shared memory

// Order-preserving map from floats to unsigned integers: atomicMax over zeroed memory then computes a maximum of
// floats.
__device__ __forceinline__ uint32 ordered(float x) {
    uint32 bits = __float_as_uint(x);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float from_ordered(uint32 u) { return __uint_as_float(u & 0x80000000u ? u ^ 0x80000000u : ~u); }

// Index into a clip with reflection at its first and last sample.
__device__ __forceinline__ int mirrored(int i, int samples) {
    i = i < 0 ? -i : i;
    int last = samples - 1;
    return i > last ? 2 * last - i : i;
}

}  // namespace log_mel

extern "C" __global__ void __launch_bounds__(256)
    log_mel_power(float* __restrict__ logs, uint32* __restrict__ clip_max, const float* __restrict__ audio,
                  const float* __restrict__ window, const float* __restrict__ cosines, const float* __restrict__ sines,
                  const int* __restrict__ first, const int* __restrict__ count, const int* __restrict__ offset,
                  const float* __restrict__ weights, int frames, int bands) {
    using namespace log_mel;
    // Folding for real input: samples n and 400 - n share a twiddle, so cosines use x[n] + x[400-n], sines x[n] -
    // x[400-n].
    SHARED(float, even, BINS * FRAMES);
    SHARED(float, odd, BINS * FRAMES);
    SHARED(float, table, 2 * WINDOW);
    SHARED(float, power, FRAMES * BINS);
    SHARED(float, maxima, 8);

    const int tid = threadIdx.x, clip = blockIdx.y, first_frame = blockIdx.x * FRAMES;
    const int samples = frames * HOP;
    const float* x = audio + int64(clip) * samples;
    for (int i = tid; i < WINDOW; i += 256) {
        table[2 * i] = cosines[i];
        table[2 * i + 1] = sines[i];
    }
    for (int i = tid; i < BINS * FRAMES; i += 256) {
        int n = i / FRAMES, f = first_frame + i % FRAMES;
        float a = 0, b = 0;
        if (f < frames) {
            int start = f * HOP - WINDOW / 2;
            a = x[mirrored(start + n, samples)] * window[n];
            if (n > 0 && n < WINDOW / 2) b = x[mirrored(start + WINDOW - n, samples)] * window[WINDOW - n];
        }
        even[i] = a + b;
        odd[i] = a - b;
    }
    __syncthreads();

    if (tid < BINS) {
        float re[FRAMES], im[FRAMES];
        float sign = tid % 2 ? -1.0f : 1.0f;
#pragma unroll
        for (int f = 0; f < FRAMES; f++) {
            re[f] = even[f] + sign * even[(BINS - 1) * FRAMES + f];
            im[f] = 0;
        }
        int phase = 0;
        for (int n = 1; n < WINDOW / 2; n++) {
            phase += tid;
            phase -= phase >= WINDOW ? WINDOW : 0;
            float c = table[2 * phase], s = table[2 * phase + 1];
#pragma unroll
            for (int f = 0; f < FRAMES; f++) {
                re[f] = fmaf(even[n * FRAMES + f], c, re[f]);
                im[f] = fmaf(odd[n * FRAMES + f], s, im[f]);
            }
        }
#pragma unroll
        for (int f = 0; f < FRAMES; f++) power[f * BINS + tid] = re[f] * re[f] + im[f] * im[f];
    }
    __syncthreads();

    float largest = -10.0f;
    for (int i = tid; i < FRAMES * bands; i += 256) {
        int f = i / bands, m = i % bands;
        if (first_frame + f >= frames) continue;
        const float* w = weights + offset[m];
        const float* p = power + f * BINS + first[m];
        float sum = 0;
        for (int j = 0; j < count[m]; j++) sum = fmaf(w[j], p[j], sum);
        float value = log10f(fmaxf(sum, 1e-10f));
        logs[(int64(clip) * frames + first_frame + f) * bands + m] = value;
        largest = fmaxf(largest, value);
    }
    largest = warp_max(largest);
    if (tid % WARP == 0) maxima[tid / WARP] = largest;
    __syncthreads();
    if (tid == 0) {
        for (int i = 1; i < 8; i++) largest = fmaxf(largest, maxima[i]);
        atomicMax(&clip_max[clip], ordered(largest));
    }
}
EXPORT(log_mel_power)

template <class T>
__device__ __forceinline__ void log_mel_normalize(T* out, const float* logs, const uint32* clip_max, int64 per_clip) {
    float floor = log_mel::from_ordered(clip_max[blockIdx.y]) - 8.0f;
    int64 clip = per_clip * blockIdx.y;
    for (int64 i = int64(blockIdx.x) * 1024 + threadIdx.x; i < min(per_clip, (int64(blockIdx.x) + 1) * 1024); i += 256)
        out[clip + i] = from_float<T>((fmaxf(logs[clip + i], floor) + 4.0f) * 0.25f);
}

#define INSTANCE(T)                                                                                                     \
    extern "C" __global__ void __launch_bounds__(256)                                                                   \
        log_mel_normalize_##T(T* __restrict__ out, const float* __restrict__ logs, const uint32* __restrict__ clip_max, \
                              int64 per_clip) {                                                                         \
        log_mel_normalize<T>(out, logs, clip_max, per_clip);                                                            \
    }                                                                                                                   \
    EXPORT(log_mel_normalize_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

// centre_windows: cuts windows out of the features and subtracts the mean of each band over the window.
//
// Shapes   out [N,T,M] T · features [R,M] f32 · first [N] i32, first[n] + T <= R
// Math     out[n,t,m] = features[first[n] + t, m] - mean over t of the same; sums in f32
// Launch   grid (ceil(M/32), N), block 256: 32 bands x 8 rows at a time
// Traffic  2*N*T*M B written; windows overlap, so most of the features are read from the L2, and the second time from
//          the L1
// Order    of the sums depends on T only
// Oracle   engine/cpu/fbank.rs
// Source   pyannote.audio models/embedding/wespeaker: compute_fbank
#include "device.cuh"

template <class T>
__device__ __forceinline__ void centre_windows(T* out, const float* features, const int* first, int frames, int bands) {
    const int ROWS = 8;
    SHARED(float, parts, ROWS * WARP);
    const int lane = threadIdx.x % WARP, row = threadIdx.x / WARP, band = blockIdx.x * WARP + lane;
    const bool exists = band < bands;
    const float* x = features + int64(first[blockIdx.y]) * bands + band;
    float sum = 0;
    for (int t = row; exists && t < frames; t += ROWS) sum += x[int64(t) * bands];
    parts[row * WARP + lane] = sum;
    __syncthreads();
    sum = 0;
    for (int r = 0; r < ROWS; r++) sum += parts[r * WARP + lane];
    const float mean = sum / frames;
    if (!exists) return;
    out += int64(blockIdx.y) * frames * bands + band;
    for (int t = row; t < frames; t += ROWS) out[int64(t) * bands] = from_float<T>(x[int64(t) * bands] - mean);
}

#define INSTANCE(T)                                                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                                    \
        centre_windows_##T(T* __restrict__ out, const float* __restrict__ features, const int* __restrict__ first,       \
                           int frames, int bands) {                                                                      \
        centre_windows<T>(out, features, first, frames, bands);                                                          \
    }                                                                                                                    \
    EXPORT(centre_windows_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

// conv1d: convolution over time as an implicit matrix product over windows of the input, without im2col.
//
// Shapes   out [B,T,N] T, T = ceil(F/step), or (F - W)/step + 1 without padding · x [B,F,C] T · w [N,stride] T, tap by
//          tap, channels contiguous within a tap, W C values before padding · bias [N] f32 or null
// Math     out[b,t] = epilogue(sum over taps i of x[b, step t + i - padding] w[:, i] + bias), zeros outside 0 .. F
// Launch   as linear: grid (ceil(N/128), ceil(B T/128)), block 128, 48 KiB dynamic shared memory
// Traffic  2*(B*F*C + N*W*C + B*T*N) B; x is reused W times from the L2; 2*B*T*N*W*C flops
// Edge     channels not a multiple of 8 are loaded element by element
// Oracle   engine/cpu/conv1d.rs
// Source   openai/whisper model.py::AudioEncoder
#include "gemm.cuh"

namespace conv1d {

template <class T>
struct WindowRows {
    const T* x;
    int64 rows;
    int frames, channels, width, out_frames, step, padding;  // width = taps * channels
    __device__ __forceinline__ void load(T* shared, int64 row, int k) const {
        int64 clip = row / out_frames;
        int first = int(row % out_frames) * step - padding;  // frame of tap 0
        const T* clip_x = x + clip * frames * channels;
        if (channels % 8 == 0) {
            int frame = first + k / channels;
            bool exists = row < rows && k < width && frame >= 0 && frame < frames;
            cp_async_16(shared, exists ? clip_x + int64(frame) * channels + k % channels : x, exists ? 16 : 0);
        } else {
            float v[8];
#pragma unroll
            for (int i = 0; i < 8; i++) {
                int frame = first + (k + i) / channels;
                bool exists = row < rows && k + i < width && frame >= 0 && frame < frames;
                v[i] = exists ? to_float(clip_x[int64(frame) * channels + (k + i) % channels]) : 0.0f;
            }
            *reinterpret_cast<uint4*>(shared) = pack_8<T>(v);
        }
    }
};

template <class T, class W>
__device__ __forceinline__ void run(const gemm::Output<T>& o, const T* x, const W* w, int frames, int channels, int width,
                                    int stride, int out_frames, int step, int padding) {
    WindowRows<T> rows = {x, o.rows, frames, channels, width, out_frames, step, padding};
    typename gemm::WeightOf<T, W>::Rows weights = {w, o.features, stride};
    gemm::run<T>(o, weights, rows, stride);
}

}  // namespace conv1d

// `rows` = B * out_frames; `width` = W * C; `stride` is the weight's.
#define INSTANCE(T)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(128, 2)                                                                   \
        conv1d_##T(T* __restrict__ out, const T* __restrict__ x, const T* __restrict__ w, const float* __restrict__ bias,  \
                   int64 rows, int features, int frames, int channels, int width, int stride, int out_frames, int step,    \
                   int padding, int epilogue) {                                                                            \
        conv1d::run<T, T>({out, bias, nullptr, rows, features, epilogue}, x, w, frames, channels, width, stride,           \
                          out_frames, step, padding);                                                                      \
    }                                                                                                                      \
    EXPORT(conv1d_##T)                                                                                                     \
    extern "C" __global__ void __launch_bounds__(128, 2)                                                                   \
        conv1d_int8_##T(T* __restrict__ out, const T* __restrict__ x, const int8* __restrict__ w,                          \
                        const float* __restrict__ scales, const float* __restrict__ bias, int64 rows, int features,        \
                        int frames, int channels, int width, int stride, int out_frames, int step, int padding,            \
                        int epilogue) {                                                                                    \
        conv1d::run<T, int8>({out, bias, scales, rows, features, epilogue}, x, w, frames, channels, width, stride,         \
                             out_frames, step, padding);                                                                   \
    }                                                                                                                      \
    EXPORT(conv1d_int8_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

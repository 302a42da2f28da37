// positional_conv: the convolutional position embedding of wav2vec2, a wide grouped convolution over time that is added
// to its input. Two launches for each group: a product over windows like conv1d, and the addition.
//
// Shapes   out,x [B,T,C] T · heard [B,T,C/G] T · w [C/G,stride] T, tap by tap, W C/G values before padding · bias [C/G] f32 ·
//          lengths [B] i32
// Math     heard = gelu_erf(sum over taps i of x[b, t + i - W/2, group] w[:, i] + bias), zeros outside 0 .. length;
//          out = x + heard, 0 beyond the length
// Launch   grid (ceil(C/G/128), ceil(B T/128)), block 128, 48 KiB dynamic shared memory; the addition: grid ceil(B T
//          C/G / 1024), block 256
// Traffic  G launches of 2*B*T*C/G*(1 + 3) B; 2*B*T*C*W*C/G flops. C/G is 48 or 64, so half of a tile of 128 features
//          is idle
// Edge     C/G not a multiple of 8 is loaded element by element
// Oracle   engine/cpu/wav2vec2_ops.rs
// Source   Baevski et al. 2020 (arXiv:2006.11477) section 2
#include "gemm.cuh"

namespace positional_conv {

template <class T>
struct GroupRows {
    const T* x;
    const int* lengths;
    int64 rows;
    int frames, channels, first, group, width;  // `first` channel of the group of `group` channels; width = taps * group
    __device__ __forceinline__ void load(T* shared, int64 row, int k) const {
        const int64 clip = row / frames;
        const int start = int(row % frames) - width / group / 2, length = row < rows ? lengths[clip] : 0;
        const T* clip_x = x + clip * frames * channels + first;
        if (group % 8 == 0) {
            const int frame = start + k / group;
            const bool exists = k < width && frame >= 0 && frame < length;
            cp_async_16(shared, exists ? clip_x + int64(frame) * channels + k % group : x, exists ? 16 : 0);
        } else {
            float v[8];
#pragma unroll
            for (int i = 0; i < 8; i++) {
                const int frame = start + (k + i) / group;
                const bool exists = k + i < width && frame >= 0 && frame < length;
                v[i] = exists ? to_float(clip_x[int64(frame) * channels + (k + i) % group]) : 0.0f;
            }
            *reinterpret_cast<uint4*>(shared) = pack_8<T>(v);
        }
    }
};

template <class T, class W>
__device__ __forceinline__ void run(const gemm::Output<T>& o, const GroupRows<T>& rows, const W* w, int stride) {
    typename gemm::WeightOf<T, W>::Rows weights = {w, o.features, stride};
    gemm::run<T>(o, weights, rows, stride);
}

template <class T>
__device__ __forceinline__ void add(T* out, const T* x, const T* heard, const int* lengths, int64 count, int frames, int channels,
                                    int first, int group) {
    const int64 end = min(count, (int64(blockIdx.x) + 1) * 1024);
    for (int64 i = int64(blockIdx.x) * 1024 + threadIdx.x; i < end; i += 256) {
        const int64 row = i / group, at = row * channels + first + i % group;
        const bool exists = int(row % frames) < lengths[row / frames];
        out[at] = from_float<T>(exists ? to_float(x[at]) + to_float(heard[i]) : 0.0f);
    }
}

}  // namespace positional_conv

// `rows` = B * T; `width` = W * C/G; `stride` is the weight's.
#define INSTANCE(T)                                                                                                          \
    extern "C" __global__ void __launch_bounds__(128, 2)                                                                     \
        positional_conv_##T(T* __restrict__ heard, const T* __restrict__ x, const T* __restrict__ w,                         \
                            const float* __restrict__ bias, const int* __restrict__ lengths, int64 rows, int frames,         \
                            int channels, int first, int group, int width, int stride) {                                     \
        positional_conv::run<T, T>({heard, bias, nullptr, rows, group, GELU_ERF},                                            \
                                   {x, lengths, rows, frames, channels, first, group, width}, w, stride);                    \
    }                                                                                                                        \
    EXPORT(positional_conv_##T)                                                                                              \
    extern "C" __global__ void __launch_bounds__(128, 2)                                                                     \
        positional_conv_int8_##T(T* __restrict__ heard, const T* __restrict__ x, const int8* __restrict__ w,                 \
                                 const float* __restrict__ scales, const float* __restrict__ bias,                           \
                                 const int* __restrict__ lengths, int64 rows, int frames, int channels, int first, int group, \
                                 int width, int stride) {                                                                    \
        positional_conv::run<T, int8>({heard, bias, scales, rows, group, GELU_ERF},                                          \
                                      {x, lengths, rows, frames, channels, first, group, width}, w, stride);                 \
    }                                                                                                                        \
    EXPORT(positional_conv_int8_##T)                                                                                         \
    extern "C" __global__ void __launch_bounds__(256)                                                                        \
        positional_conv_add_##T(T* __restrict__ out, const T* __restrict__ x, const T* __restrict__ heard,                   \
                                const int* __restrict__ lengths, int64 count, int frames, int channels, int first, int group) { \
        positional_conv::add<T>(out, x, heard, lengths, count, frames, channels, first, group);                              \
    }                                                                                                                        \
    EXPORT(positional_conv_add_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

// cublaslt: the parts of `linear` that cuBLASLt cannot do: a 16-bit bias from an f32 one, and exact GELU.
//
// Shapes   out [N] T, bias [N] f32 (cublaslt_bias) · x [R,N] T in place, bias [N] f32 or null (cublaslt_gelu_erf)
// Math     out = bias rounded to T, because cuBLASLt adds only a bias of the result's type · x = gelu_erf(x + bias),
//          because cuBLASLt's GELU is the tanh approximation and Whisper was trained with the exact one
// Launch   cublaslt_bias: grid ceil(N/256), block 256 · cublaslt_gelu_erf: grid ceil(R*N/2048), block 256, 8 values each
// Traffic  6*N B · 4*R*N + 4*N B; memory-bound
// Edge     N not a multiple of 8 is processed element by element
// Oracle   engine/cpu/linear.rs, as part of `linear`
// Source   engine/cuda/cublaslt.rs
#include "matrix.cuh"

namespace cublaslt {

const int PER_BLOCK = 2048;

template <class T>
__device__ __forceinline__ void bias(T* out, const float* bias, int features) {
    int n = blockIdx.x * 256 + threadIdx.x;
    if (n < features) out[n] = from_float<T>(bias[n]);
}

template <class T>
__device__ __forceinline__ void gelu(T* x, const float* bias, int64 count, int features) {
    if (features % 8 == 0) {
        int64 i = (int64(blockIdx.x) * 256 + threadIdx.x) * 8;
        if (i >= count) return;
        uint4* place = reinterpret_cast<uint4*>(x + i);
        int n = int(i % features);
        float v[8];
        unpack_8<T>(v, *place);
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] = gelu_erf(v[j] + (bias ? bias[n + j] : 0.0f));
        *place = pack_8<T>(v);
    } else {
        int64 end = min(count, (int64(blockIdx.x) + 1) * PER_BLOCK);
        for (int64 i = int64(blockIdx.x) * PER_BLOCK + threadIdx.x; i < end; i += 256) {
            x[i] = from_float<T>(gelu_erf(to_float(x[i]) + (bias ? bias[i % features] : 0.0f)));
        }
    }
}

}  // namespace cublaslt

#define INSTANCE(T)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                                     \
        cublaslt_bias_##T(T* __restrict__ out, const float* __restrict__ bias, int features) {                            \
        cublaslt::bias<T>(out, bias, features);                                                                           \
    }                                                                                                                     \
    EXPORT(cublaslt_bias_##T)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256)                                                                     \
        cublaslt_gelu_erf_##T(T* __restrict__ x, const float* __restrict__ bias, int64 count, int features) {             \
        cublaslt::gelu<T>(x, bias, count, features);                                                                      \
    }                                                                                                                     \
    EXPORT(cublaslt_gelu_erf_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

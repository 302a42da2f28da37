// gelu: the activation by itself, where a norm stands between it and the product before.
//
// Shapes   x [n] T, in place
// Math     x/2 (1 + erf(x / sqrt 2))
// Launch   grid ceil(n/1024), block 256
// Traffic  4*n B; memory-bound
// Oracle   engine/cpu/waveform.rs
// Source   Hendrycks & Gimpel 2016 (arXiv:1606.08415)
#include "matrix.cuh"

#define INSTANCE(T)                                                                                \
    extern "C" __global__ void __launch_bounds__(256) gelu_##T(T* __restrict__ x, int64 count) {   \
        const int64 end = min(count, (int64(blockIdx.x) + 1) * 1024);                              \
        for (int64 i = int64(blockIdx.x) * 1024 + threadIdx.x; i < end; i += 256)                  \
            x[i] = from_float<T>(gelu_erf(to_float(x[i])));                                        \
    }                                                                                              \
    EXPORT(gelu_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

// gather_rows: copies the rows listed in an index.
//
// Shapes   out [N,C] T · x [R,C] T · index [N] i32
// Launch   grid N, block 128
// Traffic  4*N*C B
// Edge     for an index outside 0 .. R the row of `out` is left unchanged
// Oracle   engine/cpu/gather_rows.rs
#include "device.cuh"

template <class T>
__device__ __forceinline__ void gather_rows(T* out, const T* x, const int* index, int rows, int width) {
    int from = index[blockIdx.x];
    if (from < 0 || from >= rows) return;
    for (int i = threadIdx.x; i < width; i += 128) out[int64(blockIdx.x) * width + i] = x[int64(from) * width + i];
}

#define INSTANCE(T)                                                                                                     \
    extern "C" __global__ void __launch_bounds__(128)                                                                   \
        gather_rows_##T(T* __restrict__ out, const T* __restrict__ x, const int* __restrict__ index, int rows, int width) { \
        gather_rows<T>(out, x, index, rows, width);                                                                     \
    }                                                                                                                   \
    EXPORT(gather_rows_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

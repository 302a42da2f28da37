// add_positions: adds the position table to every window.
//
// Shapes   x [B,T,C] T, in place · table [T' >= T, C] f32
// Launch   grid (ceil(T C / 1024), B), block 256
// Traffic  4*B*T*C + 4*T*C B; memory-bound
// Oracle   engine/cpu/add_positions.rs
// Source   openai/whisper model.py::AudioEncoder.forward
#include "device.cuh"

template <class T>
__device__ __forceinline__ void add_positions(T* x, const float* table, int64 per_clip) {
    x += per_clip * blockIdx.y;
    int64 end = min(per_clip, (int64(blockIdx.x) + 1) * 1024);
    for (int64 i = int64(blockIdx.x) * 1024 + threadIdx.x; i < end; i += 256) x[i] = from_float<T>(to_float(x[i]) + table[i]);
}

#define INSTANCE(T)                                                                                                     \
    extern "C" __global__ void __launch_bounds__(256) add_positions_##T(T* __restrict__ x, const float* __restrict__ table, \
                                                                        int64 per_clip) {                              \
        add_positions<T>(x, table, per_clip);                                                                           \
    }                                                                                                                   \
    EXPORT(add_positions_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

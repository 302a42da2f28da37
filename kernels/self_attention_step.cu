// self_attention_step: causal self-attention of a decode step over the key-value cache.
//
// Shapes   out [R,C] T · qkv [R,3C] T · keys,values [cache rows,L,C] T · row,position [R] i32 · lineage [cache rows,L]
//          i32: the cache row that holds position p of a row, so that reordering beams does not move the cache. C =
//          heads * D, D <= 64, D % 8 == 0
// Math     cache_append stores the key and value of each row at (its cache row, its position); self_attention_step
//          attends to positions 0 .. position. Scores and sums in f32, online softmax
// Launch   cache_append: grid R, block 128 · self_attention_step: grid (heads, R), block 128 = 16 groups of 8 lanes;
//          group i reads positions i, i + 16, ...; a lane holds 8 dimensions
// Traffic  4*R*(position+1)*C B, read once; memory-bound
// Order    depends on the row's own position only
// Edge     a row, position or lineage entry out of range is ignored
// Oracle   engine/cpu/self_attention_step.rs
// Source   transformers modeling_whisper.py::WhisperAttention with a cache
#include "online_softmax.cuh"

template <class T>
__device__ __forceinline__ void cache_append(T* keys, T* values, const T* qkv, const int* rows, const int* positions, int cache_rows,
                                             int length, int width) {
    int row = rows[blockIdx.x], position = positions[blockIdx.x];
    if (row < 0 || row >= cache_rows || position < 0 || position >= length) return;
    const T* from = qkv + int64(blockIdx.x) * 3 * width + width;
    int64 to = (int64(row) * length + position) * width;
    for (int i = threadIdx.x; i < width; i += 128) {
        keys[to + i] = from[i];
        values[to + i] = from[width + i];
    }
}

template <class T>
__device__ __forceinline__ void self_attention_step(T* out, const T* qkv, const T* keys, const T* values, const int* rows,
                                                    const int* positions, const int* lineage, int cache_rows, int length, int width,
                                                    int head_dim, float scale) {
    using namespace online_softmax;
    SHARED(float, partial, 4 * PARTIAL);
    const int head = blockIdx.x, r = blockIdx.y, lane = threadIdx.x % WARP, d = lane % GROUP * 8;
    const int row = rows[r], last = min(positions[r], length - 1);
    State state;
    if (d < head_dim && row >= 0 && row < cache_rows) {
        float query[8];
        unpack_8<T>(query, *reinterpret_cast<const uint4*>(qkv + int64(r) * 3 * width + head * head_dim + d));
        scale_by(query, scale);
        state.start(query);
    }
    // The loop bound must be the same for all lanes of a warp, because they exchange partial scores.
    for (int first = threadIdx.x / WARP * 4; first <= last; first += 16) {
        int p = first + lane / GROUP;
        bool exists = p <= last && row >= 0 && row < cache_rows;
        int source = exists ? lineage[int64(row) * length + p] : -1;
        exists = source >= 0 && source < cache_rows;
        int64 at = (int64(source) * length + p) * width + head * head_dim + d;
        float key[8] = {}, value[8] = {};
        if (exists && d < head_dim) {
            unpack_8<T>(key, *reinterpret_cast<const uint4*>(keys + at));
            unpack_8<T>(value, *reinterpret_cast<const uint4*>(values + at));
        }
        state.add(key, value, 1.0f, 1.0f, exists);
    }
    state.merge_warp();
    if (lane < GROUP) state.save(partial + threadIdx.x / WARP * PARTIAL, lane);
    __syncthreads();
    if (threadIdx.x < head_dim) out[int64(r) * width + head * head_dim + threadIdx.x] = from_float<T>(combine(partial, 4, threadIdx.x));
}

#define INSTANCE(T)                                                                                                          \
    extern "C" __global__ void __launch_bounds__(128)                                                                        \
        cache_append_##T(T* __restrict__ keys, T* __restrict__ values, const T* __restrict__ qkv,                            \
                         const int* __restrict__ rows, const int* __restrict__ positions, int cache_rows, int length,        \
                         int width) {                                                                                        \
        cache_append<T>(keys, values, qkv, rows, positions, cache_rows, length, width);                                      \
    }                                                                                                                        \
    EXPORT(cache_append_##T)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(128, 4)                                                                        \
        self_attention_step_##T(T* __restrict__ out, const T* __restrict__ qkv, const T* __restrict__ keys,                  \
                                const T* __restrict__ values, const int* __restrict__ rows,                                  \
                                const int* __restrict__ positions, const int* __restrict__ lineage, int cache_rows,          \
                                int length, int width, int head_dim, float scale) {                                          \
        self_attention_step<T>(out, qkv, keys, values, rows, positions, lineage, cache_rows, length, width, head_dim,        \
                               scale);                                                                                       \
    }                                                                                                                        \
    EXPORT(self_attention_step_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

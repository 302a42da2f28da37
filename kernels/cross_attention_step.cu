// cross_attention_step: cross-attention of a decode step over the cached keys and values of the row's slot (flash
// decoding).
//
// Shapes   out,q [R,C] T · keys,values [slots,heads,T,D] S · key_scales,value_scales [slots,heads,T] f32 (S = int8;
//          else null) · row [R] i32, rows of a slot are adjacent, slot = row / beams · partial [R,heads,splits,66] f32
//          scratch. D <= 64, D % 8 == 0
// Math     cross_store rearranges newly encoded keys and values [B,T,2C] by head; a step computes softmax(scale q.k^T)
//          v over each split of the frames; cross_attention_combine merges the splits. f32 throughout
// Launch   cross_store: grid (ceil(T/16), heads, clips <= 32), block 128 · cross_attention_step_G: grid (splits =
//          ceil(T/256), heads, R), block 128; the block of the first of up to G adjacent rows of a slot computes all of
//          them, the other blocks exit, so that the cache is read once for all beams · cross_attention_combine: grid
//          (heads, R), block 64
// Traffic  slots * T * 2C * sizeof(S) B per step, read once; this bounds decoding at batch >= 8
//          (docs/kernels/attention.md)
// Order    depends on T only
// Edge     a row whose slot is out of range gives zeros
// Oracle   engine/cpu/cross_attention_step.rs
// Source   transformers modeling_whisper.py::WhisperAttention with a cross cache; Dao et al. 2023, flash decoding
#include "decode_rows.cuh"
#include "online_softmax.cuh"

namespace cross_attention {

const int SPLIT = 256;  // frames per block

// Loads eight dimensions of one key or value.
template <class T>
__device__ __forceinline__ void load(float (&x)[8], const T* p) {
    unpack_8<T>(x, load_once(reinterpret_cast<const uint4*>(p)));
}
__device__ __forceinline__ void load(float (&x)[8], const int8* p) {
    uint2 v = *reinterpret_cast<const uint2*>(p);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        x[i] = float(int8(v.x >> (8 * i)));
        x[4 + i] = float(int8(v.y >> (8 * i)));
    }
}

template <class T>
__device__ __forceinline__ void save(T* p, const float (&x)[8], float) {
    *reinterpret_cast<uint4*>(p) = pack_8<T>(x);
}
__device__ __forceinline__ void save(int8* p, const float (&x)[8], float inverse) {
    uint32 words[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < 8; i++) words[i / 4] |= (uint32(int(rintf(x[i] * inverse))) & 255u) << (8 * (i % 4));
    *reinterpret_cast<uint2*>(p) = make_uint2(words[0], words[1]);
}

// A group of 8 lanes stores one frame of one head.
template <class T, class S>
__device__ __forceinline__ void store(S* keys, S* values, float* key_scales, float* value_scales, const T* kv, const decode_rows::Slots& slots,
                                      int frames, int width, int head_dim) {
    const int lane = threadIdx.x % 8, d = 8 * lane, head = blockIdx.y, heads = gridDim.y;
    const int t = blockIdx.x * 16 + threadIdx.x / 8;
    const int64 at = (int64(slots.slot[blockIdx.z]) * heads + head) * frames + t;
    for (int which = 0; which < 2; which++) {
        float x[8] = {}, largest = 0;
        if (t < frames && d < head_dim)
            unpack_8<T>(x, *reinterpret_cast<const uint4*>(kv + ((int64(blockIdx.z) * frames + t) * 2 + which) * width + head * head_dim + d));
#pragma unroll
        for (int i = 0; i < 8; i++) largest = fmaxf(largest, fabsf(x[i]));
        largest = warp_max<8>(largest);
        if (t >= frames || d >= head_dim) continue;
        float* scales = which ? value_scales : key_scales;
        if (scales && lane == 0) scales[at] = largest / 127.0f;
        save((which ? values : keys) + at * head_dim + d, x, largest > 0 ? 127.0f / largest : 0.0f);
    }
}

template <class T, class S, int G>
__device__ __forceinline__ void step(float* partial, const T* q, const S* keys, const S* values, const float* key_scales,
                                     const float* value_scales, const int* rows, int num_rows, int slots, int beams, int frames, int width,
                                     int head_dim, float scale) {
    using namespace online_softmax;
    SHARED(float, saved, 4 * G * PARTIAL);
    const int r = blockIdx.z, head = blockIdx.y, heads = gridDim.y, splits = gridDim.x;
    const int slot = decode_rows::slot_of(rows, r, beams);
    const int members = decode_rows::group_of(rows, r, num_rows, slot, beams, G);
    if (members == 0) return;
    const bool exists = slot >= 0 && slot < slots;

    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, d = lane % GROUP * 8;
    State state[G];
#pragma unroll
    for (int i = 0; i < G; i++) {
        if (i >= members || d >= head_dim) continue;
        float query[8];
        unpack_8<T>(query, *reinterpret_cast<const uint4*>(q + int64(r + i) * width + head * head_dim + d));
        scale_by(query, scale);
        state[i].start(query);
    }
    const int64 first_frame = (int64(exists ? slot : 0) * heads + head) * frames;
    const int end = min(frames, (int(blockIdx.x) + 1) * SPLIT);
    for (int first = blockIdx.x * SPLIT + warp * 4; first < end; first += 16) {
        int t = first + lane / GROUP;
        bool here = exists && t < end;
        float key[8] = {}, value[8] = {}, key_scale = 1.0f, value_scale = 1.0f;
        if (here && d < head_dim) {
            load(key, keys + (first_frame + t) * head_dim + d);
            load(value, values + (first_frame + t) * head_dim + d);
        }
        if (here && key_scales) {
            key_scale = key_scales[first_frame + t];
            value_scale = value_scales[first_frame + t];
        }
#pragma unroll
        for (int i = 0; i < G; i++)
            if (i < members) state[i].add(key, value, key_scale, value_scale, here);
    }
#pragma unroll
    for (int i = 0; i < G; i++) {
        if (i >= members) continue;
        state[i].merge_warp();
        if (lane < GROUP) state[i].save(saved + (i * 4 + warp) * PARTIAL, lane);
    }
    __syncthreads();
    // Merges the states of the four warps into the state of the split.
    for (int i = threadIdx.x; i < members * PARTIAL; i += 128) {
        const float* mine = saved + i / PARTIAL * 4 * PARTIAL;
        int d = i % PARTIAL;
        float top = LOWEST_SCORE, sum = 0;
        for (int w = 0; w < 4; w++) top = fmaxf(top, mine[w * PARTIAL + 64]);
        for (int w = 0; w < 4; w++) sum = fmaf(exp2f(mine[w * PARTIAL + 64] - top), mine[w * PARTIAL + d], sum);
        partial[((int64(r + i / PARTIAL) * heads + head) * splits + blockIdx.x) * PARTIAL + d] = d == 64 ? top : sum;
    }
}

}  // namespace cross_attention

template <class T>
__device__ __forceinline__ void cross_attention_combine(T* out, const float* partial, int splits, int head_dim) {
    const int head = blockIdx.x, heads = gridDim.x, r = blockIdx.y, d = threadIdx.x;
    if (d >= head_dim) return;
    const float* mine = partial + (int64(r) * heads + head) * splits * online_softmax::PARTIAL;
    out[(int64(r) * heads + head) * head_dim + d] = from_float<T>(online_softmax::combine(mine, splits, d));
}

#define STEP(T, S, NAME, G, BLOCKS)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128, BLOCKS)                                                                          \
        cross_attention_step_##NAME(float* __restrict__ partial, const T* __restrict__ q, const S* __restrict__ keys,          \
                                    const S* __restrict__ values, const float* __restrict__ key_scales,                        \
                                    const float* __restrict__ value_scales, const int* __restrict__ rows, int num_rows,        \
                                    int slots, int beams, int frames, int width, int head_dim, float scale) {                  \
        cross_attention::step<T, S, G>(partial, q, keys, values, key_scales, value_scales, rows, num_rows, slots, beams,       \
                                       frames, width, head_dim, scale);                                                        \
    }                                                                                                                          \
    EXPORT(cross_attention_step_##NAME)
#define STORE_KV(T, S, NAME)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(128)                                                                          \
        cross_store_##NAME(S* __restrict__ keys, S* __restrict__ values, float* __restrict__ key_scales,                       \
                           float* __restrict__ value_scales, const T* __restrict__ kv, decode_rows::Slots slots,           \
                           int frames, int width, int head_dim) {                                                              \
        cross_attention::store<T, S>(keys, values, key_scales, value_scales, kv, slots, frames, width, head_dim);              \
    }                                                                                                                          \
    EXPORT(cross_store_##NAME)
#define INSTANCE(T)                                                                                                            \
    STORE_KV(T, T, T)                                                                                                          \
    STORE_KV(T, int8, int8_##T)                                                                                                \
    STEP(T, T, 1_##T, 1, 4)                                                                                                       \
    STEP(T, T, 2_##T, 2, 4)                                                                                                       \
    STEP(T, T, 5_##T, 5, 3)                                                                                                       \
    STEP(T, int8, int8_1_##T, 1, 4)                                                                                               \
    STEP(T, int8, int8_2_##T, 2, 4)                                                                                               \
    STEP(T, int8, int8_5_##T, 5, 3)                                                                                               \
    extern "C" __global__ void __launch_bounds__(64)                                                                           \
        cross_attention_combine_##T(T* __restrict__ out, const float* __restrict__ partial, int splits, int head_dim) {        \
        cross_attention_combine<T>(out, partial, splits, head_dim);                                                            \
    }                                                                                                                          \
    EXPORT(cross_attention_combine_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE
#undef STEP
#undef STORE_KV

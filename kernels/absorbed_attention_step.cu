// absorbed_attention_step: cross-attention of a decode step over the encoder output, which serves as keys and as
// values.
//
// Shapes   out,q [R,H,C] T · encoded [slots,T,C] T · row [R] i32, rows of a slot are adjacent, slot = row / beams
//          partial [R,H,splits,C+2] f32 scratch. C % 8 == 0, C <= 1280
// Math     encoded_store copies newly encoded clips [B,T,C] to their slots; a step computes sum_t p_t x_t,
//          p = softmax(scale q.x), over each split of the frames; absorbed_attention_combine merges the splits. Both
//          products run on tensor cores with f32 sums: frames (then channels) are the 16-row operand, queries the
//          8-column one; the weights p are rounded to T in between
// Launch   encoded_store: grid (ceil(T*C/2048), clips <= 32), block 256 · absorbed_attention_step_W: grid
//          (ceil(H*members/24), splits = ceil(T/384), R), block 256 = 8 warps, which share up to W = 512 or 1280
//          channels; dynamic shared memory 16608 B and 2 stages of 16 frames: 64 (round_16(C) + 8) B, 97 KiB in all for
//          1280. The block of the first of up to `members` adjacent rows of a slot computes the queries of all of them,
//          24 at a time · absorbed_attention_combine: grid (H, R), block 128
// Traffic  slots * T * C * 2 B per step for each layer, read once from memory (and from the L2 for every further 24
//          queries), and 2 * R * H * splits * C * 4 B of partial sums; 4 * R * H * T * C flops
//          (docs/kernels/attention.md)
// Order    depends on T and C only
// Edge     a row whose slot is out of range gives zeros; frames beyond T have weight 0
// Oracle   engine/cpu/absorbed_attention_step.rs
// Source   the identities of src/models/whisper/cross_attention.rs; Dao et al. 2023, flash decoding; Milakov & Gimelshein 2018
#include "decode_rows.cuh"

namespace absorbed_attention {

const int SPLIT = 384, TILE = 16, QUERIES = 24, GROUPS = QUERIES / 8, WARPS = 8, THREADS = WARPS * WARP;
// Rows of shared arrays are padded by a few elements against bank conflicts.
const int SCORE_STRIDE = TILE + 4, WEIGHT_STRIDE = TILE + 8;

__device__ __forceinline__ int tile_stride(int width) { return (width + 15) / 16 * 16 + 8; }

// Loads sixteen frames from `first` on; zeros from `end` on.
template <class T>
__device__ __forceinline__ void load_tile(T* tile, const T* frames, int first, int end, int width) {
    const int chunks = width / 8;
    for (int i = threadIdx.x; i < TILE * chunks; i += THREADS) {
        int frame = i / chunks, c = i % chunks * 8;
        bool exists = first + frame < end;
        cp_async_16(tile + frame * tile_stride(width) + c, exists ? frames + int64(first + frame) * width + c : frames, exists ? 16 : 0);
    }
}

// Loads a warp's part of the queries as the right operand of the scores: channels `channel + 16 i ..`, queries 8 j +
// lane / 4.
template <class T, int PIECES>
__device__ __forceinline__ void load_queries(uint32 (&part)[PIECES][GROUPS][2], const T* queries, int count, int channel, int width, int lane) {
#pragma unroll
    for (int i = 0; i < PIECES; i++)
#pragma unroll
        for (int j = 0; j < GROUPS; j++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int query = 8 * j + lane / 4, c = channel + 16 * i + 8 * half + lane % 4 * 2;
                bool exists = query < count && c < width;
                part[i][j][half] = exists ? *reinterpret_cast<const uint32*>(queries + int64(query) * width + c) : 0;
            }
}

// Online softmax of one tile: each half warp (lanes 0-15 and 16-31) has one query, and each lane one frame.
struct Softmax {
    float largest = LOWEST_SCORE, total = 0.0f;

    // Returns the lane's weight; `shrink` is the factor for the sums so far.
    __device__ __forceinline__ float add(float score, bool exists, float& shrink) {
        float top = fmaxf(largest, warp_max<TILE>(score));
        float weight = exists ? exp2f(score - top) : 0.0f;
        shrink = exp2f(largest - top);
        total = total * shrink + warp_sum<TILE>(weight);
        largest = top;
        return weight;
    }
};

// PIECES: groups of 16 channels per warp.
template <class T, int PIECES>
__device__ __forceinline__ void step(float* partial, const T* q, const T* encoded, const int* rows, int num_rows, int slots, int beams,
                                     int most_members, int heads, int frames, int width, float scale) {
    SHARED_DYNAMIC(float, scores);  // [WARPS][QUERIES][SCORE_STRIDE]
    float* shrinks = scores + WARPS * QUERIES * SCORE_STRIDE;  // [QUERIES]
    T* weights = reinterpret_cast<T*>(shrinks + QUERIES);      // [QUERIES][WEIGHT_STRIDE]
    T* tiles = weights + QUERIES * WEIGHT_STRIDE;              // [2][TILE][tile_stride]
    const int r = blockIdx.z, splits = gridDim.y;
    const int slot = decode_rows::slot_of(rows, r, beams);
    const int members = decode_rows::group_of(rows, r, num_rows, slot, beams, most_members);
    if (members == 0) return;
    // Queries are numbered across the adjacent rows: each row has `heads` of them.
    const int first_query = blockIdx.x * QUERIES, count = min(QUERIES, members * heads - first_query);
    if (count <= 0) return;
    const int groups = (count + 7) / 8;

    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const int channel = warp * 16 * PIECES, stride = tile_stride(width);
    const int begin = blockIdx.y * SPLIT;
    const bool exists = slot >= 0 && slot < slots;
    const int end = exists ? min(frames, begin + SPLIT) : begin;
    const T* source = encoded + int64(exists ? slot : 0) * frames * width;
    if (begin < end) load_tile(tiles, source, begin, end, width);
    cp_async_commit();
    // The padding of a row is multiplied by zeros, so it must not be NaN or infinity.
    for (int i = threadIdx.x; i < 2 * TILE * 8; i += THREADS) {
        int c = width + i % 8;
        if (c < stride - 8) tiles[i / 8 * stride + c] = from_float<T>(0.0f);
    }
    uint32 query[PIECES][GROUPS][2];
    load_queries(query, q + (int64(r) * heads + first_query) * width, count, channel, width, lane);
    float sums[PIECES][GROUPS][4] = {};
    Softmax softmax[2];  // of queries 2 warp + lane / 16, and 16 more
    scale *= 1.4426950408889634f;

    for (int first = begin, stage = 0; first < end; first += TILE, stage ^= 1) {
        const T* tile = tiles + stage * TILE * stride;
        cp_async_wait<0>();
        __syncthreads();  // the tile is complete, and no warp still reads the other one
        if (first + TILE < end) load_tile(tiles + (stage ^ 1) * TILE * stride, source, first + TILE, end, width);
        cp_async_commit();

        float part[GROUPS][4] = {};
#pragma unroll
        for (int i = 0; i < PIECES; i++) {
            if (channel + 16 * i >= width) continue;
            uint32 x[4];
            ldmatrix_x4(x, tile + lane % 16 * stride + channel + 16 * i + lane / 16 * 8);
#pragma unroll
            for (int j = 0; j < GROUPS; j++)
                if (j < groups) mma_16x8x16<T>(part[j], x, query[i][j]);
        }
#pragma unroll
        for (int j = 0; j < GROUPS; j++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                scores[(warp * QUERIES + 8 * j + 2 * t + e % 2) * SCORE_STRIDE + g + 8 * (e / 2)] = part[j][e];
        __syncthreads();

#pragma unroll
        for (int round = 0; round < 2; round++) {
            const int mine = 16 * round + 2 * warp + lane / 16, frame = lane % 16;
            const bool counts = mine < count && first + frame < end;
            float score = counts ? 0.0f : LOWEST_SCORE, shrink;
            if (counts) {
#pragma unroll
                for (int w = 0; w < WARPS; w++) score += scores[(w * QUERIES + mine) * SCORE_STRIDE + frame];
                score *= scale;
            }
            float weight = softmax[round].add(score, counts, shrink);
            if (mine >= QUERIES) continue;
            weights[mine * WEIGHT_STRIDE + frame] = from_float<T>(weight);
            if (frame == 0) shrinks[mine] = shrink;
        }
        __syncthreads();

        uint32 weight[GROUPS][2];
        float shrink[GROUPS][2];
#pragma unroll
        for (int j = 0; j < GROUPS; j++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                weight[j][half] = *reinterpret_cast<const uint32*>(weights + (8 * j + g) * WEIGHT_STRIDE + 8 * half + 2 * t);
                shrink[j][half] = shrinks[8 * j + 2 * t + half];
            }
#pragma unroll
        for (int i = 0; i < PIECES; i++) {
            if (channel + 16 * i >= width) continue;
            uint32 x[4];
            ldmatrix_x4_trans(x, tile + (lane % 8 + lane / 16 * 8) * stride + channel + 16 * i + lane / 8 % 2 * 8);
#pragma unroll
            for (int j = 0; j < GROUPS; j++) {
                if (j >= groups) continue;
#pragma unroll
                for (int e = 0; e < 4; e++) sums[i][j][e] *= shrink[j][e % 2];
                mma_16x8x16<T>(sums[i][j], x, weight[j]);
            }
        }
    }

    float* mine = partial + ((int64(r) * heads + first_query) * splits + blockIdx.y) * (width + 2);
    const int64 apart = int64(splits) * (width + 2);  // distance between queries
#pragma unroll
    for (int i = 0; i < PIECES; i++)
#pragma unroll
        for (int j = 0; j < GROUPS; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                int index = 8 * j + 2 * t + e % 2, c = channel + 16 * i + g + 8 * (e / 2);
                if (index < count && c < width) mine[index * apart + c] = sums[i][j][e];
            }
#pragma unroll
    for (int round = 0; round < 2; round++) {
        int index = 16 * round + 2 * warp + lane / 16;
        if (index >= count || lane % 16 != 0) continue;
        mine[index * apart + width] = softmax[round].largest;
        mine[index * apart + width + 1] = softmax[round].total;
    }
}

template <class T>
__device__ __forceinline__ void combine(T* out, const float* partial, int splits, int width) {
    const int64 query = int64(blockIdx.y) * gridDim.x + blockIdx.x;
    const float* mine = partial + query * splits * (width + 2);
    float top = LOWEST_SCORE, total = 0;
    for (int i = 0; i < splits; i++) top = fmaxf(top, mine[i * (width + 2) + width]);
    for (int i = 0; i < splits; i++) total += exp2f(mine[i * (width + 2) + width] - top) * mine[i * (width + 2) + width + 1];
    for (int c = threadIdx.x; c < width; c += 128) {
        float sum = 0;
        for (int i = 0; i < splits; i++) sum = fmaf(exp2f(mine[i * (width + 2) + width] - top), mine[i * (width + 2) + c], sum);
        out[query * width + c] = from_float<T>(total > 0 ? sum / total : 0.0f);
    }
}

}  // namespace absorbed_attention

#define STEP(T, W)                                                                                                             \
    extern "C" __global__ void __launch_bounds__(256, W > 512 ? 1 : 2)                                                         \
        absorbed_attention_step_##W##_##T(float* __restrict__ partial, const T* __restrict__ q, const T* __restrict__ encoded, \
                                          const int* __restrict__ rows, int num_rows, int slots, int beams, int most_members,  \
                                          int heads, int frames, int width, float scale) {                                     \
        absorbed_attention::step<T, W / 128>(partial, q, encoded, rows, num_rows, slots, beams, most_members, heads, frames,   \
                                             width, scale);                                                                    \
    }                                                                                                                          \
    EXPORT(absorbed_attention_step_##W##_##T)
#define INSTANCE(T)                                                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                                          \
        encoded_store_##T(T* __restrict__ cache, const T* __restrict__ encoded, decode_rows::Slots slots, int64 len) {  \
        int64 i = (int64(blockIdx.x) * 256 + threadIdx.x) * 8;                                                                 \
        if (i >= len) return;                                                                                                  \
        const uint4* from = reinterpret_cast<const uint4*>(encoded + blockIdx.y * len + i);                                    \
        *reinterpret_cast<uint4*>(cache + slots.slot[blockIdx.y] * len + i) = *from;                                           \
    }                                                                                                                          \
    EXPORT(encoded_store_##T)                                                                                                  \
    STEP(T, 512)                                                                                                               \
    STEP(T, 1280)                                                                                                              \
    extern "C" __global__ void __launch_bounds__(128)                                                                          \
        absorbed_attention_combine_##T(T* __restrict__ out, const float* __restrict__ partial, int splits, int width) {        \
        absorbed_attention::combine<T>(out, partial, splits, width);                                                           \
    }                                                                                                                          \
    EXPORT(absorbed_attention_combine_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE
#undef STEP

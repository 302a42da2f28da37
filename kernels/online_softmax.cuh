// Softmax-weighted sums of values, built up key by key (Milakov & Gimelshein 2018, arXiv:1805.02867), for one query of a decode
// step. Eight lanes share a key: each has 8 of its at most 64 dims. A warp works on four keys at a time.
#pragma once
#include "device.cuh"

namespace online_softmax {

const int GROUP = 8;            // lanes of a key
const int PARTIAL = 64 + 2;     // floats of a saved state: 64 sums, the largest score, the total weight
const float NEVER = -1e30f;     // below every score, and unlike minus infinity it survives a subtraction from itself

// Scores are kept in base 2: exp2f is one instruction.
__device__ __forceinline__ void scale_by(float (&query)[8], float scale) {
#pragma unroll
    for (int i = 0; i < 8; i++) query[i] *= scale * 1.4426950408889634f;
}

struct State {
    float query[8] = {}, sums[8] = {};
    float largest = NEVER, total = 0.0f;

    __device__ __forceinline__ void start(const float (&q)[8]) {
#pragma unroll
        for (int i = 0; i < 8; i++) query[i] = q[i];
    }

    // Takes in one key of each group; `exists` is the same for its eight lanes. The scales are those of int8 caches.
    __device__ __forceinline__ void add(const float (&key)[8], const float (&value)[8], float key_scale, float value_scale, bool exists) {
        float score = 0;
#pragma unroll
        for (int i = 0; i < 8; i++) score = fmaf(query[i], key[i], score);
        score = warp_sum<GROUP>(score) * key_scale;
        if (!exists) return;
        float top = fmaxf(largest, score);
        float shrink = exp2f(largest - top), weight = exp2f(score - top);
        largest = top;
        total = total * shrink + weight;
        weight *= value_scale;
#pragma unroll
        for (int i = 0; i < 8; i++) sums[i] = fmaf(weight, value[i], sums[i] * shrink);
    }

    // Joins the four groups of a warp into the first one.
    __device__ __forceinline__ void merge_warp() {
#pragma unroll
        for (int step = GROUP; step < WARP; step *= 2) {
            float other = __shfl_xor_sync(FULL_WARP, largest, step);
            float top = fmaxf(largest, other);
            float mine = exp2f(largest - top), theirs = exp2f(other - top);
            // Partners may differ in the last bit, since one rounds the product the other fuses; only the first group is kept.
            total = total * mine + __shfl_xor_sync(FULL_WARP, total, step) * theirs;
#pragma unroll
            for (int i = 0; i < 8; i++) sums[i] = sums[i] * mine + __shfl_xor_sync(FULL_WARP, sums[i], step) * theirs;
            largest = top;
        }
    }

    // The first eight lanes leave a warp's state behind.
    __device__ __forceinline__ void save(float* partial, int lane) const {
#pragma unroll
        for (int i = 0; i < 8; i++) partial[8 * lane + i] = sums[i];
        if (lane == 0) {
            partial[64] = largest;
            partial[65] = total;
        }
    }
};

// Dim `d` of the softmax-weighted mean over `count` saved states, `PARTIAL` floats apart. A state that saw no key weighs nothing.
__device__ __forceinline__ float combine(const float* partial, int count, int d) {
    float top = NEVER, sum = 0, total = 0;
    for (int i = 0; i < count; i++) top = fmaxf(top, partial[i * PARTIAL + 64]);
    for (int i = 0; i < count; i++) {
        float share = exp2f(partial[i * PARTIAL + 64] - top);
        sum = fmaf(share, partial[i * PARTIAL + d], sum);
        total = fmaf(share, partial[i * PARTIAL + 65], total);
    }
    return total > 0 ? sum / total : 0.0f;
}

}  // namespace online_softmax

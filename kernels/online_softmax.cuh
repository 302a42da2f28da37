// Online softmax (Milakov & Gimelshein 2018, arXiv:1805.02867): the softmax-weighted sum of values for one query of a
// decode step, key by key. Eight lanes share a key, each with 8 of its up to 64 dimensions; a warp processes four keys
// at a time.
#pragma once
#include "device.cuh"

namespace online_softmax {

const int GROUP = 8;            // lanes per key
const int PARTIAL = 64 + 2;     // floats of a saved state: 64 sums, the maximum score, the sum of the weights

// Scores are in base 2, because exp2f is one instruction.
__device__ __forceinline__ void scale_by(float (&query)[8], float scale) {
#pragma unroll
    for (int i = 0; i < 8; i++) query[i] *= scale * 1.4426950408889634f;
}

struct State {
    float query[8] = {}, sums[8] = {};
    float largest = LOWEST_SCORE, total = 0.0f;

    __device__ __forceinline__ void start(const float (&q)[8]) {
#pragma unroll
        for (int i = 0; i < 8; i++) query[i] = q[i];
    }

    // Adds one key per group; `exists` is the same for its eight lanes. The scales are those of int8 caches, else 1.
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

    // Merges the states of the four groups of a warp into the first.
    __device__ __forceinline__ void merge_warp() {
#pragma unroll
        for (int step = GROUP; step < WARP; step *= 2) {
            float other = __shfl_xor_sync(FULL_WARP, largest, step);
            float top = fmaxf(largest, other);
            float mine = exp2f(largest - top), theirs = exp2f(other - top);
            // The two lanes may differ in the last bit, because FMA contraction is not symmetric; only the first group
            // is used.
            total = total * mine + __shfl_xor_sync(FULL_WARP, total, step) * theirs;
#pragma unroll
            for (int i = 0; i < 8; i++) sums[i] = sums[i] * mine + __shfl_xor_sync(FULL_WARP, sums[i], step) * theirs;
            largest = top;
        }
    }

    // The first eight lanes store the state of the warp.
    __device__ __forceinline__ void save(float* partial, int lane) const {
#pragma unroll
        for (int i = 0; i < 8; i++) partial[8 * lane + i] = sums[i];
        if (lane == 0) {
            partial[64] = largest;
            partial[65] = total;
        }
    }
};

// Dimension `d` of the softmax-weighted mean over `count` saved states, which are `PARTIAL` floats apart. States
// without keys have weight 0.
__device__ __forceinline__ float combine(const float* partial, int count, int d) {
    float top = LOWEST_SCORE, sum = 0, total = 0;
    for (int i = 0; i < count; i++) top = fmaxf(top, partial[i * PARTIAL + 64]);
    for (int i = 0; i < count; i++) {
        float share = exp2f(partial[i * PARTIAL + 64] - top);
        sum = fmaf(share, partial[i * PARTIAL + d], sum);
        total = fmaf(share, partial[i * PARTIAL + 65], total);
    }
    return total > 0 ? sum / total : 0.0f;
}

}  // namespace online_softmax

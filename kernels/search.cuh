// The state of the searches on the device (`DecodeState` of engine/backend/decode/state.rs), and block-wide reductions.
#pragma once
#include "device.cuh"

namespace search {

// Columns of a slot's options, numbered as in engine/backend/decode/options.rs::int_column and ::float_column.
enum IntColumn { MODE, WIDTH, MAX_FINISHED, PROMPT, PREFIX, LIMIT, NO_REPEAT_NGRAM, MAX_INITIAL_TIMESTAMP, SUPPRESS_BLANK, SEED_LOW,
                 SEED_HIGH, STREAM, INT_COLUMNS = 13 };
enum FloatColumn { LENGTH_PENALTY, REPETITION_PENALTY, TEMPERATURE, FLOAT_COLUMNS };
enum Mode { IDLE = 0, BEAM = 1, SAMPLE = 2 };

const int MAX_BEAMS = 64;
const float LOWEST = -3.40282346638528859812e38f;  // the logit of a forbidden token

// Mirrors `SearchState` of engine/cuda/search.rs: pointers first, then integers.
struct State {
    const int* suppress;
    const int* suppress_begin;
    const int* option_ints;      // [S, INT_COLUMNS]
    const float* option_floats;  // [S, FLOAT_COLUMNS]
    int* length;                 // [S]
    int* done;                   // [S]
    int* num_finished;           // [S]
    int* top_finished;           // [S]
    int* best_length;            // [S]
    float* best_sum;             // [S]
    float* best_score;           // [S]
    int* best_tokens;            // [S, G]
    int* token;                  // [S K]
    int* position;               // [S K]
    int* live;                   // [S K]
    float* score;                // [S K]
    int* history;                // [S K, G]
    int* lineage;                // [S K, L]
    int* candidate_count;        // [S K]
    int* candidate_token;        // [S K, 2K]
    float* candidate_score;      // [S K, 2K]
    int num_suppress, num_suppress_begin;
    int slots, beams, positions, new_tokens;  // S, K, L, G
    int eot, no_timestamps, timestamp_begin;
    int unused;
};

// The slot of a cache row, or -1 if the row is not live or its search is idle or finished.
__device__ __forceinline__ int active_slot(const State& s, int row) {
    if (row < 0 || row >= s.slots * s.beams) return -1;
    int slot = row / s.beams;
    bool active = s.live[row] && !s.done[slot] && s.option_ints[slot * INT_COLUMNS + MODE] != IDLE;
    return active ? slot : -1;
}

// Block-wide maximum, returned to every thread; `shared` holds one float per warp.
__device__ __forceinline__ float block_max(float x, float* shared) {
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = x;
    __syncthreads();
    float all = shared[0];
    for (int i = 1; i < int(blockDim.x) / WARP; i++) all = fmaxf(all, shared[i]);
    return all;
}

// Block-wide sum, returned to every thread; the order of additions depends only on the size of the block.
__device__ __forceinline__ float block_sum(float x, float* shared) {
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = x;
    __syncthreads();
    float all = 0;
    for (int i = 0; i < int(blockDim.x) / WARP; i++) all += shared[i];
    return all;
}

// ln(sum(exp(x[begin .. end]))), or LOWEST for an empty range.
__device__ __forceinline__ float log_sum_exp(const float* x, int begin, int end, float* shared) {
    float largest = LOWEST, sum = 0;
    for (int i = begin + threadIdx.x; i < end; i += blockDim.x) largest = fmaxf(largest, x[i]);
    largest = block_max(largest, shared);
    for (int i = begin + threadIdx.x; i < end; i += blockDim.x) sum += expf(x[i] - largest);
    sum = block_sum(sum, shared);
    return begin < end ? largest + logf(sum) : LOWEST;
}

}  // namespace search

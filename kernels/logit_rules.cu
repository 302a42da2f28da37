// logit_rules: sets the logits of tokens that the decoding rules forbid to the lowest finite f32.
//
// Shapes   logits [R,V] f32, in place · row [R] i32 · state: search.cuh
// Math     in this order: repetition penalty, no-repeat n-grams, suppressed tokens, tokens suppressed at the beginning,
//          timestamp rules. A forbidden logit becomes the lowest finite f32
// Launch   grid R, block 512
// Traffic  at most 3*R*V*4 B, and only with timestamps; the lists of tokens are short
// Edge     rows of idle or finished slots and rows that are not live are left unchanged; ids beyond the vocabulary,
//          which a forced prefix may contain, are ignored
// Oracle   engine/cpu/logit_rules.rs
// Source   CTranslate2 decoding_utils.cc and models/whisper.cc::ApplyTimestampRules
#include "search.cuh"

namespace logit_rules {

using namespace search;

__device__ __forceinline__ void forbid(float* logits, int begin, int end) {
    for (int i = begin + threadIdx.x; i < end; i += blockDim.x) logits[i] = LOWEST;
}

__device__ __forceinline__ void forbid_all(float* logits, const int* tokens, int count, int vocab) {
    for (int i = threadIdx.x; i < count; i += blockDim.x)
        if (tokens[i] >= 0 && tokens[i] < vocab) logits[tokens[i]] = LOWEST;
}

// Applies the penalty once per distinct token: only the thread of its first occurrence does.
__device__ __forceinline__ void penalize_repetition(float* logits, const int* generated, int count, float penalty, int vocab) {
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        bool first = true;
        for (int j = 0; j < i; j++) first = first && generated[j] != generated[i];
        if (!first || generated[i] < 0 || generated[i] >= vocab) continue;
        float x = logits[generated[i]];
        logits[generated[i]] = x < 0 ? x * penalty : x / penalty;
    }
}

__device__ __forceinline__ void forbid_ngrams(float* logits, const int* generated, int count, int size, int vocab) {
    for (int i = threadIdx.x; i + size <= count; i += blockDim.x) {
        bool same = true;
        for (int j = 0; j < size - 1; j++) same = same && generated[i + j] == generated[count + 1 - size + j];
        const int last = generated[i + size - 1];
        if (same && last >= 0 && last < vocab) logits[last] = LOWEST;
    }
}

// Timestamp rules: timestamps come in pairs, do not decrease, and are forced when their total probability exceeds that
// of every text token.
__device__ __forceinline__ void timestamps(float* logits, int vocab, const State& s, const int* generated, int count, int prefix,
                                           int max_initial, float* shared) {
    const int begin = s.timestamp_begin;
    if (threadIdx.x == 0) logits[s.no_timestamps] = LOWEST;
    if (count == prefix) {
        if (prefix == 0) {
            forbid(logits, 0, begin);
            forbid(logits, min(begin + max_initial + 1, vocab), vocab);
        }
        return;
    }
    const int last = generated[count - 1];
    if (last >= begin) {
        if (count - prefix < 2 || generated[count - 2] >= begin) {
            forbid(logits, begin, vocab);
            return;
        }
        forbid(logits, 0, s.eot);
        forbid(logits, begin, last);
    } else {
        int latest = -1;
        for (int i = count - 1; i >= prefix && latest < 0; i--)
            if (generated[i] >= begin) latest = generated[i];
        if (latest >= 0) forbid(logits, begin, latest + 1);
    }
    __syncthreads();
    float text = LOWEST;
    for (int i = threadIdx.x; i < begin; i += blockDim.x) text = fmaxf(text, logits[i]);
    text = block_max(text, shared);
    if (log_sum_exp(logits, begin, vocab, shared) > text) forbid(logits, 0, begin);
}

}  // namespace logit_rules

extern "C" __global__ void __launch_bounds__(512)
    logit_rules_step(float* __restrict__ all_logits, const int* __restrict__ rows, search::State s, int vocab) {
    using namespace logit_rules;
    SHARED(float, shared, 16);
    const int row = rows[blockIdx.x], slot = active_slot(s, row);
    if (slot < 0) return;
    const int* ints = s.option_ints + slot * INT_COLUMNS;
    const float penalty = s.option_floats[slot * FLOAT_COLUMNS + REPETITION_PENALTY];
    const int* generated = s.history + int64(row) * s.new_tokens;
    const int count = s.length[slot], prefix = ints[PREFIX];
    float* logits = all_logits + int64(blockIdx.x) * vocab;
    if (penalty != 1.0f) {
        penalize_repetition(logits, generated, count, penalty, vocab);
        __syncthreads();
    }
    if (ints[NO_REPEAT_NGRAM] > 0) forbid_ngrams(logits, generated, count, ints[NO_REPEAT_NGRAM], vocab);
    forbid_all(logits, s.suppress, s.num_suppress, vocab);
    if (ints[SUPPRESS_BLANK] && count == prefix) forbid_all(logits, s.suppress_begin, s.num_suppress_begin, vocab);
    __syncthreads();
    if (ints[MAX_INITIAL_TIMESTAMP] >= 0) timestamps(logits, vocab, s, generated, count, prefix, ints[MAX_INITIAL_TIMESTAMP], shared);
}
EXPORT(logit_rules_step)

// pick_candidates: the best tokens of each row (beam search), or sampled ones.
//
// Shapes   logits [R,V] f32 · row [R] i32 · state: search.cuh (writes candidate_count, candidate_token, candidate_score)
// Math     beam search: the 2 K best by score + log_softmax(logits), best first; ties: the lower id. Sampling: one
//          token from softmax(logits / temperature) for each sample that continues this row (all samples at the first
//          step), or the best token at temperature 0; scored by its log-probability at temperature 1
// Launch   grid R, block 512: a thread scans tokens tid, tid + 512, ... and keeps its best four in registers. The
//          block's best token is removed 2 K times; a thread whose four are used up scans its tokens again
// Traffic  3*R*V*4 B, from the L2 after the first pass
// Order    of every sum depends on V only; random numbers depend on seed, stream, sample and step only
// Edge     NaN counts as the lowest finite f32; rows of idle or finished slots are left unchanged
// Oracle   engine/cpu/pick_candidates.rs
// Source   CTranslate2 decoding.cc (BeamSearch, GreedySearch); splitmix64: Steele et al. 2014
#include "search.cuh"

namespace pick_candidates {

using namespace search;

const int THREADS = 512, KEPT = 4;

// A token and its rank: the higher value first; ties: the lower id.
struct Ranked {
    float value;
    int token;
};

__device__ __forceinline__ bool before(Ranked a, Ranked b) { return a.value > b.value || (a.value == b.value && a.token < b.token); }

// A thread's best `KEPT` tokens among those that rank behind `last`, best first.
struct Best {
    Ranked kept[KEPT];
    int left;

    __device__ __forceinline__ void find(const float* logits, int vocab, float normalizer, float score, Ranked last) {
        left = 0;
        for (int i = 0; i < KEPT; i++) kept[i] = {LOWEST, 0x7fffffff};
        for (int token = threadIdx.x; token < vocab; token += THREADS) {
            Ranked x = {fmaxf((logits[token] - normalizer) + score, LOWEST), token};
            if (!before(last, x)) continue;
            left = min(left + 1, KEPT);
            if (!before(x, kept[KEPT - 1])) continue;
            kept[KEPT - 1] = x;
#pragma unroll
            for (int i = KEPT - 1; i > 0; i--)
                if (before(kept[i], kept[i - 1])) {
                    Ranked swap = kept[i];
                    kept[i] = kept[i - 1];
                    kept[i - 1] = swap;
                }
        }
    }

    __device__ __forceinline__ void pop() {
#pragma unroll
        for (int i = 0; i + 1 < KEPT; i++) kept[i] = kept[i + 1];
        kept[KEPT - 1] = {LOWEST, 0x7fffffff};
        left--;
    }
};

// The best-ranked token of the block, returned to every thread.
__device__ __forceinline__ Ranked block_first(Ranked mine, Ranked* shared) {
    for (int step = WARP / 2; step > 0; step /= 2) {
        Ranked other = {__shfl_xor_sync(FULL_WARP, mine.value, step), __shfl_xor_sync(FULL_WARP, mine.token, step)};
        if (before(other, mine)) mine = other;
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = mine;
    __syncthreads();
    Ranked first = shared[0];
    for (int i = 1; i < THREADS / WARP; i++)
        if (before(shared[i], first)) first = shared[i];
    return first;
}

__device__ __forceinline__ uint64 mix(uint64 z) {
    z += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

// A uniform number in [0, 1) with 24 random bits, equal to that of the CPU.
__device__ __forceinline__ float uniform(const int* ints, uint32 sample, uint32 step) {
    uint64 seed = uint64(uint32(ints[SEED_HIGH])) << 32 | uint32(ints[SEED_LOW]);
    uint64 stream = mix(seed ^ mix(uint64(uint32(ints[STREAM])) << 32 | uint32(ints[STREAM + 1])));
    uint64 bits = mix(stream ^ mix(uint64(sample) << 32 | step));
    return float(uint32(bits >> 40)) / 16777216.0f;
}

// Samples a token with the uniform number `u` by the inverse CDF. Thread i has the i-th run of consecutive tokens, so
// that the cumulative sum ascends with the id.
__device__ __forceinline__ int draw(const float* logits, int vocab, float largest, float sharpness, float u, double* runs, int* chosen) {
    const int run = (vocab + THREADS - 1) / THREADS, begin = min(int(threadIdx.x) * run, vocab), end = min(begin + run, vocab);
    double sum = 0;
    for (int i = begin; i < end; i++) sum += expf((logits[i] - largest) * sharpness);
    __syncthreads();
    runs[threadIdx.x] = sum;
    if (threadIdx.x == 0) *chosen = 0;
    __syncthreads();
    double ahead = 0, total = 0;
    for (int i = 0; i < THREADS; i++) {
        if (i == int(threadIdx.x)) ahead = total;
        total += runs[i];
    }
    double left = double(u) * total - ahead;
    // Rounding may leave u * total beyond all runs: then the last token with nonzero weight is chosen.
    bool mine = sum > 0 && left >= 0 && (left < sum || ahead + sum >= total);
    if (mine) {
        int last = begin;
        for (int i = begin; i < end; i++) {
            double weight = expf((logits[i] - largest) * sharpness);
            if (weight > 0) last = i;
            left -= weight;
            if (left < 0) break;
        }
        atomicMax(chosen, last);
    }
    __syncthreads();
    return *chosen;
}

}  // namespace pick_candidates

extern "C" __global__ void __launch_bounds__(512)
    pick_candidates_step(search::State s, const float* __restrict__ all_logits, const int* __restrict__ rows, int vocab) {
    using namespace pick_candidates;
    SHARED(float, shared, THREADS / WARP);
    SHARED(Ranked, ranked, THREADS / WARP);
    SHARED(double, runs, THREADS);
    SHARED(int, chosen, 1);
    const int row = rows[blockIdx.x], slot = active_slot(s, row);
    if (slot < 0) return;
    const int* ints = s.option_ints + slot * INT_COLUMNS;
    const float* logits = all_logits + int64(blockIdx.x) * vocab;
    const float score = s.score[row];
    int* tokens = s.candidate_token + int64(row) * 2 * s.beams;
    float* scores = s.candidate_score + int64(row) * 2 * s.beams;

    float largest = LOWEST, sum = 0;
    for (int i = threadIdx.x; i < vocab; i += THREADS) largest = fmaxf(largest, logits[i]);
    largest = block_max(largest, shared);
    for (int i = threadIdx.x; i < vocab; i += THREADS) sum += expf(logits[i] - largest);
    const float normalizer = largest + logf(block_sum(sum, shared));

    if (ints[MODE] == BEAM) {
        const int wanted = 2 * ints[WIDTH];
        Ranked last = {__int_as_float(0x7f800000), -1};
        Best best;
        best.find(logits, vocab, normalizer, score, last);
        for (int i = 0; i < wanted; i++) {
            last = block_first(best.kept[0], ranked);
            if (best.kept[0].token == last.token) {
                best.pop();
                if (best.left == 0) best.find(logits, vocab, normalizer, score, last);
            }
            if (threadIdx.x == 0) {
                tokens[i] = last.token;
                scores[i] = last.value;
            }
        }
        if (threadIdx.x == 0) s.candidate_count[row] = wanted;
        return;
    }

    const int step = s.length[slot], samples = ints[WIDTH], sample = row % s.beams;
    const bool first_step = step == ints[PREFIX];  // the first row draws the tokens of all samples
    const int begin = first_step ? 0 : sample, end = first_step ? samples : sample + 1;
    const float temperature = s.option_floats[slot * FLOAT_COLUMNS + TEMPERATURE];
    for (int i = begin; i < end; i++) {
        int token;
        if (temperature > 0) {
            token = draw(logits, vocab, largest, 1.0f / temperature, uniform(ints, i, step), runs, chosen);
        } else {
            Ranked mine = {LOWEST, 0x7fffffff};
            for (int j = threadIdx.x; j < vocab; j += THREADS)
                if (before({logits[j], j}, mine)) mine = {logits[j], j};
            token = block_first(mine, ranked).token;
            if (token >= vocab) token = 0;
        }
        if (threadIdx.x == 0) {
            tokens[i - begin] = token;
            scores[i - begin] = score + (logits[token] - normalizer);
        }
    }
    if (threadIdx.x == 0) s.candidate_count[row] = end - begin;
}
EXPORT(pick_candidates_step)

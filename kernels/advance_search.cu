// advance_search: one step of greedy search, sampling or beam search: chooses from the candidates and ends hypotheses.
//
// Shapes   row,token,position [R] i32 · state: search.cuh
// Math     beam search as CTranslate2's BeamSearch::search, sampling as its GreedySearch; see engine/cpu/advance_search.rs
// Launch   grid S (a block for each slot), block 128: one thread decides, all threads copy histories and lineage
// Traffic  8*K*(G+L) B per slot at most; bound by latency
// Edge     at most 64 beams (checked by the caller); an idle or finished slot, or one without candidates, is left
//          unchanged
// Oracle   engine/cpu/advance_search.rs
// Source   CTranslate2 decoding.cc
#include "search.cuh"

namespace advance_search {

using namespace search;

const int THREADS = 128, MAX_CANDIDATES = 2 * MAX_BEAMS;
const float REJECTED = -1e10f;  // CTranslate2's score of a candidate that must not be selected

struct Candidate {
    float score;
    int origin, token;
};

// The decisions of a step, made by one thread and read by the others.
struct Plan {
    Candidate next[MAX_BEAMS];  // rows of the next step: beam i continues next[i]
    Candidate best;             // hypothesis to keep, if `keep`
    int keep, ended;            // `ended`: the last token of `best` is end-of-text
    int rows;                   // rows to write; 0 where the search is over
};

// The best 2 K candidates of all rows, best first; ties: the lower row, then the lower rank within the row.
__device__ __forceinline__ void merge(Candidate* merged, const State& s, int first_row, int wanted) {
    const int per_row = 2 * s.beams;
    for (int i = threadIdx.x; i < s.beams * per_row; i += THREADS) {
        const int row = i / per_row;
        if (i % per_row >= s.candidate_count[first_row + row]) continue;
        const float mine = s.candidate_score[int64(first_row) * per_row + i];
        int rank = 0;
        for (int other = 0; other < s.beams; other++) {
            const float* scores = s.candidate_score + int64(first_row + other) * per_row;
            const int count = s.candidate_count[first_row + other];
            // The candidates of a row are sorted, so the first one that ranks behind ends its row.
            for (int j = 0; j < count && rank < wanted; j++) {
                if (scores[j] > mine || (scores[j] == mine && other * per_row + j < i)) rank++;
                else break;
            }
        }
        if (rank < wanted) merged[rank] = {mine, row, s.candidate_token[int64(first_row) * per_row + i]};
    }
}

// Counts a finished hypothesis, and stores it if it is the best so far.
__device__ __forceinline__ void finish_hypothesis(Plan& plan, const State& s, int slot, Candidate candidate, int step, float length_penalty) {
    const int ended = candidate.token == s.eot;
    const int length = ended ? step : step + 1;
    const float score = candidate.score / powf(float(length), length_penalty);
    const int count = ++s.num_finished[slot];
    const float best = s.best_score[slot];
    if (count > 1 && !(score > best || best != best)) return;
    s.best_score[slot] = score;
    s.best_sum[slot] = candidate.score;
    s.best_length[slot] = length;
    plan.best = candidate;
    plan.keep = 1;
    plan.ended = ended;
}

__device__ __forceinline__ void decide_beams(Plan& plan, Candidate* merged, int count, const State& s, int slot, const int* ints, int step) {
    const int beams = ints[WIDTH];
    const bool last_step = step + 1 >= ints[LIMIT];
    const float length_penalty = s.option_floats[slot * FLOAT_COLUMNS + LENGTH_PENALTY];
    if (ints[PREFIX] > 0 && step == ints[PREFIX])
        for (int i = 1; i < count; i++)
            if (merged[i].token == s.eot) merged[i] = {REJECTED, 0, 0};
    int substitute = beams;
    for (int i = 0; i < beams && i < count; i++) {
        plan.next[i] = merged[i];
        if (merged[i].token != s.eot && !last_step) continue;
        if (i == 0) s.top_finished[slot] = 1;
        finish_hypothesis(plan, s, slot, merged[i], step, length_penalty);
        while (substitute < count && merged[substitute].token == s.eot) substitute++;
        if (substitute < count) plan.next[i] = merged[substitute++];
    }
    const int finished = s.num_finished[slot];
    const bool enough = length_penalty == 0 ? s.top_finished[slot] && finished >= 1 : finished >= ints[MAX_FINISHED];
    plan.rows = min(beams, count);
    if (last_step || enough) {
        s.done[slot] = 1;
        for (int i = 0; i < s.beams; i++) s.live[slot * s.beams + i] = 0;
        plan.rows = 0;
    }
}

// `next[sample].origin` is -1 for a sample that has ended.
__device__ __forceinline__ void decide_samples(Plan& plan, const State& s, int slot, const int* ints, int step) {
    const int samples = ints[WIDTH], first_row = slot * s.beams, per_row = 2 * s.beams;
    const bool first_step = step == ints[PREFIX], last_step = step + 1 >= ints[LIMIT];
    const float length_penalty = s.option_floats[slot * FLOAT_COLUMNS + LENGTH_PENALTY];
    for (int i = 0; i < samples; i++) {
        plan.next[i].origin = -1;
        const int origin = first_step ? 0 : i, place = first_step ? i : 0;
        if (s.candidate_count[first_row + origin] == 0) continue;
        const int64 at = int64(first_row + origin) * per_row + place;
        Candidate candidate = {s.candidate_score[at], origin, s.candidate_token[at]};
        const bool over = candidate.token == s.eot || last_step;
        s.live[first_row + i] = !over;
        if (over) finish_hypothesis(plan, s, slot, candidate, step, length_penalty);
        else plan.next[i] = candidate;
    }
    if (s.num_finished[slot] >= samples) s.done[slot] = 1;
    plan.rows = samples;
}

// Copies columns `begin .. end` of row `next[i].origin` to row i, for all rows. A thread moves whole columns, so
// nothing is read after it was overwritten.
__device__ __forceinline__ void inherit(int* table, int width, const Plan& plan, int begin, int end) {
    for (int column = begin + threadIdx.x; column < end; column += THREADS) {
        int old[MAX_BEAMS];
        for (int i = 0; i < plan.rows; i++)
            if (plan.next[i].origin >= 0) old[i] = table[int64(plan.next[i].origin) * width + column];
        for (int i = 0; i < plan.rows; i++)
            if (plan.next[i].origin >= 0) table[int64(i) * width + column] = old[i];
    }
}

}  // namespace advance_search

extern "C" __global__ void __launch_bounds__(128)
    advance_search_step(const int* __restrict__ rows, int* __restrict__ tokens, int* __restrict__ positions, search::State s, int num_rows) {
    using namespace advance_search;
    SHARED(Candidate, merged, MAX_CANDIDATES);
    SHARED(Plan, shared_plan, 1);
    Plan& plan = *shared_plan;
    const int slot = blockIdx.x, first_row = slot * s.beams;
    const int* ints = s.option_ints + slot * INT_COLUMNS;
    int available = 0;
    for (int i = 0; i < s.beams; i++) available += s.candidate_count[first_row + i];
    if (ints[MODE] == IDLE || s.done[slot] || available == 0) return;
    const int step = s.length[slot], wanted = 2 * ints[WIDTH], count = min(available, wanted);
    if (ints[MODE] == BEAM) merge(merged, s, first_row, wanted);
    __syncthreads();
    if (threadIdx.x == 0) {
        plan.keep = 0;
        if (ints[MODE] == BEAM) decide_beams(plan, merged, count, s, slot, ints, step);
        else decide_samples(plan, s, slot, ints, step);
    }
    __syncthreads();
    int* history = s.history + int64(first_row) * s.new_tokens;
    if (plan.keep) {
        int* best = s.best_tokens + int64(slot) * s.new_tokens;
        for (int i = threadIdx.x; i < step; i += THREADS) best[i] = history[int64(plan.best.origin) * s.new_tokens + i];
        if (threadIdx.x == 0 && !plan.ended) best[step] = plan.best.token;
    }
    __syncthreads();
    inherit(history, s.new_tokens, plan, 0, step);
    if (ints[MODE] == BEAM)  // earlier positions are the same for all rows of a slot
        inherit(s.lineage + int64(first_row) * s.positions, s.positions, plan, ints[PROMPT] + ints[PREFIX], ints[PROMPT] + step);
    for (int i = threadIdx.x; i < plan.rows; i += THREADS) {
        const Candidate next = plan.next[i];
        if (next.origin < 0) continue;
        const int row = first_row + i;
        history[int64(i) * s.new_tokens + step] = next.token;
        s.live[row] = 1;
        s.token[row] = next.token;
        s.position[row] = ints[PROMPT] + step;
        s.score[row] = next.score;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < s.beams; i += THREADS) s.candidate_count[first_row + i] = 0;
    if (threadIdx.x == 0) s.length[slot] = step + 1;
    for (int r = threadIdx.x; r < num_rows; r += THREADS) {
        const int row = rows[r];
        if (row < first_row || row >= first_row + s.beams || !s.live[row]) continue;
        tokens[r] = s.token[row];
        positions[r] = s.position[row];
    }
}
EXPORT(advance_search_step)

// ctc_viterbi: CTC forced alignment: the best path of each segment's labels through log-probabilities, with
// backtracking.
//
// Shapes   start,end [L] i32 · score [L] f32 · total [N] f32 · log_probs [R,V] f32 · places [N,4] i32 (first row, rows, first
//          label, labels) · labels [L] i32 · moves u32 scratch, the backpointers: three words for each row and 32
//          labels (one in the trellis)
// Math     label[j] = max(label[j], blank[j], label[j-1] unless alike) + log p(label j), blank[j] = max(blank[j], label[j-1]) +
//          log p(blank); in the trellis cell[j] = max(cell[j] + log p(blank), cell[j-1] + log p(label j-1)). f32, row by row
// Launch   grid N, block 256: 32 adjacent labels per warp, whose ballots are the words of backpointers; one barrier per
//          row. Dynamic shared memory: two rows of label and blank, 16 (labels + 2) B (8 in the trellis)
// Traffic  rows * (labels * 4.4 + V * 4) B per segment, little of it from memory; bound by the latency of each row
// Edge     a segment with too few rows for its labels, or whose best path has probability zero, gets total -inf and
//          zeros
// Oracle   engine/cpu/ctc_viterbi.rs, same order of additions: the same path, bit for bit
// Source   Graves et al. 2006; WhisperX alignment.py (get_trellis, backtrack)
#include "device.cuh"

namespace ctc {

const int THREADS = 256;
// Minus infinity: log of probability 0.
__device__ __forceinline__ float never() { return __uint_as_float(0xff800000u); }

// The segment of one block.
struct Segment {
    const float* log_probs;
    const int* labels;
    int rows, count, classes, blank;
    uint32* moves;
    int words;

    __device__ __forceinline__ const float* row(int t) const { return log_probs + int64(t) * classes; }
    __device__ __forceinline__ uint32* word(int t, int j, int kinds) const {
        return moves + (int64(t) * words + j / WARP) * kinds;
    }
    __device__ __forceinline__ bool moved(int t, int j, int kinds, int kind) const {
        return word(t, j, kinds)[kind] >> (j % WARP) & 1;
    }
};

// The output of one block.
struct Spans {
    int* start;
    int* end;
    float* score;

    __device__ __forceinline__ void set(int j, int from, int to, double sum) {
        start[j] = from;
        end[j] = to;
        score[j] = float(sum / (to - from));
    }
    __device__ void clear(int count) {
        for (int j = threadIdx.x; j < count; j += THREADS) {
            start[j] = end[j] = 0;
            score[j] = 0.0f;
        }
    }
};

__device__ __forceinline__ int words_of(int count) { return count / WARP + 1; }

__device__ Segment segment(const float* log_probs, const int* places, const int* labels, uint32* moves, int classes, int blank,
                           int kinds) {
    int64 before = 0;
    for (int n = 0; n < int(blockIdx.x); n++) before += int64(places[4 * n + 1]) * words_of(places[4 * n + 3]) * kinds;
    const int* place = places + 4 * blockIdx.x;
    return {log_probs + int64(place[0]) * classes, labels + place[2], place[1], place[3], classes, blank, moves + before,
            words_of(place[3])};
}

// The band of labels that can be reached in row t: enough rows before for the labels before, and after for those after.
__device__ __forceinline__ int band_start(const Segment& s, int t) { return max(0, s.count + t - s.rows); }
__device__ __forceinline__ int band_end(const Segment& s, int t) { return min(t, s.count); }

// ---- CTC topology, as trained ----

const int SKIPPED = 0, STARTED = 1, SILENCED = 2, KINDS = 3;

// `label` and `blank` are two rows of [1 + count + 1] each; index 0 stands for the label before the first.
__device__ void forward(const Segment& s, float* label, float* blank) {
    const int width = s.count + 2, lane = threadIdx.x % WARP;
    for (int i = threadIdx.x; i < 2 * width; i += THREADS) label[i] = blank[i] = never();
    __syncthreads();
    if (threadIdx.x == 0) {
        label[1] = s.row(0)[s.labels[0]];
        blank[1] = s.row(0)[s.blank];
    }
    __syncthreads();
    for (int t = 1; t < s.rows; t++) {
        const float *label_before = label + (t - 1) % 2 * width, *blank_before = blank + (t - 1) % 2 * width;
        float *label_now = label + t % 2 * width, *blank_now = blank + t % 2 * width;
        const float* row = s.row(t);
        const int last = band_end(s, t);
        for (int first = band_start(s, t) / WARP * WARP + (threadIdx.x - lane); first <= last; first += THREADS) {
            const int j = first + lane;
            bool skipped = false, started = false, silenced = false;
            if (j <= last) {
                const float stay = label_before[j + 1], quiet = blank_before[j + 1], earlier = label_before[j];
                const bool may_skip = j > 0 && j < s.count && s.labels[j] != s.labels[j - 1];
                const float skip = may_skip ? earlier : never();
                started = quiet > stay;
                const float best = started ? quiet : stay;
                skipped = skip > best;
                label_now[j + 1] = (skipped ? skip : best) + (j < s.count ? row[s.labels[j]] : never());
                silenced = earlier > quiet;
                blank_now[j + 1] = (silenced ? earlier : quiet) + row[s.blank];
            }
            const uint32 skips = __ballot_sync(FULL_WARP, skipped), starts = __ballot_sync(FULL_WARP, started),
                         silences = __ballot_sync(FULL_WARP, silenced);
            if (lane == 0) {
                uint32* word = s.word(t, first, KINDS);
                word[SKIPPED] = skips;
                word[STARTED] = starts;
                word[SILENCED] = silences;
            }
        }
        __syncthreads();
    }
}

// Runs on one thread, because each step depends on the one before.
__device__ void back(const Segment& s, Spans spans, bool silent) {
    int j = silent ? s.count : s.count - 1, end = s.rows;
    bool in_label = !silent;
    double sum = 0;
    for (int t = s.rows - 1; t >= 0; t--) {
        if (!in_label) {
            if (t > 0 && s.moved(t, j, KINDS, SILENCED)) {
                in_label = true;
                j--;
                end = t;
                sum = 0;
            }
            continue;
        }
        sum += double(expf(s.row(t)[s.labels[j]]));
        const bool skipped = t > 0 && s.moved(t, j, KINDS, SKIPPED);
        if (t > 0 && !skipped && !s.moved(t, j, KINDS, STARTED)) continue;
        spans.set(j, t, end, sum);
        if (skipped) {
            j--;
            end = t;
            sum = 0;
        } else {
            in_label = false;
        }
    }
}

// ---- WhisperX trellis ----

// `cell` is two rows of [count + 1]. Returns the best final cell; `end` is the number of rows up to it.
__device__ float forward_trellis(const Segment& s, float* cell, int* end) {
    const int width = s.count + 1, lane = threadIdx.x % WARP;
    for (int i = threadIdx.x; i < 2 * width; i += THREADS) cell[i] = never();
    __syncthreads();
    if (threadIdx.x == 0) cell[width] = 0.0f;
    __syncthreads();
    float total = never();
    double silence = 0;
    *end = 0;
    for (int t = 0; t < s.rows; t++) {
        const float* before = cell + (t + 1) % 2 * width;
        float* now = cell + t % 2 * width;
        const float* row = s.row(t);
        silence += double(row[s.blank]);
        if (threadIdx.x == 0) now[0] = float(silence);
        const int last = band_end(s, t + 1);
        for (int first = band_start(s, t + 1) / WARP * WARP + (threadIdx.x - lane); first <= last; first += THREADS) {
            const int j = first + lane;
            bool advance = false;
            if (j > 0 && j <= last) {
                const float stayed = before[j] + row[s.blank], changed = before[j - 1] + row[s.labels[j - 1]];
                advance = changed > stayed;
                now[j] = advance ? changed : stayed;
            }
            const uint32 advances = __ballot_sync(FULL_WARP, advance);
            if (lane == 0) *s.word(t, first, 1) = advances;
        }
        __syncthreads();
        if (now[s.count] > total) {
            total = now[s.count];
            *end = t + 1;
        }
    }
    return total;
}

__device__ bool back_trellis(const Segment& s, Spans spans, int end) {
    int j = s.count;
    double sum = 0;
    for (int t = end - 1; t >= 0; t--) {
        const bool advance = s.moved(t, j, 1, 0);
        sum += double(expf(s.row(t)[advance ? s.labels[j - 1] : s.blank]));
        if (!advance) continue;
        spans.set(j - 1, t, end, sum);
        if (--j == 0) return true;
        end = t;
        sum = 0;
    }
    return false;
}

}  // namespace ctc

extern "C" __global__ void __launch_bounds__(ctc::THREADS)
    ctc_viterbi(int* __restrict__ start, int* __restrict__ end, float* __restrict__ score, float* __restrict__ total,
                const float* __restrict__ log_probs, const int* __restrict__ places, const int* __restrict__ labels,
                uint32* __restrict__ moves, int classes, int blank) {
    using namespace ctc;
    SHARED_DYNAMIC(float, shared);
    const Segment s = segment(log_probs, places, labels, moves, classes, blank, KINDS);
    const int at = places[4 * blockIdx.x + 2];
    Spans spans = {start + at, end + at, score + at};
    int repeats = 0;
    for (int j = 1; j < s.count; j++) repeats += s.labels[j] == s.labels[j - 1];
    if (s.count == 0 || s.rows < s.count + repeats) {
        spans.clear(s.count);
        float silence = s.count == 0 ? 0.0f : never();
        if (s.count == 0)
            for (int t = 0; t < s.rows; t++) silence += s.row(t)[blank];
        if (threadIdx.x == 0) total[blockIdx.x] = silence;
        return;
    }
    const int width = s.count + 2;
    float *label = shared, *quiet = shared + 2 * width;
    forward(s, label, quiet);
    const int last = (s.rows - 1) % 2 * width;
    const float silent = quiet[last + s.count + 1], speaking = label[last + s.count];
    const float best = silent > speaking ? silent : speaking;
    const bool found = best > never();
    if (!found) spans.clear(s.count);
    if (threadIdx.x != 0) return;
    total[blockIdx.x] = found ? best : never();
    if (found) back(s, spans, silent > speaking);
}
EXPORT(ctc_viterbi)

extern "C" __global__ void __launch_bounds__(ctc::THREADS)
    ctc_viterbi_trellis(int* __restrict__ start, int* __restrict__ end, float* __restrict__ score, float* __restrict__ total,
                        const float* __restrict__ log_probs, const int* __restrict__ places, const int* __restrict__ labels,
                        uint32* __restrict__ moves, int classes, int blank) {
    using namespace ctc;
    SHARED_DYNAMIC(float, shared);
    const Segment s = segment(log_probs, places, labels, moves, classes, blank, 1);
    const int at = places[4 * blockIdx.x + 2];
    Spans spans = {start + at, end + at, score + at};
    spans.clear(s.count);
    if (s.count == 0 || s.rows < s.count) {
        if (threadIdx.x == 0) total[blockIdx.x] = s.count == 0 ? 0.0f : never();
        return;
    }
    int last;
    const float best = forward_trellis(s, shared, &last);
    if (threadIdx.x != 0) return;
    total[blockIdx.x] = best > never() && back_trellis(s, spans, last) ? best : never();
}
EXPORT(ctc_viterbi_trellis)

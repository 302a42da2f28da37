// average_linkage: agglomerative clustering of embeddings by average linkage with a penalty; four launches for each
// step.
//
// Shapes   sums [N,D] f64: the sum of each cluster's embeddings, weighted by their frames, updated in place · place [N]
//          {frames, nearest} i32: frames 0 once merged, nearest GONE if the nearest neighbour was merged · away [N]
//          f64: cost of the nearest later place, or a lower bound of it · cluster [N] i32: the place of each
//          embedding's cluster · row {apart, same} [2,N] i32: frames that windows share between the cluster `row` and
//          each other one · item {frames, window, speaker} [3,N] i32, windows ascending · state {x, y, row, chunks,
//          done, left}: the places merged last, the place that is searched, whether to stop, clusters left · found
//          [chunks] i32 and far [chunks] f64: the nearest place of each chunk and its cost
// Math     engine/cluster/average_linkage.rs, equal to the bit: dot products in 16 lanes, no FMA contraction, frames in
//          integers
// Launch   average_linkage_nearest once: grid ceil(N/16). Then until done: average_linkage_merge grid 1, block 1024;
//          average_linkage_row grid ceil(N/256); average_linkage_update grid ceil(N/16); average_linkage_search grid
//          chunks. Other blocks of 256 = 16 half warps
// Traffic  the initial search: N*N*D/2 products, each row read once for 16 others. A merge reads the remaining sums
//          once, 8*N*D B, in approach (places before) and search (places after); a search for a cluster whose nearest
//          neighbour was merged reads the later half
// Order    ties: the lowest place, whatever the chunks; atomics only on integers
// Oracle   engine/cluster/average_linkage.rs, equal
// Source   Müllner 2011 (generic algorithm) without its queue, as centroid_linkage.cu
// Journal  docs/kernels/cluster.md
#include "linkage.cuh"

namespace average_linkage_ {

using namespace linkage_;

struct Place {
    int frames, nearest;
};
struct State {
    int x, y, row, chunks, done, left;
};
struct Penalty {
    double most, prior;
};

// 1 minus the mean cosine similarity of two clusters, by the 16 lanes of a half warp with the same arguments. All lanes
// of the warp must call it.
__device__ __forceinline__ double distance(const double* a, const double* b, int a_frames, int b_frames, int size, int lane) {
    double sum = 0;
    for (int i = lane; i < size; i += LANES) sum = __dadd_rn(sum, __dmul_rn(a[i], b[i]));
    return __dsub_rn(1.0, sum_of_lanes(sum) / __dmul_rn(double(a_frames), double(b_frames)));
}

// The penalty that is added to the distance of two clusters.
__device__ __forceinline__ double penalty(Penalty p, int apart, int same) {
    if (apart == 0) return 0;
    return __dmul_rn(p.most, double(apart)) / __dadd_rn(__dadd_rn(double(apart), double(same)), p.prior);
}

}  // namespace average_linkage_

// The nearest later embedding of each embedding, before any merge.
extern "C" __global__ void __launch_bounds__(256)
    average_linkage_nearest(int* __restrict__ places, double* __restrict__ away, const double* __restrict__ sums, const int* __restrict__ item,
                            int count, int size, average_linkage_::Penalty p) {
    using namespace average_linkage_;
    const int *frames = item, *window = item + count, *speaker = item + 2 * count;
    const int lane = threadIdx.x % LANES, at = blockIdx.x * ROWS + threadIdx.x / LANES, own = min(at, count - 1);
    double least = FARTHEST;
    int nearest = GONE;
    for (int other = blockIdx.x * ROWS + 1; other < count; other++) {
        double cost = distance(sums + int64(own) * size, sums + int64(other) * size, frames[own], frames[other], size, lane);
        if (window[own] == window[other] && speaker[own] != speaker[other])
            cost = __dadd_rn(cost, penalty(p, min(frames[own], frames[other]), 0));
        if (other > at && cost < least) least = cost, nearest = other;
    }
    if (lane == 0 && at < count) {
        reinterpret_cast<Place*>(places)[at] = Place{frames[at], nearest};
        away[at] = least;
    }
}
EXPORT(average_linkage_nearest)

// Completes the search of the step before, then merges the pair with the lowest cost. If the nearest neighbour of its
// first cluster was merged, that cluster is searched instead. Clears the row.
extern "C" __global__ void __launch_bounds__(1024)
    average_linkage_merge(double* __restrict__ sums, int* __restrict__ places, double* __restrict__ away, int* __restrict__ cluster,
                          int* __restrict__ row, int* __restrict__ states, const int* __restrict__ found, const double* __restrict__ far,
                          int count, int size, int fewest, int most, double threshold) {
    using namespace average_linkage_;
    SHARED(double, shared_least, 1024);
    SHARED(int, shared_place, 1024);
    Place* place = reinterpret_cast<Place*>(places);
    State* state = reinterpret_cast<State*>(states);
    const int left = state->left;
    if (threadIdx.x == 0 && state->row >= 0) {
        double least = FARTHEST;
        int nearest = GONE;
        for (int chunk = 0; chunk < state->chunks; chunk++)
            if (far[chunk] < least) least = far[chunk], nearest = found[chunk];
        away[state->row] = least;
        place[state->row].nearest = nearest;
    }
    __syncthreads();
    double least = FARTHEST;
    int closest = count;
    for (int at = threadIdx.x; at < count; at += blockDim.x)
        if (away[at] < least) least = away[at], closest = at;
    for (int at = threadIdx.x; at < 2 * count; at += blockDim.x) row[at] = 0;
    shared_least[threadIdx.x] = least;
    shared_place[threadIdx.x] = closest;
    __syncthreads();
    for (int step = blockDim.x / 2; step > 0; step /= 2) {
        const int other = threadIdx.x + step;
        if (threadIdx.x < step && before(shared_least[other], shared_place[other], shared_least[threadIdx.x], shared_place[threadIdx.x])) {
            shared_least[threadIdx.x] = shared_least[other];
            shared_place[threadIdx.x] = shared_place[other];
        }
        __syncthreads();
    }
    const int x = shared_place[0];
    const bool done = x == count || left <= fewest || (shared_least[0] > threshold && left <= most);
    const Place a = place[done ? 0 : x];
    if (done || a.nearest == GONE) {
        if (threadIdx.x == 0) {
            state->x = state->y = -1;
            state->row = done ? -1 : x;
            state->done = done;
        }
        return;
    }
    const int y = a.nearest;
    for (int i = threadIdx.x; i < size; i += blockDim.x)
        sums[int64(y) * size + i] = __dadd_rn(sums[int64(y) * size + i], sums[int64(x) * size + i]);
    for (int at = threadIdx.x; at < count; at += blockDim.x)
        if (cluster[at] == x) cluster[at] = y;
    __syncthreads();
    if (threadIdx.x == 0) {
        place[y] = Place{a.frames + place[y].frames, GONE};
        place[x] = Place{0, GONE};
        away[x] = away[y] = FARTHEST;
        state->x = x;
        state->y = state->row = y;
        state->left = left - 1;
    }
}
EXPORT(average_linkage_merge)

// The frames that the windows of the row's embeddings share with the other clusters.
extern "C" __global__ void __launch_bounds__(256)
    average_linkage_row(int* __restrict__ row, const int* __restrict__ cluster, const int* __restrict__ item, const int* __restrict__ states,
                        int count) {
    using namespace average_linkage_;
    const int *frames = item, *window = item + count, *speaker = item + 2 * count;
    const int at = blockIdx.x * blockDim.x + threadIdx.x, own = reinterpret_cast<const State*>(states)->row;
    if (at >= count || own < 0 || cluster[at] != own) return;
    int first = at, end = at + 1;
    while (first > 0 && window[first - 1] == window[at]) first--;
    while (end < count && window[end] == window[at]) end++;
    for (int other = first; other < end; other++)
        if (cluster[other] != own)
            atomicAdd(row + (speaker[other] == speaker[at] ? count : 0) + cluster[other], min(frames[other], frames[at]));
}
EXPORT(average_linkage_row)

// For each cluster before y: if the new cluster at y costs less than the nearest neighbour, y becomes the nearest;
// else, if the nearest neighbour was x or y, it is marked GONE.
extern "C" __global__ void __launch_bounds__(256)
    average_linkage_update(int* __restrict__ places, double* __restrict__ away, const int* __restrict__ row, const int* __restrict__ states,
                             const double* __restrict__ sums, int count, int size, average_linkage_::Penalty p) {
    using namespace average_linkage_;
    Place* place = reinterpret_cast<Place*>(places);
    const State* state = reinterpret_cast<const State*>(states);
    const int x = state->x, y = state->y, lane = threadIdx.x % LANES, at = blockIdx.x * ROWS + threadIdx.x / LANES;
    const bool is_before = at < y && place[at].frames > 0;  // y is -1 where nothing was merged, and below count
    if (!__any_sync(FULL_WARP, is_before)) return;
    const int own = is_before ? at : y;
    const double apart = distance(sums + int64(own) * size, sums + int64(y) * size, place[own].frames, place[y].frames, size, lane);
    if (lane > 0 || !is_before) return;
    const double cost = __dadd_rn(apart, penalty(p, row[at], row[count + at]));
    if (cost < away[at]) {
        place[at].nearest = y;
        away[at] = cost;
    } else if (place[at].nearest == x || place[at].nearest == y) {
        place[at].nearest = GONE;
    }
}
EXPORT(average_linkage_update)

// The nearest later cluster of the searched one, within one chunk of places.
extern "C" __global__ void __launch_bounds__(256)
    average_linkage_search(int* __restrict__ found, double* __restrict__ far, const int* __restrict__ places, const int* __restrict__ row,
                           const int* __restrict__ states, const double* __restrict__ sums, int count, int size,
                           average_linkage_::Penalty p) {
    using namespace average_linkage_;
    SHARED(double, shared_least, ROWS);
    SHARED(int, shared_place, ROWS);
    const Place* place = reinterpret_cast<const Place*>(places);
    const State* state = reinterpret_cast<const State*>(states);
    const int chunks = state->chunks, per = (count + chunks - 1) / chunks, at = state->row;
    if (at < 0) return;
    const int half = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const int begin = blockIdx.x * per, end = min(begin + per, count);
    double least = FARTHEST;
    int nearest = count;
    for (int first = begin; first < end; first += ROWS) {
        const int other = first + half;
        const bool later = other < end && other > at && place[other].frames > 0;
        if (!__any_sync(FULL_WARP, later)) continue;
        const int own = later ? other : at;
        const double apart = distance(sums + int64(own) * size, sums + int64(at) * size, place[own].frames, place[at].frames, size, lane);
        const double cost = __dadd_rn(apart, penalty(p, row[own], row[count + own]));
        if (later && cost < least) least = cost, nearest = other;
    }
    if (lane == 0) {
        shared_least[half] = least;
        shared_place[half] = nearest;
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int other = 1; other < ROWS; other++)
        if (before(shared_least[other], shared_place[other], least, nearest)) least = shared_least[other], nearest = shared_place[other];
    found[blockIdx.x] = nearest;
    far[blockIdx.x] = least;
}
EXPORT(average_linkage_search)

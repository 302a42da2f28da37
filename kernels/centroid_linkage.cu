// centroid_linkage: agglomerative clustering by centroid linkage; three launches for each step.
//
// Shapes   points [N,D] f64, the centroids, updated in place · place [N] {cluster, size, nearest} i32: size 0 if the
//          place is empty, nearest GONE if the nearest neighbour was merged · away [N] f64: squared distance to the
//          nearest later place, or a lower bound of it · state {x, y, search, chunks, done}: the places merged last,
//          the place whose nearest neighbour is searched, the number of merges · found [chunks] i32 and far [chunks]
//          f64: the nearest place of each chunk and its squared distance · merges [N-1] {left, right, size} i32 ·
//          squared [N-1] f64
// Math     engine/cluster/linkage.rs, equal to the bit: sums in 16 lanes, no FMA contraction; ties: the lowest place
// Launch   centroid_linkage_nearest once: grid ceil(N/16). Then until done is N-1: centroid_linkage_merge grid 1, block 1024;
//          centroid_linkage_update grid ceil(N/16); centroid_linkage_search grid chunks. Other blocks of 256 = 16 half warps, one row
//          each
// Traffic  the initial search: N*N*D/2 differences, each row read once for 16 others. A merge reads the remaining
//          centroids twice, 8*N*D B each; a search for a cluster whose nearest neighbour was merged reads them once
// Order    ties: the lowest place, whatever the chunks
// Oracle   engine/cluster/linkage.rs, equal
// Source   Müllner 2011 (generic algorithm), without its queue: a scan of N numbers is cheaper here than keeping one
// Journal  docs/kernels/cluster.md
#include "linkage.cuh"

namespace linkage_ {

struct Place {
    int cluster, size, nearest;
};
struct Merge {
    int left, right, size;
};
struct State {
    int x, y, search, chunks, done;
};

// Squared distance of two rows, by the 16 lanes of a half warp with the same arguments. All lanes of the warp must call
// it.
__device__ __forceinline__ double squared_distance(const double* a, const double* b, int size, int lane) {
    double sum = 0;
    for (int i = lane; i < size; i += LANES) {
        const double d = __dsub_rn(a[i], b[i]);
        sum = __dadd_rn(sum, __dmul_rn(d, d));
    }
    return sum_of_lanes(sum);
}

}  // namespace linkage_

// The nearest later place of every place.
extern "C" __global__ void __launch_bounds__(256)
    centroid_linkage_nearest(int* __restrict__ places, double* __restrict__ away, const double* __restrict__ points,
                             int count, int size) {
    using namespace linkage_;
    Place* place = reinterpret_cast<Place*>(places);
    const int lane = threadIdx.x % LANES, at = blockIdx.x * ROWS + threadIdx.x / LANES;
    const double* own = points + int64(min(at, count - 1)) * size;
    double least = FARTHEST;
    int nearest = -1;
    for (int other = blockIdx.x * ROWS + 1; other < count; other++) {
        const double squared = squared_distance(own, points + int64(other) * size, size, lane);
        if (other > at && squared < least) least = squared, nearest = other;
    }
    if (lane == 0 && at < count) {
        place[at] = Place{at, 1, nearest};
        away[at] = least;
    }
}
EXPORT(centroid_linkage_nearest)

// Completes the search of the step before, then merges the closest pair. If the nearest neighbour of its first place
// was merged, that place is searched instead.
extern "C" __global__ void __launch_bounds__(1024)
    centroid_linkage_merge(int* __restrict__ merges, double* __restrict__ squared, double* __restrict__ points, int* __restrict__ places,
                           double* __restrict__ away, int* __restrict__ states, const int* __restrict__ found, const double* __restrict__ far,
                           int count, int size){
    using namespace linkage_;
    SHARED(double, shared_least, 1024);
    SHARED(int, shared_place, 1024);
    Place* place = reinterpret_cast<Place*>(places);
    State* state = reinterpret_cast<State*>(states);
    const int merge = state->done;
    if (threadIdx.x == 0 && state->search >= 0) {
        double least = FARTHEST;
        int nearest = -1;
        for (int chunk = 0; chunk < state->chunks; chunk++)
            if (far[chunk] < least) least = far[chunk], nearest = found[chunk];
        away[state->search] = least;
        place[state->search].nearest = nearest;
    }
    __syncthreads();
    double least = FARTHEST;
    int closest = count;
    for (int at = threadIdx.x; at < count; at += blockDim.x)
        if (away[at] < least) least = away[at], closest = at;
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
    const bool done = merge == count - 1, none = x == count;  // all distances are NaN or infinite
    const Place a = place[none ? 0 : x];
    if (done || none || a.nearest == GONE) {
        if (threadIdx.x == 0) {
            state->x = state->y = -1;
            state->search = done || none ? -1 : x;
            state->done = none ? count - 1 : merge;
        }
        return;
    }
    const int y = a.nearest;
    const Place b = place[y];
    for (int i = threadIdx.x; i < size; i += blockDim.x) {
        const double sum = __dadd_rn(__dmul_rn(double(a.size), points[int64(x) * size + i]), __dmul_rn(double(b.size), points[int64(y) * size + i]));
        points[int64(y) * size + i] = sum / double(a.size + b.size);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        reinterpret_cast<Merge*>(merges)[merge] = Merge{min(a.cluster, b.cluster), max(a.cluster, b.cluster), a.size + b.size};
        squared[merge] = shared_least[0];
        place[x] = Place{-1, 0, -1};
        place[y] = Place{count + merge, a.size + b.size, -1};
        away[x] = away[y] = FARTHEST;
        state->x = x;
        state->y = y;
        state->search = y;
        state->done = merge + 1;
    }
}
EXPORT(centroid_linkage_merge)

// For each place before y: if the new cluster at y is closer than the nearest neighbour, y becomes the nearest; else,
// if the nearest neighbour was x or y, it is marked GONE.
extern "C" __global__ void __launch_bounds__(256)
    centroid_linkage_update(int* __restrict__ places, double* __restrict__ away, const int* __restrict__ states,
                            const double* __restrict__ points, int count, int size){
    using namespace linkage_;
    Place* place = reinterpret_cast<Place*>(places);
    const State* state = reinterpret_cast<const State*>(states);
    const int x = state->x, y = state->y, lane = threadIdx.x % LANES, at = blockIdx.x * ROWS + threadIdx.x / LANES;
    const bool told = at < y && place[at].size > 0;  // y is -1 if nothing was merged, else below count
    if (!__any_sync(FULL_WARP, told)) return;
    const double squared = squared_distance(points + int64(told ? at : y) * size, points + int64(y) * size, size, lane);
    if (lane > 0 || !told) return;
    if (squared < away[at]) {
        place[at].nearest = y;
        away[at] = squared;
    } else if (place[at].nearest == x || place[at].nearest == y) {
        place[at].nearest = GONE;
    }
}
EXPORT(centroid_linkage_update)

// The nearest later place of the searched one, within one chunk of places.
extern "C" __global__ void __launch_bounds__(256)
    centroid_linkage_search(int* __restrict__ found, double* __restrict__ far, const int* __restrict__ places, const int* __restrict__ states,
                            const double* __restrict__ points, int count, int size){
    using namespace linkage_;
    SHARED(double, shared_least, ROWS);
    SHARED(int, shared_place, ROWS);
    const Place* place = reinterpret_cast<const Place*>(places);
    const State* state = reinterpret_cast<const State*>(states);
    const int chunks = state->chunks, per = (count + chunks - 1) / chunks, at = state->search;
    if (at < 0) return;
    const int row = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const int begin = blockIdx.x * per, end = min(begin + per, count);
    double least = FARTHEST;
    int nearest = count;
    for (int first = begin; first < end; first += ROWS) {
        const int other = first + row;
        const bool later = other < end && other > at && place[other].size > 0;
        if (!__any_sync(FULL_WARP, later)) continue;
        const double squared = squared_distance(points + int64(at) * size, points + int64(later ? other : at) * size, size, lane);
        if (later && squared < least) least = squared, nearest = other;
    }
    if (lane == 0) {
        shared_least[row] = least;
        shared_place[row] = nearest;
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int other = 1; other < ROWS; other++)
        if (before(shared_least[other], shared_place[other], least, nearest)) least = shared_least[other], nearest = shared_place[other];
    found[blockIdx.x] = nearest;
    far[blockIdx.x] = least;
}
EXPORT(centroid_linkage_search)

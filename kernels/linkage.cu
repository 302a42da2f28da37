// linkage: the two clusters whose centroids are closest become one, again and again; three launches for each merge.
//
// Shapes   points [N,D] f64, the centroids, changed in place · place [N] {cluster, size, nearest} i32, size 0 where there is
//          none any more, nearest -1 where none comes after · away [N] f64 squared distance to the nearest · lost [N] i32 places
//          that search anew · state {x, y, lost, chunks} · found [N,chunks] i32 and far [N,chunks] f64: the nearest of each
//          chunk · merges [N-1] {left, right, size} i32 · squared [N-1] f64
// Math     as engine/cluster/linkage.rs, to the bit: sums in 16 lanes, nothing contracted, of equals the first place
// Launch   linkage_nearest once: grid ceil(N/16). Then N-1 times: linkage_merge grid 1, block 1024; linkage_approach grid
//          ceil(N/16); linkage_search grid chunks. Blocks of 256 = 16 half warps, each of which has a row
// Traffic  the initial search N*N*D/2 differences, each row read once for 16 others. A merge reads all centroids left: 8*N*D B,
//          and as much again for each that searches anew
// Order    which place stands where in `lost` depends on the card; what is found for it does not
// Oracle   engine/cluster/linkage.rs, equal
// Source   Müllner 2011 (generic linkage), without its queue: a scan of N numbers is cheaper here than keeping one
// Journal  docs/kernels/cluster.md
#include "device.cuh"

namespace linkage_ {

const int LANES = 16, ROWS = 16;  // of a sum; half warps of a block
const double NEVER = 1.0 / 0.0;

struct Place {
    int cluster, size, nearest;
};
struct Merge {
    int left, right, size;
};
struct State {
    int x, y, lost, chunks;
};

// Whether the first of two finds is the one that counts.
__device__ __forceinline__ bool before(double a, int a_place, double b, int b_place) {
    return a < b || (a == b && a_place < b_place);
}

// Of two rows, by the 16 lanes that ask for the same; all of the warp take part.
__device__ __forceinline__ double squared_distance(const double* a, const double* b, int size, int lane) {
    double sum = 0;
    for (int i = lane; i < size; i += LANES) {
        const double d = __dsub_rn(a[i], b[i]);
        sum = __dadd_rn(sum, __dmul_rn(d, d));
    }
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) sum = __dadd_rn(sum, __shfl_xor_sync(FULL_WARP, sum, step));
    return sum;
}

}  // namespace linkage_

// The nearest later place of each.
extern "C" __global__ void __launch_bounds__(256)
    linkage_nearest(int* __restrict__ places, double* __restrict__ away, const double* __restrict__ points, int count, int size) {
    using namespace linkage_;
    Place* place = reinterpret_cast<Place*>(places);
    const int lane = threadIdx.x % LANES, at = blockIdx.x * ROWS + threadIdx.x / LANES;
    const double* own = points + int64(min(at, count - 1)) * size;
    double least = NEVER;
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
EXPORT(linkage_nearest)

// Ends the searches of the merge before, and merges the closest two.
extern "C" __global__ void __launch_bounds__(1024)
    linkage_merge(int* __restrict__ merges, double* __restrict__ squared, double* __restrict__ points, int* __restrict__ places,
                  double* __restrict__ away, int* __restrict__ states, const int* __restrict__ lost, const int* __restrict__ found,
                  const double* __restrict__ far, int merge, int count, int size) {
    using namespace linkage_;
    SHARED(double, shared_least, 1024);
    SHARED(int, shared_place, 1024);
    Place* place = reinterpret_cast<Place*>(places);
    State* state = reinterpret_cast<State*>(states);
    const int chunks = state->chunks;
    for (int i = threadIdx.x; i < state->lost; i += blockDim.x) {
        double least = NEVER;
        int nearest = -1;
        for (int chunk = 0; chunk < chunks; chunk++) {
            const int64 from = int64(i) * chunks + chunk;
            if (far[from] < least) least = far[from], nearest = found[from];
        }
        away[lost[i]] = least;
        place[lost[i]].nearest = nearest;
    }
    __syncthreads();
    double least = NEVER;
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
    if (x == count) {  // no distance is a number
        if (threadIdx.x == 0) {
            reinterpret_cast<Merge*>(merges)[merge] = Merge{0, 0, 0};
            squared[merge] = 0;
            state->x = state->y = -1;
            state->lost = 0;
        }
        return;
    }
    const Place a = place[x];
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
        away[x] = away[y] = NEVER;
        state->x = x;
        state->y = y;
        state->lost = 0;
    }
}
EXPORT(linkage_merge)

// Tells the places before y that a new cluster stands there, and lists those whose nearest is gone, y among them.
extern "C" __global__ void __launch_bounds__(256)
    linkage_approach(int* __restrict__ places, double* __restrict__ away, int* __restrict__ states, int* __restrict__ lost,
                     const double* __restrict__ points, int count, int size) {
    using namespace linkage_;
    Place* place = reinterpret_cast<Place*>(places);
    State* state = reinterpret_cast<State*>(states);
    const int x = state->x, y = state->y, lane = threadIdx.x % LANES, at = blockIdx.x * ROWS + threadIdx.x / LANES;
    if (y < 0) return;
    const bool known = at <= y && at < count && place[at].size > 0;
    const int nearest = known ? place[at].nearest : -1;
    const bool gone = known && (at == y || nearest == x || nearest == y);
    const bool compares = known && !gone;
    if (!__any_sync(FULL_WARP, known)) return;
    const double squared = squared_distance(points + int64(compares ? at : y) * size, points + int64(y) * size, size, lane);
    if (lane > 0) return;
    if (gone) lost[atomicAdd(&state->lost, 1)] = at;
    if (compares && squared < away[at]) {
        place[at].nearest = y;
        away[at] = squared;
    }
}
EXPORT(linkage_approach)

// The nearest of a chunk of places to each that searches.
extern "C" __global__ void __launch_bounds__(256)
    linkage_search(int* __restrict__ found, double* __restrict__ far, const int* __restrict__ places, const int* __restrict__ states,
                   const int* __restrict__ lost, const double* __restrict__ points, int count, int size) {
    using namespace linkage_;
    SHARED(double, shared_least, ROWS);
    SHARED(int, shared_place, ROWS);
    const Place* place = reinterpret_cast<const Place*>(places);
    const State* state = reinterpret_cast<const State*>(states);
    const int chunks = state->chunks, per = (count + chunks - 1) / chunks;
    const int row = threadIdx.x / LANES, lane = threadIdx.x % LANES;
    const int begin = blockIdx.x * per, end = min(begin + per, count);
    for (int i = 0; i < state->lost; i++) {
        const int at = lost[i];
        double least = NEVER;
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
        if (threadIdx.x == 0) {
            for (int other = 1; other < ROWS; other++)
                if (before(shared_least[other], shared_place[other], least, nearest)) least = shared_least[other], nearest = shared_place[other];
            found[int64(i) * chunks + blockIdx.x] = nearest;
            far[int64(i) * chunks + blockIdx.x] = least;
        }
        __syncthreads();
    }
}
EXPORT(linkage_search)

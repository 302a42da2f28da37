// Agglomerative clustering on the device: what centroid_linkage.cu and average_linkage.cu have in common.
#pragma once
#include "device.cuh"

namespace linkage_ {

const int LANES = 16, ROWS = 16;  // lanes of a sum; half warps of a block
const double FARTHEST = 1.0 / 0.0;
const int GONE = -2;  // in the place of a nearest neighbour that was merged

// Whether candidate a precedes candidate b: the smaller distance; ties: the lower place.
__device__ __forceinline__ bool before(double a, int a_place, double b, int b_place) {
    return a < b || (a == b && a_place < b_place);
}

// Adds the sums of 16 lanes; all of the warp take part.
__device__ __forceinline__ double sum_of_lanes(double sum) {
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) sum = __dadd_rn(sum, __shfl_xor_sync(FULL_WARP, sum, step));
    return sum;
}

}  // namespace linkage_

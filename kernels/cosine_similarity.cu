// cosine_similarity: cosine similarity plus 1 (2 minus the cosine distance) of every embedding to every centroid.
//
// Shapes   out [V,K] f64 · voices [V,D] f32 · centroids [K,D] f64
// Math     out = 1 + voice . centroid / (|voice| |centroid|), in f64
// Launch   grid V, block 256 = 16 half warps, one centroid each at a time
// Traffic  4*V*D + 8*V*K B; the centroids stay in the cache
// Order    sums in 16 lanes, no FMA contraction
// Oracle   engine/cluster/cosine_similarity.rs, equal
// Source   pyannote.audio `pipelines/clustering.py::assign_embeddings`
// Journal  docs/kernels/cluster.md
#include "device.cuh"

namespace cosine_similarity_ {

const int LANES = 16, ROWS = 16;

__device__ __forceinline__ double lane_sum(double x) {
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) x = __dadd_rn(x, __shfl_xor_sync(FULL_WARP, x, step));
    return x;
}

}  // namespace cosine_similarity_

extern "C" __global__ void __launch_bounds__(256)
    cosine_similarity(double* __restrict__ out, const float* __restrict__ voices, const double* __restrict__ centroids, int count, int size) {
    using namespace cosine_similarity_;
    const int lane = threadIdx.x % LANES, row = threadIdx.x / LANES;
    const float* voice = voices + int64(blockIdx.x) * size;
    double own = 0;
    for (int i = lane; i < size; i += LANES) own = __dadd_rn(own, __dmul_rn(double(voice[i]), double(voice[i])));
    own = sqrt(lane_sum(own));
    for (int first = 0; first < count; first += ROWS) {
        const double* centroid = centroids + int64(min(first + row, count - 1)) * size;
        double length = 0, product = 0;
        for (int i = lane; i < size; i += LANES) {
            length = __dadd_rn(length, __dmul_rn(centroid[i], centroid[i]));
            product = __dadd_rn(product, __dmul_rn(double(voice[i]), centroid[i]));
        }
        length = sqrt(lane_sum(length));
        product = lane_sum(product);
        if (lane == 0 && first + row < count) out[int64(blockIdx.x) * count + first + row] = 1.0 + product / __dmul_rn(own, length);
    }
}
EXPORT(cosine_similarity)

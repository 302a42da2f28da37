// vbx: one iteration of VBx: updates the speaker models from the responsibilities, then the responsibilities from the
// models.
//
// Shapes   shares [N,K] (the responsibilities) · rho [N,E] · common [N] · phi [E] · means, variances [K,E] ·
//          spreads, distances [K] · rows [N] · weights, totals [K], all f64. N embeddings, K speakers, E features
// Math     variance = 1 / (1 + ratio sum_n(share) phi); mean = ratio variance sum_n(share rho); spread = sum_e((variance + mean^2)
//          phi); share = softmax_k(evidence (rho . mean - spread / 2 + common) + weight); rows = its log-sum-exp
// Launch   vbx_fit grid (ceil(E/128), K), block 128; vbx_spread grid K, block 32; vbx_share grid N, block 128; vbx_totals grid
//          ceil((K+1)/32), block 32
// Traffic  8*(N*E + N*K) B three times; 4*N*K*E flops in f64. Memory-bound with the initial fifty speakers
// Order    sums over embeddings in their order, over features in 32 lanes
// Oracle   engine/cluster/vbx.rs; 1e-9 relative: the sums over features and the exponential differ
// Source   Landini et al. 2022 (VBx), equations 16, 17, 23, 25
// Journal  docs/kernels/cluster.md
#include "device.cuh"

namespace vbx_ {

__device__ __forceinline__ double warp_sum_f64(double x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(FULL_WARP, x, step);
    return x;
}

__device__ __forceinline__ double warp_max_f64(double x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) x = max(x, __shfl_xor_sync(FULL_WARP, x, step));
    return x;
}

}  // namespace vbx_

extern "C" __global__ void __launch_bounds__(128)
    vbx_fit(double* __restrict__ means, double* __restrict__ variances, const double* __restrict__ shares, const double* __restrict__ rho,
            const double* __restrict__ phi, int count, int speakers, int features, double ratio) {
    const int speaker = blockIdx.y, feature = blockIdx.x * 128 + threadIdx.x;
    if (feature >= features) return;
    double mean = 0, total = 0;
#pragma unroll 8
    for (int n = 0; n < count; n++) {
        const double share = shares[int64(n) * speakers + speaker];
        total += share;
        mean += share * rho[int64(n) * features + feature];
    }
    const double variance = 1.0 / (1.0 + ratio * total * phi[feature]);
    means[int64(speaker) * features + feature] = mean * (ratio * variance);
    variances[int64(speaker) * features + feature] = variance;
}
EXPORT(vbx_fit)

// The term of a speaker's model that is the same for all embeddings, and the model's divergence from the prior.
extern "C" __global__ void __launch_bounds__(32)
    vbx_spread(double* __restrict__ spreads, double* __restrict__ distances, const double* __restrict__ means,
               const double* __restrict__ variances, const double* __restrict__ phi, int features) {
    using namespace vbx_;
    double spread = 0, distance = 0;
    for (int e = threadIdx.x; e < features; e += WARP) {
        const double mean = means[int64(blockIdx.x) * features + e], variance = variances[int64(blockIdx.x) * features + e];
        spread += (variance + mean * mean) * phi[e];
        distance += log(variance) - variance - mean * mean + 1.0;
    }
    spread = warp_sum_f64(spread);
    distance = warp_sum_f64(distance);
    if (threadIdx.x == 0) {
        spreads[blockIdx.x] = spread;
        distances[blockIdx.x] = distance;
    }
}
EXPORT(vbx_spread)

extern "C" __global__ void __launch_bounds__(128)
    vbx_share(double* __restrict__ shares, double* __restrict__ rows, const double* __restrict__ rho, const double* __restrict__ common,
              const double* __restrict__ means, const double* __restrict__ spreads, const double* __restrict__ weights, int speakers,
              int features, double evidence) {
    using namespace vbx_;
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    double* own = shares + int64(blockIdx.x) * speakers;
    const double* voice = rho + int64(blockIdx.x) * features;
    for (int k = warp; k < speakers; k += 4) {
        double product = 0;
        for (int e = lane; e < features; e += WARP) product += voice[e] * means[int64(k) * features + e];
        product = warp_sum_f64(product);
        if (lane == 0) own[k] = evidence * (product - 0.5 * spreads[k] + common[blockIdx.x]) + weights[k];
    }
    __syncthreads();
    if (warp > 0) return;
    double most = -1.0 / 0.0, sum = 0;
    for (int k = lane; k < speakers; k += WARP) most = max(most, own[k]);
    most = warp_max_f64(most);
    for (int k = lane; k < speakers; k += WARP) sum += exp(own[k] - most);
    sum = most + log(warp_sum_f64(sum));
    for (int k = lane; k < speakers; k += WARP) own[k] = exp(own[k] - sum);
    if (lane == 0) rows[blockIdx.x] = sum;
}
EXPORT(vbx_share)

// The sum of each speaker's responsibilities, followed by the sum of `rows`.
extern "C" __global__ void __launch_bounds__(32)
    vbx_totals(double* __restrict__ totals, const double* __restrict__ shares, const double* __restrict__ rows, int count, int speakers) {
    const int speaker = blockIdx.x * WARP + threadIdx.x;
    if (speaker > speakers) return;
    const double* first = speaker < speakers ? shares + speaker : rows;
    const int stride = speaker < speakers ? speakers : 1;
    double total = 0;
#pragma unroll 8
    for (int n = 0; n < count; n++) total += first[int64(n) * stride];
    totals[speaker] = total;
}
EXPORT(vbx_totals)

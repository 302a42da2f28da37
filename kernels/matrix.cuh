// The layout of weights in device memory: a row-major matrix [N,K], output features first, as in checkpoints. Rows are
// padded with zeros to `stride`, which is K rounded up to a multiple of 32: products have no tail in K, and every row
// is 16-byte aligned.
//
// Types    T (f16 or bf16), or int8 with one f32 scale per output feature: value = scale[n] * int8[n,k].
//
// Why row-major: the tensor core may sum over k in any order, as long as both operands use the same one. Here lane (g,
// t) holds the eight consecutive values k0 + 8 t .. k0 + 8 t + 7 of feature g instead of the pairs that the instruction
// documents. Two instructions then cover 32 values of k, and each operand is one 16-byte load per lane: coalesced in
// 64-byte pieces from a row-major matrix, free of bank conflicts from shared memory, without ldmatrix and without
// repacked weights.
#pragma once
#include "device.cuh"

const int K_STEP = 32;  // values of k covered by one `multiply`

// Loads eight consecutive weights as four registers of T pairs.
template <class T>
__device__ __forceinline__ uint4 load_weights(const T* row, int k) {
    return load_once(reinterpret_cast<const uint4*>(row + k));
}
template <class T>
__device__ __forceinline__ uint4 widen(uint2 bytes) {
    float x[8];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        x[i] = float(int8(bytes.x >> (8 * i)));
        x[4 + i] = float(int8(bytes.y >> (8 * i)));
    }
    return pack_8<T>(x);  // exact: eight bits fit f16 and bf16
}
template <class T>
__device__ __forceinline__ uint4 load_weights(const int8* row, int k) {
    return widen<T>(*reinterpret_cast<const uint2*>(row + k));
}

// d[16 features, 8 rows] += w[16 features, 32 k] x[8 rows, 32 k]. `upper` and `lower` are the lane's weights of
// features g and g + 8, `x` its activations of row g.
template <class T>
__device__ __forceinline__ void multiply(float (&d)[4], uint4 upper, uint4 lower, uint4 x) {
    const uint32 a0[4] = {upper.x, lower.x, upper.y, lower.y}, b0[2] = {x.x, x.y};
    const uint32 a1[4] = {upper.z, lower.z, upper.w, lower.w}, b1[2] = {x.z, x.w};
    mma_16x8x16<T>(d, a0, b0);
    mma_16x8x16<T>(d, a1, b1);
}

// Loads eight consecutive activations; zeros from `end` on.
template <class T>
__device__ __forceinline__ uint4 load_activations(const T* row, int k, int end) {
    if (k + 8 <= end && (reinterpret_cast<uint64>(row + k) & 15) == 0) return *reinterpret_cast<const uint4*>(row + k);
    float x[8];
#pragma unroll
    for (int i = 0; i < 8; i++) x[i] = k + i < end ? to_float(row[k + i]) : 0.0f;
    return pack_8<T>(x);
}

// Epilogues of a product; the codes are those of engine/cuda/matrix.rs::epilogue_code.
enum Epilogue { STORE = 0, GELU_ERF = 1, ADD = 2 };

__device__ __forceinline__ float gelu_erf(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }

// `residual` is the previous value of the output, used by ADD only.
__device__ __forceinline__ float finish(float sum, float bias, int epilogue, float residual) {
    sum += bias;
    if (epilogue == GELU_ERF) return gelu_erf(sum);
    return epilogue == ADD ? sum + residual : sum;
}

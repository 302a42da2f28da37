// What all kernels use: number types, warp reductions, and wrappers for instructions that exist only in PTX.
//
// This file has everything that a host compiler does not know. Under DIARIST_EMULATOR the emulator of the tests
// provides it instead (tests/cuda-emulator/emulator.cuh), with the same names and semantics, so the same kernel sources
// run on a GPU and in the tests. No CUDA header is included, so NVRTC needs only these sources.
#pragma once

#ifdef DIARIST_EMULATOR
#include "emulator.cuh"
#else

typedef unsigned char uint8;
typedef signed char int8;
typedef unsigned short uint16;
typedef unsigned int uint32;
typedef unsigned long long uint64;
typedef long long int64;

// Shared memory of a block: `count` elements of `T`, 16-byte aligned. A kernel has at most one SHARED_DYNAMIC array,
// whose size is a parameter of the launch.
#define SHARED(T, name, count) __shared__ __align__(16) T name[count]
#define SHARED_DYNAMIC(T, name)                                \
    extern __shared__ __align__(128) uint8 dynamic_shared[]; \
    T* name = reinterpret_cast<T*>(dynamic_shared)

// Registers a kernel with the emulator; a no-op here, because the driver finds kernels by their symbol.
#define EXPORT(kernel)

// IEEE binary16 and bfloat16, for storage. Arithmetic is f32.
struct __align__(2) f16 {
    uint16 bits;
};
struct __align__(2) bf16 {
    uint16 bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(f16 x) {
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float(uint32(x.bits) << 16); }

template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
    return x;
}
// Rounds to nearest even and saturates to the largest finite value, so that one overflow does not turn a whole
// transcript into NaN. NaN stays NaN.
template <>
__device__ __forceinline__ f16 from_float<f16>(float x) {
    x = x > 65504.0f ? 65504.0f : x;
    x = x < -65504.0f ? -65504.0f : x;
    f16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}

// Tensor core: d[16,8] += a[16,16] b[16,8], f32 sums. Every thread of the warp takes part. With g = lane / 4 and
// t = lane % 4 a lane holds
//   a[0] (g, 2t..2t+1)  a[1] (g+8, 2t..)  a[2] (g, 2t+8..)  a[3] (g+8, 2t+8..)   two elements each, lower column in the low half
//   b[0] (2t..2t+1, g)  b[1] (2t+8.., g)
//   d[0] (g, 2t)  d[1] (g, 2t+1)  d[2] (g+8, 2t)  d[3] (g+8, 2t+1)
template <class T>
__device__ __forceinline__ void mma_16x8x16(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]);
template <>
__device__ __forceinline__ void mma_16x8x16<f16>(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <>
__device__ __forceinline__ void mma_16x8x16<bf16>(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8x8 matrices of 16-bit elements from shared memory: lane l gives the address of row l % 8 of matrix l / 8 (16
// bytes, 16-byte aligned); afterwards r[i] of a lane holds row lane / 4, columns 2 (lane % 4) and the next, of matrix i.
__device__ __forceinline__ void ldmatrix_x4(uint32 (&r)[4], const void* row) {
    uint32 address = uint32(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}
// The same, each matrix transposed on the way: r[i] holds rows 2 (lane % 4) and the next, column lane / 4.
__device__ __forceinline__ void ldmatrix_x4_trans(uint32 (&r)[4], const void* row) {
    uint32 address = uint32(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}

// Starts an asynchronous copy of 16 bytes from global to shared memory: the first `bytes` (0 to 16) are read, the rest
// is zero-filled. Both addresses must be 16-byte aligned, and `source` must be valid even if nothing is read.
__device__ __forceinline__ void cp_async_16(void* shared, const void* source, int bytes = 16) {
    uint32 address = uint32(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(source), "r"(bytes) : "memory");
}
// Closes a group of copies.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `pending` of this thread's groups are in flight. Copies of other threads need a barrier as well.
template <int pending>
__device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// Loads 16 bytes that are read only once, without allocating them in the L1 cache.
__device__ __forceinline__ uint4 load_once(const uint4* p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
    return v;
}

#endif  // DIARIST_EMULATOR

// ---- common to the GPU and the emulator ----

__device__ __forceinline__ float to_float(int8 x) { return float(x); }

const uint32 FULL_WARP = 0xffffffffu;
// Below every score, but finite, so that LOWEST_SCORE - LOWEST_SCORE is 0 and not NaN.
const float LOWEST_SCORE = -1e30f;
const int WARP = 32;

// Two 16-bit values in one register, the first in the low half.
template <class T>
__device__ __forceinline__ uint32 pack(float low, float high) {
    return uint32(from_float<T>(low).bits) | uint32(from_float<T>(high).bits) << 16;
}

// Element `i` (0 or 1) of a packed pair.
template <class T>
__device__ __forceinline__ float unpack(uint32 pair, int i) {
    T value;
    value.bits = uint16(pair >> (16 * i));
    return to_float(value);
}

// The eight elements of a 16-byte vector.
template <class T>
__device__ __forceinline__ void unpack_8(float (&x)[8], uint4 v) {
    const uint32 pairs[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 8; i++) x[i] = unpack<T>(pairs[i / 2], i % 2);
}

template <class T>
__device__ __forceinline__ uint4 pack_8(const float (&x)[8]) {
    return make_uint4(pack<T>(x[0], x[1]), pack<T>(x[2], x[3]), pack<T>(x[4], x[5]), pack<T>(x[6], x[7]));
}

// Sum over groups of `lanes` (a power of two) adjacent lanes. Every lane gets it, with the same order of additions.
template <int lanes = WARP>
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int step = lanes / 2; step > 0; step /= 2) x += __shfl_xor_sync(FULL_WARP, x, step);
    return x;
}

template <int lanes = WARP>
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int step = lanes / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, step));
    return x;
}

// Instantiates a kernel for each activation type: INSTANCE(T) declares `name_T`.
#define FOR_EACH_ACTIVATION(INSTANCE) INSTANCE(f16) INSTANCE(bf16)

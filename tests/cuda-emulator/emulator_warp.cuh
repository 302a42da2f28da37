// Cooperation of threads: barriers, warp collectives, tensor cores, asynchronous copies, atomics. Included by
// emulator.cuh. A warp collective is a rendezvous: each lane passes its operands and waits, and the last lane to arrive
// computes the results of all.
#pragma once

namespace emulator {
void barrier();
// The sum of `value` over the block.
int barrier_sum(int value);
void sync_warp(uint32 mask);
// `source`: the lane to read from.
uint64 shuffle(uint32 mask, uint64 value, int source);
uint32 vote(uint32 mask, bool value);
uint32 active_lanes();
int lane();
void mma_f16(float* d, const uint32* a, const uint32* b);
void mma_bf16(float* d, const uint32* a, const uint32* b);
void load_matrix(uint32* r, const void* row);
void load_matrix_transposed(uint32* r, const void* row);
void copy_async(void* shared, const void* source, int bytes);
void copy_async_commit();
void copy_async_wait(int pending);
[[noreturn]] void misaligned(const void* p);
inline void check_alignment(const void* p, size_t alignment) {
    if (reinterpret_cast<size_t>(p) & (alignment - 1)) misaligned(p);
}
int64 clock();
[[noreturn]] void trap();
}  // namespace emulator

// ---- barriers and fences ----

inline void __syncthreads() { emulator::barrier(); }
inline int __syncthreads_count(int x) { return emulator::barrier_sum(x != 0); }
inline int __syncthreads_or(int x) { return emulator::barrier_sum(x != 0) != 0; }
inline int __syncthreads_and(int x) { return emulator::barrier_sum(x == 0) == 0; }
inline void __syncwarp(uint32 mask = 0xffffffffu) { emulator::sync_warp(mask); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_system() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __trap() { emulator::trap(); }

// ---- shuffles and votes ----

template <class T>
inline T emulator_shuffle(uint32 mask, T x, int source) {
    static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
    typedef std::conditional_t<sizeof(T) == 4, uint32, uint64> Bits;
    return emulator_bits<T>(Bits(emulator::shuffle(mask, emulator_bits<Bits>(x), source)));
}
// Groups of `width` lanes (a power of two) behave like separate warps. A source lane outside the group gives the lane's
// own value; only __shfl_xor_sync may read from lower groups.
template <class T>
inline T __shfl_sync(uint32 mask, T x, int source, int width = 32) {
    return emulator_shuffle(mask, x, (emulator::lane() & -width) | (source & (width - 1)));
}
template <class T>
inline T __shfl_up_sync(uint32 mask, T x, unsigned delta, int width = 32) {
    int lane = emulator::lane(), source = lane - int(delta);
    return emulator_shuffle(mask, x, source < (lane & -width) ? lane : source);
}
template <class T>
inline T __shfl_down_sync(uint32 mask, T x, unsigned delta, int width = 32) {
    int lane = emulator::lane(), source = lane + int(delta);
    return emulator_shuffle(mask, x, source > (lane | (width - 1)) ? lane : source);
}
template <class T>
inline T __shfl_xor_sync(uint32 mask, T x, int flip, int width = 32) {
    int lane = emulator::lane(), source = lane ^ flip;
    return emulator_shuffle(mask, x, source > (lane | (width - 1)) ? lane : source);
}
inline uint32 __ballot_sync(uint32 mask, int x) { return emulator::vote(mask, x != 0); }
inline int __any_sync(uint32 mask, int x) { return emulator::vote(mask, x != 0) != 0; }
inline int __all_sync(uint32 mask, int x) { return emulator::vote(mask, x == 0) == 0; }
// Lanes run one at a time, so __activemask never sees two: kernels that rely on implicit convergence fail.
inline uint32 __activemask() { return emulator::active_lanes(); }
#define EMULATOR_REDUCE(name, T, op)                                         \
    inline T name(uint32 mask, T x) {                                        \
        T total = x;                                                         \
        for (int i = 0, first = 1; i < 32; i++) {                            \
            if (!(mask >> i & 1)) continue;                                  \
            T other = __shfl_sync(mask, x, i);                               \
            total = first ? other : op;                                      \
            first = 0;                                                       \
        }                                                                    \
        return total;                                                        \
    }
EMULATOR_REDUCE(__reduce_add_sync, uint32, total + other)
EMULATOR_REDUCE(__reduce_add_sync, int, total + other)
EMULATOR_REDUCE(__reduce_max_sync, uint32, max(total, other))
EMULATOR_REDUCE(__reduce_max_sync, int, max(total, other))
EMULATOR_REDUCE(__reduce_min_sync, uint32, min(total, other))
EMULATOR_REDUCE(__reduce_min_sync, int, min(total, other))
EMULATOR_REDUCE(__reduce_or_sync, uint32, total | other)
EMULATOR_REDUCE(__reduce_and_sync, uint32, total& other)
#undef EMULATOR_REDUCE

// ---- tensor cores; the layouts are described in device.cuh ----

template <class T>
inline void mma_16x8x16(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]);
template <>
inline void mma_16x8x16<f16>(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
    emulator::mma_f16(d, a, b);
}
template <>
inline void mma_16x8x16<bf16>(float (&d)[4], const uint32 (&a)[4], const uint32 (&b)[2]) {
    emulator::mma_bf16(d, a, b);
}
inline void ldmatrix_x4(uint32 (&r)[4], const void* row) { emulator::load_matrix(r, row); }
inline void ldmatrix_x4_trans(uint32 (&r)[4], const void* row) { emulator::load_matrix_transposed(r, row); }

// ---- loads and copies ----

// The target is poisoned at once and filled at the wait: the two extremes of what a GPU may do.
inline void cp_async_16(void* shared, const void* source, int bytes = 16) { emulator::copy_async(shared, source, bytes); }
inline void cp_async_commit() { emulator::copy_async_commit(); }
template <int pending>
inline void cp_async_wait() {
    emulator::copy_async_wait(pending);
}
inline uint4 load_once(const uint4* p) {
    emulator::check_alignment(p, 16);
    return *p;
}
template <class T>
inline T __ldg(const T* p) {
    emulator::check_alignment(p, alignof(T));
    return *p;
}
#define __ldcg __ldg
#define __ldcs __ldg
#define __ldca __ldg
template <class T>
inline void __stcs(T* p, T x) {
    *p = x;
}
#define __stcg __stcs
#define __stwt __stcs

// ---- atomics: relaxed on the device; that suffices here ----

// `next` computes the new value from `old`.
#define EMULATOR_ATOMIC(name, T, next)                                                                      \
    inline T name(T* p, T x) {                                                                              \
        T old;                                                                                              \
        __atomic_load(p, &old, __ATOMIC_RELAXED);                                                           \
        for (;;) {                                                                                          \
            T value = next;                                                                                 \
            if (__atomic_compare_exchange(p, &old, &value, true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) return old; \
        }                                                                                                   \
    }
#define EMULATOR_ATOMICS(T)                      \
    EMULATOR_ATOMIC(atomicAdd, T, old + x)       \
    EMULATOR_ATOMIC(atomicMax, T, max(old, x))   \
    EMULATOR_ATOMIC(atomicMin, T, min(old, x))   \
    EMULATOR_ATOMIC(atomicExch, T, x)            \
    EMULATOR_ATOMIC(atomicOr, T, old | x)        \
    EMULATOR_ATOMIC(atomicAnd, T, old& x)        \
    EMULATOR_ATOMIC(atomicXor, T, old ^ x)       \
    inline T atomicCAS(T* p, T expected, T x) {  \
        __atomic_compare_exchange(p, &expected, &x, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
        return expected;                         \
    }
EMULATOR_ATOMICS(int)
EMULATOR_ATOMICS(uint32)
EMULATOR_ATOMICS(uint64)
EMULATOR_ATOMIC(atomicAdd, float, old + x)
EMULATOR_ATOMIC(atomicAdd, double, old + x)
EMULATOR_ATOMIC(atomicExch, float, x)
EMULATOR_ATOMIC(atomicSub, int, old - x)
EMULATOR_ATOMIC(atomicSub, uint32, old - x)
EMULATOR_ATOMIC(atomicInc, uint32, (old >= x ? 0 : old + 1))
#undef EMULATOR_ATOMICS
#undef EMULATOR_ATOMIC

// ---- clock ----

inline int64 clock64() { return emulator::clock(); }
inline void __nanosleep(unsigned) {}

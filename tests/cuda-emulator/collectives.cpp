// Shuffles, votes, tensor cores, matrix loads and asynchronous copies.
//
// Each lane keeps its operands on its own stack and stores a pointer to them in the warp. The last lane to arrive
// computes the results of all lanes.
#include <time.h>

#include "runtime.h"

namespace emulator {

int lane() { return worker->thread->lane; }
uint32 active_lanes() { return 1u << lane(); }

void misaligned(const void* p) {
    fault(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned access", p, true);
}

void trap() { fault(CUDA_ERROR_LAUNCH_FAILED, "__trap"); }

int64 clock() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return int64(now.tv_sec) * 1000000000 + now.tv_nsec;
}

// ---- votes and shuffles ----

void sync_warp(uint32 mask) { meet(mask, Collective::SyncWarp, nullptr, nullptr); }

namespace {
struct Shuffle {
    uint64 value, result;
    int source;
};
struct Vote {
    bool value;
    uint32 result;
};
}  // namespace

static void complete_shuffle(void* const* operands, uint32 lanes) {
    for (uint32 left = lanes; left; left &= left - 1) {
        Shuffle* own = static_cast<Shuffle*>(operands[__builtin_ctz(left)]);
        // The value of a lane outside the mask is undefined on a GPU; here it is poison.
        bool there = own->source >= 0 && own->source < 32 && (lanes >> own->source & 1);
        own->result = there ? static_cast<Shuffle*>(operands[own->source])->value : ~uint64(0);
    }
}

uint64 shuffle(uint32 mask, uint64 value, int source) {
    Shuffle operands{value, 0, source};
    meet(mask, Collective::Shuffle, &operands, complete_shuffle);
    return operands.result;
}

static void complete_vote(void* const* operands, uint32 lanes) {
    uint32 result = 0;
    for (uint32 left = lanes; left; left &= left - 1) {
        int lane = __builtin_ctz(left);
        result |= uint32(static_cast<Vote*>(operands[lane])->value) << lane;
    }
    for (uint32 left = lanes; left; left &= left - 1) static_cast<Vote*>(operands[__builtin_ctz(left)])->result = result;
}

uint32 vote(uint32 mask, bool value) {
    Vote operands{value, 0};
    meet(mask, Collective::Vote, &operands, complete_vote);
    return operands.result;
}

// ---- tensor cores ----

typedef float float8 __attribute__((vector_size(32)));

namespace {
struct Mma {
    float* d;
    const uint32 *a, *b;
};
}  // namespace

static inline float widen(f16, uint16 bits) {
    // A multiplication rebases the exponent; it also normalises subnormal numbers.
    uint32 sign = uint32(bits & 0x8000) << 16, rest = uint32(bits & 0x7fff) << 13;
    float finite = __uint_as_float(rest) * 0x1p112f;
    uint32 magnitude = rest >= 0x7c00u << 13 ? rest | 0x7f800000 : __float_as_uint(finite);
    return __uint_as_float(sign | magnitude);
}
static inline float widen(bf16, uint16 bits) { return __uint_as_float(uint32(bits) << 16); }

// The products are exact in f32; they are added in the order of k, and the sum is added to d.
template <class T>
static void complete_mma(void* const* operands, uint32) {
    // Adjacent elements of a row of `a`, and of a column of `b`, are stored in pairs.
    alignas(32) uint16 a16[16][16], b16[16][8];
    alignas(32) float a[16][16];
    float8 b[16], d[16];
    for (unsigned lane = 0; lane < 32; lane++) {
        const Mma* own = static_cast<const Mma*>(operands[lane]);
        unsigned g = lane / 4, t = lane % 4;
        memcpy(&a16[g][2 * t], &own->a[0], 4);
        memcpy(&a16[g + 8][2 * t], &own->a[1], 4);
        memcpy(&a16[g][2 * t + 8], &own->a[2], 4);
        memcpy(&a16[g + 8][2 * t + 8], &own->a[3], 4);
        b16[2 * t][g] = uint16(own->b[0]);
        b16[2 * t + 1][g] = uint16(own->b[0] >> 16);
        b16[2 * t + 8][g] = uint16(own->b[1]);
        b16[2 * t + 9][g] = uint16(own->b[1] >> 16);
    }
    for (int i = 0; i < 16; i++) {
        for (int k = 0; k < 16; k++) a[i][k] = widen(T(), a16[i][k]);
        for (int j = 0; j < 8; j++) b[i][j] = widen(T(), b16[i][j]);
    }
    // Eight rows at a time: their sums fit in registers and hide the latency of additions.
    for (int half = 0; half < 16; half += 8) {
        float8 sum[8] = {};
        for (int k = 0; k < 16; k++) {
#pragma GCC unroll 8
            for (int i = 0; i < 8; i++) sum[i] += a[half + i][k] * b[k];
        }
        for (int i = 0; i < 8; i++) d[half + i] = sum[i];
    }
    for (unsigned lane = 0; lane < 32; lane++) {
        const Mma* own = static_cast<const Mma*>(operands[lane]);
        unsigned g = lane / 4, t = lane % 4;
        own->d[0] += d[g][2 * t];
        own->d[1] += d[g][2 * t + 1];
        own->d[2] += d[g + 8][2 * t];
        own->d[3] += d[g + 8][2 * t + 1];
    }
}

void mma_f16(float* d, const uint32* a, const uint32* b) {
    Mma operands{d, a, b};
    meet(0xffffffffu, Collective::Mma, &operands, complete_mma<f16>);
}

void mma_bf16(float* d, const uint32* a, const uint32* b) {
    Mma operands{d, a, b};
    meet(0xffffffffu, Collective::Mma, &operands, complete_mma<bf16>);
}

// ---- matrix loads ----

namespace {
struct LoadMatrix {
    uint32* r;
    const uint16* row;
};
}  // namespace

template <bool transposed>
static void complete_load(void* const* operands, uint32) {
    auto row = [&](int matrix, int i) { return static_cast<const LoadMatrix*>(operands[8 * matrix + i])->row; };
    for (int lane = 0; lane < 32; lane++) {
        uint32* r = static_cast<const LoadMatrix*>(operands[lane])->r;
        int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) {
            uint16 low = transposed ? row(i, 2 * t)[g] : row(i, g)[2 * t];
            uint16 high = transposed ? row(i, 2 * t + 1)[g] : row(i, g)[2 * t + 1];
            r[i] = low | uint32(high) << 16;
        }
    }
}

static void check_row(const void* row) {
    check_alignment(row, 16);
    if (!worker->shared.contains(row, 16)) fault(CUDA_ERROR_ILLEGAL_ADDRESS, "ldmatrix outside of shared memory", row, true);
}

void load_matrix(uint32* r, const void* row) {
    check_row(row);
    LoadMatrix operands{r, static_cast<const uint16*>(row)};
    meet(0xffffffffu, Collective::LoadMatrix, &operands, complete_load<false>);
}

void load_matrix_transposed(uint32* r, const void* row) {
    check_row(row);
    LoadMatrix operands{r, static_cast<const uint16*>(row)};
    meet(0xffffffffu, Collective::LoadMatrix, &operands, complete_load<true>);
}

// ---- asynchronous copies ----

void copy_async(void* target, const void* source, int bytes) {
    Thread* thread = worker->thread;
    check_alignment(target, 16);
    check_alignment(source, 16);
    if (bytes < 0 || bytes > 16) fault(CUDA_ERROR_LAUNCH_FAILED, "cp.async of less than 0 or more than 16 bytes");
    if (!worker->shared.contains(target, 16)) {
        fault(CUDA_ERROR_ILLEGAL_ADDRESS, "cp.async to outside of shared memory", target, true);
    }
    // Read now, so that an invalid address is reported here and not at the wait.
    (void)*static_cast<const volatile uint8_t*>(source);
    memset(target, POISON, 16);
    thread->copies.push_back(AsyncCopy{target, source, bytes, thread->groups});
}

void copy_async_commit() { worker->thread->groups++; }

void copy_async_wait(int pending) {
    Thread* thread = worker->thread;
    std::vector<AsyncCopy>& copies = thread->copies;
    size_t done = 0;
    while (done < copies.size() && copies[done].group < thread->groups - pending) {
        const AsyncCopy& copy = copies[done++];
        memset(copy.target, 0, 16);
        memcpy(copy.target, copy.source, size_t(copy.bytes));
    }
    copies.erase(copies.begin(), copies.begin() + done);
}

}  // namespace emulator

// attention: bidirectional self-attention over the frames of each clip, without storing the scores (FlashAttention-2).
//
// Shapes   out [B,T,C] T · qkv [B,T,3C] T (queries, keys, values side by side), C = heads * D, D a multiple of 8, at most 64
//          (attention_within_128: 128) ·
//          lengths [B] i32, the number of valid frames of each clip, in attention_within
// Math     out = softmax(scale q.k^T) v per head; scores and sums in f32, online softmax (Milakov & Gimelshein 2018,
//          arXiv:1805.02867; Dao 2023, arXiv:2307.08691)
// Launch   grid (ceil(T/64), heads, B), block 128 = 4 warps of 16 queries; keys come in tiles of 64 (of 32 for wide
//          heads), two stages, 32 KiB shared
// Traffic  2*B*T*4C B if the keys and values of a head stay in the L2; 4*B*T*T*C flops; bound by arithmetic
// Edge     keys beyond the length are masked, queries beyond it are stored as 0, queries beyond T are not stored;
//          dimensions beyond D are zeros in both operands
// Oracle   engine/cpu/attention.rs
// Source   transformers modeling_whisper.py::WhisperAttention
// Journal  docs/kernels/attention.md
#include "matrix.cuh"

namespace attention {

const int QUERIES = 64, THREADS = 128;

// XOR swizzle: the position of chunk `c` (8 dimensions) of a row of a tile. Rows have 128 or 256 bytes, so without it
// all rows would start in the same bank. Bit 2 differs between adjacent rows, which makes the 16-byte fragment loads
// conflict-free; all three bits differ among eight rows, which makes ldmatrix conflict-free.
template <int DIM>
__device__ __forceinline__ int place(int row, int c) { return row * DIM + 8 * (c ^ ((row & 1) << 2 | (row >> 1 & 3))); }

// Loads one tile of keys or values: rows `first ..` of a matrix whose rows are `stride` apart.
template <class T, int DIM, int KEYS>
__device__ __forceinline__ void load_tile(T* shared, const T* rows, int first, int frames, int64 stride, int head_dim) {
#pragma unroll
    for (int i = threadIdx.x; i < KEYS * DIM / 8; i += THREADS) {
        int row = i / (DIM / 8), c = i % (DIM / 8);
        bool exists = first + row < frames && 8 * c < head_dim;
        cp_async_16(shared + place<DIM>(row, c), exists ? rows + (first + row) * stride + 8 * c : rows, exists ? 16 : 0);
    }
}

template <class T, int DIM, int KEYS>
__device__ __forceinline__ void run(T* out, const T* qkv, const int* lengths, int all_frames, int width, int head_dim,
                                    float scale) {
    SHARED(T, keys, 2 * KEYS * DIM);
    SHARED(T, values, 2 * KEYS * DIM);
    const int lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const int first_query = blockIdx.x * QUERIES + threadIdx.x / WARP * 16;
    const int frames = lengths ? lengths[blockIdx.z] : all_frames;
    const int64 stride = 3 * int64(width);
    const T* q = qkv + int64(blockIdx.z) * all_frames * stride + blockIdx.y * head_dim;
    const T* k = q + width;
    const T* v = k + width;

    // Loads queries directly into registers: [32 dimensions][rows g and g + 8].
    uint4 query[DIM / 32][2];
#pragma unroll
    for (int part = 0; part < DIM / 32; part++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int row = first_query + g + 8 * i, d = 32 * part + 8 * t;
            query[part][i] = make_uint4(0, 0, 0, 0);
            if (row < frames && d < head_dim) query[part][i] = *reinterpret_cast<const uint4*>(q + row * stride + d);
        }

    float sums[DIM / 8][4] = {};                               // [8 dims][fragment]
    float largest[2] = {LOWEST_SCORE, LOWEST_SCORE}, total[2] = {0.0f, 0.0f};  // rows g and g + 8
    scale *= 1.4426950408889634f;                              // softmax in base 2

    const int tiles = (frames + KEYS - 1) / KEYS;
    auto fetch = [&](int tile) {
        if (tile < tiles) {
            load_tile<T, DIM, KEYS>(keys + tile % 2 * KEYS * DIM, k, tile * KEYS, frames, stride, head_dim);
            load_tile<T, DIM, KEYS>(values + tile % 2 * KEYS * DIM, v, tile * KEYS, frames, stride, head_dim);
        }
        cp_async_commit();
    };
    fetch(0);
    for (int tile = 0; tile < tiles; tile++) {
        fetch(tile + 1);
        cp_async_wait<1>();
        __syncthreads();
        const T* tile_keys = keys + tile % 2 * KEYS * DIM;
        const T* tile_values = values + tile % 2 * KEYS * DIM;

        float scores[KEYS / 8][4] = {};  // [8 keys][fragment]
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int part = 0; part < DIM / 32; part++) {
                uint4 b = *reinterpret_cast<const uint4*>(tile_keys + place<DIM>(8 * j + g, 4 * part + t));
                multiply<T>(scores[j], query[part][0], query[part][1], b);
            }
        float top[2] = {largest[0], largest[1]};
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                bool exists = tile * KEYS + 8 * j + 2 * t + e % 2 < frames;
                scores[j][e] = exists ? scores[j][e] * scale : LOWEST_SCORE;
                top[e / 2] = fmaxf(top[e / 2], scores[j][e]);
            }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            top[i] = warp_max<4>(top[i]);  // the four lanes of a row
            float shrink = exp2f(largest[i] - top[i]);
            largest[i] = top[i];
            total[i] *= shrink;
#pragma unroll
            for (int j = 0; j < DIM / 8; j++) {
                sums[j][2 * i] *= shrink;
                sums[j][2 * i + 1] *= shrink;
            }
        }
#pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                scores[j][e] = exp2f(scores[j][e] - largest[e / 2]);
                total[e / 2] += scores[j][e];
            }
        // The accumulators of 16 keys already have the layout of the left operand of the second product.
#pragma unroll
        for (int j = 0; j < KEYS / 16; j++) {
            const float(&low)[4] = scores[2 * j];
            const float(&high)[4] = scores[2 * j + 1];
            const uint32 a[4] = {pack<T>(low[0], low[1]), pack<T>(low[2], low[3]), pack<T>(high[0], high[1]),
                                 pack<T>(high[2], high[3])};
#pragma unroll
            for (int d = 0; d < DIM / 16; d++) {
                uint32 b[4];
                ldmatrix_x4_trans(b, tile_values + place<DIM>(16 * j + lane % 16, 2 * d + lane / 16));
                const uint32 left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
                mma_16x8x16<T>(sums[2 * d], a, left);
                mma_16x8x16<T>(sums[2 * d + 1], a, right);
            }
        }
        __syncthreads();  // no warp still reads the stage that is overwritten next
    }
    cp_async_wait<0>();

#pragma unroll
    for (int i = 0; i < 2; i++) {
        float share = 1.0f / warp_sum<4>(total[i]);
        int row = first_query + g + 8 * i;
        if (row >= all_frames) continue;
        if (row >= frames) share = 0.0f;
        T* o = out + (int64(blockIdx.z) * all_frames + row) * width + blockIdx.y * head_dim;
#pragma unroll
        for (int j = 0; j < DIM / 8; j++) {
            int d = 8 * j + 2 * t;
            if (d < head_dim) *reinterpret_cast<uint32*>(o + d) = pack<T>(sums[j][2 * i] * share, sums[j][2 * i + 1] * share);
        }
    }
}

}  // namespace attention

// The kernel without lengths, for Whisper's encoders, needs few enough registers for four blocks per SM. Head dimension
// 128 is that of wav2vec2's 1B model.
#define INSTANCE(T)                                                                                                         \
    extern "C" __global__ void __launch_bounds__(128)                                                                       \
        attention_##T(T* __restrict__ out, const T* __restrict__ qkv, int frames, int width, int head_dim, float scale) {   \
        attention::run<T, 64, 64>(out, qkv, nullptr, frames, width, head_dim, scale);                                       \
    }                                                                                                                       \
    EXPORT(attention_##T)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(128)                                                                       \
        attention_within_##T(T* __restrict__ out, const T* __restrict__ qkv, const int* __restrict__ lengths, int frames,   \
                             int width, int head_dim, float scale) {                                                        \
        attention::run<T, 64, 64>(out, qkv, lengths, frames, width, head_dim, scale);                                       \
    }                                                                                                                       \
    EXPORT(attention_within_##T)                                                                                            \
    extern "C" __global__ void __launch_bounds__(128)                                                                       \
        attention_within_128_##T(T* __restrict__ out, const T* __restrict__ qkv, const int* __restrict__ lengths,           \
                                 int frames, int width, int head_dim, float scale) {                                        \
        attention::run<T, 128, 32>(out, qkv, lengths, frames, width, head_dim, scale);                                      \
    }                                                                                                                       \
    EXPORT(attention_within_128_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

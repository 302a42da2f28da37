// embed: the input of the decoder: token embedding plus position embedding.
//
// Shapes   out [R,C] T · token,position [R] i32 · table [V,stride] T or int8 (the tied embedding, matrix.cuh) · scales [V] f32
//          (int8 only) · positions [L,C] f32
// Launch   grid R, block 128
// Traffic  about 8*R*C B
// Edge     an id or position out of range gives zeros instead of a fault; the decoder keeps both in range
// Oracle   engine/cpu/embed.rs
// Source   openai/whisper model.py::TextDecoder.forward
#include "matrix.cuh"

template <class T, class W>
__device__ __forceinline__ void embed(T* out, const int* tokens, const int* positions, const W* table, const float* scales,
                                      const float* position_table, int vocab, int num_positions, int width, int stride) {
    int row = blockIdx.x, token = tokens[row], position = positions[row];
    bool exists = token >= 0 && token < vocab && position >= 0 && position < num_positions;
    for (int i = threadIdx.x; i < width; i += 128) {
        float x = 0;
        if (exists) {
            x = to_float(table[int64(token) * stride + i]);
            if (scales) x *= scales[token];
            x += position_table[int64(position) * width + i];
        }
        out[int64(row) * width + i] = from_float<T>(x);
    }
}

#define INSTANCE(T)                                                                                                        \
    extern "C" __global__ void __launch_bounds__(128)                                                                      \
        embed_##T(T* __restrict__ out, const int* __restrict__ tokens, const int* __restrict__ positions,                  \
                  const T* __restrict__ table, const float* __restrict__ position_table, int vocab, int num_positions,     \
                  int width, int stride) {                                                                                 \
        embed<T, T>(out, tokens, positions, table, nullptr, position_table, vocab, num_positions, width, stride);          \
    }                                                                                                                      \
    EXPORT(embed_##T)                                                                                                      \
    extern "C" __global__ void __launch_bounds__(128)                                                                      \
        embed_int8_##T(T* __restrict__ out, const int* __restrict__ tokens, const int* __restrict__ positions,             \
                       const int8* __restrict__ table, const float* __restrict__ scales,                                   \
                       const float* __restrict__ position_table, int vocab, int num_positions, int width, int stride) {    \
        embed<T, int8>(out, tokens, positions, table, scales, position_table, vocab, num_positions, width, stride);        \
    }                                                                                                                      \
    EXPORT(embed_int8_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

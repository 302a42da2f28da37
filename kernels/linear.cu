// linear: a linear layer over many rows, for encoders and for the cross-attention keys and values.
//
// Shapes   out [R,N] T · x [R,K] T · w [N,stride] T or int8 · bias [N] f32 or null · scales [N] f32 (int8 only)
// Math     out = epilogue(x w^T + bias): STORE, GELU_ERF, or ADD to the previous output. f32 sums on tensor cores
// Launch   grid (ceil(N/128), ceil(R/128)), block 128, 48 KiB dynamic shared memory (gemm.cuh)
// Traffic  2*(R*K + N*K + R*N) B at best; 2*R*N*K flops; bound by arithmetic where R is in the thousands
// Edge     any R, N, K: missing rows and features are zeros; rows of K not a multiple of 8 are loaded element by element
// Oracle   engine/cpu/linear.rs
// Source   transformers modeling_whisper.py; erf GELU as torch.nn.GELU
#include "gemm.cuh"

namespace linear {

// Rows of a plain matrix.
template <class T>
struct MatrixRows {
    const T* x;
    int64 rows;
    int width;
    __device__ __forceinline__ void load(T* shared, int64 row, int k) const {
        if (width % 8 == 0) {
            bool exists = row < rows && k < width;
            cp_async_16(shared, exists ? x + row * width + k : x, exists ? 16 : 0);
        } else {
            uint4 v = make_uint4(0, 0, 0, 0);
            if (row < rows) v = load_activations(x + row * width, k, width);
            *reinterpret_cast<uint4*>(shared) = v;
        }
    }
};

template <class T, class W>
__device__ __forceinline__ void run(const gemm::Output<T>& o, const T* x, const W* w, int width, int stride) {
    MatrixRows<T> rows = {x, o.rows, width};
    typename gemm::WeightOf<T, W>::Rows weights = {w, o.features, stride};
    gemm::run<T>(o, weights, rows, stride);
}

}  // namespace linear

#define INSTANCE(T)                                                                                                         \
    extern "C" __global__ void __launch_bounds__(128, 2)                                                                    \
        linear_##T(T* out, const T* __restrict__ x, const T* __restrict__ w, const float* __restrict__ bias, int64 rows,    \
                   int features, int width, int stride, int epilogue) {                                                     \
        linear::run<T, T>({out, bias, nullptr, rows, features, epilogue}, x, w, width, stride);                             \
    }                                                                                                                       \
    EXPORT(linear_##T)                                                                                                      \
    extern "C" __global__ void __launch_bounds__(128, 2)                                                                    \
        linear_int8_##T(T* out, const T* __restrict__ x, const int8* __restrict__ w, const float* __restrict__ scales,      \
                        const float* __restrict__ bias, int64 rows, int features, int width, int stride, int epilogue) {    \
        linear::run<T, int8>({out, bias, scales, rows, features, epilogue}, x, w, width, stride);                           \
    }                                                                                                                       \
    EXPORT(linear_int8_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE

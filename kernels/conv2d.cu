// conv2d: 2-D convolution as an implicit matrix product on tensor cores, fused with bias, residual addition and ReLU.
//
// Shapes   out,added [N,T',H',O] T · x [N,T,H,C] T · w [ceil(C/32),taps taps,O,32] T, zeros beyond channel C · bias [O]
//          f32
// Math     out[n,t,h] = after(sum over taps i,j of x[n, s t + i - pad, s h + j - pad] w[:, i, j] + bias), pad = taps/2, zeros outside
// Launch   _3x3_F (stride 1): grid ceil(O/F) * ceil(N T' H'/256), block 128, or 256 for F = 128; dynamic shared memory:
//          64 B of zeros, 3 stages of weights, and 32 channels of the input patch, twice if C > 32
//          _any_F (1 or 3 taps, stride 1 or 2): the same grid; 3 stages of weights and pixels
//          _first (C = 1, 3 taps, stride 1): grid (ceil(N T H/1024)), block (256/G) G with G = O/8
// Design   A tile is 256 consecutive pixels, across lines and windows, so there are no partial tiles whatever T and H.
//          The input of its 3 x 3 taps is one contiguous run of memory, H + 1 pixels longer at both ends (the patch):
//          it is copied to shared memory once, and each tap is an offset into it. Where a tap is outside the image, the
//          lane reads zeros. A warp has 64 pixels x 64 (32) features. The features that a lane loads are chosen such
//          that its sums are eight consecutive ones, which it stores directly, 16 bytes per lane
// Traffic  2*(x + out + added) B; 2*N*T'*H'*O*taps*taps*C flops. L2 to SM for nine taps of 32 channels: (256 + 2 H + 2)*64 B +
//          9*F*64 B for 256*F*288 products
// Order    blocks of 32 channels, taps within them, for every element: results do not depend on N or on the kernel
// Oracle   engine/cpu/conv2d.rs
// Source   torch.nn.functional.conv2d; He et al. 2015 (ResNet)
// Journal  docs/kernels/conv2d.md
#include "matrix.cuh"

namespace conv2d_ {

const int PIXELS = 256;  // per tile
const int STAGES = 3;
const int FIRST_PIXELS = 1024;  // per block of the first layer

// Passed by value; mirrors `Sizes` of engine/cuda/conv2d.rs.
struct Sizes {
    int pixels;  // N T' H'
    int frames, bands, channels, outputs;  // T, H, C, O
    int out_frames, out_bands, stride, taps;
    int relu;
};

template <int features>
struct Tile {
    static const int WARP_FEATURES = features < 64 ? features : 64;
    static const int GROUPS = WARP_FEATURES / 8;  // of 8 features, a column block of `mma`
    static const int THREADS = features / WARP_FEATURES * (PIXELS / 64) * WARP;
    static const int WEIGHTS = features * K_STEP;  // elements of a stage
};

// The part of a tile that a thread computes.
template <int features>
struct Place {
    int g, t, warp_pixel, warp_feature;
    __device__ __forceinline__ Place() {
        const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
        g = lane / 4;
        t = lane % 4;
        warp_pixel = warp % (PIXELS / 64) * 64;
        warp_feature = warp / (PIXELS / 64) * 64;
    }
    // Blocks with the same pixels are adjacent, so that the pixels stay in the L2.
    __device__ __forceinline__ int first_feature(const Sizes& sizes) const { return blockIdx.x % tiles(sizes) * features; }
    __device__ __forceinline__ int first_pixel(const Sizes& sizes) const { return blockIdx.x / tiles(sizes) * PIXELS; }
    __device__ __forceinline__ static int tiles(const Sizes& sizes) { return (sizes.outputs + features - 1) / features; }
    // The feature of group j that lane g loads: sums 2 t and 2 t + 1 of four groups are then features 8 t .. 8 t + 7.
    __device__ __forceinline__ int feature(int j) const { return warp_feature + j / 4 * 32 + g / 2 * 8 + j % 4 * 2 + g % 2; }
    // The pixel of row g of half `h` (0 or 1) of fragment i.
    __device__ __forceinline__ int pixel(int i, int h) const { return warp_pixel + 16 * i + 8 * h + g; }
};

// Loads the weights of 32 channels and one tap.
template <class T, int features>
__device__ __forceinline__ void load_weights_of(T* stage, const T* w, int step, int first, int outputs) {
    const T* source = w + (int64(step) * outputs + first) * K_STEP;
#pragma unroll
    for (int i = threadIdx.x; i < Tile<features>::WEIGHTS / 8; i += Tile<features>::THREADS) {
        const bool exists = first + i / 4 < outputs;
        cp_async_16(stage + 8 * i, exists ? source + 8 * i : w, exists ? 16 : 0);
    }
}

// sums += pixels times weights, for 32 channels of one tap; at(i, h) points to the 32 channels of a lane's pixel.
template <class T, int features, class At>
__device__ __forceinline__ void accumulate(float (&sums)[4][Tile<features>::GROUPS][4], const T* weights,
                                           const Place<features>& place, At at) {
    uint4 b[Tile<features>::GROUPS];
#pragma unroll
    for (int j = 0; j < Tile<features>::GROUPS; j++)
        b[j] = *reinterpret_cast<const uint4*>(weights + place.feature(j) * K_STEP + 8 * place.t);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const uint4 upper = *reinterpret_cast<const uint4*>(at(i, 0) + 8 * place.t);
        const uint4 lower = *reinterpret_cast<const uint4*>(at(i, 1) + 8 * place.t);
#pragma unroll
        for (int j = 0; j < Tile<features>::GROUPS; j++) multiply<T>(sums[i][j], upper, lower, b[j]);
    }
}

template <class T, int features>
__device__ __forceinline__ void store(const float (&sums)[4][Tile<features>::GROUPS][4], T* out, const T* added,
                                      const float* bias, const Sizes& sizes, const Place<features>& place, int first_pixel,
                                      int first_feature) {
#pragma unroll
    for (int q = 0; q < Tile<features>::GROUPS / 4; q++) {
        const int feature = first_feature + place.warp_feature + 32 * q + 8 * place.t;
        if (feature >= sizes.outputs) break;  // O is a multiple of 8
        const float4 low = *reinterpret_cast<const float4*>(bias + feature);
        const float4 high = *reinterpret_cast<const float4*>(bias + feature + 4);
        const float b[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int pixel = first_pixel + place.pixel(i / 2, i % 2);
            if (pixel >= sizes.pixels) break;
            const int64 at = int64(pixel) * sizes.outputs + feature;
            float y[8], more[8] = {};
            if (added) unpack_8<T>(more, *reinterpret_cast<const uint4*>(added + at));
#pragma unroll
            for (int e = 0; e < 8; e++) {
                y[e] = sums[i / 2][4 * q + e / 2][2 * (i % 2) + e % 2] + b[e] + more[e];
                if (sizes.relu) y[e] = y[e] < 0 ? 0.0f : y[e];  // NaN stays
            }
            *reinterpret_cast<uint4*>(out + at) = pack_8<T>(y);
        }
    }
}

template <class T, int features>
__device__ __forceinline__ void run_3x3(T* out, const T* x, const T* w, const float* bias, const T* added, const Sizes& sizes) {
    SHARED_DYNAMIC(T, shared);
    const Place<features> place;
    const int bands = sizes.bands, first_feature = place.first_feature(sizes), first = place.first_pixel(sizes);
    const int patch = PIXELS + 2 * (bands + 1);  // pixels of the input patch
    T* weights = shared + K_STEP;                // behind the zeros: [STAGES, features, 32]
    T* patches = weights + STAGES * Tile<features>::WEIGHTS;  // [1 or 2, patch, 32]

    // Which of the lane's eight pixels are on an edge of the image: bit i is pixel (i / 2, i % 2).
    uint32 top = 0, bottom = 0, left = 0, right = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int pixel = first + place.pixel(i / 2, i % 2), h = pixel % bands, t = pixel / bands % sizes.frames;
        top |= uint32(t == 0) << i;
        bottom |= uint32(t == sizes.frames - 1) << i;
        left |= uint32(h == 0) << i;
        right |= uint32(h == bands - 1) << i;
    }
    // Loads pixels `from` to `to` of 32 channels.
    auto fetch_pixels = [&](int chunk, int from, int to) {
        T* target = patches + chunk % 2 * patch * K_STEP;
        for (int i = 4 * from + threadIdx.x; i < 4 * to; i += Tile<features>::THREADS) {
            const int pixel = first - bands - 1 + i / 4, channel = chunk * K_STEP + i % 4 * 8;
            const bool exists = pixel >= 0 && pixel < sizes.pixels && channel < sizes.channels;
            cp_async_16(target + 8 * i, exists ? x + int64(pixel) * sizes.channels + channel : x, exists ? 16 : 0);
        }
    };
    const int chunks = (sizes.channels + K_STEP - 1) / K_STEP, steps = 9 * chunks;
    auto fetch_weights = [&](int step) {
        if (step < steps)
            load_weights_of<T, features>(weights + step % STAGES * Tile<features>::WEIGHTS, w, step, first_feature, sizes.outputs);
    };
    if (threadIdx.x < 4) *reinterpret_cast<uint4*>(shared + 8 * threadIdx.x) = make_uint4(0, 0, 0, 0);
    fetch_pixels(0, 0, patch);
    fetch_weights(0);
    cp_async_commit();
    fetch_weights(1);
    cp_async_commit();

    float sums[4][Tile<features>::GROUPS][4] = {};
    const int slice = (patch + 7) / 8;
    int step = 0;
#pragma unroll 1
    for (int chunk = 0; chunk < chunks; chunk++) {
#pragma unroll 1
        for (int tap = 0; tap < 9; tap++, step++) {
            cp_async_wait<1>();
            __syncthreads();  // this step's weights and pixels have arrived; the stage overwritten next is unused
            fetch_weights(step + 2);
            // Each tap but the last loads an eighth of the next 32 channels; the last tap must not wait for them.
            if (chunk + 1 < chunks && tap < 8) fetch_pixels(chunk + 1, tap * slice, min(patch, (tap + 1) * slice));
            cp_async_commit();
            const int i = tap / 3, j = tap % 3;
            const uint32 outside = (i == 0 ? top : i == 2 ? bottom : 0) | (j == 0 ? left : j == 2 ? right : 0);
            const int offset = int(patches - shared) + (chunk % 2 * patch + i * bands + j) * K_STEP;
            accumulate<T, features>(sums, weights + step % STAGES * Tile<features>::WEIGHTS, place, [&](int f, int h) {
                return shared + (outside >> (2 * f + h) & 1 ? 0 : offset + place.pixel(f, h) * K_STEP);
            });
        }
    }
    store<T, features>(sums, out, added, bias, sizes, place, first, first_feature);
}

template <class T, int features>
__device__ __forceinline__ void run_any(T* out, const T* x, const T* w, const float* bias, const T* added, const Sizes& sizes) {
    SHARED_DYNAMIC(T, shared);
    typedef Tile<features> Shape;
    const int PIECES = PIXELS * 4 / Shape::THREADS;  // 16-byte pieces of a step's pixels per thread
    const int STAGE = Shape::WEIGHTS + PIXELS * K_STEP;
    const Place<features> place;
    const int first_feature = place.first_feature(sizes), first = place.first_pixel(sizes), pad = sizes.taps / 2;
    // For each piece: the input pixel under the centre of the filter, and its row and column.
    int middle[PIECES], row[PIECES], column[PIECES];
#pragma unroll
    for (int i = 0; i < PIECES; i++) {
        const int pixel = first + (threadIdx.x + i * Shape::THREADS) / 4;
        const int line = pixel / sizes.out_bands;
        column[i] = pixel % sizes.out_bands * sizes.stride;
        row[i] = line % sizes.out_frames * sizes.stride;
        middle[i] = (line / sizes.out_frames * sizes.frames + row[i]) * sizes.bands + column[i];
        if (pixel >= sizes.pixels) row[i] = -2;  // outside for every tap
    }
    const int all_taps = sizes.taps * sizes.taps;
    const int steps = (sizes.channels + K_STEP - 1) / K_STEP * all_taps;
    auto fetch = [&](int step) {
        if (step < steps) {
            T* stage = shared + step % STAGES * STAGE;
            load_weights_of<T, features>(stage, w, step, first_feature, sizes.outputs);
            const int tap = step % all_taps, di = tap / sizes.taps - pad, dj = tap % sizes.taps - pad;
            const int channel = step / all_taps * K_STEP + threadIdx.x % 4 * 8;
#pragma unroll
            for (int i = 0; i < PIECES; i++) {
                const int t = row[i] + di, h = column[i] + dj;
                const bool exists = t >= 0 && t < sizes.frames && h >= 0 && h < sizes.bands && channel < sizes.channels;
                const int64 pixel = middle[i] + di * sizes.bands + dj;
                cp_async_16(stage + Shape::WEIGHTS + 8 * (threadIdx.x + i * Shape::THREADS),
                            exists ? x + pixel * sizes.channels + channel : x, exists ? 16 : 0);
            }
        }
        cp_async_commit();
    };
    fetch(0);
    fetch(1);
    float sums[4][Shape::GROUPS][4] = {};
#pragma unroll 1
    for (int step = 0; step < steps; step++) {
        cp_async_wait<1>();
        __syncthreads();  // as above
        fetch(step + 2);
        const T* stage = shared + step % STAGES * STAGE;
        accumulate<T, features>(sums, stage, place,
                                [&](int f, int h) { return stage + Shape::WEIGHTS + place.pixel(f, h) * K_STEP; });
    }
    store<T, features>(sums, out, added, bias, sizes, place, first, first_feature);
}

// One input channel: nine multiply-adds in f32; a thread has eight features, with their weights in registers. w [9,O]
// f32.
template <class T>
__device__ __forceinline__ void run_first(T* out, const T* x, const float* w, const float* bias, const Sizes& sizes) {
    const int groups = sizes.outputs / 8, feature = threadIdx.x % groups * 8, together = blockDim.x / groups;
    float weights[9][8], b[8];
#pragma unroll
    for (int e = 0; e < 8; e++) {
        b[e] = bias[feature + e];
#pragma unroll
        for (int tap = 0; tap < 9; tap++) weights[tap][e] = w[tap * sizes.outputs + feature + e];
    }
    const int first = blockIdx.x * FIRST_PIXELS, end = min(first + FIRST_PIXELS, sizes.pixels);
    for (int pixel = first + threadIdx.x / groups; pixel < end; pixel += together) {
        const int h = pixel % sizes.bands, t = pixel / sizes.bands % sizes.frames;
        float y[8] = {};
#pragma unroll
        for (int tap = 0; tap < 9; tap++) {
            const int di = tap / 3 - 1, dj = tap % 3 - 1;
            const bool exists = t + di >= 0 && t + di < sizes.frames && h + dj >= 0 && h + dj < sizes.bands;
            const float v = exists ? to_float(x[int64(pixel) + di * sizes.bands + dj]) : 0.0f;
#pragma unroll
            for (int e = 0; e < 8; e++) y[e] = fmaf(v, weights[tap][e], y[e]);
        }
#pragma unroll
        for (int e = 0; e < 8; e++) {
            y[e] += b[e];
            if (sizes.relu) y[e] = y[e] < 0 ? 0.0f : y[e];
        }
        *reinterpret_cast<uint4*>(out + int64(pixel) * sizes.outputs + feature) = pack_8<T>(y);
    }
}

}  // namespace conv2d_

#define TILED(T, features, threads, blocks, any_blocks)                                                                     \
    extern "C" __global__ void __launch_bounds__(threads, blocks)                                                           \
        conv2d_3x3_##features##_##T(T* __restrict__ out, const T* __restrict__ x, const T* __restrict__ w,                  \
                                    const float* __restrict__ bias, const T* __restrict__ added, conv2d_::Sizes sizes) {    \
        conv2d_::run_3x3<T, features>(out, x, w, bias, added, sizes);                                                       \
    }                                                                                                                       \
    EXPORT(conv2d_3x3_##features##_##T)                                                                                     \
    extern "C" __global__ void __launch_bounds__(threads, any_blocks)                                                       \
        conv2d_any_##features##_##T(T* __restrict__ out, const T* __restrict__ x, const T* __restrict__ w,                  \
                                    const float* __restrict__ bias, const T* __restrict__ added, conv2d_::Sizes sizes) {    \
        conv2d_::run_any<T, features>(out, x, w, bias, added, sizes);                                                       \
    }                                                                                                                       \
    EXPORT(conv2d_any_##features##_##T)
#define INSTANCE(T)                                                                                                         \
    TILED(T, 32, 128, 4, 3)                                                                                                 \
    TILED(T, 64, 128, 2, 2)                                                                                                 \
    TILED(T, 128, 256, 1, 1)                                                                                                \
    extern "C" __global__ void __launch_bounds__(256)                                                                       \
        conv2d_first_##T(T* __restrict__ out, const T* __restrict__ x, const float* __restrict__ w,                         \
                         const float* __restrict__ bias, conv2d_::Sizes sizes) {                                            \
        conv2d_::run_first<T>(out, x, w, bias, sizes);                                                                      \
    }                                                                                                                       \
    EXPORT(conv2d_first_##T)
FOR_EACH_ACTIVATION(INSTANCE)
#undef INSTANCE
#undef TILED

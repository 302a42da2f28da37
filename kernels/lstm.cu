// lstm: a bidirectional LSTM layer of 128 units; one launch runs all time steps (persistent RNN).
//
// Shapes   out [B,T,256] f32, forward, then backward · forward,backward [B,T,512] f32: the input's part of the gates
//          (input, forget, cell, output, biases included) · w_forward,w_backward [512,128] f32
// Math     g = gates[t] + h w^T; c = sigmoid(g_f) c + sigmoid(g_i) tanh(g_c); h = sigmoid(g_o) tanh(c); h and c start
//          at 0
// Launch   grid (ceil(B/8), 2), block 512; 96 KiB dynamic shared memory, available on every GPU from sm_80 on
// Design   A block processes eight clips in one direction through all steps. Thread j has the weights of one gate of
//          one unit: 84 of its 128 in registers, 44 in shared memory. States are double-buffered in shared memory, so
//          that a step needs one barrier. The four gates of a unit are in adjacent lanes, which exchange them by
//          shuffles; cells are in registers
// Traffic  8*B*T*(512 + 128) B; 2*B*T*2*512*128 flops. Each step ends with a barrier, so there must be enough blocks
//          for all SMs: B >= 4 SMs
// Order    k ascending, FMA, for each clip separately: results do not depend on B
// Oracle   engine/cpu/lstm.rs
// Source   torch.nn.LSTM; persistent weights: Diamos et al. 2016 (Persistent RNNs)
#include "device.cuh"

namespace lstm_ {

const int HIDDEN = 128, CLIPS = 8, THREADS = 4 * HIDDEN;
const int HELD = 84, SPILLED = HIDDEN - HELD;  // weights of a thread in registers, in shared memory

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

}  // namespace lstm_

extern "C" __global__ void __launch_bounds__(512, 1)
    lstm(float* __restrict__ out, const float* __restrict__ forward, const float* __restrict__ backward,
         const float* __restrict__ w_forward, const float* __restrict__ w_backward, int batch, int frames) {
    using namespace lstm_;
    SHARED_DYNAMIC(float, shared);
    float* weights = shared;                              // [SPILLED, THREADS]
    float* states = shared + SPILLED * THREADS;           // [2, CLIPS, HIDDEN]
    const bool reverse = blockIdx.y == 1;
    const int unit = threadIdx.x / 4, gate = threadIdx.x % 4, row = gate * HIDDEN + unit;
    const int first = blockIdx.x * CLIPS;
    const float* gates = (reverse ? backward : forward) + row;
    const float* w = (reverse ? w_backward : w_forward) + row * HIDDEN;
    float held[HELD];
#pragma unroll
    for (int k = 0; k < HELD; k++) held[k] = w[k];
    for (int k = 0; k < SPILLED; k++) weights[k * THREADS + threadIdx.x] = w[HELD + k];
    for (int i = threadIdx.x; i < CLIPS * HIDDEN; i += THREADS) states[i] = 0;
    float cells[CLIPS / 4] = {};
    __syncthreads();
    for (int step = 0; step < frames; step++) {
        const int t = reverse ? frames - 1 - step : step;
        const float* state = states + step % 2 * CLIPS * HIDDEN;
        float* next = states + (step + 1) % 2 * CLIPS * HIDDEN;
        float sums[CLIPS] = {};
#pragma unroll
        for (int k = 0; k < HELD; k += 4)
#pragma unroll
            for (int c = 0; c < CLIPS; c++) {
                const float4 h = *reinterpret_cast<const float4*>(state + c * HIDDEN + k);
                sums[c] = fmaf(held[k], h.x, sums[c]);
                sums[c] = fmaf(held[k + 1], h.y, sums[c]);
                sums[c] = fmaf(held[k + 2], h.z, sums[c]);
                sums[c] = fmaf(held[k + 3], h.w, sums[c]);
            }
#pragma unroll 1
        for (int k = 0; k < SPILLED; k += 4) {
            float part[4];
#pragma unroll
            for (int i = 0; i < 4; i++) part[i] = weights[(k + i) * THREADS + threadIdx.x];
#pragma unroll
            for (int c = 0; c < CLIPS; c++) {
                const float4 h = *reinterpret_cast<const float4*>(state + c * HIDDEN + HELD + k);
                sums[c] = fmaf(part[0], h.x, sums[c]);
                sums[c] = fmaf(part[1], h.y, sums[c]);
                sums[c] = fmaf(part[2], h.z, sums[c]);
                sums[c] = fmaf(part[3], h.w, sums[c]);
            }
        }
#pragma unroll
        for (int c = 0; c < CLIPS; c++) {
            const bool exists = first + c < batch;
            const float x = exists ? gates[(int64(first + c) * frames + t) * THREADS] : 0.0f;
            // tanh as on the CPU: 2 sigmoid(2 x) - 1
            const float s = sigmoid((gate == 2 ? 2.0f : 1.0f) * (x + sums[c]));
            const float mine = gate == 2 ? 2.0f * s - 1.0f : s;
            const int quad = threadIdx.x % WARP / 4 * 4;
            const float input = __shfl_sync(FULL_WARP, mine, quad), forget = __shfl_sync(FULL_WARP, mine, quad + 1);
            const float candidate = __shfl_sync(FULL_WARP, mine, quad + 2), output = __shfl_sync(FULL_WARP, mine, quad + 3);
            if (gate == c % 4) {
                const float cell = fmaf(forget, cells[c / 4], input * candidate);
                cells[c / 4] = cell;
                const float h = output * (2.0f * sigmoid(2.0f * cell) - 1.0f);
                next[c * HIDDEN + unit] = h;
                if (exists) out[(int64(first + c) * frames + t) * 2 * HIDDEN + (reverse ? HIDDEN : 0) + unit] = h;
            }
        }
        __syncthreads();
    }
}
EXPORT(lstm)

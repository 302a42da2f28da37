// log_softmax: logits to log-probabilities, with an optional wildcard column for characters without a class.
//
// Shapes   out [R,V] or [R,V+1] f32 · logits [R,V] f32 · bias [V] f32
// Math     l - max - log(sum of exp(l - max)), l = logits + bias; the last of V+1 columns is the largest of the others
//          except the blank's
// Launch   grid ceil(R/8), block 256 = 8 warps, one row each
// Traffic  8*R*V B; memory-bound
// Order    of the sum depends on V only
// Oracle   engine/cpu/wav2vec2_ops.rs
// Source   WhisperX alignment.py (the wildcard column)
#include "device.cuh"

extern "C" __global__ void __launch_bounds__(256)
    log_softmax(float* __restrict__ out, const float* __restrict__ logits, const float* __restrict__ bias, int rows, int classes,
                int columns, int blank) {
    const int row = blockIdx.x * 8 + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= rows) return;
    logits += int64(row) * classes;
    out += int64(row) * columns;
    const float lowest = __uint_as_float(0xff800000u);
    float largest = lowest, other = lowest, sum = 0;
    for (int i = lane; i < classes; i += WARP) {
        const float l = logits[i] + bias[i];
        largest = fmaxf(largest, l);
        if (i != blank) other = fmaxf(other, l);
    }
    largest = warp_max(largest);
    other = warp_max(other);
    for (int i = lane; i < classes; i += WARP) sum += expf(logits[i] + bias[i] - largest);
    const float normaliser = largest + logf(warp_sum(sum));
    for (int i = lane; i < classes; i += WARP) out[i] = logits[i] + bias[i] - normaliser;
    if (columns > classes && lane == 0) out[classes] = other - normaliser;
}
EXPORT(log_softmax)

// What conv1d_channel_norm.cu and conv1d_layer_norm.cu share: loading samples and storing two channels.
#pragma once
#include "matrix.cuh"

namespace sample_conv {

const int TAPS = 16, STEP = 16;  // upper bounds
const int FRAMES = 64;           // frames per block of conv1d_channel_norm

// Loads the samples that `count` frames from `first` on cover; zeros beyond the last sample.
template <class T>
__device__ __forceinline__ void load(float* window, const T* x, int first, int count, int samples, int step) {
    for (int i = threadIdx.x; i < count * step + TAPS; i += blockDim.x) {
        const int64 at = int64(first) * step + i;
        window[i] = at < samples ? to_float(x[at]) : 0.0f;
    }
}

// Stores two adjacent channels of a frame.
template <class T>
__device__ __forceinline__ void store(T* frame, int channel, int width, float a, float b) {
    if (width % 2 == 0) {
        if (channel < width) *reinterpret_cast<uint32*>(frame + channel) = pack<T>(a, b);
    } else {
        if (channel < width) frame[channel] = from_float<T>(a);
        if (channel + 1 < width) frame[channel + 1] = from_float<T>(b);
    }
}

}  // namespace sample_conv

// speaker_count, reconstruct: combine the decisions of overlapping windows into frames of the recording.
//
// Shapes   count [T] i32 · out [T,K] u8 · votes [T,K] i32 · active [W,F,S] u8 · first [W] i32, ascending: the frame of
//          the recording at which a window begins · labels [W,S] i32, -1 for none
// Math     count = rint(mean number of active speakers over the windows that contain a frame); votes = the number of
//          windows in which a speaker is active; out = the `count` speakers with the most votes; ties: the lower label
// Launch   grid ceil(T/128), block 128: one frame per thread, which finds its windows by binary search
// Traffic  each decision is read once for each kernel: W*F*S B
// Order    integers, so no order
// Oracle   engine/cluster/frames.rs, equal
// Source   pyannote.audio `pipelines/speaker_diarization.py::speaker_count, reconstruct`, `pipelines/utils/diarization.py::to_diarization`
// Journal  docs/kernels/cluster.md
#include "device.cuh"

namespace speaker_frames_ {

// The number of windows whose first frame is not beyond `frame`.
__device__ __forceinline__ int windows_until(const int* first, int windows, int64 frame) {
    int low = 0, high = windows;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (first[middle] <= frame) low = middle + 1;
        else high = middle;
    }
    return low;
}

}  // namespace speaker_frames_

extern "C" __global__ void __launch_bounds__(128)
    speaker_count(int* __restrict__ count, const uint8* __restrict__ active, const int* __restrict__ first, int total, int windows, int frames,
                  int speakers) {
    using namespace speaker_frames_;
    const int64 at = int64(blockIdx.x) * 128 + threadIdx.x;
    if (at >= total) return;
    const int begin = windows_until(first, windows, at - frames), end = windows_until(first, windows, at);
    int64 sum = 0;
    for (int window = begin; window < end; window++) {
        const uint8* own = active + (int64(window) * frames + at - first[window]) * speakers;
        for (int s = 0; s < speakers; s++) sum += own[s];
    }
    count[at] = int(rint(double(sum) / double(max(end - begin, 1))));
}
EXPORT(speaker_count)

extern "C" __global__ void __launch_bounds__(128)
    reconstruct(uint8* __restrict__ out, int* __restrict__ votes, const uint8* __restrict__ active, const int* __restrict__ first,
               const int* __restrict__ labels, const int* __restrict__ count, int total, int windows, int frames, int speakers, int clusters) {
    using namespace speaker_frames_;
    const int64 at = int64(blockIdx.x) * 128 + threadIdx.x;
    if (at >= total) return;
    int* own = votes + at * clusters;
    uint8* speaks = out + at * clusters;
    for (int k = 0; k < clusters; k++) own[k] = speaks[k] = 0;
    const int begin = windows_until(first, windows, at - frames), end = windows_until(first, windows, at);
    for (int window = begin; window < end; window++) {
        const uint8* here = active + (int64(window) * frames + at - first[window]) * speakers;
        const int* label = labels + int64(window) * speakers;
        for (int s = 0; s < speakers; s++) {
            bool counts = here[s] && label[s] >= 0;
            for (int other = 0; other < s; other++) counts = counts && !(here[other] && label[other] == label[s]);
            if (counts) own[label[s]]++;
        }
    }
    for (int i = 0; i < count[at]; i++) {
        int best = -1;
        for (int k = 0; k < clusters; k++)
            if (!speaks[k] && (best < 0 || own[k] > own[best])) best = k;
        speaks[best] = 1;
    }
}
EXPORT(reconstruct)

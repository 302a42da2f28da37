// The result codes of the driver that the emulator returns: number, name, description.
#pragma once

#define FOR_EACH_RESULT(RESULT)                                                                                     \
    RESULT(CUDA_SUCCESS, 0, "no error")                                                                             \
    RESULT(CUDA_ERROR_INVALID_VALUE, 1, "invalid argument")                                                         \
    RESULT(CUDA_ERROR_OUT_OF_MEMORY, 2, "out of memory")                                                            \
    RESULT(CUDA_ERROR_NOT_INITIALIZED, 3, "initialization error")                                                   \
    RESULT(CUDA_ERROR_NO_DEVICE, 100, "no CUDA-capable device is detected")                                         \
    RESULT(CUDA_ERROR_INVALID_DEVICE, 101, "invalid device ordinal")                                                \
    RESULT(CUDA_ERROR_INVALID_IMAGE, 200, "device kernel image is invalid")                                         \
    RESULT(CUDA_ERROR_INVALID_CONTEXT, 201, "invalid device context")                                               \
    RESULT(CUDA_ERROR_INVALID_HANDLE, 400, "invalid resource handle")                                               \
    RESULT(CUDA_ERROR_NOT_FOUND, 500, "named symbol not found")                                                     \
    RESULT(CUDA_ERROR_NOT_READY, 600, "device not ready")                                                           \
    RESULT(CUDA_ERROR_ILLEGAL_ADDRESS, 700, "an illegal memory access was encountered")                             \
    RESULT(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, 701, "too many resources requested for launch")                      \
    RESULT(CUDA_ERROR_LAUNCH_TIMEOUT, 702, "the launch timed out and was terminated")                               \
    RESULT(CUDA_ERROR_ILLEGAL_INSTRUCTION, 715, "an illegal instruction was encountered")                           \
    RESULT(CUDA_ERROR_NO_BINARY_FOR_GPU, 209, "no kernel image is available for execution on the device")          \
    RESULT(CUDA_ERROR_ECC_UNCORRECTABLE, 214, "uncorrectable ECC error encountered")                                \
    RESULT(CUDA_ERROR_MISALIGNED_ADDRESS, 716, "misaligned address")                                                \
    RESULT(CUDA_ERROR_LAUNCH_FAILED, 719, "unspecified launch failure")                                             \
    RESULT(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, 720, "too many blocks in cooperative launch")                   \
    RESULT(CUDA_ERROR_NOT_SUPPORTED, 801, "operation not supported")                                                \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, 900, "operation not permitted when stream is capturing")          \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, 901, "operation failed due to a previous error during capture")   \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, 903, "capture was not initiated in this stream")                    \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, 904, "capturing stream has unjoined work")                           \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_ISOLATION, 905, "dependency created on uncaptured work in another stream")     \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, 906, "operation would make the legacy stream depend on a capture")   \
    RESULT(CUDA_ERROR_CAPTURED_EVENT, 907, "operation not permitted on an event last recorded in a capturing stream") \
    RESULT(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, 908, "capture of another thread")                                \
    RESULT(CUDA_ERROR_UNKNOWN, 999, "unknown error")

enum CUresult {
#define RESULT(name, number, text) name = number,
    FOR_EACH_RESULT(RESULT)
#undef RESULT
};

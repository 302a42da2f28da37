// Driver functions for memory: allocation, copies, memset.
#include "driver.h"

using namespace emulator;

static void* pointer(CUdeviceptr p) { return reinterpret_cast<void*>(p); }

// A copy outside an allocation is refused, as by the driver.
static CUresult check(CUdeviceptr p, size_t bytes, const char* call) {
    if (is_allocated(pointer(p), bytes)) return CUDA_SUCCESS;
    return report_and_return(CUDA_ERROR_INVALID_VALUE,
                             std::string(call) + " of " + std::to_string(bytes) + " bytes: " + describe(pointer(p)));
}

// ---- allocation ----

static CUresult allocate_device(CUdeviceptr* p, size_t bytes) {
    *p = 0;
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    if (CUresult code = injected(Fail::Allocation)) return code;
    void* memory = allocate(bytes, false);
    if (!memory) {
        // Runs queued work first, because it may free memory.
        if (CUresult code = drain_all()) return code;
        memory = allocate(bytes, false);
    }
    if (!memory) {
        MemoryInfo info = memory_info();
        return report_and_return(CUDA_ERROR_OUT_OF_MEMORY, std::to_string(bytes) + " bytes wanted, " +
                                                               std::to_string(info.total - info.used) + " free");
    }
    state().allocation_count++;
    *p = reinterpret_cast<CUdeviceptr>(memory);
    return CUDA_SUCCESS;
}

DRIVER CUresult cuMemAlloc_v2(CUdeviceptr* p, size_t bytes) {
    ENTER();
    if (CUresult code = refuse_in_capture()) return code;
    return allocate_device(p, bytes);
}

// A GPU can capture an allocation; the emulator refuses it, because no engine should allocate in a replayed graph.
DRIVER CUresult cuMemAllocAsync(CUdeviceptr* p, size_t bytes, void* handle) {
    ENTER();
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture) {
        stream->capture->invalid = true;
        return report_and_return(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "allocation during a capture");
    }
    return allocate_device(p, bytes);
}

static CUresult free_now(CUdeviceptr p) {
    std::string overwritten = check_zones(pointer(p));
    if (!release(pointer(p))) {
        return report_and_return(CUDA_ERROR_INVALID_VALUE, "free of what is not allocated: " + describe(pointer(p)));
    }
    if (overwritten.empty()) return CUDA_SUCCESS;
    return report_and_return(CUDA_ERROR_ILLEGAL_ADDRESS, "found when it was freed: wrote " + overwritten);
}

// Freeing works even after an error, so that tests can continue after emulator_clear_error.
DRIVER CUresult cuMemFree_v2(CUdeviceptr p) {
    Call call;
    if (CUresult code = refuse_in_capture()) return code;
    state().standstills++;
    CUresult before = drain_all();
    CUresult code = free_now(p);
    return before ? before : code;
}

DRIVER CUresult cuMemFreeAsync(CUdeviceptr p, void* handle) {
    Call call;
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    // During a capture only memory allocated in the same capture may be freed; here there is none.
    if (stream->capture || !is_allocated(pointer(p), 0)) return CUDA_ERROR_INVALID_VALUE;
    CUresult code = submit(stream, [p] { return free_now(p); }, true);
    return call.status ? call.status : code;
}

DRIVER CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
    ENTER();
    MemoryInfo info = memory_info();
    *free = info.total - info.used;
    *total = info.total;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuMemHostAlloc(void** p, size_t bytes, unsigned) {
    ENTER();
    if (CUresult code = refuse_in_capture()) return code;
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    if (CUresult code = injected(Fail::Allocation)) return code;
    *p = allocate(bytes, true);
    return *p ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
DRIVER CUresult cuMemAllocHost_v2(void** p, size_t bytes) { return cuMemHostAlloc(p, bytes, 0); }

DRIVER CUresult cuMemFreeHost(void* p) {
    Call call;
    CUresult before = drain_all();
    CUresult code = release(p) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    return before ? before : code;
}

DRIVER CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* device, void* p, unsigned) {
    *device = reinterpret_cast<CUdeviceptr>(p);
    return CUDA_SUCCESS;
}

// ---- memory pools: one pool without settings ----

DRIVER CUresult cuDeviceGetDefaultMemPool(void** pool, CUdevice) {
    static int the_pool;
    *pool = &the_pool;
    return CUDA_SUCCESS;
}
DRIVER CUresult cuDeviceGetMemPool(void** pool, CUdevice device) { return cuDeviceGetDefaultMemPool(pool, device); }
DRIVER CUresult cuMemPoolSetAttribute(void*, int, void*) { return CUDA_SUCCESS; }
DRIVER CUresult cuMemPoolTrimTo(void*, size_t) { return CUDA_SUCCESS; }
DRIVER CUresult cuMemAllocFromPoolAsync(CUdeviceptr* p, size_t bytes, void*, void* stream) {
    return cuMemAllocAsync(p, bytes, stream);
}

// ---- copies ----

// Device memory may have been freed before the copy runs, which is then a fault as in a kernel.
static std::function<CUresult()> copy(void* to, const void* from, size_t bytes, bool to_device, bool from_device) {
    return [=] {
        if ((to_device && !is_allocated(to, bytes)) || (from_device && !is_allocated(from, bytes))) {
            const void* gone = to_device && !is_allocated(to, bytes) ? to : from;
            return report_and_return(CUDA_ERROR_ILLEGAL_ADDRESS, "copy of " + std::to_string(bytes) +
                                                                     " bytes: " + describe(gone));
        }
        memmove(to, from, bytes);
        return CUDA_SUCCESS;
    };
}

DRIVER CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes, void* handle) {
    ENTER();
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (bytes == 0) return CUDA_SUCCESS;
    if (CUresult code = injected(Fail::Copy)) return code;
    if (CUresult code = check(to, bytes, "copy to the device")) return code;
    if (stream->capture || is_pinned(from, bytes)) {
        return submit(stream, copy(pointer(to), from, bytes, true, false));
    }
    // From pageable memory the driver copies the data before it returns.
    const uint8_t* start = static_cast<const uint8_t*>(from);
    auto staged = std::make_shared<std::vector<uint8_t>>(start, start + bytes);
    return submit(stream, [=] { return copy(pointer(to), staged->data(), bytes, true, false)(); });
}

DRIVER CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, void* handle) {
    ENTER();
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (bytes == 0) return CUDA_SUCCESS;
    if (CUresult code = injected(Fail::Copy)) return code;
    if (CUresult code = check(from, bytes, "copy from the device")) return code;
    bool pinned = is_pinned(to, bytes);
    CUresult code = submit(stream, copy(to, pointer(from), bytes, false, true));
    // To pageable memory the copy is complete when the call returns.
    if (code != CUDA_SUCCESS || stream->capture || pinned) return code;
    state().standstills++;
    return stream == &state().null_stream ? drain_blocking() : drain(stream);
}

DRIVER CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes, void* handle) {
    ENTER();
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (bytes == 0) return CUDA_SUCCESS;
    if (CUresult code = check(to, bytes, "copy within the device")) return code;
    if (CUresult code = check(from, bytes, "copy within the device")) return code;
    return submit(stream, copy(pointer(to), pointer(from), bytes, true, true));
}

static CUresult at_once(CUresult submitted) { return submitted == CUDA_SUCCESS ? drain_blocking() : submitted; }

DRIVER CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
    ENTER();
    if (CUresult code = refuse_in_capture()) return code;
    return at_once(cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr));
}
DRIVER CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
    ENTER();
    if (CUresult code = refuse_in_capture()) return code;
    return at_once(cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr));
}
DRIVER CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
    ENTER();
    if (CUresult code = refuse_in_capture()) return code;
    return cuMemcpyDtoDAsync_v2(to, from, bytes, nullptr);
}

// ---- memset ----

template <class T>
static CUresult fill(CUdeviceptr to, T value, size_t count, void* handle) {
    ENTER();
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (to % sizeof(T) != 0) return CUDA_ERROR_INVALID_VALUE;
    if (count == 0) return CUDA_SUCCESS;
    if (CUresult code = check(to, count * sizeof(T), "memset")) return code;
    return submit(stream, [=] {
        if (!is_allocated(pointer(to), count * sizeof(T))) {
            return report_and_return(CUDA_ERROR_ILLEGAL_ADDRESS, "memset: " + describe(pointer(to)));
        }
        T* start = static_cast<T*>(pointer(to));
        for (size_t i = 0; i < count; i++) start[i] = value;
        return CUDA_SUCCESS;
    });
}

DRIVER CUresult cuMemsetD8Async(CUdeviceptr to, uint8_t value, size_t n, void* stream) { return fill(to, value, n, stream); }
DRIVER CUresult cuMemsetD16Async(CUdeviceptr to, uint16_t value, size_t n, void* stream) { return fill(to, value, n, stream); }
DRIVER CUresult cuMemsetD32Async(CUdeviceptr to, uint32_t value, size_t n, void* stream) { return fill(to, value, n, stream); }
DRIVER CUresult cuMemsetD8_v2(CUdeviceptr to, uint8_t value, size_t n) { return fill(to, value, n, nullptr); }
DRIVER CUresult cuMemsetD16_v2(CUdeviceptr to, uint16_t value, size_t n) { return fill(to, value, n, nullptr); }
DRIVER CUresult cuMemsetD32_v2(CUdeviceptr to, uint32_t value, size_t n) { return fill(to, value, n, nullptr); }

// Driver functions for the device, its context, errors, and lookup of functions by name.
#include "driver.h"

#include <dlfcn.h>

#include <map>

using namespace emulator;

namespace emulator {

State& state() {
    static State* state = new State;
    return *state;
}

thread_local bool has_context = false;

Call::Call(bool needs_context) : lock_(state().mutex) {
    if (!state().initialised) {
        status = CUDA_ERROR_NOT_INITIALIZED;
    } else if (needs_context) {
        status = has_context ? state().sticky : CUDA_ERROR_INVALID_CONTEXT;
    }
}

CUresult report_and_return(CUresult code, std::string text) {
    state().report = std::move(text);
    return code;
}

CUresult injected(Fail kind) {
    State::Injection& injection = state().injections[int(kind)];
    if (injection.left == 0 || --injection.left > 0) return CUDA_SUCCESS;
    // A failed module load fails again: the counter stays at this call.
    if (kind == Fail::Module) injection.left = 1;
    return report_and_return(injection.code, "failed on request");
}

bool inject(const char* kind, uint64_t n, CUresult code) {
    const char* kinds[] = {"launch", "alloc", "execution", "copy", "module"};
    for (int i = 0; i < 5; i++) {
        if (strcmp(kind, kinds[i]) != 0) continue;
        state().injections[i] = State::Injection{n, code};
        return true;
    }
    return false;
}

// ---- settings from the environment, for programs other than the tests ----

// DIARIST_EMULATOR_FAIL=kind:n:code, DIARIST_EMULATOR_ATTRIBUTE=number:value, DIARIST_EMULATOR_MEMORY=bytes,
// DIARIST_EMULATOR_LOG=path of a file that gets one line at the end of the process.
static void obey_environment() {
    char kind[16];
    unsigned long long n;
    int code;
    if (const char* text = getenv("DIARIST_EMULATOR_FAIL")) {
        if (sscanf(text, "%15[a-z]:%llu:%d", kind, &n, &code) != 3 || !inject(kind, n, CUresult(code))) {
            fprintf(stderr, "emulator: DIARIST_EMULATOR_FAIL=%s is not kind:n:code\n", text);
            abort();
        }
    }
    int attribute, value;
    const char* text = getenv("DIARIST_EMULATOR_ATTRIBUTE");
    if (text && sscanf(text, "%d:%d", &attribute, &value) == 2) set_attribute(attribute, value);
    if (const char* bytes = getenv("DIARIST_EMULATOR_MEMORY")) set_total_memory(strtoull(bytes, nullptr, 10));
    if (!getenv("DIARIST_EMULATOR_LOG")) return;
    atexit([] {
        FILE* log = fopen(getenv("DIARIST_EMULATOR_LOG"), "w");
        if (!log) return;
        std::lock_guard<std::recursive_mutex> lock(state().mutex);
        MemoryInfo memory = memory_info();
        fprintf(log, "launches %llu profiled %llu starts %llu stops %llu device %zu host %zu\n",
                (unsigned long long)state().launch_count, (unsigned long long)state().profiled_launches,
                (unsigned long long)state().profiler_starts, (unsigned long long)state().profiler_stops, memory.used,
                memory.on_host);
        fclose(log);
    });
}

// ---- attributes ----

// Attribute numbers are those of cuda.h; the values are those of an A10G, except the number of multiprocessors.
static std::map<int, int>& attributes() {
    static auto* all = new std::map<int, int>{
        {1, 1024},      // threads per block
        {2, 1024},      // block, x
        {3, 1024},      // y
        {4, 64},        // z
        {5, 2147483647},  // grid, x
        {6, 65535},     // y
        {7, 65535},     // z
        {8, 49152},     // shared memory per block
        {9, 65536},     // constant memory
        {10, 32},       // warp
        {11, 2147483647},  // pitch
        {12, 65536},    // registers per block
        {13, 1710000},  // clock, kHz
        {14, 512},      // texture alignment
        {15, 1},        // copies and kernels overlap
        {MULTIPROCESSORS, 8},
        {19, 1},        // can map host memory
        {31, 1},        // concurrent kernels
        {36, 6251000},  // memory clock, kHz
        {37, 384},      // memory bus, bits
        {38, 6 << 20},  // L2 cache
        {MAX_THREADS_PER_MULTIPROCESSOR, 1536},
        {40, 2},        // copy engines
        {41, 1},        // unified addressing
        {CAPABILITY_MAJOR, 8},
        {CAPABILITY_MINOR, 6},
        {78, 1},        // stream priorities
        {SHARED_PER_MULTIPROCESSOR, 102400},
        {82, 65536},    // registers per multiprocessor
        {SHARED_OPTIN, 101376},
        {MAX_BLOCKS_PER_MULTIPROCESSOR, 16},
        {111, 1024},    // shared memory per block reserved by the system
        {115, 1},       // stream-ordered allocation
    };
    return *all;
}

int get_attribute(int attribute) {
    auto found = attributes().find(attribute);
    return found == attributes().end() ? 0 : found->second;
}
void set_attribute(int attribute, int value) { attributes()[attribute] = value; }

}  // namespace emulator

// ---- errors ----

DRIVER CUresult cuGetErrorName(CUresult code, const char** name) {
    switch (code) {
#define RESULT(value, number, text) \
    case value: *name = #value; return CUDA_SUCCESS;
        FOR_EACH_RESULT(RESULT)
#undef RESULT
    }
    *name = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}

DRIVER CUresult cuGetErrorString(CUresult code, const char** words) {
    switch (code) {
#define RESULT(value, number, text) \
    case value: *words = text; return CUDA_SUCCESS;
        FOR_EACH_RESULT(RESULT)
#undef RESULT
    }
    *words = nullptr;
    return CUDA_ERROR_INVALID_VALUE;
}

// ---- the device ----

DRIVER CUresult cuInit(unsigned flags) {
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    install_signal_handler();
    if (!state().initialised) obey_environment();
    state().initialised = true;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuDriverGetVersion(int* version) {
    *version = 13000;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuDeviceGetCount(int* count) {
    ENTER(false);
    *count = 1;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuDeviceGet(CUdevice* device, int ordinal) {
    ENTER(false);
    if (ordinal != 0) return CUDA_ERROR_INVALID_DEVICE;
    *device = 0;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuDeviceGetName(char* name, int length, CUdevice) {
    ENTER(false);
    snprintf(name, size_t(length), "CUDA emulator");
    return CUDA_SUCCESS;
}

DRIVER CUresult cuDeviceGetUuid(unsigned char* uuid, CUdevice) {
    ENTER(false);
    memcpy(uuid, "diarist-emulator", 16);
    return CUDA_SUCCESS;
}
DRIVER CUresult cuDeviceGetUuid_v2(unsigned char* uuid, CUdevice device) { return cuDeviceGetUuid(uuid, device); }

DRIVER CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice) {
    ENTER(false);
    *value = get_attribute(attribute);
    return CUDA_SUCCESS;
}

DRIVER CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice) {
    ENTER(false);
    *major = get_attribute(CAPABILITY_MAJOR);
    *minor = get_attribute(CAPABILITY_MINOR);
    return CUDA_SUCCESS;
}

DRIVER CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice) {
    ENTER(false);
    *bytes = memory_info().total;
    return CUDA_SUCCESS;
}

// ---- the context ----

static int the_context;

DRIVER CUresult cuDevicePrimaryCtxRetain(void** context, CUdevice) {
    ENTER(false);
    *context = &the_context;
    return CUDA_SUCCESS;
}
DRIVER CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { return CUDA_SUCCESS; }
DRIVER CUresult cuDevicePrimaryCtxGetState(CUdevice, unsigned* flags, int* active) {
    *flags = 0;
    *active = state().initialised;
    return CUDA_SUCCESS;
}
DRIVER CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice, unsigned) { return CUDA_SUCCESS; }

DRIVER CUresult cuCtxSetCurrent(void* context) {
    ENTER(false);
    if (context && context != &the_context) return CUDA_ERROR_INVALID_CONTEXT;
    has_context = context != nullptr;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuCtxGetCurrent(void** context) {
    ENTER(false);
    *context = has_context ? &the_context : nullptr;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuCtxPushCurrent_v2(void* context) { return cuCtxSetCurrent(context); }
DRIVER CUresult cuCtxPopCurrent_v2(void** context) {
    if (context) *context = has_context ? &the_context : nullptr;
    has_context = false;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuCtxGetDevice(CUdevice* device) {
    ENTER();
    *device = 0;
    return CUDA_SUCCESS;
}
DRIVER CUresult cuCtxSetFlags(unsigned) { return CUDA_SUCCESS; }
DRIVER CUresult cuCtxSetLimit(int, size_t) { return CUDA_SUCCESS; }
DRIVER CUresult cuCtxSetCacheConfig(int) { return CUDA_SUCCESS; }
DRIVER CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    *least = 0;
    *greatest = -5;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuCtxSynchronize() {
    ENTER();
    if (CUresult code = refuse_in_capture()) return code;
    return drain_all();
}

DRIVER CUresult cuProfilerStart() {
    ENTER();
    state().profiler_starts++;
    return CUDA_SUCCESS;
}
DRIVER CUresult cuProfilerStop() {
    ENTER();
    state().profiler_stops++;
    return CUDA_SUCCESS;
}

// ---- lookup by name ----

DRIVER CUresult cuGetProcAddress_v2(const char* symbol, void** address, int, uint64_t, int* status) {
    // Newer versions of a function have a suffix in the library, but not in the requested name.
    Dl_info self;
    dladdr(reinterpret_cast<void*>(&cuInit), &self);
    void* library = dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    *address = nullptr;
    for (const char* suffix : {"_v3", "_v2", ""}) {
        if (!*address && library) *address = dlsym(library, (std::string(symbol) + suffix).c_str());
    }
    if (library) dlclose(library);
    if (status) *status = *address ? 0 : 1;
    return *address ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

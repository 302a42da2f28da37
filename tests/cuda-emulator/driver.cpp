// The driver's functions for devices, contexts, modules, functions and launches.
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
    return report_and_return(injection.code, "failed on request");
}

// ---- attributes ----

enum { MULTIPROCESSORS = 16, MAX_THREADS_PER_MULTIPROCESSOR = 39, SHARED_PER_MULTIPROCESSOR = 81, SHARED_OPTIN = 97 };

// Numbers of cuda.h; the values are those of an A10G, but for the number of multiprocessors.
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
        {15, 1},        // copies while computing
        {MULTIPROCESSORS, 8},
        {19, 1},        // can map host memory
        {31, 1},        // concurrent kernels
        {36, 6251000},  // memory clock, kHz
        {37, 384},      // memory bus, bits
        {38, 6 << 20},  // L2 cache
        {MAX_THREADS_PER_MULTIPROCESSOR, 1536},
        {40, 2},        // copy engines
        {41, 1},        // unified addressing
        {75, 8},        // compute capability, major
        {76, 6},        // minor
        {78, 1},        // stream priorities
        {SHARED_PER_MULTIPROCESSOR, 102400},
        {82, 65536},    // registers per multiprocessor
        {SHARED_OPTIN, 101376},
        {106, 16},      // blocks per multiprocessor
        {111, 1024},    // shared memory per block that the system takes
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
    *major = get_attribute(75);
    *minor = get_attribute(76);
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
    *greatest = 0;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuCtxSynchronize() {
    ENTER();
    if (CUresult code = refuse_in_capture()) return code;
    return drain_all();
}

// ---- modules: whatever the image is, the kernels are those that were compiled in ----

namespace {
struct Module {
    std::map<std::string, Kernel> functions;
};
}  // namespace

DRIVER CUresult cuModuleLoadData(void** module, const void* image) {
    ENTER();
    if (!image) return CUDA_ERROR_INVALID_VALUE;
    *module = new Module;
    return CUDA_SUCCESS;
}
DRIVER CUresult cuModuleLoadDataEx(void** module, const void* image, unsigned, int*, void**) {
    return cuModuleLoadData(module, image);
}
DRIVER CUresult cuModuleLoadFatBinary(void** module, const void* image) { return cuModuleLoadData(module, image); }
DRIVER CUresult cuModuleLoad(void** module, const char* path) { return cuModuleLoadData(module, path); }

// A module stays, since graphs and queued launches may still name its functions.
DRIVER CUresult cuModuleUnload(void*) { return CUDA_SUCCESS; }

DRIVER CUresult cuModuleGetFunction(void** function, void* module, const char* name) {
    ENTER();
    const Kernel* kernel = find_kernel(name);
    if (!kernel) return report_and_return(CUDA_ERROR_NOT_FOUND, std::string("no EXPORT(") + name + ") in the kernels");
    *function = &static_cast<Module*>(module)->functions.emplace(name, *kernel).first->second;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuModuleGetGlobal_v2(CUdeviceptr*, size_t*, void*, const char* name) {
    return report_and_return(CUDA_ERROR_NOT_FOUND, std::string("the emulator has no global variables: ") + name);
}

// ---- functions ----

DRIVER CUresult cuFuncGetParamInfo(void* function, size_t index, size_t* offset, size_t* size) {
    ENTER();
    const Kernel* kernel = static_cast<Kernel*>(function);
    if (index >= kernel->parameters.size()) return CUDA_ERROR_INVALID_VALUE;
    size_t at = 0;
    for (size_t i = 0; i <= index; i++) {
        const Parameter& parameter = kernel->parameters[i];
        at = (at + parameter.alignment - 1) / parameter.alignment * parameter.alignment;
        *offset = at;
        if (size) *size = parameter.size;
        at += parameter.size;
    }
    return CUDA_SUCCESS;
}

DRIVER CUresult cuFuncGetParamCount(void* function, size_t* count) {
    ENTER();
    *count = static_cast<Kernel*>(function)->parameters.size();
    return CUDA_SUCCESS;
}

DRIVER CUresult cuFuncGetName(const char** name, void* function) {
    *name = static_cast<Kernel*>(function)->name;
    return CUDA_SUCCESS;
}

enum { FUNCTION_MAX_THREADS = 0, FUNCTION_REGISTERS = 4, FUNCTION_PTX = 5, FUNCTION_BINARY = 6, FUNCTION_DYNAMIC = 8 };

DRIVER CUresult cuFuncGetAttribute(int* value, int attribute, void* function) {
    ENTER();
    int capability = 10 * get_attribute(75) + get_attribute(76);
    *value = attribute == FUNCTION_MAX_THREADS                                 ? 1024
             : attribute == FUNCTION_REGISTERS                                 ? 32
             : attribute == FUNCTION_PTX || attribute == FUNCTION_BINARY       ? capability
             : attribute == FUNCTION_DYNAMIC ? static_cast<Kernel*>(function)->max_dynamic_shared
                                             : 0;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuFuncSetAttribute(void* function, int attribute, int value) {
    ENTER();
    if (attribute != FUNCTION_DYNAMIC) return CUDA_SUCCESS;  // the other one is a hint
    if (value < 0 || value > get_attribute(SHARED_OPTIN)) return CUDA_ERROR_INVALID_VALUE;
    static_cast<Kernel*>(function)->max_dynamic_shared = value;
    return CUDA_SUCCESS;
}
DRIVER CUresult cuFuncSetCacheConfig(void*, int) { return CUDA_SUCCESS; }

// ---- occupancy: by threads and dynamic shared memory; registers are not known ----

DRIVER CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, void* function, int threads,
                                                                     size_t shared, unsigned) {
    ENTER();
    if (threads < 1 || threads > 1024 || shared > size_t(static_cast<Kernel*>(function)->max_dynamic_shared)) {
        *blocks = 0;
        return CUDA_SUCCESS;
    }
    int by_threads = get_attribute(MAX_THREADS_PER_MULTIPROCESSOR) / ((threads + 31) / 32 * 32);
    int by_shared = int(size_t(get_attribute(SHARED_PER_MULTIPROCESSOR)) / (shared + 1024));
    *blocks = min(min(by_threads, by_shared), get_attribute(106));
    return CUDA_SUCCESS;
}
DRIVER CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void* function, int threads, size_t shared) {
    return cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, shared, 0);
}
DRIVER CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* block, void*, size_t (*)(int), size_t, int limit) {
    *block = limit > 0 && limit < 1024 ? limit : 1024;
    *grid = get_attribute(MULTIPROCESSORS);
    return CUDA_SUCCESS;
}

// ---- launches ----

static std::string refuse_launch(const Kernel& kernel, const uint3& grid, const uint3& block, unsigned shared) {
    char text[200] = "";
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || block.x == 0 || block.y == 0 || block.z == 0) {
        snprintf(text, sizeof text, ": empty grid (%u, %u, %u) or block (%u, %u, %u)", grid.x, grid.y, grid.z, block.x,
                 block.y, block.z);
    } else if (grid.x > unsigned(get_attribute(5)) || grid.y > 65535 || grid.z > 65535) {
        snprintf(text, sizeof text, ": grid (%u, %u, %u) is too large", grid.x, grid.y, grid.z);
    } else if (block.x > 1024 || block.y > 1024 || block.z > 64 || block.x * block.y * block.z > 1024) {
        snprintf(text, sizeof text, ": block (%u, %u, %u) is too large", block.x, block.y, block.z);
    } else if (shared > unsigned(kernel.max_dynamic_shared)) {
        snprintf(text, sizeof text, ": %u bytes of dynamic shared memory, %d are allowed", shared,
                 kernel.max_dynamic_shared);
    }
    return text[0] ? kernel.name + std::string(text) : std::string();
}

// An argument is copied here and now, as by the driver; a captured launch keeps its copy.
static std::shared_ptr<Launch> make_launch(Kernel* kernel, uint3 grid, uint3 block, unsigned shared, void** arguments) {
    auto launch = std::make_shared<Launch>();
    launch->kernel = kernel;
    launch->grid = grid;
    launch->block = block;
    launch->dynamic_shared = shared;
    for (const Parameter& parameter : kernel->parameters) {
        // Vectors are allocated 16-byte aligned, which no parameter exceeds.
        size_t offset = (launch->storage.size() + 15) / 16 * 16;
        launch->offsets.push_back(offset);
        launch->storage.resize(offset + parameter.size);
    }
    for (size_t i = 0; i < kernel->parameters.size(); i++) {
        memcpy(launch->storage.data() + launch->offsets[i], arguments[i], kernel->parameters[i].size);
    }
    return launch;
}

DRIVER CUresult cuLaunchKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                               unsigned block_y, unsigned block_z, unsigned shared, void* handle, void** arguments,
                               void** extra) {
    ENTER();
    Kernel* kernel = static_cast<Kernel*>(function);
    Stream* stream = find_stream(handle);
    if (!kernel || !stream) return CUDA_ERROR_INVALID_HANDLE;
    if (extra || (!arguments && !kernel->parameters.empty())) return CUDA_ERROR_INVALID_VALUE;
    uint3 grid{grid_x, grid_y, grid_z}, block{block_x, block_y, block_z};
    std::string refused = refuse_launch(*kernel, grid, block, shared);
    if (!refused.empty()) return report_and_return(CUDA_ERROR_INVALID_VALUE, refused);
    if (CUresult code = injected(Fail::Launch)) return code;
    std::shared_ptr<Launch> launch = make_launch(kernel, grid, block, shared, arguments);
    return submit(stream, [launch] {
        state().launch_count++;
        if (CUresult code = injected(Fail::Execution)) return code;
        std::string report;
        CUresult code = execute(*launch, report);
        return code == CUDA_SUCCESS ? code : report_and_return(code, report);
    });
}

// Blocks run one after the other on each OS thread, so only a single one can count on all being there at once.
DRIVER CUresult cuLaunchCooperativeKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                          unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                                          void* stream, void** arguments) {
    if (uint64_t(grid_x) * grid_y * grid_z > 1) return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
    return cuLaunchKernel(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared, stream, arguments, nullptr);
}

DRIVER CUresult cuProfilerStart() { return CUDA_SUCCESS; }
DRIVER CUresult cuProfilerStop() { return CUDA_SUCCESS; }

// ---- by name ----

DRIVER CUresult cuGetProcAddress_v2(const char* symbol, void** address, int, uint64_t, int* status) {
    // Newer versions of a function carry a suffix in the library, but not in the name that is asked for.
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

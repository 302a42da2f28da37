// Driver functions for modules, kernels and launches.
#include "driver.h"

#include <map>

using namespace emulator;

// ---- modules: the image is ignored, the kernels are those compiled in ----

namespace {
struct Module {
    std::map<std::string, Kernel> functions;
};
}  // namespace

DRIVER CUresult cuModuleLoadData(void** module, const void* image) {
    ENTER();
    if (!image) return CUDA_ERROR_INVALID_VALUE;
    if (CUresult code = injected(Fail::Module)) return code;
    *module = new Module;
    return CUDA_SUCCESS;
}
DRIVER CUresult cuModuleLoadDataEx(void** module, const void* image, unsigned, int*, void**) {
    return cuModuleLoadData(module, image);
}
DRIVER CUresult cuModuleLoadFatBinary(void** module, const void* image) { return cuModuleLoadData(module, image); }
DRIVER CUresult cuModuleLoad(void** module, const char* path) { return cuModuleLoadData(module, path); }

// A module is never freed, because graphs and queued launches may refer to its functions.
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
    int capability = 10 * get_attribute(CAPABILITY_MAJOR) + get_attribute(CAPABILITY_MINOR);
    *value = attribute == FUNCTION_MAX_THREADS                                 ? 1024
             : attribute == FUNCTION_REGISTERS                                 ? 32
             : attribute == FUNCTION_PTX || attribute == FUNCTION_BINARY       ? capability
             : attribute == FUNCTION_DYNAMIC ? static_cast<Kernel*>(function)->max_dynamic_shared
                                             : 0;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuFuncSetAttribute(void* function, int attribute, int value) {
    ENTER();
    if (attribute != FUNCTION_DYNAMIC) return CUDA_SUCCESS;  // the other attribute is only a hint
    if (value < 0 || value > get_attribute(SHARED_OPTIN)) return CUDA_ERROR_INVALID_VALUE;
    static_cast<Kernel*>(function)->max_dynamic_shared = value;
    return CUDA_SUCCESS;
}
DRIVER CUresult cuFuncSetCacheConfig(void*, int) { return CUDA_SUCCESS; }

// ---- occupancy: by threads and dynamic shared memory; register use is unknown ----

DRIVER CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks, void* function, int threads,
                                                                     size_t shared, unsigned) {
    ENTER();
    if (threads < 1 || threads > 1024 || shared > size_t(static_cast<Kernel*>(function)->max_dynamic_shared)) {
        *blocks = 0;
        return CUDA_SUCCESS;
    }
    int by_threads = get_attribute(MAX_THREADS_PER_MULTIPROCESSOR) / ((threads + 31) / 32 * 32);
    int by_shared = int(size_t(get_attribute(SHARED_PER_MULTIPROCESSOR)) / (shared + 1024));
    *blocks = min(min(by_threads, by_shared), get_attribute(MAX_BLOCKS_PER_MULTIPROCESSOR));
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

// Arguments are copied at once, as by the driver; a captured launch keeps its copy.
static std::shared_ptr<Launch> make_launch(Kernel* kernel, uint3 grid, uint3 block, unsigned shared, void** arguments) {
    auto launch = std::make_shared<Launch>();
    launch->kernel = kernel;
    launch->grid = grid;
    launch->block = block;
    launch->dynamic_shared = shared;
    for (const Parameter& parameter : kernel->parameters) {
        // std::vector memory is 16-byte aligned, which suffices for every parameter.
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
        if (state().profiler_starts > state().profiler_stops) state().profiled_launches++;
        if (CUresult code = injected(Fail::Execution)) return code;
        std::string report;
        CUresult code = execute(*launch, report);
        return code == CUDA_SUCCESS ? code : report_and_return(code, report);
    });
}

// Each OS thread runs its blocks one after the other, so a cooperative grid may have only one block.
DRIVER CUresult cuLaunchCooperativeKernel(void* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                          unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                                          void* stream, void** arguments) {
    if (uint64_t(grid_x) * grid_y * grid_z > 1) return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
    return cuLaunchKernel(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared, stream, arguments, nullptr);
}

// The control functions for tests, described in README.md.
#include "driver.h"

using namespace emulator;

DRIVER void emulator_set_seed(uint64_t seed) {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    set_seed(seed);
}

DRIVER void emulator_set_threads(int count) {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    set_workers(count);
}

DRIVER void emulator_set_memory(size_t bytes) {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    set_total_memory(bytes);
}

DRIVER void emulator_set_attribute(int attribute, int value) {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    set_attribute(attribute, value);
}

DRIVER void emulator_set_lazy(int lazy) {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    state().lazy = lazy != 0;
    if (!lazy) drain_all();
}

DRIVER void emulator_set_hasty(uint64_t hasty) {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    state().hasty = hasty != 0;
}

DRIVER int emulator_fail_after(const char* kind, uint64_t n, int code) {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    return inject(kind, n, CUresult(code));
}

// Valid until the calling thread calls it again.
DRIVER const char* emulator_last_report() {
    static thread_local std::string copy;
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    copy = state().report;
    return copy.c_str();
}

DRIVER void emulator_clear_error() {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    // Queued work is dropped with the failure; only its frees are executed.
    if (state().sticky != CUDA_SUCCESS) drain_all();
    repair_zones();
    state().sticky = CUDA_SUCCESS;
    state().report.clear();
    for (State::Injection& injection : state().injections) injection = {};
}

// For emulated libraries, which have no kernels whose accesses are checked.
DRIVER int emulator_is_allocated(const void* start, size_t bytes) {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    return is_allocated(start, bytes);
}

DRIVER uint64_t emulator_allocated_bytes() {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    return memory_info().used;
}

DRIVER uint64_t emulator_host_allocations() {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    return memory_info().on_host;
}

DRIVER uint64_t emulator_standstills() {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    return state().standstills;
}

DRIVER uint64_t emulator_profiled_launches() {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    return state().profiled_launches;
}

DRIVER uint64_t emulator_allocation_count() {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    return state().allocation_count;
}

DRIVER uint64_t emulator_launch_count() {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    return state().launch_count;
}

DRIVER void emulator_reset_counts() {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    state().launch_count = state().allocation_count = 0;
}

DRIVER const char* emulator_check_memory() {
    static thread_local std::string copy;
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    drain_all();
    copy = check_all_zones();
    return copy.c_str();
}

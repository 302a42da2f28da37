// Runs the self-test's kernels through the driver's functions: main LIBRARY [speed]
#include "driver.h"

#include <time.h>

// CPU time of this thread, so that other load on the machine does not count.
static double cpu_seconds() {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return double(now.tv_sec) + double(now.tv_nsec) * 1e-9;
}

// Tensor-core throughput of one OS thread.
static void speed() {
    const int steps = 20000;
    Buffer<float> out(128);
    call<void>("emulator_set_threads", 1);
    for (int round = 0; round < 3; round++) {
        double start = cpu_seconds();
        CHECK_CODE(0, launch("mma_speed", {1, 128}, out.p, steps));
        CHECK_CODE(0, synchronize());
        double seconds = cpu_seconds() - start;
        double operations = double(steps) * 8 * 4 * 2 * 16 * 8 * 16;
        printf("mma_16x8x16: %.2f GFLOP/s, %.0f ns each\n", operations / seconds * 1e-9, seconds * 1e9 / (steps * 32.0));
    }
    Buffer<float> x(std::vector<float>(1 << 22, 1.0f));
    double start = cpu_seconds();
    CHECK_CODE(0, launch("add_one", {1 << 14, 256}, x.p, 1 << 22));
    CHECK_CODE(0, synchronize());
    double seconds = cpu_seconds() - start;
    printf("elementwise: %.1f ns per thread\n", seconds * 1e9 / (1 << 22));
    Buffer<float> partial(1 << 12);
    start = cpu_seconds();
    CHECK_CODE(0, launch("block_sum", {1 << 12, 256}, partial.p, x.p, 1 << 20));
    CHECK_CODE(0, synchronize());
    seconds = cpu_seconds() - start;
    printf("barriers: %.1f ns per thread and barrier\n", seconds * 1e9 / (1 << 20) / 9);
}

int main(int count, char** arguments) {
    if (count < 2) return 2;
    if (!dlopen(arguments[1], RTLD_NOW)) {
        printf("%s\n", dlerror());
        return 2;
    }
    // dlopen of the name that cudarc tries first finds the library loaded here.
    library = dlopen("libcuda.so", RTLD_NOW);
    if (!library) {
        printf("not found by its name: %s\n", dlerror());
        return 2;
    }
    int device, version;
    void* context;
    CHECK_CODE(3, call("cuDeviceGet", &device, 0));
    CHECK_CODE(0, call("cuInit", 0u));
    CHECK_CODE(0, call("cuDriverGetVersion", &version));
    CHECK_CODE(0, call("cuDeviceGet", &device, 0));
    CHECK_CODE(0, call("cuDevicePrimaryCtxRetain", &context, device));
    CHECK_CODE(201, call("cuCtxSynchronize"));
    CHECK_CODE(0, call("cuCtxSetCurrent", context));
    CHECK_CODE(0, call("cuModuleLoadData", &module, (const void*)"any image"));
    CHECK_CODE(0, call("cuStreamCreate", &stream, 1u));
    if (count > 2) {
        speed();
        return failures != 0;
    }
    conversions();
    for (uint64_t seed = 1; seed <= 8; seed++) {
        // One OS thread in some rounds, so that a failure is reproducible.
        call<void>("emulator_set_threads", int(seed % 3) + 1);
        call<void>("emulator_set_seed", seed);
        good_kernels();
        bad_kernels();
        streams_and_graphs();
    }
    check(std::string(call<const char*>("emulator_check_memory")).empty(), "zones around allocations");
    CHECK_CODE(0, call("cuCtxSynchronize"));
    check(call<uint64_t>("emulator_allocated_bytes") == 0, "all memory was freed");
    printf("%d checks, %d failed\n", checks, failures);
    return failures != 0;
}

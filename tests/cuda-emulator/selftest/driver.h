// The driver's functions as a program uses them, loaded by name as cudarc does, and the check macros of the self-test.
#pragma once

#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <string>
#include <vector>

typedef unsigned long long Pointer;

inline void* library;
inline int failures = 0, checks = 0;

template <class Result = int, class... Args>
Result call(const char* name, Args... args) {
    void* symbol = dlsym(library, name);
    if (!symbol) {
        printf("no %s in the library\n", name);
        exit(2);
    }
    return reinterpret_cast<Result (*)(Args...)>(symbol)(args...);
}

inline std::string report() { return call<const char*>("emulator_last_report"); }

// Counts a check and reports it if it fails.
inline bool check(bool holds, const char* what, const std::string& detail = {}) {
    checks++;
    if (holds) return true;
    failures++;
    printf("FAILED: %s %s\n", what, detail.c_str());
    return false;
}
#define CHECK_CODE(wanted, expression)                                                                          \
    do {                                                                                                        \
        int got_code = (expression);                                                                            \
        check(got_code == (wanted), #expression, std::to_string(got_code) + ", not " #wanted " (" + report() + ")"); \
    } while (0)

inline void *module, *stream;

// A device buffer of T.
template <class T>
struct Buffer {
    Pointer p = 0;
    size_t count;

    explicit Buffer(size_t count) : count(count) {
        CHECK_CODE(0, call("cuMemAllocAsync", &p, size_t(count * sizeof(T)), stream));
    }
    explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) {
        CHECK_CODE(0, call("cuMemcpyHtoDAsync_v2", p, (const void*)values.data(), size_t(count * sizeof(T)), stream));
    }
    Buffer(const Buffer&) = delete;
    ~Buffer() {
        if (p) call("cuMemFreeAsync", p, stream);
    }
    std::vector<T> read() const {
        std::vector<T> values(count);
        CHECK_CODE(0, call("cuMemcpyDtoHAsync_v2", (void*)values.data(), p, size_t(count * sizeof(T)), stream));
        return values;
    }
};

struct Shape {
    unsigned grid = 1, block = 1, shared = 0;
};

inline void* function(const char* kernel) {
    void* function = nullptr;
    CHECK_CODE(0, call("cuModuleGetFunction", &function, module, kernel));
    return function;
}

template <class... Args>
int launch_on(void* on, void* function, Shape shape, Args... args) {
    void* arguments[] = {&args..., nullptr};
    return call("cuLaunchKernel", function, shape.grid, 1u, 1u, shape.block, 1u, 1u, shape.shared, on, (void**)arguments,
                (void**)nullptr);
}

template <class... Args>
int launch(const char* kernel, Shape shape, Args... args) {
    return launch_on(stream, function(kernel), shape, args...);
}

inline int synchronize() { return call("cuStreamSynchronize", stream); }

void good_kernels();
void conversions();
void bad_kernels();
void streams_and_graphs();

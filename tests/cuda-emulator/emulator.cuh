// Lets a host compiler compile the kernels: CUDA's qualifiers and built-ins, and emulated versions of what device.cuh
// otherwise defines with PTX, with the same names and semantics.
//
// Functions declared here without a body are in scheduler.cpp, collectives.cpp and shared.cpp.
#pragma once

#include <math.h>
#include <stddef.h>
#include <string.h>

#include <type_traits>
#include <utility>

typedef unsigned char uint8;
typedef signed char int8;
typedef unsigned short uint16;
typedef unsigned int uint32;
typedef unsigned long long uint64;
typedef long long int64;

// ---- qualifiers ----

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
#define __grid_constant__
// Plain __shared__ arrays could be neither poisoned nor guarded.
#define __shared__ declare_shared_memory_with_the_SHARED_macro

// ---- vector types ----

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

#define EMULATOR_VECTOR_2(name, T)                 \
    struct __align__(2 * sizeof(T)) name##2 {      \
        T x, y;                                    \
    };                                             \
    inline name##2 make_##name##2(T x, T y) {      \
        return name##2{x, y};                      \
    }
#define EMULATOR_VECTOR_4(name, T)                         \
    struct __align__(sizeof(T) < 4 ? 4 * sizeof(T) : 16) name##4 { \
        T x, y, z, w;                                      \
    };                                                     \
    inline name##4 make_##name##4(T x, T y, T z, T w) {    \
        return name##4{x, y, z, w};                        \
    }
EMULATOR_VECTOR_2(float, float)
EMULATOR_VECTOR_4(float, float)
EMULATOR_VECTOR_2(int, int)
EMULATOR_VECTOR_4(int, int)
EMULATOR_VECTOR_2(uint, unsigned)
EMULATOR_VECTOR_4(uint, unsigned)
EMULATOR_VECTOR_2(short, short)
EMULATOR_VECTOR_4(short, short)
EMULATOR_VECTOR_2(ushort, unsigned short)
EMULATOR_VECTOR_4(ushort, unsigned short)
EMULATOR_VECTOR_2(char, signed char)
EMULATOR_VECTOR_4(char, signed char)
EMULATOR_VECTOR_2(uchar, unsigned char)
EMULATOR_VECTOR_4(uchar, unsigned char)
EMULATOR_VECTOR_2(double, double)
EMULATOR_VECTOR_2(longlong, long long)
EMULATOR_VECTOR_2(ulonglong, unsigned long long)
#undef EMULATOR_VECTOR_2
#undef EMULATOR_VECTOR_4

// ---- thread and block indices ----

namespace emulator {
// One OS thread runs one block at a time, so these can be plain thread-local variables. __thread instead of
// thread_local, which needs a call for every access from another file.
#define EMULATOR_TLS __thread __attribute__((tls_model("initial-exec")))
extern EMULATOR_TLS const uint3* thread_index;
extern EMULATOR_TLS uint3 block_index, block_size, grid_size;
}  // namespace emulator

#define threadIdx (*emulator::thread_index)
#define blockIdx emulator::block_index
#define blockDim emulator::block_size
#define gridDim emulator::grid_size
#define warpSize 32

// ---- shared memory ----

namespace emulator {
// The array of this declaration (`tag`) in the running block. It is poisoned when the first thread of the block reaches
// it.
void* shared_array(const void* tag, size_t bytes);
void* shared_dynamic();
}  // namespace emulator

// The lambda creates one static per declaration and template instance, which is also what identifies an array on a GPU.
#define SHARED(T, name, count)                                           \
    T(&name)[count] = *reinterpret_cast<T(*)[count]>(emulator::shared_array( \
        [] {                                                             \
            static char tag;                                             \
            return &tag;                                                 \
        }(),                                                             \
        sizeof(T[count])))
#define SHARED_DYNAMIC(T, name) T* name = reinterpret_cast<T*>(emulator::shared_dynamic())

// ---- kernels, by name ----

namespace emulator {
struct Parameter {
    uint32 size, alignment;
};
typedef void (*Invoke)(void (*function)(), void* const* arguments);
bool add_kernel(const char* name, void (*function)(), Invoke invoke, const Parameter* parameters, int count);

template <class... Args, size_t... i>
inline void invoke_with(void (*function)(), void* const* arguments, std::index_sequence<i...>) {
    (void)arguments;  // unused if the kernel has no arguments
    reinterpret_cast<void (*)(Args...)>(function)(*static_cast<const Args*>(arguments[i])...);
}

template <class... Args>
bool export_kernel(const char* name, void (*kernel)(Args...)) {
    static_assert((std::is_trivially_copyable_v<Args> && ...), "kernel arguments are copied byte by byte");
    const Parameter parameters[] = {{sizeof(Args), alignof(Args)}..., {0, 0}};
    Invoke invoke = [](void (*function)(), void* const* arguments) {
        invoke_with<Args...>(function, arguments, std::index_sequence_for<Args...>());
    };
    return add_kernel(name, reinterpret_cast<void (*)()>(kernel), invoke, parameters, int(sizeof...(Args)));
}
}  // namespace emulator

#define EXPORT(kernel) [[maybe_unused]] static const bool exported_##kernel = emulator::export_kernel(#kernel, &kernel);

#include "emulator_numbers.cuh"
#include "emulator_warp.cuh"

// Shared by the emulator's source files: kernels, launches, the running block, device memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "emulator.cuh"
#include "results.h"

namespace emulator {

// ---- kernels ----

struct Kernel {
    const char* name;
    void (*function)();
    Invoke invoke;
    std::vector<Parameter> parameters;
    // Set by cuFuncSetAttribute; 48 KiB need no request.
    int max_dynamic_shared = 48 << 10;
};

Kernel* find_kernel(const char* name);

// ---- faults ----

// The cause of a fault, in a form that a signal handler can write.
struct Fault {
    CUresult code = CUDA_SUCCESS;
    const char* what = nullptr;
    const void* address = nullptr;  // valid if `has_address`
    bool has_address = false;
    uint3 block{}, thread{};
    std::string detail;  // written outside the handler
};

// Ends the running block with a fault. Only within a kernel.
[[noreturn]] void fault(CUresult code, const char* what, const void* address = nullptr, bool has_address = false,
                        std::string detail = {});

// ---- launches ----

struct Launch {
    Kernel* kernel;
    uint3 grid, block;
    size_t dynamic_shared;
    // Copies of the arguments, and pointers to them.
    std::vector<uint8_t> storage;
    std::vector<size_t> offsets;
};

// Runs all blocks and returns after the last. On a fault, `report` describes what happened, where and why.
CUresult execute(const Launch& launch, std::string& report);

void set_seed(uint64_t seed);
uint64_t next_random(uint64_t& state);
void set_workers(int count);
// Turns invalid accesses in kernels into faults of the launch; others still reach the previous handler.
void install_signal_handler();

// ---- device memory (memory.cpp) ----

const uint8_t POISON = 0xff;  // NaN in every float format, -1 in every integer

// Null if the device is full.
void* allocate(size_t bytes, bool on_host);
// False if it is not the start of an allocation.
bool release(void* p);
struct MemoryInfo {
    size_t total, used, count, on_host;  // `on_host`: page-locked allocations
};
MemoryInfo memory_info();
void set_total_memory(size_t bytes);
// Whether [p, p + bytes) lies within one allocation that is not freed.
bool is_allocated(const void* p, size_t bytes);
bool is_pinned(const void* p, size_t bytes);
// Describes the allocation nearest to an address.
std::string describe(const void* p);
// Checks the guard zones of the allocation that contains `p`, if any; returns a description if one was overwritten.
std::string check_zones(const void* p);
std::string check_all_zones();
void repair_zones();

// ---- shared memory of a block (shared.cpp) ----

struct SharedArray {
    const void* tag;
    uint8_t* start;
    size_t bytes;
};

class SharedMemory {
  public:
    void begin_block(const Launch& launch);
    // Empty, or a description of the array whose guard zone was overwritten.
    std::string end_block();
    void* array(const void* tag, size_t bytes);
    void* dynamic() const { return dynamic_; }
    bool contains(const void* p, size_t bytes) const;
    std::string describe(const void* p) const;

  private:
    uint8_t* place(int slot, size_t bytes, size_t alignment);

    uint8_t* slots_ = nullptr;
    uint8_t* dynamic_ = nullptr;
    size_t static_bytes_ = 0, dynamic_bytes_ = 0, limit_ = 0;
    std::vector<SharedArray> arrays_;
};

// ---- the running block (scheduler.cpp) ----

struct Fiber;

struct AsyncCopy {
    void* target;
    const void* source;
    int bytes, group;
};

struct Thread {
    uint3 index;
    int lane;
    struct Warp* warp;
    Fiber* fiber;
    std::vector<AsyncCopy> copies;
    int groups;  // committed so far
};

enum class Collective { SyncWarp, Shuffle, Vote, Mma, LoadMatrix };
typedef void (*Complete)(void* const* operands, uint32 lanes);

// Lanes that wait for each other in a collective.
struct Meeting {
    uint32 mask, arrived;
    Collective kind;
    Complete complete;
};

struct Warp {
    Thread* threads;  // of lane 0
    uint32 existing, started, ready, exited, at_barrier;
    uint32 order;  // random: start and direction of the search for the next lane
    int meeting_count;
    Meeting meetings[32];
    void* operands[32];
};

// The state that one OS thread needs to run blocks.
struct Worker {
    void* base = nullptr;  // stack pointer of the code that runs blocks
    Thread* thread = nullptr;
    Thread* starting = nullptr;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    int warp_count = 0, living = 0, waiting = 0;  // threads that have not returned, and threads at the block's barrier
    int barrier_value = 0, barrier_result = 0;
    bool ran_out = false;  // a thread returned while others waited at a barrier
    std::vector<Fiber*> fibers, idle;
    uint64_t random = 0;
    const Launch* launch = nullptr;
    void* const* arguments = nullptr;
    SharedMemory shared;
    Fault fault;
    bool in_kernel = false;
};

extern EMULATOR_TLS Worker* worker;

// Returns whether the block ran to its end; otherwise worker->fault has the cause.
bool run_block(uint3 block, uint64_t seed);
bool in_fiber_guard(const void* p);
// Abandons all fibers.
void forget_fibers(Worker& w);
// Waits until all living lanes of `mask` have arrived; the last one calls `complete`, which has the operands of all.
void meet(uint32 mask, Collective kind, void* operands, Complete complete);

}  // namespace emulator

// The state of the emulated driver: one device, its context, streams, events and graphs.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "runtime.h"

#define DRIVER extern "C" __attribute__((visibility("default")))

typedef unsigned long long CUdeviceptr;
typedef int CUdevice;

namespace emulator {

// An operation queued on a stream.
struct Operation {
    std::function<CUresult()> run;
    bool cleanup = false;  // runs even after an error
};

struct Graph {
    std::vector<Operation> operations;
    struct Stream* origin = nullptr;
    int mode = 0;  // capture mode (global, thread-local, relaxed): which calls of which threads are refused during the capture
    std::thread::id thread;
    bool invalid = false;
};

// A recorded point in a stream. An event that is recorded again gets a new one.
struct Mark {
    bool done = false;
    double seconds = 0;
    struct Stream* stream = nullptr;
};

struct Event {
    std::shared_ptr<Mark> mark;
    bool timed = true;
    Graph* captured = nullptr;
    struct Stream* stream = nullptr;
    uint64_t position = 0;  // in the capture of `stream`
};

struct Stream {
    bool blocking = true;  // synchronises with the null stream
    int priority = 0;
    std::deque<Operation> queue;
    Graph* capture = nullptr;
    uint64_t position = 0, joined = 0;  // operations captured here, and how many of them another stream has waited for
};

struct State {
    std::recursive_mutex mutex;
    bool initialised = false;
    // Lazy: work runs when the host waits for it, as late as possible; otherwise at once.
    bool lazy = true;
    // Hasty: streams of the lowest priority run as early as possible, the others as late as possible.
    bool hasty = false;
    CUresult sticky = CUDA_SUCCESS;
    std::string report;
    uint64_t launch_count = 0, allocation_count = 0;
    // Calls that blocked the host until a stream or the device had finished all work.
    uint64_t standstills = 0;
    // Launches between cuProfilerStart and cuProfilerStop, and the number of calls of each.
    uint64_t profiled_launches = 0, profiler_starts = 0, profiler_stops = 0;
    // Counts down to the failing call.
    struct Injection {
        uint64_t left = 0;
        CUresult code = CUDA_SUCCESS;
    } injections[5];
    Stream null_stream;
    std::set<Stream*> streams;
    std::set<Event*> events;
    std::set<Graph*> graphs, captures;
};

State& state();
extern thread_local bool has_context;

enum class Fail { Launch, Allocation, Execution, Copy, Module };
// Schedules a failure by the name of its kind; false for an unknown kind.
bool inject(const char* kind, uint64_t n, CUresult code);
// The error code if this call is the one to fail.
CUresult injected(Fail kind);

// Every driver function starts with one of these: it takes the lock and returns pending errors.
class Call {
  public:
    explicit Call(bool needs_context = true);
    CUresult status = CUDA_SUCCESS;

  private:
    std::lock_guard<std::recursive_mutex> lock_;
};
#define ENTER(...)           \
    Call call{__VA_ARGS__};  \
    if (call.status != CUDA_SUCCESS) return call.status

// Null if it is not a stream.
Stream* find_stream(void* handle);
// Adds an operation to the queue of a stream, or to the graph that it captures.
CUresult submit(Stream* stream, std::function<CUresult()> run, bool cleanup = false);
// Runs all queued work; returns the context's error, if any.
CUresult drain(Stream* stream);
CUresult drain_all();
// Waits as a synchronous copy does: for the null stream and all streams that synchronise with it.
CUresult drain_blocking();
// Refuses calls that are not allowed during a capture, and invalidates the capture.
CUresult refuse_in_capture();
CUresult report_and_return(CUresult code, std::string text);

// Enumerators of cuda.h that the emulator uses.
enum {
    MULTIPROCESSORS = 16,
    MAX_THREADS_PER_MULTIPROCESSOR = 39,
    CAPABILITY_MAJOR = 75,
    CAPABILITY_MINOR = 76,
    SHARED_PER_MULTIPROCESSOR = 81,
    SHARED_OPTIN = 97,
    MAX_BLOCKS_PER_MULTIPROCESSOR = 106,
};
void set_attribute(int attribute, int value);
int get_attribute(int attribute);

}  // namespace emulator

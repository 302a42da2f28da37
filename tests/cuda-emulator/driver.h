// The state behind the driver's functions: one device, its context, streams, events, graphs.
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

// Something that happens in the order of its stream.
struct Operation {
    std::function<CUresult()> run;
    bool cleanup = false;  // happens even after an error
};

struct Graph {
    std::vector<Operation> operations;
    struct Stream* origin = nullptr;
    int mode = 0;  // global, of this thread, relaxed: who is refused what while this graph is captured
    std::thread::id thread;
    bool invalid = false;
};

// A point in a stream. An event that is recorded again gets a new one.
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
    bool blocking = true;  // keeps in order with the null stream
    int priority = 0;
    std::deque<Operation> queue;
    Graph* capture = nullptr;
    uint64_t position = 0, joined = 0;  // operations captured here, and how many of them another stream waited for
};

struct State {
    std::recursive_mutex mutex;
    bool initialised = false;
    // Work is queued and runs when the host waits for it, as late as a GPU may; otherwise at once.
    bool lazy = true;
    // Streams of the least priority run as early as a GPU may run them, the others as late.
    bool hasty = false;
    CUresult sticky = CUDA_SUCCESS;
    std::string report;
    uint64_t launch_count = 0, allocation_count = 0;
    // Calls that let the host wait until a stream, or the device, has run dry.
    uint64_t standstills = 0;
    // Launches executed while a profiler was to look, and how often it was told to begin and to end.
    uint64_t profiled_launches = 0, profiler_starts = 0, profiler_stops = 0;
    // Counts down to the call that fails.
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
// Asks for a failure by the kind's name; false for a kind that is not known.
bool inject(const char* kind, uint64_t n, CUresult code);
// The code to fail with, if it is this call's turn.
CUresult injected(Fail kind);

// Every function of the driver begins with one: a lock, and what is wrong before anything is done.
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

// Null: not a stream.
Stream* find_stream(void* handle);
// Into the queue of a stream, or into the graph that it captures.
CUresult submit(Stream* stream, std::function<CUresult()> run, bool cleanup = false);
// Runs all that is queued; the result is the context's error, if it has one.
CUresult drain(Stream* stream);
CUresult drain_all();
// What a synchronous copy waits for: the null stream and all that keep in order with it.
CUresult drain_blocking();
// Refuses what must not happen while a stream is being captured, and spoils the capture.
CUresult refuse_in_capture();
CUresult report_and_return(CUresult code, std::string text);

// Those numbers of cuda.h that the emulator itself goes by.
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

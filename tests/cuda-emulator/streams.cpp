// Streams, events and graphs.
//
// Work waits in the queue of its stream until the host synchronises, or until another stream that is being executed
// waits for one of its events: as late as a GPU may run it. So work that the host forgets to wait for has not run yet.
#include <chrono>

#include "driver.h"

using namespace emulator;

namespace emulator {

// Long queues are executed early, because queued copies hold their data.
const size_t LONGEST_QUEUE = 1024;

Stream* find_stream(void* handle) {
    uintptr_t number = reinterpret_cast<uintptr_t>(handle);
    if (number <= 2) return &state().null_stream;  // and its two other handles
    Stream* stream = static_cast<Stream*>(handle);
    return state().streams.count(stream) ? stream : nullptr;
}

static CUresult run(const Operation& operation) {
    State& s = state();
    if (s.sticky != CUDA_SUCCESS && !operation.cleanup) return s.sticky;
    CUresult code = operation.run();
    if (s.sticky == CUDA_SUCCESS) s.sticky = code;
    return s.sticky;
}

CUresult drain(Stream* stream) {
    while (!stream->queue.empty()) {
        Operation operation = std::move(stream->queue.front());
        stream->queue.pop_front();
        run(operation);
    }
    return state().sticky;
}

CUresult drain_blocking() {
    drain(&state().null_stream);
    for (Stream* stream : state().streams) {
        if (stream->blocking) drain(stream);
    }
    return state().sticky;
}

CUresult drain_all() {
    drain(&state().null_stream);
    for (Stream* stream : state().streams) drain(stream);
    return state().sticky;
}

static void drain_until(const std::shared_ptr<Mark>& mark) {
    while (!mark->done && !mark->stream->queue.empty()) {
        Operation operation = std::move(mark->stream->queue.front());
        mark->stream->queue.pop_front();
        run(operation);
    }
}

CUresult submit(Stream* stream, std::function<CUresult()> run, bool cleanup) {
    State& s = state();
    if (stream->capture) {
        if (stream->capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        stream->capture->operations.push_back(Operation{std::move(run), cleanup});
        stream->position++;
        return CUDA_SUCCESS;
    }
    if (stream == &s.null_stream) {
        for (Stream* other : s.streams) {
            if (!other->blocking) continue;
            if (other->capture) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
            drain(other);
        }
    } else if (stream->blocking) {
        drain(&s.null_stream);
    }
    stream->queue.push_back(Operation{std::move(run), cleanup});
    // As on a GPU, an execution error is returned by the next call, not by the call that queued the work.
    bool at_once = !s.lazy || (s.hasty && stream->priority == 0 && stream != &s.null_stream);
    if (at_once || stream->queue.size() > LONGEST_QUEUE) drain(stream);
    return CUDA_SUCCESS;
}

CUresult refuse_in_capture() {
    for (Graph* graph : state().captures) {
        bool refused = graph->mode == 0 || (graph->mode == 1 && graph->thread == std::this_thread::get_id());
        if (!refused) continue;
        graph->invalid = true;
        return report_and_return(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "a call that a stream capture forbids");
    }
    return CUDA_SUCCESS;
}

}  // namespace emulator

// ---- streams ----

DRIVER CUresult cuStreamCreateWithPriority(void** handle, unsigned flags, int priority) {
    ENTER();
    Stream* stream = new Stream;
    stream->priority = priority;
    stream->blocking = !(flags & 1);
    state().streams.insert(stream);
    *handle = stream;
    return CUDA_SUCCESS;
}
DRIVER CUresult cuStreamCreate(void** handle, unsigned flags) { return cuStreamCreateWithPriority(handle, flags, 0); }

DRIVER CUresult cuStreamDestroy_v2(void* handle) {
    // Even after an error, so that streams can be cleaned up.
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    Stream* stream = static_cast<Stream*>(handle);
    if (!state().streams.count(stream)) return CUDA_ERROR_INVALID_HANDLE;
    drain(stream);
    if (stream->capture) stream->capture->invalid = true;
    state().streams.erase(stream);  // but not deleted: recorded events may refer to it
    return CUDA_SUCCESS;
}

DRIVER CUresult cuStreamSynchronize(void* handle) {
    ENTER();
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture) {
        stream->capture->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    state().standstills++;
    return stream == &state().null_stream ? drain_blocking() : drain(stream);
}

DRIVER CUresult cuStreamQuery(void* handle) {
    ENTER();
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture) return cuStreamSynchronize(handle);
    if (stream->queue.empty()) return CUDA_SUCCESS;
    // Polling must make progress, so a query runs the work.
    drain(stream);
    return CUDA_ERROR_NOT_READY;
}

DRIVER CUresult cuLaunchHostFunc(void* handle, void (*function)(void*), void* data) {
    ENTER();
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    return submit(stream, [=] {
        function(data);
        return CUDA_SUCCESS;
    });
}

// ---- events ----

DRIVER CUresult cuEventCreate(void** handle, unsigned flags) {
    ENTER();
    Event* event = new Event;
    event->timed = !(flags & 2);
    state().events.insert(event);
    *handle = event;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuEventDestroy_v2(void* handle) {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    Event* event = static_cast<Event*>(handle);
    if (state().events.erase(event) == 0) return CUDA_ERROR_INVALID_HANDLE;
    delete event;
    return CUDA_SUCCESS;
}

static Event* find_event(void* handle) {
    Event* event = static_cast<Event*>(handle);
    return state().events.count(event) ? event : nullptr;
}

DRIVER CUresult cuEventRecord(void* event_handle, void* stream_handle) {
    ENTER();
    Event* event = find_event(event_handle);
    Stream* stream = find_stream(stream_handle);
    if (!event || !stream) return CUDA_ERROR_INVALID_HANDLE;
    event->captured = stream->capture;
    event->stream = stream;
    event->position = stream->position;
    if (stream->capture) return CUDA_SUCCESS;
    event->mark = std::make_shared<Mark>();
    event->mark->stream = stream;
    return submit(stream, [mark = event->mark] {
        mark->done = true;
        mark->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
        return CUDA_SUCCESS;
    });
}
DRIVER CUresult cuEventRecordWithFlags(void* event, void* stream, unsigned) { return cuEventRecord(event, stream); }

DRIVER CUresult cuEventQuery(void* handle) {
    ENTER();
    Event* event = find_event(handle);
    if (!event) return CUDA_ERROR_INVALID_HANDLE;
    if (event->captured) return CUDA_ERROR_CAPTURED_EVENT;
    if (!event->mark || event->mark->done) return CUDA_SUCCESS;
    drain_until(event->mark);
    return CUDA_ERROR_NOT_READY;
}

DRIVER CUresult cuEventSynchronize(void* handle) {
    ENTER();
    Event* event = find_event(handle);
    if (!event) return CUDA_ERROR_INVALID_HANDLE;
    if (event->captured) return CUDA_ERROR_CAPTURED_EVENT;
    if (event->mark) drain_until(event->mark);
    return state().sticky;
}

DRIVER CUresult cuEventElapsedTime_v2(float* milliseconds, void* start_handle, void* end_handle) {
    ENTER();
    Event *start = find_event(start_handle), *end = find_event(end_handle);
    if (!start || !end || !start->mark || !end->mark || !start->timed || !end->timed) return CUDA_ERROR_INVALID_HANDLE;
    if (!start->mark->done || !end->mark->done) return CUDA_ERROR_NOT_READY;
    *milliseconds = float((end->mark->seconds - start->mark->seconds) * 1e3);
    return CUDA_SUCCESS;
}
DRIVER CUresult cuEventElapsedTime(float* milliseconds, void* start, void* end) {
    return cuEventElapsedTime_v2(milliseconds, start, end);
}

DRIVER CUresult cuStreamWaitEvent(void* stream_handle, void* event_handle, unsigned) {
    ENTER();
    Event* event = find_event(event_handle);
    Stream* stream = find_stream(stream_handle);
    if (!event || !stream) return CUDA_ERROR_INVALID_HANDLE;
    if (event->captured && state().captures.count(event->captured)) {
        // The stream joins the capture, or waits for a stream that joined it before.
        if (stream->capture && stream->capture != event->captured) return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
        if (!stream->capture) stream->position = stream->joined = 0;
        stream->capture = event->captured;
        if (event->stream != stream) event->stream->joined = max(event->stream->joined, event->position);
        return CUDA_SUCCESS;
    }
    if (!event->mark) return CUDA_SUCCESS;
    if (stream->capture) {
        stream->capture->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
    }
    return submit(stream, [mark = event->mark] {
        drain_until(mark);
        return CUDA_SUCCESS;
    });
}

// ---- capture ----

DRIVER CUresult cuStreamBeginCapture_v2(void* handle, int mode) {
    ENTER();
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    // The null stream cannot be captured.
    if (stream == &state().null_stream) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture) return CUDA_ERROR_INVALID_VALUE;
    Graph* graph = new Graph;
    graph->origin = stream;
    graph->mode = mode;
    graph->thread = std::this_thread::get_id();
    state().captures.insert(graph);
    stream->capture = graph;
    stream->position = stream->joined = 0;
    return CUDA_SUCCESS;
}

DRIVER CUresult cuStreamEndCapture(void* handle, void** result) {
    ENTER();
    *result = nullptr;
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    Graph* graph = stream->capture;
    if (!graph || graph->origin != stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    if (graph->mode != 2 && graph->thread != std::this_thread::get_id()) return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    bool joined = true;
    for (Stream* other : state().streams) {
        if (other->capture != graph) continue;
        if (other != stream && other->joined != other->position) joined = false;
        other->capture = nullptr;
    }
    state().captures.erase(graph);
    if (graph->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!joined) return CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    state().graphs.insert(graph);
    *result = graph;
    return CUDA_SUCCESS;
}

static int capture_status(const Stream* stream) { return !stream->capture ? 0 : stream->capture->invalid ? 2 : 1; }

DRIVER CUresult cuStreamIsCapturing(void* handle, int* status) {
    ENTER();
    Stream* stream = find_stream(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    *status = capture_status(stream);
    return CUDA_SUCCESS;
}

DRIVER CUresult cuStreamGetCaptureInfo_v2(void* handle, int* status, uint64_t* id, void** graph, const void*** nodes,
                                          size_t* count) {
    CUresult code = cuStreamIsCapturing(handle, status);
    if (code != CUDA_SUCCESS || *status == 0) return code;
    Stream* stream = find_stream(handle);
    if (id) *id = reinterpret_cast<uintptr_t>(stream->capture);
    if (graph) *graph = stream->capture;
    if (nodes) *nodes = nullptr;
    if (count) *count = 0;
    return CUDA_SUCCESS;
}
DRIVER CUresult cuStreamGetCaptureInfo_v3(void* handle, int* status, uint64_t* id, void** graph, const void*** nodes,
                                          const void** edges, size_t* count) {
    if (edges) *edges = nullptr;
    return cuStreamGetCaptureInfo_v2(handle, status, id, graph, nodes, count);
}

// ---- graphs: copies of the captured operations ----

DRIVER CUresult cuGraphInstantiateWithFlags(void** executable, void* handle, uint64_t) {
    ENTER();
    Graph* graph = static_cast<Graph*>(handle);
    if (!state().graphs.count(graph)) return CUDA_ERROR_INVALID_VALUE;
    *executable = new std::shared_ptr<Graph>(std::make_shared<Graph>(*graph));
    return CUDA_SUCCESS;
}

DRIVER CUresult cuGraphLaunch(void* executable, void* handle) {
    ENTER();
    Stream* stream = find_stream(handle);
    if (!stream || !executable) return CUDA_ERROR_INVALID_HANDLE;
    return submit(stream, [graph = *static_cast<std::shared_ptr<Graph>*>(executable)] {
        for (const Operation& operation : graph->operations) {
            if (CUresult code = operation.run()) return code;
        }
        return CUDA_SUCCESS;
    });
}

DRIVER CUresult cuGraphUpload(void*, void*) { return CUDA_SUCCESS; }
DRIVER CUresult cuGraphExecDestroy(void* executable) {
    delete static_cast<std::shared_ptr<Graph>*>(executable);
    return CUDA_SUCCESS;
}
DRIVER CUresult cuGraphDestroy(void* handle) {
    std::lock_guard<std::recursive_mutex> lock(state().mutex);
    Graph* graph = static_cast<Graph*>(handle);
    if (state().graphs.erase(graph) == 0) return CUDA_ERROR_INVALID_VALUE;
    delete graph;
    return CUDA_SUCCESS;
}
DRIVER CUresult cuGraphGetNodes(void* handle, void**, size_t* count) {
    *count = static_cast<Graph*>(handle)->operations.size();
    return CUDA_SUCCESS;
}

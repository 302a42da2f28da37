// Order within and between streams, and graphs.
#include "driver.h"

static void order() {
    void *other, *event, *end;
    CHECK_CODE(0, call("cuStreamCreate", &other, 1u));
    CHECK_CODE(0, call("cuEventCreate", &event, 0u));
    CHECK_CODE(0, call("cuEventCreate", &end, 0u));
    Buffer<float> x(std::vector<float>(4));
    CHECK_CODE(0, launch("add_one", {1, 4}, x.p, 4));
    CHECK_CODE(0, call("cuEventRecord", event, stream));
    CHECK_CODE(0, call("cuStreamWaitEvent", other, event, 0u));
    CHECK_CODE(0, launch_on(other, function("add_one"), {1, 4}, x.p, 4));
    CHECK_CODE(0, call("cuEventRecord", end, other));
    // Pinned memory is filled only when the stream is waited for.
    float* pinned;
    CHECK_CODE(0, call("cuMemHostAlloc", (void**)&pinned, size_t(16), 0u));
    CHECK_CODE(0, call("cuMemcpyDtoHAsync_v2", (void*)pinned, x.p, size_t(16), other));
    check(isnan(pinned[0]), "the copy was not waited for");
    CHECK_CODE(0, call("cuStreamSynchronize", other));
    check(pinned[0] == 2.0f, "two streams", std::to_string(pinned[0]));
    float milliseconds = -1;
    CHECK_CODE(0, call("cuEventElapsedTime", &milliseconds, event, end));
    check(milliseconds >= 0, "elapsed time");
    CHECK_CODE(0, call("cuMemFreeHost", (void*)pinned));
    CHECK_CODE(0, call("cuEventDestroy_v2", event));
    CHECK_CODE(0, call("cuEventDestroy_v2", end));
    CHECK_CODE(0, call("cuStreamDestroy_v2", other));
}

static void graphs() {
    Buffer<float> x(std::vector<float>(4)), y(4);
    void *graph = nullptr, *executable = nullptr;
    CHECK_CODE(0, call("cuStreamBeginCapture_v2", stream, 0));
    int status = 0;
    CHECK_CODE(0, call("cuStreamIsCapturing", stream, &status));
    check(status == 1, "capturing");
    for (int i = 0; i < 3; i++) CHECK_CODE(0, launch("add_one", {1, 4}, x.p, 4));
    CHECK_CODE(0, call("cuMemcpyDtoDAsync_v2", y.p, x.p, size_t(16), stream));
    CHECK_CODE(0, call("cuStreamEndCapture", stream, &graph));
    check(x.read()[0] == 0.0f, "captured launches were executed");
    CHECK_CODE(0, call("cuGraphInstantiateWithFlags", &executable, graph, 0ull));
    for (int i = 1; i <= 3; i++) {
        CHECK_CODE(0, call("cuGraphLaunch", executable, stream));
        check(y.read()[3] == 3.0f * float(i), "replay");
    }
    CHECK_CODE(0, call("cuGraphExecDestroy", executable));
    CHECK_CODE(0, call("cuGraphDestroy", graph));
    // A forbidden call invalidates the capture.
    Pointer p;
    CHECK_CODE(0, call("cuStreamBeginCapture_v2", stream, 0));
    CHECK_CODE(900, call("cuMemAlloc_v2", &p, size_t(16)));
    CHECK_CODE(901, call("cuStreamEndCapture", stream, &graph));
    CHECK_CODE(0, call("cuStreamBeginCapture_v2", stream, 1));
    CHECK_CODE(900, call("cuStreamSynchronize", stream));
    CHECK_CODE(901, call("cuStreamEndCapture", stream, &graph));
}

// A second stream joins a capture and must be waited for before its end.
static void forked_capture() {
    Buffer<float> x(std::vector<float>(4));
    void *other, *fork, *join, *graph = nullptr, *executable = nullptr;
    CHECK_CODE(0, call("cuStreamCreate", &other, 1u));
    CHECK_CODE(0, call("cuEventCreate", &fork, 2u));
    CHECK_CODE(0, call("cuEventCreate", &join, 2u));
    for (bool joined : {false, true}) {
        CHECK_CODE(0, call("cuStreamBeginCapture_v2", stream, 0));
        CHECK_CODE(0, call("cuEventRecord", fork, stream));
        CHECK_CODE(0, call("cuStreamWaitEvent", other, fork, 0u));
        CHECK_CODE(0, launch_on(other, function("add_one"), {1, 4}, x.p, 4));
        CHECK_CODE(0, call("cuEventRecord", join, other));
        if (joined) CHECK_CODE(0, call("cuStreamWaitEvent", stream, join, 0u));
        CHECK_CODE(joined ? 0 : 904, call("cuStreamEndCapture", stream, &graph));
    }
    CHECK_CODE(0, call("cuGraphInstantiateWithFlags", &executable, graph, 0ull));
    CHECK_CODE(0, call("cuGraphLaunch", executable, stream));
    check(x.read()[0] == 1.0f, "a graph of two streams");
    CHECK_CODE(0, call("cuGraphExecDestroy", executable));
    CHECK_CODE(0, call("cuGraphDestroy", graph));
    CHECK_CODE(0, call("cuEventDestroy_v2", fork));
    CHECK_CODE(0, call("cuEventDestroy_v2", join));
    CHECK_CODE(0, call("cuStreamDestroy_v2", other));
}

// Of two independent streams, the one of low priority runs early and the other late; events are still respected.
static void haste() {
    int least = 0, greatest = 0;
    CHECK_CODE(0, call("cuCtxGetStreamPriorityRange", &least, &greatest));
    check(greatest < least, "two priorities");
    void *early, *late, *event;
    CHECK_CODE(0, call("cuStreamCreateWithPriority", &early, 1u, least));
    CHECK_CODE(0, call("cuStreamCreateWithPriority", &late, 1u, greatest));
    CHECK_CODE(0, call("cuEventCreate", &event, 2u));
    Buffer<float> x(std::vector<float>(4));
    CHECK_CODE(0, synchronize());
    call<void>("emulator_set_hasty", uint64_t(1));
    for (bool ordered : {false, true}) {
        // The copy on the late stream sees the launch on the early one, unless the early one waits for it.
        float* pinned;
        CHECK_CODE(0, call("cuMemHostAlloc", (void**)&pinned, size_t(16), 0u));
        CHECK_CODE(0, call("cuMemcpyDtoHAsync_v2", (void*)pinned, x.p, size_t(16), late));
        CHECK_CODE(0, call("cuEventRecord", event, late));
        if (ordered) CHECK_CODE(0, call("cuStreamWaitEvent", early, event, 0u));
        CHECK_CODE(0, launch_on(early, function("add_one"), {1, 4}, x.p, 4));
        CHECK_CODE(ordered ? 0 : 600, call("cuEventQuery", event));
        CHECK_CODE(0, call("cuStreamSynchronize", late));
        check(pinned[0] == 1.0f, ordered ? "waited for the late stream" : "came before the late stream",
              std::to_string(pinned[0]));
        CHECK_CODE(0, call("cuMemFreeHost", (void*)pinned));
    }
    call<void>("emulator_set_hasty", uint64_t(0));
    CHECK_CODE(0, call("cuEventDestroy_v2", event));
    CHECK_CODE(0, call("cuStreamDestroy_v2", early));
    CHECK_CODE(0, call("cuStreamDestroy_v2", late));
}

// The n-th copy fails, and every module load from the n-th on.
static void failures_on_request() {
    Buffer<float> x(std::vector<float>(4));
    float values[4];
    auto copy = [&] { return call("cuMemcpyDtoHAsync_v2", (void*)values, x.p, size_t(16), stream); };
    check(call("emulator_fail_after", "copy", uint64_t(2), 719) == 1, "a kind that is known");
    check(call("emulator_fail_after", "weather", uint64_t(2), 719) == 0, "a kind that is not known");
    CHECK_CODE(0, copy());
    CHECK_CODE(719, copy());
    CHECK_CODE(0, copy());
    void* other;
    call("emulator_fail_after", "module", uint64_t(1), 209);
    CHECK_CODE(209, call("cuModuleLoadData", &other, (const void*)"x"));
    CHECK_CODE(209, call("cuModuleLoadData", &other, (const void*)"x"));
    call<void>("emulator_clear_error");
    CHECK_CODE(0, call("cuModuleLoadData", &other, (const void*)"x"));
    CHECK_CODE(0, call("cuModuleUnload", other));
}

// Launches are counted between cuProfilerStart and cuProfilerStop.
static void profiler_marks() {
    Buffer<float> x(std::vector<float>(4));
    CHECK_CODE(0, launch("add_one", {1, 4}, x.p, 4));
    CHECK_CODE(0, synchronize());
    uint64_t before = call<uint64_t>("emulator_profiled_launches");
    CHECK_CODE(0, call("cuProfilerStart"));
    for (int i = 0; i < 2; i++) CHECK_CODE(0, launch("add_one", {1, 4}, x.p, 4));
    CHECK_CODE(0, synchronize());
    CHECK_CODE(0, call("cuProfilerStop"));
    CHECK_CODE(0, launch("add_one", {1, 4}, x.p, 4));
    CHECK_CODE(0, synchronize());
    check(call<uint64_t>("emulator_profiled_launches") - before == 2, "profiled launches");
}

void streams_and_graphs() {
    order();
    haste();
    failures_on_request();
    profiler_marks();
    graphs();
    forked_capture();
}

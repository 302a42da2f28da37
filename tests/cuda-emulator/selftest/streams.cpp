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
    // Pinned memory is filled when the stream has been waited for, and not before.
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
    // What a capture forbids spoils it.
    Pointer p;
    CHECK_CODE(0, call("cuStreamBeginCapture_v2", stream, 0));
    CHECK_CODE(900, call("cuMemAlloc_v2", &p, size_t(16)));
    CHECK_CODE(901, call("cuStreamEndCapture", stream, &graph));
    CHECK_CODE(0, call("cuStreamBeginCapture_v2", stream, 1));
    CHECK_CODE(900, call("cuStreamSynchronize", stream));
    CHECK_CODE(901, call("cuStreamEndCapture", stream, &graph));
}

// A second stream takes part in a capture, and must be waited for before its end.
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

void streams_and_graphs() {
    order();
    graphs();
    forked_capture();
}

// Scheduler of a block: its threads are fibers on one OS thread, switched where threads wait for each other.
//
// A lane runs until it waits or returns; then another lane of its warp runs, in an order given by the seed, and if none
// can continue, another warp. So one warp may be a whole barrier ahead of the others, which makes a missing barrier
// visible. A thread that never waits needs no switch: its fiber continues with the next thread.
#include <sys/mman.h>

#include <new>

#include "runtime.h"

#ifndef __x86_64__
#include <ucontext.h>
#endif

namespace emulator {

EMULATOR_TLS Worker* worker;
EMULATOR_TLS const uint3* thread_index;
EMULATOR_TLS uint3 block_index, block_size, grid_size;

// ---- fibers ----

const size_t STACK = 128 << 10, PAGE = 4096;

struct Fiber {
    void* context = nullptr;
    char* stack = nullptr;
    // Stacks start at different offsets in their pages, or they would compete for the same cache sets.
    size_t color = 0;
    bool fresh = true;  // not started: no saved context
};

static void fiber_main();

#ifdef __x86_64__
// Saves the callee-saved registers on the current stack, switches stacks, and restores the registers of the other.
asm(R"(
.text
.local emulator_switch
.type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx
    jmp *%rcx
.size emulator_switch, .-emulator_switch
)");
extern "C" void emulator_switch(void** from, void* to);

static void prepare(Fiber* fiber) {
    void** top = reinterpret_cast<void**>(fiber->stack + STACK - 64 - fiber->color);
    // As after a call of fiber_main: the stack pointer is 8 below a multiple of 16.
    *--top = nullptr;
    *--top = nullptr;
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&fiber_main);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    fiber->context = top;
}
#else
// Slower, but portable. A context is stored on its fiber's stack or in the caller's frame.
static void emulator_switch(void** from, void* to) {
    ucontext_t here;
    *from = &here;
    swapcontext(&here, static_cast<ucontext_t*>(to));
}

static void prepare(Fiber* fiber) {
    ucontext_t* context = new (fiber->stack + PAGE) ucontext_t;
    getcontext(context);
    context->uc_stack.ss_sp = fiber->stack + PAGE + sizeof(ucontext_t) + 64;
    context->uc_stack.ss_size = STACK - PAGE - sizeof(ucontext_t) - 128 - fiber->color;
    makecontext(context, fiber_main, 0);
    fiber->context = context;
}
#endif

static Fiber* take_fiber() {
    Worker& w = *worker;
    if (w.idle.empty()) {
        Fiber* fiber = new Fiber;
        void* stack = mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stack == MAP_FAILED) throw std::bad_alloc();
        fiber->stack = static_cast<char*>(stack);
        fiber->color = w.fibers.size() * 9 % 64 * 64;
        mprotect(stack, PAGE, PROT_NONE);
        w.fibers.push_back(fiber);
        w.idle.push_back(fiber);
    }
    Fiber* fiber = w.idle.back();
    w.idle.pop_back();
    if (fiber->fresh) {
        prepare(fiber);
        fiber->fresh = false;
    }
    return fiber;
}

void forget_fibers(Worker& w) {
    w.idle = w.fibers;
    for (Fiber* fiber : w.fibers) fiber->fresh = true;
}

bool in_fiber_guard(const void* p) {
    for (Fiber* fiber : worker->fibers) {
        if (p >= fiber->stack && p < fiber->stack + PAGE) return true;
    }
    return false;
}

// ---- selecting the next thread ----

uint64_t next_random(uint64_t& state) {
    // splitmix64
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static int pick(uint32 set, uint32 order) {
    int turn = order & 31;
    uint32 turned = set >> turn | set << (-turn & 31);
    int first = order & 32 ? __builtin_ctz(turned) : 31 - __builtin_clz(turned);
    return (first + turn) & 31;
}

// A thread that can run: of this warp if possible, unless `elsewhere`. Null if all are waiting.
static Thread* choose(Warp* warp, bool elsewhere) {
    Worker& w = *worker;
    if (!warp || !warp->ready || elsewhere) {
        uint32 ready = 0;
        for (int i = 0; i < w.warp_count; i++) ready |= uint32(w.warps[i].ready != 0) << i;
        if (!ready) return nullptr;
        warp = &w.warps[pick(ready, uint32(next_random(w.random)))];
    }
    return warp->threads + pick(warp->ready, warp->order);
}

static void make_current(Thread* thread) {
    worker->thread = thread;
    thread_index = &thread->index;
}

// Switches from the fiber of the running thread to `next`.
static void go_to(void** from, Thread* next) {
    Worker& w = *worker;
    Warp* warp = next->warp;
    uint32 bit = 1u << next->lane;
    if (!(warp->started & bit)) {
        warp->started |= bit;
        next->fiber = take_fiber();
        w.starting = next;
    }
    make_current(next);
    emulator_switch(from, next->fiber->context);
}

[[noreturn]] static void abandon_block() {
    void* nobody;
    emulator_switch(&nobody, worker->base);
    __builtin_unreachable();
}

[[noreturn]] void fault(CUresult code, const char* what, const void* address, bool has_address, std::string detail) {
    Worker& w = *worker;
    w.fault = Fault{code, what, address, has_address, block_index, w.thread ? w.thread->index : uint3{}, std::move(detail)};
    abandon_block();
}

[[noreturn]] static void deadlock() {
    Worker& w = *worker;
    std::string text = std::to_string(w.living) + " threads have not returned, " + std::to_string(w.waiting) +
                       " of them wait at __syncthreads";
    for (int i = 0; i < w.warp_count; i++) {
        for (int m = 0; m < w.warps[i].meeting_count; m++) {
            const Meeting& meeting = w.warps[i].meetings[m];
            char line[160];
            snprintf(line, sizeof line, "; in warp %d lanes %08x of %08x wait at a warp collective", i, meeting.arrived,
                     meeting.mask);
            text += line;
        }
    }
    fault(CUDA_ERROR_LAUNCH_TIMEOUT, "deadlock", nullptr, false, text);
}

// Suspends this thread until another makes it ready.
static void rest(bool elsewhere = false) {
    Thread* self = worker->thread;
    Thread* next = choose(self->warp, elsewhere);
    if (!next) deadlock();
    if (next == self) return;
    go_to(&self->fiber->context, next);
}

// ---- the barrier of the block ----

static void open_barrier() {
    Worker& w = *worker;
    for (int i = 0; i < w.warp_count; i++) {
        Warp& warp = w.warps[i];
        warp.ready |= warp.at_barrier;
        warp.at_barrier = 0;
        warp.order = uint32(next_random(w.random));
    }
    w.barrier_result = w.barrier_value;
    w.barrier_value = 0;
    w.waiting = 0;
}

int barrier_sum(int value) {
    Worker& w = *worker;
    Thread* self = w.thread;
    uint32 bit = 1u << self->lane;
    w.barrier_value += value;
    self->warp->at_barrier |= bit;
    self->warp->ready &= ~bit;
    if (w.living != int(w.threads.size())) {
        fault(CUDA_ERROR_LAUNCH_FAILED, "__syncthreads after other threads of the block have returned");
    }
    bool last = ++w.waiting == w.living;
    if (last) open_barrier();
    rest(last);
    return w.barrier_result;
}

void barrier() { barrier_sum(0); }

// ---- rendezvous of a warp ----

static void end_meeting(Warp& warp, Meeting* meeting) {
    Worker& w = *worker;
    uint32 lanes = meeting->arrived;
    Complete complete = meeting->complete;
    *meeting = warp.meetings[--warp.meeting_count];
    if (complete) complete(warp.operands, lanes);
    warp.ready |= lanes;
    warp.order = uint32(next_random(w.random));
}

void meet(uint32 mask, Collective kind, void* operands, Complete complete) {
    Worker& w = *worker;
    Thread* self = w.thread;
    Warp& warp = *self->warp;
    uint32 bit = 1u << self->lane;
    if (!(mask & bit)) fault(CUDA_ERROR_LAUNCH_FAILED, "a lane is not in the mask of its own warp collective");
    Meeting* meeting = warp.meetings;
    Meeting* last = meeting + warp.meeting_count;
    while (meeting != last && !(meeting->mask & mask)) meeting++;
    if (meeting == last) {
        warp.meeting_count++;
        *meeting = Meeting{mask, 0, kind, complete};
    } else if (meeting->mask != mask || meeting->kind != kind || meeting->complete != complete) {
        fault(CUDA_ERROR_LAUNCH_FAILED, "lanes of a warp meet in different collectives or with different masks");
    }
    // ".aligned" PTX instructions need all lanes; for other collectives, lanes that have returned do not count.
    bool whole = kind == Collective::Mma || kind == Collective::LoadMatrix;
    if (whole && warp.exited) fault(CUDA_ERROR_LAUNCH_FAILED, "mma or ldmatrix without all 32 lanes");
    warp.operands[self->lane] = operands;
    meeting->arrived |= bit;
    warp.ready &= ~bit;
    if (meeting->arrived == (mask & ~warp.exited)) {
        end_meeting(warp, meeting);
        // Sometimes another thread runs first, so that warps do not always run from barrier to barrier.
        if (warp.order >> 27 == 0) rest(true);
        return;
    }
    rest();
}

// ---- start and end of a thread ----

// Returns the next thread to run on the same fiber, if one has not started yet.
static Thread* leave(Thread* thread) {
    Worker& w = *worker;
    Warp& warp = *thread->warp;
    uint32 bit = 1u << thread->lane;
    warp.exited |= bit;
    warp.ready &= ~bit;
    w.living--;
    if (w.waiting) fault(CUDA_ERROR_LAUNCH_FAILED, "a thread returned while others of its block wait at __syncthreads");
    for (int i = warp.meeting_count - 1; i >= 0; i--) {
        Meeting* meeting = warp.meetings + i;
        if (!(meeting->mask & bit)) continue;
        bool whole = meeting->kind == Collective::Mma || meeting->kind == Collective::LoadMatrix;
        if (whole) fault(CUDA_ERROR_LAUNCH_FAILED, "a lane returned while others of its warp wait at mma or ldmatrix");
        if (meeting->arrived == (meeting->mask & ~warp.exited)) end_meeting(warp, meeting);
    }
    Fiber* fiber = thread->fiber;
    Thread* next = choose(&warp, false);
    if (next && !(next->warp->started >> next->lane & 1)) {
        next->warp->started |= 1u << next->lane;
        next->fiber = fiber;
        make_current(next);
        return next;
    }
    w.idle.push_back(fiber);
    if (next) {
        go_to(&fiber->context, next);
    } else if (w.living) {
        deadlock();
    } else {
        emulator_switch(&fiber->context, w.base);
    }
    return w.starting;
}

static void fiber_main() {
    for (Thread* thread = worker->starting;;) {
        worker->launch->kernel->invoke(worker->launch->kernel->function, worker->arguments);
        thread = leave(thread);
    }
}

// ---- running a block ----

static void begin_block(Worker& w) {
    const Launch& launch = *w.launch;
    size_t count = size_t(launch.block.x) * launch.block.y * launch.block.z;
    w.threads.resize(count);
    w.warp_count = int((count + 31) / 32);
    w.warps.resize(w.warp_count);
    uint3 index{0, 0, 0};
    for (size_t i = 0; i < count; i++) {
        Thread& thread = w.threads[i];
        thread.index = index;
        thread.lane = int(i % 32);
        thread.warp = &w.warps[i / 32];
        thread.copies.clear();
        thread.groups = 0;
        if (++index.x == launch.block.x) index.x = 0, index.y++;
        if (index.y == launch.block.y) index.y = 0, index.z++;
    }
    for (int i = 0; i < w.warp_count; i++) {
        Warp& warp = w.warps[i];
        warp.threads = &w.threads[size_t(i) * 32];
        size_t lanes = count - size_t(i) * 32;
        warp.existing = lanes >= 32 ? 0xffffffffu : (1u << lanes) - 1;
        warp.ready = warp.existing;
        warp.exited = ~warp.existing;
        warp.started = warp.at_barrier = 0;
        warp.meeting_count = 0;
        warp.order = uint32(next_random(w.random));
    }
    w.living = int(count);
    w.waiting = w.barrier_value = 0;
}

bool run_block(uint3 block, uint64_t seed) {
    Worker& w = *worker;
    w.random = seed;
    block_index = block;
    block_size = w.launch->block;
    grid_size = w.launch->grid;
    begin_block(w);
    w.shared.begin_block(*w.launch);
    w.fault = Fault{};
    w.in_kernel = true;
    go_to(&w.base, choose(nullptr, true));
    w.in_kernel = false;
    w.thread = nullptr;
    if (w.fault.code == CUDA_SUCCESS) {
        std::string overwritten = w.shared.end_block();
        if (overwritten.empty()) return true;
        w.fault = Fault{CUDA_ERROR_ILLEGAL_ADDRESS, "shared memory outside of its arrays was written", nullptr, false,
                        block, uint3{}, overwritten};
    }
    forget_fibers(w);
    return false;
}

}  // namespace emulator

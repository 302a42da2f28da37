// Kernel launches: distributes blocks over OS threads in an order given by the seed, and ends the launch on a fault.
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>
#include <unistd.h>

#include <condition_variable>
#include <map>
#include <numeric>
#include <thread>

#include "runtime.h"

namespace emulator {

// ---- kernels, by name ----

static std::map<std::string, Kernel>& kernels() {
    static auto* all = new std::map<std::string, Kernel>;
    return *all;
}

bool add_kernel(const char* name, void (*function)(), Invoke invoke, const Parameter* parameters, int count) {
    bool added = kernels().emplace(name, Kernel{name, function, invoke, {parameters, parameters + count}}).second;
    if (!added) {
        fprintf(stderr, "emulator: two kernels are called %s\n", name);
        abort();
    }
    return true;
}

Kernel* find_kernel(const char* name) {
    auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : &found->second;
}

// ---- invalid accesses ----

static struct sigaction previous_segv, previous_bus, previous_fpe;

static void on_signal(int number, siginfo_t* info, void*) {
    Worker* w = worker;
    if (!w || !w->in_kernel) {
        // Not caused by a kernel: the access is repeated under the previous handler.
        const struct sigaction* previous =
            number == SIGSEGV ? &previous_segv : number == SIGBUS ? &previous_bus : &previous_fpe;
        sigaction(number, previous, nullptr);
        return;
    }
    if (number == SIGFPE) fault(CUDA_ERROR_LAUNCH_FAILED, "integer division by zero");
    // For a misaligned vector instruction the signal has no address.
    if (number == SIGSEGV && info->si_code == SI_KERNEL) {
        fault(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned vector access, or an address that is none");
    }
    fault(CUDA_ERROR_ILLEGAL_ADDRESS, "access to memory that is not there", info->si_addr, true);
}

void install_signal_handler() {
    static bool installed = false;
    if (installed) return;
    installed = true;
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    // The handler does not return but jumps back to the launch, so the signal must be unblocked.
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, &previous_segv);
    sigaction(SIGBUS, &action, &previous_bus);
    sigaction(SIGFPE, &action, &previous_fpe);
}

// An alternative signal stack, because a fiber may have overflowed its own.
static void ensure_signal_stack() {
    stack_t now;
    if (sigaltstack(nullptr, &now) == 0 && !(now.ss_flags & SS_DISABLE)) return;
    static thread_local std::vector<char> memory(64 << 10);
    stack_t stack{};
    stack.ss_sp = memory.data();
    stack.ss_size = memory.size();
    sigaltstack(&stack, nullptr);
}

// ---- the blocks of a launch ----

namespace {
struct Job {
    const Launch* launch;
    std::vector<void*> arguments;
    uint64_t count, first, stride, seed;
    std::atomic<uint64_t> next{0};
    std::atomic<bool> failed{false};
    std::mutex mutex;
    Fault fault;  // the first one
    std::string where;
};
}  // namespace

static std::string describe_fault(const Fault& fault, const Launch& launch) {
    char text[400];
    snprintf(text, sizeof text, "%s: %s in block (%u, %u, %u), thread (%u, %u, %u)", launch.kernel->name, fault.what,
             fault.block.x, fault.block.y, fault.block.z, fault.thread.x, fault.thread.y, fault.thread.z);
    std::string all = text;
    if (fault.has_address) {
        snprintf(text, sizeof text, ", address %p: ", fault.address);
        all += text;
        std::string shared = worker->shared.describe(fault.address);
        if (!shared.empty()) {
            all += shared;
        } else if (in_fiber_guard(fault.address)) {
            all += "the thread's stack is too small for its local variables";
        } else {
            all += describe(fault.address);
        }
    }
    if (!fault.detail.empty()) all += ": " + fault.detail;
    return all;
}

static void run_blocks(Job& job, Worker& own) {
    const Launch& launch = *job.launch;
    worker = &own;
    own.launch = &launch;
    own.arguments = job.arguments.data();
    ensure_signal_stack();
    while (!job.failed.load(std::memory_order_relaxed)) {
        uint64_t i = job.next.fetch_add(1, std::memory_order_relaxed);
        if (i >= job.count) break;
        uint64_t index = uint64_t((unsigned __int128)i * job.stride % job.count + job.first) % job.count;
        uint3 block;
        block.x = unsigned(index % launch.grid.x);
        block.y = unsigned(index / launch.grid.x % launch.grid.y);
        block.z = unsigned(index / launch.grid.x / launch.grid.y);
        uint64_t seed = job.seed + index;
        next_random(seed);
        if (run_block(block, seed)) continue;
        std::lock_guard<std::mutex> lock(job.mutex);
        if (job.failed.exchange(true)) continue;
        job.fault = own.fault;
        job.where = describe_fault(own.fault, launch);
    }
    worker = nullptr;
}

// ---- OS threads ----

namespace {
// Never destroyed, because worker threads wait in it when the process ends.
struct Pool {
    std::mutex mutex;
    std::condition_variable work, done;
    Job* job = nullptr;
    uint64_t generation = 0;
    int active = 0, helpers = 0;
};
}  // namespace

static Pool& pool() {
    static Pool* pool = new Pool;
    return *pool;
}

static int worker_count = 0;

void set_workers(int count) { worker_count = count; }

static int wanted_workers() {
    if (worker_count <= 0) {
        const char* text = getenv("DIARIST_EMULATOR_THREADS");
        worker_count = text ? atoi(text) : int(std::thread::hardware_concurrency());
        if (worker_count <= 0) worker_count = 1;
    }
    return worker_count;
}

static void help(int number) {
    Pool& p = pool();
    Worker own;
    std::unique_lock<std::mutex> lock(p.mutex);
    for (uint64_t seen = 0;;) {
        p.work.wait(lock, [&] { return p.job && p.generation != seen && number < worker_count; });
        seen = p.generation;
        Job* job = p.job;
        p.active++;
        lock.unlock();
        run_blocks(*job, own);
        lock.lock();
        if (--p.active == 0) p.done.notify_all();
    }
}

static void run_on_all(Job& job, Worker& own) {
    Pool& p = pool();
    {
        std::lock_guard<std::mutex> lock(p.mutex);
        while (p.helpers < wanted_workers() - 1) {
            int number = ++p.helpers;
            std::thread([number] { help(number); }).detach();
        }
        p.job = &job;
        p.generation++;
    }
    p.work.notify_all();
    run_blocks(job, own);
    // Workers that have not started yet are not waited for: there is no work left.
    std::unique_lock<std::mutex> lock(p.mutex);
    p.job = nullptr;
    p.done.wait(lock, [&] { return p.active == 0; });
}

// ---- a launch ----

static uint64_t seed = 1, launches = 0;

void set_seed(uint64_t value) {
    seed = value;
    launches = 0;
}

// The caller is a worker too. Fibers may have been suspended on another OS thread, whose thread-local variables they
// may have cached.
static Worker& caller() {
    static Worker* own = new Worker;
    static std::thread::id last;
    if (last != std::this_thread::get_id()) forget_fibers(*own);
    last = std::this_thread::get_id();
    return *own;
}

CUresult execute(const Launch& launch, std::string& report) {
    static std::mutex one_at_a_time;
    std::lock_guard<std::mutex> lock(one_at_a_time);
    Job job;
    job.launch = &launch;
    job.count = uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z;
    for (size_t offset : launch.offsets) {
        job.arguments.push_back(const_cast<uint8_t*>(launch.storage.data()) + offset);
    }
    uint64_t random = seed * 0x100000001b3u + ++launches;
    job.seed = next_random(random);
    job.first = next_random(random) % job.count;
    // A step that is coprime to the count visits every block once.
    do {
        job.stride = next_random(random) % job.count + 1;
    } while (std::gcd(job.stride, job.count) != 1);
    if (job.count > 1 && wanted_workers() > 1) {
        run_on_all(job, caller());
    } else {
        run_blocks(job, caller());
    }
    if (job.failed) {
        report = job.where;
        return job.fault.code;
    }
    // A kernel can reach a buffer only by one of its arguments.
    for (size_t i = 0; i + 8 <= launch.storage.size(); i += 8) {
        const void* p;
        memcpy(&p, launch.storage.data() + i, 8);
        std::string text = check_zones(p);
        if (text.empty()) continue;
        report = std::string(launch.kernel->name) + ": wrote " + text;
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
    return CUDA_SUCCESS;
}

}  // namespace emulator

#include "rtloop/core/threads/loop_threads.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <stdexcept>

#include "rtloop/core/cycle/probe.hpp"

namespace rtloop {

namespace {

// From the decision to activate to the first release.
constexpr int64_t kLeadNs = 2'000'000;
constexpr std::chrono::milliseconds kLookInterval(20);
// How long the destructor waits for a cycle.
constexpr int64_t kGiveUpNs = kNsPerSecond;

// Set once, when this process is about to end.
std::atomic<bool> process_ends{false};

void probe(int active) {
    if (rtloop_probe_active != nullptr) rtloop_probe_active(active);
}

// Threads whose cycle did not come back. While there is one, the process ends without destructors:
// those of ONNX Runtime would take away what it is in the middle of.
std::atomic<int> n_left_behind{0};

void end_without_destructors(int status, void *) {
    if (n_left_behind.load() == 0) return;
    std::fflush(nullptr);
    _exit(status);
}

void leave_one_behind() {
    // Registered last, it is run first.
    static const int registered = on_exit(end_without_destructors, nullptr);
    static_cast<void>(registered);
    n_left_behind.fetch_add(1);
}

}  // namespace

struct LoopThreads::Shared {
    enum class Decision { pending, activate, end };

    explicit Shared(std::shared_ptr<Loop> loop) : loop(std::move(loop)) {}

    void run_loop(const ThreadSetup &setup, size_t warm_up_runs);
    void run_guard(const ThreadSetup &setup);
    Decision report_and_wait();
    void decide(Decision decided, int64_t r0_ns);
    // The loop's thread has ended. Of both threads: counted once.
    void no_longer_left_behind() {
        if (left_behind.exchange(false)) n_left_behind.fetch_sub(1);
    }

    const std::shared_ptr<Loop> loop;

    // Until the decision; locks are fine, nothing is active yet.
    std::mutex mutex;
    std::condition_variable changed;
    SetUp found;
    int ready = 0;  // threads that are set up
    Decision decision = Decision::pending;
    int64_t first_release_ns = 0;

    // From then on.
    std::atomic<bool> loop_ended{false};
    std::atomic<bool> left_behind{false};
    std::atomic<bool> guard_stop{false};
};

LoopThreads::Shared::Decision LoopThreads::Shared::report_and_wait() {
    std::unique_lock lock(mutex);
    ++ready;
    changed.notify_all();
    changed.wait(lock, [this] { return decision != Decision::pending; });
    return decision;
}

void LoopThreads::Shared::decide(Decision decided, int64_t r0_ns) {
    std::scoped_lock lock(mutex);
    decision = decided;
    first_release_ns = r0_ns;
    changed.notify_all();
}

void LoopThreads::Shared::run_loop(const ThreadSetup &setup, size_t warm_up_runs) {
    std::vector<Right> rights = apply_to_this_thread(setup);
    prefault_stack();
    WarmUp warm_up;
    std::string error;
    try {
        warm_up = loop->graph().warm_up(warm_up_runs, [this] { return !loop->is_asked_to_stop(); });
    } catch (const std::exception &e) {
        error = e.what();
    }
    {
        std::scoped_lock lock(mutex);
        found.loop_rights = std::move(rights);
        found.warm_up = std::move(warm_up);
        found.error = std::move(error);
    }
    if (report_and_wait() == Decision::activate) {
        loop->begin(first_release_ns);
        probe(1);
        while (loop->step()) {
        }
        probe(0);
        loop->end();
    }
    loop->graph().give_back();
    loop_ended.store(true);
    // A cycle that comes back while the process ends: what it holds is not let go of any more.
    while (left_behind.load() && process_ends.load()) pause();
    no_longer_left_behind();
}

void LoopThreads::Shared::run_guard(const ThreadSetup &setup) {
    std::vector<Right> rights = apply_to_this_thread(setup);
    prefault_stack();
    {
        std::scoped_lock lock(mutex);
        found.guard_rights = std::move(rights);
    }
    if (report_and_wait() != Decision::activate) return;
    Guard &guard = loop->guard();
    Clock &clock = loop->clock();
    probe(1);
    while (!guard_stop.load(std::memory_order_relaxed)) {
        const uint32_t seen = loop->deadlines_seen();
        const int64_t now_ns = clock.now();
        guard.fire(now_ns);
        loop->rest_guard(seen, std::min(guard.next_look_ns(now_ns), now_ns + kStopLatencyNs));
    }
    probe(0);
}

LoopThreads::LoopThreads(std::shared_ptr<Loop> loop)
    : shared_(std::make_shared<Shared>(std::move(loop))), process_(getpid()) {}

LoopThreads::~LoopThreads() {
    deactivate(kGiveUpNs);
}

SetUp LoopThreads::set_up(const ThreadSetup &loop_thread, const ThreadSetup &guard_thread,
                          size_t warm_up_runs, const std::function<void()> &look) {
    if (loop_thread_.joinable() || shared_->decision != Shared::Decision::pending) {
        throw std::invalid_argument("the threads of this loop were set up already");
    }
    if (!shared_->loop->graph().claim()) {
        throw std::invalid_argument(
            "the graph of this loop is in use, perhaps by a cycle that hung: configure it anew");
    }
    if (!shared_->loop->claim()) {
        shared_->loop->graph().give_back();
        throw std::invalid_argument("this loop had threads already: it is one activation");
    }
    shared_->loop->withdraw_stop();
    loop_thread_ = std::thread([shared = shared_, loop_thread, warm_up_runs] {
        shared->run_loop(loop_thread, warm_up_runs);
    });
    guard_thread_ =
        std::thread([shared = shared_, guard_thread] { shared->run_guard(guard_thread); });
    std::unique_lock lock(shared_->mutex);
    while (
        !shared_->changed.wait_for(lock, kLookInterval, [this] { return shared_->ready == 2; })) {
        lock.unlock();
        look();
        lock.lock();
    }
    return shared_->found;
}

int64_t LoopThreads::activate(std::span<LoopThreads *const> all) {
    for (const LoopThreads *threads : all) {
        if (!threads->loop_thread_.joinable() ||
            threads->shared_->decision != Shared::Decision::pending) {
            throw std::invalid_argument("a loop is activated once, after its threads were set up");
        }
    }
    const int64_t first_release_ns = MonotonicClock().now() + kLeadNs;
    for (LoopThreads *threads : all) {
        threads->shared_->decide(Shared::Decision::activate, first_release_ns);
    }
    return first_release_ns;
}

bool LoopThreads::deactivate(int64_t timeout_ns) {
    if (!loop_thread_.joinable()) return true;
    if (getpid() != process_) {
        disown();
        return true;
    }
    shared_->loop->request_stop();
    if (shared_->decision == Shared::Decision::pending) {
        shared_->decide(Shared::Decision::end, 0);
    }
    MonotonicClock clock;
    const int64_t give_up_ns = clock.now() + timeout_ns;
    while (!shared_->loop_ended.load(std::memory_order_acquire) && clock.now() < give_up_ns) {
        clock.sleep_until(clock.now() + 500'000);
    }
    const bool returned = shared_->loop_ended.load(std::memory_order_acquire);
    if (returned) {
        loop_thread_.join();
    } else {
        shared_->loop->abandon();
        leave_one_behind();
        shared_->left_behind.store(true);
        if (shared_->loop_ended.load()) shared_->no_longer_left_behind();
        loop_thread_.detach();  // it holds the loop alive, and finds the fault latched
    }
    shared_->guard_stop.store(true);
    if (guard_thread_.joinable()) guard_thread_.join();
    return returned;
}

// In a forked child there are no such threads, and the loop is its parent's: neither is touched.
void LoopThreads::disown() {
    for (std::thread *thread : {&loop_thread_, &guard_thread_}) {
        static_cast<void>(new std::thread(std::move(*thread)));  // never destroyed
    }
    static_cast<void>(new std::shared_ptr<Shared>(shared_));
}

void LoopThreads::process_will_end() {
    process_ends.store(true);
}

}  // namespace rtloop

#include "rtloop/core/topics/topic_thread.hpp"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "rtloop/core/ports/arrival.hpp"
#include "rtloop/core/threads/signals_blocked.hpp"

namespace rtloop {

namespace {

constexpr std::chrono::milliseconds kEndsWithin(1000);

}  // namespace

struct TopicThread::Shared {
    explicit Shared(std::function<int64_t()> what) : work(std::move(what)) {}

    void run(const std::string &name) {
        pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
        thread_id.store(static_cast<pid_t>(syscall(SYS_gettid)));
        while (!is_ending.load()) {
            const uint32_t seen = bell.seen();
            bell.wait(seen, work());
        }
        const std::scoped_lock lock(mutex);
        thread_id.store(0);
        has_ended = true;
        changed.notify_all();
    }

    const std::function<int64_t()> work;
    Arrival bell;
    std::atomic<bool> is_ending{false};
    std::atomic<pid_t> thread_id{0};
    std::mutex mutex;
    std::condition_variable changed;
    bool has_ended = false;
};

TopicThread::TopicThread(const std::string &name, std::function<int64_t()> work)
    : shared_(std::make_shared<Shared>(std::move(work))), process_(getpid()) {
    const SignalsBlocked none;
    thread_ = std::thread([shared = shared_, name] { shared->run(name); });
    while (shared_->thread_id.load() == 0) std::this_thread::yield();
}

void TopicThread::tell() noexcept {
    shared_->bell.tell();
}

void TopicThread::tell(const void *thread) noexcept {
    static_cast<Arrival *>(const_cast<void *>(thread))->tell();
}

const void *TopicThread::told_through() const noexcept {
    return &shared_->bell;
}

void TopicThread::outlive() {
    static_cast<void>(new std::shared_ptr<Shared>(shared_));  // never destroyed
}

std::vector<Right> TopicThread::schedule(const ThreadSetup &setup) {
    const pid_t thread = shared_->thread_id.load();
    return thread == 0 ? std::vector<Right>{} : apply_to_thread(thread, setup);
}

bool TopicThread::is_here() const noexcept {
    return getpid() == process_;
}

bool TopicThread::end() {
    if (!is_here()) {
        if (thread_.joinable()) {
            static_cast<void>(new std::thread(std::move(thread_)));  // never destroyed
            static_cast<void>(new std::shared_ptr<Shared>(shared_));
        }
        return false;
    }
    shared_->is_ending.store(true);
    shared_->bell.tell();
    std::unique_lock lock(shared_->mutex);
    shared_->changed.wait_for(lock, kEndsWithin, [this] { return shared_->has_ended; });
    if (!thread_.joinable()) return shared_->has_ended;
    // Kept from its CPU it ends when it gets it; nobody waits for that.
    if (shared_->has_ended) {
        lock.unlock();
        thread_.join();
        return true;
    }
    thread_.detach();
    return false;
}

}  // namespace rtloop

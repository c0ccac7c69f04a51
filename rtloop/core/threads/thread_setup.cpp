#include "rtloop/core/threads/thread_setup.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace rtloop {

namespace {

// glibc 2.36 has neither the struct nor the calls.
struct SchedAttr {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime;
    uint64_t deadline;
    uint64_t period;
};
constexpr uint32_t kSchedDeadline = 6;
constexpr uint64_t kResetOnFork = 1;
constexpr pid_t kThisThread = 0;

uint32_t policy_number(Scheduler scheduler) {
    switch (scheduler) {
        case Scheduler::fifo:
            return SCHED_FIFO;
        case Scheduler::rr:
            return SCHED_RR;
        case Scheduler::deadline:
            return kSchedDeadline;
        case Scheduler::other:
            break;
    }
    return SCHED_OTHER;
}

std::string describe(const SchedAttr &attr) {
    std::ostringstream out;
    switch (attr.policy) {
        case SCHED_FIFO:
            out << "fifo " << attr.priority;
            break;
        case SCHED_RR:
            out << "rr " << attr.priority;
            break;
        case kSchedDeadline:
            out << "deadline " << attr.runtime << "/" << attr.deadline << "/" << attr.period
                << " ns";
            break;
        default:
            out << "other";
    }
    return out.str();
}

std::string describe(const std::vector<int> &cpus) {
    std::ostringstream out;
    for (size_t i = 0; i < cpus.size(); ++i) out << (i > 0 ? "," : "") << cpus[i];
    return out.str();
}

std::vector<int> cpus_of(const cpu_set_t &set) {
    std::vector<int> cpus;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    }
    return cpus;
}

Right set_affinity(pid_t thread, std::vector<int> cpus) {
    std::sort(cpus.begin(), cpus.end());
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int cpu : cpus) {
        if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET(static_cast<size_t>(cpu), &set);
    }
    Right right{"cpu_affinity", describe(cpus), "", false, 0};
    if (sched_setaffinity(thread, sizeof(set), &set) != 0) right.error = errno;
    CPU_ZERO(&set);
    sched_getaffinity(thread, sizeof(set), &set);
    right.actual = describe(cpus_of(set));
    right.granted = right.actual == right.requested;
    return right;
}

Right set_scheduler(pid_t thread, const ThreadSetup &setup) {
    SchedAttr wanted = {};
    wanted.size = sizeof(wanted);
    wanted.policy = policy_number(setup.scheduler);
    wanted.flags = setup.scheduler == Scheduler::other ? 0 : kResetOnFork;
    if (setup.scheduler == Scheduler::fifo || setup.scheduler == Scheduler::rr) {
        wanted.priority = static_cast<uint32_t>(setup.priority);
    }
    if (setup.scheduler == Scheduler::deadline) {
        wanted.runtime = static_cast<uint64_t>(setup.runtime_ns);
        wanted.deadline = static_cast<uint64_t>(setup.deadline_ns);
        wanted.period = static_cast<uint64_t>(setup.period_ns);
    }
    Right right{"scheduler", describe(wanted), "", false, 0};
    if (syscall(SYS_sched_setattr, thread, &wanted, 0) != 0) right.error = errno;
    SchedAttr actual = {};
    syscall(SYS_sched_getattr, thread, &actual, sizeof(actual), 0);
    right.actual = describe(actual);
    right.granted = right.actual == right.requested;
    return right;
}

Right set_timer_slack() {
    Right right{"timer_slack", "1 ns", "", false, 0};
    if (prctl(PR_SET_TIMERSLACK, 1UL) != 0) right.error = errno;
    const long slack = prctl(PR_GET_TIMERSLACK);
    right.actual = std::to_string(slack) + " ns";
    // The kernel itself reports 0 for real-time threads, which have no slack at all.
    right.granted = slack == 1 || slack == 0;
    return right;
}

int64_t locked_kib() {
    std::ifstream file("/proc/self/status");
    for (std::string line; std::getline(file, line);) {
        if (line.rfind("VmLck:", 0) == 0) return std::strtoll(line.c_str() + 6, nullptr, 10);
    }
    return 0;
}

}  // namespace

std::vector<Right> apply_to_this_thread(const ThreadSetup &setup) {
    pthread_setname_np(pthread_self(), setup.name.substr(0, 15).c_str());
    std::vector<Right> rights;
    if (!setup.cpus.empty()) rights.push_back(set_affinity(kThisThread, setup.cpus));
    rights.push_back(set_timer_slack());  // before the scheduler: real-time threads cannot set it
    rights.push_back(set_scheduler(kThisThread, setup));
    return rights;
}

std::vector<Right> apply_to_thread(pid_t thread, const ThreadSetup &setup) {
    std::vector<Right> rights;
    if (!setup.cpus.empty()) rights.push_back(set_affinity(thread, setup.cpus));
    rights.push_back(set_scheduler(thread, setup));
    return rights;
}

void prefault_stack() noexcept {
    constexpr size_t kBytes = 256 * 1024;
    volatile char stack[kBytes];
    for (size_t i = 0; i < kBytes; i += 4096) stack[i] = 1;
    static_cast<void>(stack[0]);
}

std::vector<int> allowed_cpus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    return cpus_of(set);
}

Right lock_memory() {
    mallopt(M_TRIM_THRESHOLD, -1);
    mallopt(M_MMAP_MAX, 0);
    // Enough arenas that no real-time thread shares one, and with it a lock, with a Python thread.
    mallopt(M_ARENA_MAX, 256);
    Right right{"lock_memory", "all", "", false, 0};
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) right.error = errno;
    right.granted = right.error == 0 && locked_kib() > 0;
    right.actual = right.granted ? "all" : "none";
    return right;
}

CpuLatencyHold::CpuLatencyHold(int32_t max_latency_us)
    : right_{"cpu_dma_latency", std::to_string(max_latency_us) + " us", "not held", false, 0} {
    fd_ = open("/dev/cpu_dma_latency", O_RDWR | O_CLOEXEC);
    int32_t actual = -1;
    if (fd_ < 0 ||
        ::write(fd_, &max_latency_us, sizeof(max_latency_us)) != sizeof(max_latency_us) ||
        pread(fd_, &actual, sizeof(actual), 0) != sizeof(actual)) {
        right_.error = errno;
        return;
    }
    right_.actual = std::to_string(actual) + " us";
    right_.granted = actual <= max_latency_us;  // someone else may hold it lower still
}

CpuLatencyHold::~CpuLatencyHold() {
    if (fd_ >= 0) close(fd_);
}

}  // namespace rtloop

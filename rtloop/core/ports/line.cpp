#include "rtloop/core/ports/line.hpp"

#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <system_error>

namespace rtloop {

namespace {

constexpr timespec kGuardIsDoneSoon = {0, 100'000};

[[noreturn]] void fail(const char *what) {
    throw std::system_error(errno, std::generic_category(), what);
}

void make_non_blocking(int fd) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        fail("cannot set the link non-blocking");
    }
    // With VMIN 0 a hung-up line reads like an idle one; with VMIN 1 "nothing yet" is EAGAIN.
    termios tio;
    if (isatty(fd) && tcgetattr(fd, &tio) == 0) {
        tio.c_cc[VMIN] = 1;
        tio.c_cc[VTIME] = 0;
        if (tcsetattr(fd, TCSANOW, &tio) < 0) fail("cannot configure the link");
    }
}

}  // namespace

Line::Line(int fd) : fd_(fcntl(fd, F_DUPFD_CLOEXEC, 0)) {
    if (fd_ < 0) fail("cannot duplicate the link");
    try {
        make_non_blocking(fd_);
    } catch (...) {
        close(fd_);
        throw;
    }
}

Line::~Line() {
    close(fd_);
}

void Line::reset() noexcept {
    state_.store(State::attached);
    number_.store(0);
    reason_.store(FaultReason::none);
    error_.store(0);
    losses_.store(0);
    n_taken_.store(0);
    lost_since_ns_.store(-1);
    lost_ns_.store(0);
}

void Line::lose(int error, int64_t now_ns) noexcept {
    error_.store(error, std::memory_order_relaxed);
    losses_.fetch_add(1, std::memory_order_relaxed);
    lost_since_ns_.store(now_ns, std::memory_order_relaxed);
    number_.fetch_add(1);
    state_.store(State::lost);
}

const LineTerms *Line::take(int64_t now_ns) noexcept {
    if (state_.load() != State::offered) return nullptr;
    const int64_t lost_ns = this->lost_ns(now_ns);
    lost_since_ns_.store(-1, std::memory_order_relaxed);
    lost_ns_.store(lost_ns, std::memory_order_relaxed);
    n_taken_.fetch_add(1, std::memory_order_relaxed);
    error_.store(0, std::memory_order_relaxed);
    number_.fetch_add(1);
    state_.store(State::attached);
    return &terms_;
}

FaultReason Line::given_up_for() const noexcept {
    return state_.load() == State::given_up ? reason_.load() : FaultReason::none;
}

// Either this finds the line lost, or who exchanges it finds the guard sending: all of it is
// sequentially consistent.
bool Line::begin_sending(uint32_t number) noexcept {
    guard_sends_.store(true);
    return number % 2 == 0 && number_.load() == number;
}

void Line::let_go() {
    const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (nothing < 0) fail("cannot let go of the link");
    try {
        exchange(nothing);
    } catch (...) {
        close(nothing);
        throw;
    }
    close(nothing);
}

void Line::offer(int fd, const LineTerms &terms) {
    make_non_blocking(fd);
    exchange(fd);
    terms_ = terms;
    state_.store(State::offered);
}

void Line::give_up(FaultReason reason) noexcept {
    reason_.store(reason);
    state_.store(State::given_up);
}

// In one step for whoever uses the descriptor at the same time; the old one is closed here.
void Line::exchange(int fd) {
    while (guard_sends_.load()) nanosleep(&kGuardIsDoneSoon, nullptr);
    if (dup3(fd, fd_, O_CLOEXEC) < 0) fail("cannot exchange the link");
}

int64_t Line::lost_ns(int64_t now_ns) const noexcept {
    const int64_t since_ns = lost_since_ns_.load(std::memory_order_relaxed);
    const int64_t before_ns = lost_ns_.load(std::memory_order_relaxed);
    return since_ns < 0 ? before_ns : before_ns + now_ns - since_ns;
}

}  // namespace rtloop

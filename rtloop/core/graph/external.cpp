#include "rtloop/core/graph/external.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <system_error>

#include "rtloop/core/cycle/clock.hpp"

namespace rtloop {

namespace {

constexpr External::Question kNone{0, -1, -1};

int new_eventfd() {
    const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
    return fd;
}

}  // namespace

External::External(size_t question_size, size_t answer_size)
    : question_size_(question_size),
      answer_size_(answer_size),
      wake_(new_eventfd()),
      questions_(question_size, kNone),
      answers_(answer_size, kNone) {
    if (question_size > 0 && answer_size > 0) return;
    ::close(wake_);
    throw std::invalid_argument("what is asked and what is answered has at least one value");
}

External::~External() {
    ::close(wake_);
}

void External::open() noexcept {
    given_out_ = questions_.refresh();
    error_size_.store(0);
    is_failing_.store(false);
    mode_.store(Mode::open, std::memory_order_release);
}

void External::close() noexcept {
    mode_.store(Mode::closed, std::memory_order_release);
    wake();
}

void External::answer_at_once(Answer answer, std::function<void()> begin) {
    answer_at_once_ = std::move(answer);
    begin_at_once_ = std::move(begin);
}

bool External::run(const float *question, float *answer, int64_t taken_ns) noexcept {
    if (answer_at_once_) return run_at_once(question, answer, taken_ns);
    if (mode_.load(std::memory_order_acquire) == Mode::rehearsed) {
        std::fill_n(answer, answer_size_, 0.0F);
        has_answer_ = true;
        return true;
    }
    if (error_size_.load(std::memory_order_acquire) != 0) return false;
    const Question &newest = answers_.refresh();
    if (newest.number > before_) {
        std::copy_n(answers_.front().data(), answer_size_, answer);
        gap_ += std::max<int64_t>(newest.number - answered_ - 1, 0);
        answered_ = newest.number;
        taken_ns_ = newest.taken_ns;
        has_answer_ = true;
    }
    // Of the first question nothing can be there yet.
    is_late_ = asked_ > before_ && newest.number != asked_;
    leave(question, taken_ns);
    return true;
}

bool External::run_at_once(const float *question, float *answer, int64_t taken_ns) noexcept {
    has_answer_ = true;
    is_late_ = false;
    taken_ns_ = taken_ns;
    try {
        if (error_size_.load() == 0) answer_at_once_(question, answer);
    } catch (const std::exception &error) {
        fail(error.what());
    }
    return error_size_.load() == 0;
}

void External::leave(const float *question, int64_t taken_ns) noexcept {
    questions_.write(question, {++asked_, taken_ns, MonotonicClock().now()});
    if (mode_.load(std::memory_order_relaxed) == Mode::open) wake();
}

void External::wake() noexcept {
    const uint64_t one = 1;
    // It fails only where it is awake for a long time to come.
    static_cast<void>(!::write(wake_, &one, sizeof one));
}

uint32_t External::take_gap() noexcept {
    const int64_t gap = gap_;
    gap_ = 0;
    return static_cast<uint32_t>(gap);
}

void External::reset() noexcept {
    before_ = answered_ = asked_;
    gap_ = 0;
    taken_ns_ = -1;
    is_late_ = has_answer_ = false;
    if (!answer_at_once_) return;
    error_size_.store(0);
    is_failing_.store(false);
    try {
        if (begin_at_once_) begin_at_once_();
    } catch (const std::exception &error) {
        fail(error.what());
    }
}

bool External::next(int64_t timeout_ns) noexcept {
    const int64_t end_ns = timeout_ns < 0 ? kNever : MonotonicClock().now() + timeout_ns;
    for (;;) {
        if (mode_.load(std::memory_order_acquire) == Mode::closed) return false;
        const Question &newest = questions_.refresh();
        if (newest.number > given_out_.number) {
            given_out_ = newest;
            return true;
        }
        const int64_t left_ns = end_ns == kNever ? -1 : end_ns - MonotonicClock().now();
        if (end_ns != kNever && left_ns <= 0) return false;
        pollfd fd{wake_, POLLIN, 0};
        const int64_t left_ms = left_ns / 1'000'000 + 1;
        const int timeout_ms =
            left_ns < 0 ? -1 : static_cast<int>(std::min<int64_t>(left_ms, 60'000));
        if (::poll(&fd, 1, timeout_ms) > 0) {
            uint64_t count = 0;
            static_cast<void>(!::read(wake_, &count, sizeof count));
        }
    }
}

void External::answer(const float *values) noexcept {
    answers_.write(values, given_out_);
}

void External::fail(const char *why) noexcept {
    if (is_failing_.exchange(true)) return;
    const char *text = why[0] == '\0' ? "?" : why;
    const size_t size = strnlen(text, error_.size() - 1);
    std::memcpy(error_.data(), text, size);
    error_[size] = '\0';
    error_size_.store(size, std::memory_order_release);
}

void External::ask(size_t n, int64_t period_ns) {
    MonotonicClock clock;
    const std::vector<float> zeros(question_size_, 0.0F);
    const int64_t first_ns = clock.now();
    for (size_t i = 0; i < n; ++i) {
        clock.sleep_until(first_ns + static_cast<int64_t>(i) * period_ns);
        leave(zeros.data(), clock.now());
    }
}

}  // namespace rtloop

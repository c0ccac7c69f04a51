#include "rtloop/core/ports/mailbox.hpp"

#include <stdexcept>

#include "rtloop/core/cycle/clock.hpp"

namespace rtloop {

namespace {

size_t count(const PortOptions &options) {
    const int64_t n = options.has("inputs") ? options.integer("inputs") : 0;
    if (n < 0 || n > 65'535) throw std::invalid_argument("a mailbox holds 0 to 65535 values");
    return static_cast<size_t>(n);
}

}  // namespace

Mailbox::Mailbox(size_t inputs, std::vector<float> safe)
    : n_inputs_(inputs),
      safe_(std::move(safe)),
      default_(safe_),
      samples_(inputs),
      commands_(safe_.size()) {}

Mailbox::Mailbox(const PortOptions &options)
    : Mailbox(count(options),
              options.has("safe") ? options.numbers("safe") : std::vector<float>{}) {}

// Until there is a new command, the safe one is in force, and not the last one of before.
void Mailbox::rearm() noexcept {
    commands_.write(safe_.data(), -1);
    safe_since_ns_.store(-1, std::memory_order_relaxed);
    safe_in_force_.store(false, std::memory_order_release);
}

Sample Mailbox::read(float *values) noexcept {
    const int64_t time_ns = samples_.refresh();
    if (time_ns >= 0) std::copy_n(samples_.front().data(), n_inputs_, values);
    return {time_ns, 0};
}

bool Mailbox::write(const float *values, int64_t now_ns, int64_t) noexcept {
    if (safe_in_force_.load(std::memory_order_acquire)) return false;
    commands_.write(values, now_ns);
    n_commands_.fetch_add(1, std::memory_order_relaxed);
    return true;
}

void Mailbox::prepare_default(const float *values, int64_t) noexcept {
    std::copy_n(values, default_.size(), default_.data());
}

bool Mailbox::write_default(int64_t now_ns) noexcept {
    return write(default_.data(), now_ns, 0);
}

// A flag, not a value in the buffer: the guard must not become its second writer.
void Mailbox::write_safe() noexcept {
    int64_t never = -1;
    safe_since_ns_.compare_exchange_strong(never, MonotonicClock().now());
    safe_in_force_.store(true, std::memory_order_release);
}

std::vector<std::pair<std::string, int64_t>> Mailbox::counters() const {
    return {{"safe_in_force", safe_in_force_.load(std::memory_order_acquire) ? 1 : 0},
            {"commands", n_commands_.load(std::memory_order_relaxed)}};
}

bool Mailbox::put(const float *values, int64_t time_ns) noexcept {
    if (n_inputs_ == 0) return false;
    samples_.write(values, time_ns);
    return true;
}

bool Mailbox::newest(float *values, int64_t &time_ns) noexcept {
    if (safe_.empty()) return false;
    time_ns = commands_.refresh();
    const bool sent = safe_in_force_.load(std::memory_order_acquire);
    const bool safe = time_ns < 0 || sent;
    // A new time, so that whoever applies what is new applies it.
    if (sent) time_ns = safe_since_ns_.load(std::memory_order_relaxed);
    std::copy_n(safe ? safe_.data() : commands_.front().data(), safe_.size(), values);
    return true;
}

}  // namespace rtloop

RTLOOP_PORT_KIND(mailbox, rtloop::Mailbox)

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
      first_(std::move(safe)),
      default_(first_),
      safe_(first_),
      samples_(inputs),
      commands_(first_.size()) {
    safe_.put_in_force();  // before the first rearm() nothing is taken
}

Mailbox::Mailbox(const PortOptions &options)
    : Mailbox(count(options),
              options.has("safe") ? options.numbers("safe") : std::vector<float>{}) {}

// Until there is a new command, the safe one is in force, and not the last one of before.
void Mailbox::rearm() noexcept {
    commands_.write(first_.data(), -1);
    safe_since_ns_.store(-1, std::memory_order_relaxed);
    safe_.withdraw();
}

Sample Mailbox::await_sample(int64_t until_ns) noexcept {
    do {
        const uint32_t seen = arrival_.seen();
        if (samples_.is_fresh()) return {samples_.refresh(), 0};
        if (!arrival_.wait(seen, until_ns)) return {};
    } while (true);
}

Sample Mailbox::read(float *values) noexcept {
    const int64_t time_ns = samples_.refresh();
    if (time_ns >= 0) std::copy_n(samples_.front().data(), n_inputs_, values);
    return {time_ns, 0};
}

bool Mailbox::write(const float *values, int64_t now_ns, int64_t) noexcept {
    if (safe_.is_in_force()) return false;
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

// Not into the buffer of the commands: the guard must not become its second writer.
void Mailbox::write_safe() noexcept {
    int64_t never = -1;
    safe_since_ns_.compare_exchange_strong(never, MonotonicClock().now());
    safe_.put_in_force();
}

std::vector<std::pair<std::string, int64_t>> Mailbox::counters() const {
    return {{"safe_in_force", safe_.is_in_force() ? 1 : 0},
            {"commands", n_commands_.load(std::memory_order_relaxed)}};
}

bool Mailbox::put(const float *values, int64_t time_ns) noexcept {
    if (n_inputs_ == 0) return false;
    samples_.write(values, time_ns);
    arrival_.tell();
    return true;
}

bool Mailbox::newest(float *values, int64_t &time_ns) noexcept {
    if (first_.empty()) return false;
    if (safe_.copy(values)) {
        // A new time, so that whoever applies what is new applies it.
        time_ns = safe_since_ns_.load(std::memory_order_relaxed);
        return true;
    }
    time_ns = commands_.refresh();
    std::copy_n(time_ns < 0 ? first_.data() : commands_.front().data(), first_.size(), values);
    return true;
}

}  // namespace rtloop

RTLOOP_PORT_KIND(mailbox, rtloop::Mailbox)

#include "rtloop/core/ports/relay.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace rtloop {

namespace {

constexpr int64_t kNotSafe = std::numeric_limits<int64_t>::max();

bool is_known(const float *values, size_t size) noexcept {
    return std::none_of(values, values + size, [](float value) { return std::isnan(value); });
}

}  // namespace

Relay::Relay(size_t size, size_t capacity, bool at_deadline)
    : size_(size),
      at_deadline_(at_deadline),
      slots_(capacity),
      safe_(std::vector<float>(size, std::numeric_limits<float>::quiet_NaN())),
      safe_since_ns_(kNotSafe),
      first_(size, std::numeric_limits<float>::quiet_NaN()) {
    if (size == 0 || capacity < 2) {
        throw std::invalid_argument("a relay keeps two commands at least, each of a value or more");
    }
    for (Slot &slot : slots_) slot.values = std::vector<std::atomic<float>>(size);
}

void Relay::rearm(const float *first) noexcept {
    n_before_ = n_written_.load(std::memory_order_relaxed);
    std::copy_n(first, size_, first_.data());
    safe_since_ns_.store(kNotSafe, std::memory_order_relaxed);
    safe_.withdraw();
}

void Relay::write(const float *values, int64_t now_ns, int64_t deadline_ns) noexcept {
    const uint64_t number = n_written_.load(std::memory_order_relaxed) + 1;
    Slot &slot = slots_[number % slots_.size()];
    slot.number.store(0, std::memory_order_relaxed);
    // Whoever sees one of these sees the 0, too, or what comes after it.
    const int64_t from_ns = at_deadline_ ? std::max(now_ns, deadline_ns) : now_ns;
    slot.from_ns.store(from_ns, std::memory_order_release);
    for (size_t i = 0; i < size_; ++i) slot.values[i].store(values[i], std::memory_order_release);
    slot.number.store(number, std::memory_order_release);
    // Everybody's before the clock is read that says whether this was in time.
    n_written_.exchange(number, std::memory_order_seq_cst);
}

void Relay::write_safe(int64_t now_ns) noexcept {
    int64_t never = kNotSafe;
    safe_since_ns_.compare_exchange_strong(never, now_ns);
    safe_.put_in_force();
}

int64_t Relay::newest(int64_t at_ns, float *values) noexcept {
    const int64_t safe_since_ns = safe_since_ns_.load(std::memory_order_acquire);
    if (safe_since_ns <= at_ns && safe_.copy(values)) {
        return is_known(values, size_) ? safe_since_ns : kNone;
    }
    uint64_t number = n_written_.load(std::memory_order_acquire);
    for (size_t looks = slots_.size(); looks > 0 && number > n_before_; --looks, --number) {
        const Slot &slot = slots_[number % slots_.size()];
        if (slot.number.load(std::memory_order_acquire) != number) return kNone;
        const int64_t from_ns = slot.from_ns.load(std::memory_order_acquire);
        if (from_ns > at_ns) continue;
        for (size_t i = 0; i < size_; ++i) {
            values[i] = slot.values[i].load(std::memory_order_acquire);
        }
        return slot.number.load(std::memory_order_relaxed) == number ? from_ns : kNone;
    }
    if (number > n_before_ || !is_known(first_.data(), size_)) return kNone;
    std::copy_n(first_.data(), size_, values);
    return kFirst;
}

RelayReader::RelayReader(std::shared_ptr<Relay> relay) : relay_(std::move(relay)) {
    if (relay_ == nullptr) throw std::invalid_argument("a loop that reads another needs its relay");
    found_.resize(relay_->size());
}

void RelayReader::rearm() noexcept {
    first_release_ns_ = release_ns_ = now_ns_ = time_ns_ = kNever;
}

void RelayReader::released(int64_t release_ns) noexcept {
    if (first_release_ns_ == kNever) first_release_ns_ = release_ns;
    release_ns_ = release_ns;
}

// Before the first release: what is read at it, unless nobody has polled.
Sample RelayReader::read(float *values) noexcept {
    const bool is_released = release_ns_ != kNever;
    const int64_t at_ns = relay_->at_deadline() ? release_ns_ : now_ns_;
    const int64_t from_ns = relay_->newest(is_released ? at_ns : kNever, found_.data());
    if (from_ns != Relay::kNone) {
        const int64_t first_ns = is_released ? first_release_ns_ : now_ns_;
        time_ns_ = from_ns == Relay::kFirst ? first_ns : from_ns;
        std::copy(found_.begin(), found_.end(), values);
    }
    return {time_ns_, 0};
}

}  // namespace rtloop

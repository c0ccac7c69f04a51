#include "rtloop/core/ports/topic_output.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <thread>

#include "rtloop/core/cycle/clock.hpp"
#include "rtloop/core/ports/safe_command.hpp"
#include "rtloop/core/ports/triple_buffer.hpp"
#include "rtloop/core/topics/day_clock.hpp"
#include "rtloop/core/topics/rcl_api.hpp"

namespace rtloop {

namespace {

constexpr int64_t kUntilTold = std::numeric_limits<int64_t>::max();
// The safe command, over two periods, of which a slow loop need not wait for all.
constexpr int kSafeTimes = 5;
constexpr int64_t kSafeEveryMaxNs = 50'000'000;
constexpr auto kLook = std::chrono::milliseconds(1);

struct Tag {
    uint64_t number = 0;  // of the command, from 1
    int64_t valid_until_ns = 0;
};

}  // namespace

struct TopicOutput::Shared {
    Shared(const void *to, std::shared_ptr<CdrWriter> with, std::vector<float> safely,
           int64_t period)
        : publisher(to),
          writer(std::move(with)),
          period_ns(period),
          values(safely.size()),
          safe(safely),
          commands(safely.size(), Tag{}) {
        if (safely.size() != writer->n_values() || safely.empty()) {
            throw std::invalid_argument("a command has as many values as its message takes");
        }
        safe.put_in_force();  // before the first rearm() nothing is taken
    }

    // The thread.
    int64_t publish_what_is_due();
    int64_t publish_safe(bool has_commanded);
    bool publish();

    const rcl::Api api;
    const void *const publisher;
    const std::shared_ptr<CdrWriter> writer;
    const int64_t period_ns;
    // Of the thread.
    std::vector<float> values;
    uint64_t seen = 0;
    int64_t safe_at_ns = 0;
    // Between it and the loop.
    SafeCommand safe;
    Newest<Tag> commands;
    std::atomic<uint64_t> before{0};       // number of the newest command of activations before
    std::atomic<uint64_t> left{0};         // number of the newest command that did
    std::atomic<int> safe_left{0};         // how often the safe command is still to be sent
    std::atomic<bool> safe_failed{false};  // to leave, when it was sent last
    std::atomic<int64_t> published{0};
    std::atomic<int64_t> safe_published{0};
    std::atomic<int64_t> errors{0};
    std::atomic<int64_t> expired{0};
    std::atomic<int64_t> late{0};
};

int64_t TopicOutput::Shared::publish_what_is_due() {
    const Tag tag = commands.refresh();
    if (safe.is_in_force()) return publish_safe(tag.number > before.load());
    if (tag.number <= std::max(seen, before.load())) return kUntilTold;
    seen = tag.number;
    if (MonotonicClock().now() > tag.valid_until_ns) {
        expired.fetch_add(1);
        return kUntilTold;
    }
    std::copy(commands.front().begin(), commands.front().end(), values.begin());
    if (!publish()) return kUntilTold;
    published.fetch_add(1);
    left.store(tag.number);
    return kUntilTold;
}

int64_t TopicOutput::Shared::publish_safe(bool has_commanded) {
    const int to_send = safe_left.load();
    if (to_send <= 0) return kUntilTold;
    const int64_t now_ns = MonotonicClock().now();
    if (to_send < kSafeTimes && now_ns < safe_at_ns) return safe_at_ns;
    const bool is_known =
        safe.copy(values.data()) &&
        std::none_of(values.begin(), values.end(), [](float value) { return std::isnan(value); });
    const bool left = is_known && publish();
    safe_published.fetch_add(left ? 1 : 0);
    // Where nothing was commanded and nothing is known to be safe, nothing is owed.
    safe_failed.store(!left && (is_known || has_commanded));
    safe_at_ns = now_ns + std::min(period_ns / 2, kSafeEveryMaxNs);
    return safe_left.fetch_sub(1) > 1 ? safe_at_ns : kUntilTold;
}

bool TopicOutput::Shared::publish() {
    writer->set(values.data(), DayClock::now_of(CLOCK_REALTIME));
    rcl::Bytes message{};
    message.buffer = const_cast<uint8_t *>(writer->data());  // which it only reads
    message.buffer_length = message.buffer_capacity = writer->size();
    message.allocator = api.default_allocator();
    const rcl::Ret result = api.publish_serialized(publisher, &message, nullptr);
    if (result == rcl::kOk) return true;
    api.forget_error();
    errors.fetch_add(1);
    return false;
}

TopicOutput::TopicOutput(const void *publisher, std::shared_ptr<CdrWriter> writer,
                         std::vector<float> safe, int64_t period_ns)
    : shared_(std::make_shared<Shared>(publisher, std::move(writer), std::move(safe), period_ns)),
      thread_("rtloop topic", [shared = shared_] { return shared->publish_what_is_due(); }),
      default_(shared_->values.size()) {}

TopicOutput::~TopicOutput() {
    close();
}

size_t TopicOutput::n_outputs() const noexcept {
    return default_.size();
}

void TopicOutput::rearm() noexcept {
    is_first_ = true;
    shared_->before.store(written_);  // the thread may not have seen it
    shared_->safe_left.store(0);
    shared_->safe_failed.store(false);
    shared_->safe.withdraw();
    not_published_.start_from(shared_->late);
}

void TopicOutput::poll(int64_t now_ns) noexcept {
    not_published_.tell(shared_->late, now_ns, events());
}

bool TopicOutput::write(const float *values, int64_t, int64_t deadline_ns) noexcept {
    if (shared_->safe.is_in_force()) return false;
    const bool left = is_first_ || shared_->left.load() == written_;
    is_first_ = false;
    shared_->commands.write(values, {++written_, deadline_ns + shared_->period_ns});
    thread_.tell();
    if (!left) shared_->late.fetch_add(1);
    return left;
}

void TopicOutput::prepare_default(const float *values, int64_t deadline_ns) noexcept {
    std::copy_n(values, default_.size(), default_.data());
    default_deadline_ns_ = deadline_ns;
}

bool TopicOutput::write_default(int64_t now_ns) noexcept {
    return write(default_.data(), now_ns, default_deadline_ns_);
}

void TopicOutput::write_safe() noexcept {
    // The first of them starts it: a second one, as from whoever ends the loop, starts it no more.
    if (shared_->safe.put_in_force()) {
        shared_->safe_left.store(kSafeTimes);
        thread_.tell();
    }
}

bool TopicOutput::prepare_safe(const float *values) noexcept {
    return shared_->safe.prepare(values);
}

std::vector<std::pair<std::string, int64_t>> TopicOutput::counters() const {
    return {{"safe_in_force", shared_->safe.is_in_force() ? 1 : 0},
            {"published", shared_->published},
            {"safe_published", shared_->safe_published},
            {"not_published", shared_->late},
            {"expired", shared_->expired},
            {"publish_errors", shared_->errors}};
}

bool TopicOutput::safe_was_sent(int64_t until_ns) const {
    if (!shared_->safe.is_in_force()) return false;
    while (shared_->safe_left.load() > 0 && MonotonicClock().now() < until_ns) {
        std::this_thread::sleep_for(kLook);
    }
    return shared_->safe_left.load() <= 0 && !shared_->safe_failed.load();
}

std::vector<Right> TopicOutput::schedule(const ThreadSetup &setup) {
    return thread_.schedule(setup);
}

bool TopicOutput::close() {
    return thread_.end();
}

}  // namespace rtloop

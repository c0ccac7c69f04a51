#include "rtloop/core/ports/topic_input.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "rtloop/core/cycle/clock.hpp"
#include "rtloop/core/ports/arrival.hpp"
#include "rtloop/core/ports/triple_buffer.hpp"
#include "rtloop/core/topics/day_clock.hpp"
#include "rtloop/core/topics/rcl_api.hpp"

namespace rtloop {

namespace {

constexpr int64_t kUntilTold = std::numeric_limits<int64_t>::max();
constexpr int64_t kAtOnce = 0;
// Of the buffer that messages are taken into; a larger one makes it grow.
constexpr size_t kMessageBytes = 16 * 1024;
// Of publishers on one topic whose sequence is followed; of more, the one longest silent makes
// room.
constexpr size_t kPublishers = 16;
// Messages that are taken in a row. Then it is asked whether it is to end: where they come as fast
// as they are taken, there is no last one.
constexpr int kInARow = 256;
// A message that has waited for longer has not: the clock of the day was set.
constexpr int64_t kWaitMaxNs = 10'000'000'000;

constexpr const char *kNoStamp = "its header's stamp is 0: the publisher leaves it out";
constexpr const char *kBehind = "its header's stamp is older than that of a message before it";
constexpr const char *kAhead =
    "its header's stamp is in the future: the publisher's clock is ahead of this host's";

struct Tag {
    int64_t time_ns = -1;
    int64_t error_ns = 0;
    int64_t taken_ns = -1;
    uint64_t gaps = 0;  // by then
};

struct PublisherSeen {
    std::array<uint8_t, rcl::kGidSize> gid{};
    uint64_t newest = 0;
    int64_t taken_ns = -1;
};

}  // namespace

struct TopicInput::Shared {
    Shared(const void *from, std::shared_ptr<CdrReader> with, Stamp which)
        : subscription(from),
          reader(std::move(with)),
          stamp(which),
          values(reader->n_values()),
          samples(values.size(), Tag{}) {
        message.allocator = api.default_allocator();
        message.buffer = static_cast<uint8_t *>(
            message.allocator.allocate(kMessageBytes, message.allocator.state));
        if (message.buffer == nullptr) throw std::bad_alloc();
        message.buffer_capacity = kMessageBytes;
    }
    ~Shared() { message.allocator.deallocate(message.buffer, message.allocator.state); }
    Shared(const Shared &) = delete;
    Shared &operator=(const Shared &) = delete;

    // The thread.
    int64_t take_all();
    void use(const rcl::MessageInfo &info);
    bool time(const rcl::MessageInfo &info, int64_t stamp_ns, Tag &tag);
    uint64_t missed(const rcl::MessageInfo &info, int64_t now_ns);
    void refuse(std::atomic<int64_t> &count, const char *why);

    const rcl::Api api;
    const void *const subscription;
    const std::shared_ptr<CdrReader> reader;
    const Stamp stamp;
    // Of the thread.
    rcl::Bytes message{};
    std::vector<float> values;
    std::array<PublisherSeen, kPublishers> publishers;
    int64_t newest_made_ns = -1;
    // From it to the loop.
    Newest<Tag> samples;
    Arrival arrival;
    std::atomic<uint64_t> gaps{0};
    std::atomic<int64_t> messages{0};
    std::atomic<int64_t> unreadable{0};
    std::atomic<int64_t> ahead{0};
    std::atomic<int64_t> behind{0};
    std::atomic<int64_t> unstamped{0};
    std::atomic<int64_t> unnumbered{0};
    std::atomic<int64_t> n_publishers{0};
    std::atomic<int64_t> errors{0};
    std::atomic<const char *> refused{nullptr};

    int64_t badly_stamped() const noexcept { return ahead + behind + unstamped; }
};

int64_t TopicInput::Shared::take_all() {
    for (int i = 0; i < kInARow; ++i) {
        rcl::MessageInfo info{};
        message.buffer_length = 0;
        const rcl::Ret result = api.take_serialized(subscription, &message, &info, nullptr);
        if (result == rcl::kOk) {
            use(info);
            continue;
        }
        api.forget_error();
        if (result != rcl::kTakeFailed) errors.fetch_add(1);
        return kUntilTold;
    }
    return kAtOnce;
}

void TopicInput::Shared::use(const rcl::MessageInfo &info) {
    messages.fetch_add(1);
    Tag tag;
    tag.taken_ns = MonotonicClock().now();
    gaps.fetch_add(missed(info, tag.taken_ns));
    tag.gaps = gaps.load();
    const CdrReader::Found found =
        reader->read(message.buffer, message.buffer_length, values.data());
    if (found.why != nullptr) return refuse(unreadable, found.why);
    if (!time(info, found.stamp_ns, tag)) return;
    samples.write(values.data(), tag);
    arrival.tell();
}

// False: the sample does not count.
bool TopicInput::Shared::time(const rcl::MessageInfo &info, int64_t stamp_ns, Tag &tag) {
    const DayClock clock = DayClock::read();
    // When it came, and not when it was taken, where the middleware says so.
    const int64_t came_ns = clock.to_monotonic(info.received_timestamp);
    const bool is_told = came_ns <= tag.taken_ns && tag.taken_ns - came_ns < kWaitMaxNs;
    tag.time_ns = is_told ? came_ns : tag.taken_ns;
    if (stamp == Stamp::received) return true;

    if (stamp_ns <= 0) {
        refuse(unstamped, kNoStamp);
        return false;
    }
    const int64_t made_ns = clock.to_monotonic(stamp_ns);
    tag.error_ns = clock.error_ns;
    if (made_ns > tag.taken_ns + clock.error_ns) {
        // It is no older than it would be with the right clock, so it is as if it had none.
        refuse(ahead, kAhead);
        return true;
    }
    if (made_ns < std::max<int64_t>(newest_made_ns, 0)) {
        refuse(behind, kBehind);
        return false;
    }
    tag.time_ns = newest_made_ns = made_ns;
    return true;
}

// Messages that its publisher has sent since the one before, and that never came.
uint64_t TopicInput::Shared::missed(const rcl::MessageInfo &info, int64_t now_ns) {
    const uint64_t number = info.publication_sequence_number;
    if (number == rcl::kNoSequenceNumber) {
        unnumbered.fetch_add(1);
        return 0;
    }
    const auto is_its = [&info](const PublisherSeen &seen) {
        return seen.taken_ns >= 0 &&
               std::memcmp(seen.gid.data(), info.publisher_gid.data, rcl::kGidSize) == 0;
    };
    auto found = std::find_if(publishers.begin(), publishers.end(), is_its);
    uint64_t gap = 0;
    if (found == publishers.end()) {
        n_publishers.fetch_add(1);
        found =
            std::min_element(publishers.begin(), publishers.end(),
                             [](const auto &a, const auto &b) { return a.taken_ns < b.taken_ns; });
        std::memcpy(found->gid.data(), info.publisher_gid.data, rcl::kGidSize);
    } else if (number > found->newest) {
        gap = number - found->newest - 1;
    }
    found->newest = number;
    found->taken_ns = now_ns;
    return gap;
}

void TopicInput::Shared::refuse(std::atomic<int64_t> &count, const char *why) {
    refused.store(why);
    count.fetch_add(1);
}

TopicInput::TopicInput(const void *subscription, std::shared_ptr<CdrReader> reader, Stamp stamp,
                       bool keeps)
    : shared_(std::make_shared<Shared>(subscription, std::move(reader), stamp)),
      keeps_(keeps),
      thread_("rtloop topic", [shared = shared_] { return shared->take_all(); }) {
    const rcl::Ret result = shared_->api.set_on_new_message(
        subscription, [](const void *thread, size_t) { TopicThread::tell(thread); },
        thread_.told_through());
    if (result != rcl::kOk) {
        shared_->api.forget_error();
        throw std::runtime_error("the middleware of ROS has no callback for new messages");
    }
}

TopicInput::~TopicInput() {
    close();
    if (is_listening_) thread_.outlive();
}

size_t TopicInput::n_inputs() const noexcept {
    return shared_->values.size();
}

void TopicInput::rearm() noexcept {
    rearmed_ns_ = keeps_ ? 0 : MonotonicClock().now();
    gaps_told_ = shared_->gaps.load();
    unreadable_.start_from(shared_->unreadable);
    badly_stamped_.start_from(shared_->badly_stamped());
}

Sample TopicInput::await_sample(int64_t until_ns) noexcept {
    for (;;) {
        const uint32_t seen = shared_->arrival.seen();
        if (shared_->samples.is_fresh()) {
            const Tag &tag = shared_->samples.refresh();
            if (tag.taken_ns >= rearmed_ns_) return {tag.time_ns, 0, tag.error_ns};
        }
        if (!shared_->arrival.wait(seen, until_ns)) return {};
    }
}

void TopicInput::poll(int64_t now_ns) noexcept {
    unreadable_.tell(shared_->unreadable, now_ns, events());
    badly_stamped_.tell(shared_->badly_stamped(), now_ns, events());
}

Sample TopicInput::read(float *values) noexcept {
    const Tag &tag = shared_->samples.refresh();
    if (tag.time_ns < 0 || tag.taken_ns < rearmed_ns_) return {};
    const std::vector<float> &newest = shared_->samples.front();
    std::copy(newest.begin(), newest.end(), values);
    const uint64_t gap = tag.gaps - std::min(tag.gaps, gaps_told_);
    gaps_told_ += gap;
    constexpr uint64_t kMost = std::numeric_limits<uint32_t>::max();
    return {tag.time_ns, static_cast<uint32_t>(std::min(gap, kMost)), tag.error_ns};
}

std::vector<std::pair<std::string, int64_t>> TopicInput::counters() const {
    return {
        {"messages", shared_->messages},     {"gaps", static_cast<int64_t>(shared_->gaps.load())},
        {"unreadable", shared_->unreadable}, {"stamps_ahead", shared_->ahead},
        {"stamps_behind", shared_->behind},  {"unstamped", shared_->unstamped},
        {"unnumbered", shared_->unnumbered}, {"publishers_seen", shared_->n_publishers},
        {"take_errors", shared_->errors}};
}

const char *TopicInput::refused() const noexcept {
    return shared_->refused.load();
}

std::vector<Right> TopicInput::schedule(const ThreadSetup &setup) {
    return thread_.schedule(setup);
}

bool TopicInput::close() {
    if (is_listening_ && thread_.is_here()) {
        // Once it has done so, nobody is in the callback, and nobody will be.
        is_listening_ =
            shared_->api.set_on_new_message(shared_->subscription, nullptr, nullptr) != rcl::kOk;
        shared_->api.forget_error();
    }
    return thread_.end() && !is_listening_;
}

}  // namespace rtloop

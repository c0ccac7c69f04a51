// From one loop to others: the commands of an output, each with the time from which it counts.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "rtloop/core/ports/port.hpp"
#include "rtloop/core/ports/safe_command.hpp"

namespace rtloop {

// The newest commands of one output, for any number of readers. Nobody ever waits for anybody. A
// command of a loop whose output is at the deadline counts from its deadline on (logical execution
// time), any other one from when it was written. It is found by that time, not by when somebody
// looks: which command counts at an instant depends on neither loop's execution time, as long as
// the writer is in time.
class Relay {
  public:
    // What newest() says where it is no time.
    static constexpr int64_t kFirst = -1;  // of this activation no command counts yet
    static constexpr int64_t kNone = -2;   // not known, or not any more

    // `size` values a command. `capacity` commands are kept: as many as may begin to count while a
    // reader is on its way from its release to the look, and 2. Throws std::invalid_argument.
    Relay(size_t size, size_t capacity, bool at_deadline);

    size_t size() const noexcept { return size_; }
    bool at_deadline() const noexcept { return at_deadline_; }

    // Whoever starts the writer, before the first release of an activation, while nobody reads:
    // nothing from before counts. Until the first command `first` does; nothing where one of its
    // values is NaN.
    void rearm(const float *first) noexcept;

    // The writer, one thread at a time: a command that was sent.
    void write(const float *values, int64_t now_ns, int64_t deadline_ns) noexcept;
    // The writer's loop: what write_safe() puts in force; NaN where that is not known.
    void prepare_safe(const float *values) noexcept { safe_.prepare(values); }
    // Anybody, any number of times: from here to the next rearm() the safe command counts, where it
    // is known.
    void write_safe(int64_t now_ns) noexcept;

    // Any number of readers: the command that counts at `at_ns`, and since when, or one of the
    // words above. With kNone `values` are left as they may be.
    int64_t newest(int64_t at_ns, float *values) noexcept;

  private:
    // Read while it may be written anew: hence atomics, and the number before and after.
    struct Slot {
        std::atomic<uint64_t> number{0};  // of the command, from 1; 0: it is being written
        std::atomic<int64_t> from_ns{0};
        std::vector<std::atomic<float>> values;
    };

    const size_t size_;
    const bool at_deadline_;
    std::vector<Slot> slots_;
    std::atomic<uint64_t> n_written_{0};  // in all activations
    SafeCommand safe_;
    std::atomic<int64_t> safe_since_ns_;
    // Set before an activation, constant in it.
    uint64_t n_before_ = 0;
    std::vector<float> first_;
};

// The port of a loop that reads another: its sample is the command that counts at its own release,
// or now where the writer says nothing of when its commands leave. A command that was superseded
// before was not lost: no gap.
class RelayReader final : public Port {
  public:
    explicit RelayReader(std::shared_ptr<Relay> relay);

    size_t n_inputs() const noexcept override { return relay_->size(); }
    bool awaits_first_sample() const noexcept override { return false; }
    void rearm() noexcept override;
    void released(int64_t release_ns) noexcept override;
    void poll(int64_t now_ns) noexcept override { now_ns_ = now_ns; }
    Sample read(float *values) noexcept override;

  private:
    static constexpr int64_t kNever = -1;
    const std::shared_ptr<Relay> relay_;
    std::vector<float> found_;
    int64_t first_release_ns_ = kNever;
    int64_t release_ns_ = kNever;
    int64_t now_ns_ = kNever;
    int64_t time_ns_ = kNever;  // of the last sample
};

}  // namespace rtloop

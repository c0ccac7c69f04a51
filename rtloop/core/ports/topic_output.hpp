// A ROS topic as an output: the loop leaves its command, and a thread publishes it. To publish may
// take milliseconds, so the cycle never does.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rtloop/core/ports/port.hpp"
#include "rtloop/core/ports/told_now_and_then.hpp"
#include "rtloop/core/threads/thread_setup.hpp"
#include "rtloop/core/topics/cdr_writer.hpp"
#include "rtloop/core/topics/topic_thread.hpp"

namespace rtloop {

// Of the command of a cycle nobody knows at its end whether it left: the next cycle finds out, and
// is the one whose command counts as dropped, though it is the newest that leaves.
class TopicOutput final : public Port {
  public:
    // `publisher` is an rcl_publisher_t that outlives close(). `safe`: the safe command, NaN where
    // it is not known before prepare_safe(). `period_ns`: of the loop. Throws std::runtime_error
    // (no rclpy here), std::invalid_argument, std::system_error.
    TopicOutput(const void *publisher, std::shared_ptr<CdrWriter> writer, std::vector<float> safe,
                int64_t period_ns);
    ~TopicOutput() override;

    size_t n_outputs() const noexcept override;
    void rearm() noexcept override;
    void poll(int64_t now_ns) noexcept override;
    bool write(const float *values, int64_t now_ns, int64_t deadline_ns) noexcept override;
    void prepare_default(const float *values, int64_t deadline_ns) noexcept override;
    bool write_default(int64_t now_ns) noexcept override;
    // Sent several times: one that is lost on the way is the last one.
    void write_safe() noexcept override;
    bool takes_safe() const noexcept override { return true; }
    bool prepare_safe(const float *values) noexcept override;
    std::vector<std::pair<std::string, int64_t>> counters() const override;

    // Any, not the loop: waits until the safe command that is in force was published as often as it
    // is, until `until_ns` at the latest. Whether it was, and the last of them left; also where it
    // is not known, and nothing was commanded since rearm().
    bool safe_was_sent(int64_t until_ns) const;
    std::vector<Right> schedule(const ThreadSetup &setup);
    // From here on nothing is published, and the publisher may be destroyed. False: not yet, and
    // nobody knows when; it must be left alone. May be called again.
    bool close();

  private:
    struct Shared;  // what the thread holds on to, also when this object is gone

    const std::shared_ptr<Shared> shared_;
    TopicThread thread_;
    // Of whoever writes: loop or guard, one at a time.
    uint64_t written_ = 0;
    bool is_first_ = true;
    std::vector<float> default_;
    int64_t default_deadline_ns_ = 0;
    ToldNowAndThen not_published_{PortEventKind::not_published};
};

}  // namespace rtloop

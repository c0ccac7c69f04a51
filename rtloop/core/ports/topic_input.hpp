// A ROS topic as an input: a thread takes its messages and leaves their numbers; the loop takes the
// newest. Neither the interpreter nor the executor of the node sees one of them.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rtloop/core/ports/port.hpp"
#include "rtloop/core/ports/told_now_and_then.hpp"
#include "rtloop/core/threads/thread_setup.hpp"
#include "rtloop/core/topics/cdr_reader.hpp"
#include "rtloop/core/topics/topic_thread.hpp"

namespace rtloop {

class TopicInput final : public Port {
  public:
    // Which time is a sample's.
    enum class Stamp : uint8_t {
        received,  // when its message came
        header     // what stands in it, by this host's clock of the day
    };

    // `subscription` is an rcl_subscription_t that outlives close(), and that nobody else takes
    // from. `keeps`: what came before an activation counts in it, as it must where a message is
    // sent once, and kept for those who come late. Throws std::runtime_error (no rclpy here, or its
    // middleware has no callback for new messages), std::system_error.
    TopicInput(const void *subscription, std::shared_ptr<CdrReader> reader, Stamp stamp,
               bool keeps);
    ~TopicInput() override;

    size_t n_inputs() const noexcept override;
    void rearm() noexcept override;
    bool paces() const noexcept override { return true; }
    Sample await_sample(int64_t until_ns) noexcept override;
    void poll(int64_t now_ns) noexcept override;
    Sample read(float *values) noexcept override;
    std::vector<std::pair<std::string, int64_t>> counters() const override;

    // Any: why the newest message that could not be used could not be; nullptr: there was none.
    const char *refused() const noexcept;
    std::vector<Right> schedule(const ThreadSetup &setup);
    // From here on nothing is taken, and the subscription may be destroyed. False: not yet, and
    // nobody knows when; it must be left alone. May be called again.
    bool close();

  private:
    struct Shared;  // what the thread holds on to, also when this object is gone

    const std::shared_ptr<Shared> shared_;
    const bool keeps_;
    TopicThread thread_;
    bool is_listening_ = true;
    int64_t rearmed_ns_ = 0;
    uint64_t gaps_told_ = 0;
    ToldNowAndThen unreadable_{PortEventKind::bad_message};
    ToldNowAndThen badly_stamped_{PortEventKind::bad_stamp};
};

}  // namespace rtloop

// Samples that come at instants of virtual time: a source in a simulation, and in tests.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "rtloop/core/cycle/clock.hpp"
#include "rtloop/core/ports/port.hpp"

namespace rtloop {

class Deliveries final : public Alarm {
  public:
    explicit Deliveries(std::shared_ptr<VirtualClock> clock) : clock_(std::move(clock)) {
        clock_->add(this);
    }
    ~Deliveries() { clock_->remove(this); }
    Deliveries(const Deliveries &) = delete;
    Deliveries &operator=(const Deliveries &) = delete;

    // A sample that was taken at `time_ns` and is put into the port at `at_ns`, not before those
    // that were added before it.
    void add(std::shared_ptr<Port> port, std::vector<float> values, int64_t time_ns,
             int64_t at_ns) {
        underway_.push_back({std::move(port), std::move(values), time_ns, at_ns});
    }

    int64_t due_ns() noexcept override {
        return underway_.empty() ? kNever : underway_.front().at_ns;
    }
    void fire(int64_t now_ns) noexcept override {
        while (due_ns() <= now_ns) {
            const Delivery &delivery = underway_.front();
            delivery.port->put(delivery.values.data(), delivery.time_ns);
            underway_.pop_front();
        }
    }

  private:
    struct Delivery {
        std::shared_ptr<Port> port;
        std::vector<float> values;
        int64_t time_ns;
        int64_t at_ns;
    };

    const std::shared_ptr<VirtualClock> clock_;
    std::deque<Delivery> underway_;
};

}  // namespace rtloop

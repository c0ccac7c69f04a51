// A toy transport: a device that measures what it was told, one command later.
#include <atomic>
#include <cerrno>

#include "rtloop/core/ports/port.hpp"

namespace {

class Echo final : public rtloop::Port {
  public:
    explicit Echo(const rtloop::PortOptions &options)
        : fails_after_(options.integer("fails_after")), deaf_(options.integer("deaf") != 0) {}

    size_t n_inputs() const noexcept override { return 1; }
    size_t n_outputs() const noexcept override { return 1; }
    void rearm() noexcept override {
        safe_ = false;
        polls_ = 0;
    }
    void poll(int64_t now_ns) noexcept override {
        now_ns_ = now_ns;
        ++polls_;
    }
    rtloop::Sample read(float *values) noexcept override {
        values[0] = command_;
        return {now_ns_, 0};
    }
    bool write(const float *values, int64_t, int64_t) noexcept override {
        if (safe_ || deaf_) return false;
        command_ = values[0];
        return true;
    }
    void write_safe() noexcept override { safe_ = true; }
    rtloop::PortReport report() const noexcept override {
        rtloop::PortReport report;
        if (fails_after_ > 0 && polls_ > fails_after_) {
#ifdef ECHO_HAS_A_WORD_OF_ITS_OWN
            report.fault = rtloop::FaultReason::overheated;
#else
            report.fault = rtloop::FaultReason::port_error;
            report.error = EREMOTEIO;
#endif
        }
        return report;
    }

  private:
    const int64_t fails_after_;
    const bool deaf_;
    int64_t polls_ = 0;
    int64_t now_ns_ = -1;
    float command_ = 1.0F;
    std::atomic<bool> safe_{true};
};

}  // namespace

RTLOOP_PORT_KIND(echo, Echo)

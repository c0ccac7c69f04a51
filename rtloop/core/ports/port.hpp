// Where a loop's samples come from and where its commands go.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rtloop {

// All calls come from the loop thread between activate and deactivate, and must neither allocate
// nor block, except where a comment says otherwise.
class InputPort {
  public:
    virtual ~InputPort() = default;
    virtual size_t input_size() const noexcept = 0;
    // Copies the newest sample to `values`. Returns its sampling time on CLOCK_MONOTONIC, or -1
    // when none has ever arrived (then `values` is left alone).
    virtual int64_t read(float *values, int64_t now_ns) noexcept = 0;
    // errno of a failure that ended this port; 0 while it works.
    virtual int input_error() const noexcept { return 0; }
};

class OutputPort {
  public:
    virtual ~OutputPort() = default;
    virtual size_t output_size() const noexcept = 0;
    // Sends a command that is meant to be in force from now until one period after `deadline_ns`.
    virtual bool write(const float *values, int64_t now_ns, int64_t deadline_ns) noexcept = 0;
    // Sends the safe command. Called by the loop *and* by the guard, also at the same time.
    virtual void write_safe() noexcept = 0;
    // A new activation: the safe command is no longer in force.
    virtual void rearm() noexcept {}
    virtual int output_error() const noexcept { return 0; }
};

// What a microcontroller behind a port last said about itself.
struct DeviceReport {
    uint8_t state = 0;
    uint16_t reasons = 0;
    uint16_t late_commands = 0;
};

class DeviceStatus {
  public:
    virtual ~DeviceStatus() = default;
    virtual DeviceReport device_report() const noexcept = 0;
};

}  // namespace rtloop

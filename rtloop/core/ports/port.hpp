// A port: one object owns a transport, both of its directions, and its own poll.
//
// A kind of port is one file in this folder: a class that derives from Port, and RTLOOP_PORT_KIND
// as its last line. Nothing else in the core knows which kinds there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "rtloop/core/ports/options.hpp"
#include "rtloop/core/ports/port_event.hpp"
#include "rtloop/core/words.hpp"

namespace rtloop {

// The newest sample of a port, without its values.
struct Sample {
    int64_t time_ns = -1;  // when it was taken, CLOCK_MONOTONIC; -1: none has ever arrived
    uint32_t gap = 0;      // samples sent and never arrived, noticed since the last read
    int64_t error_ns = 0;  // time_ns is right within this: no clock but the host's own is exact
};

// How a port is, and what a device behind it last said about itself.
struct PortReport {
    FaultReason fault = FaultReason::none;  // why the loop must end, if it must
    int error = 0;                          // errno that goes with it
    bool is_lost = false;                   // its device is gone; the cycle goes on without it
    uint8_t device_state = 0;               // rtl_state; 0: no device, or it has not spoken yet
    uint16_t device_reasons = 0;
    uint16_t device_late_commands = 0;
};

// Threads: *loop* is the thread that runs the cycle, between activate and deactivate; there a
// method must not allocate, lock, log or wait. *Guard* is its guard, at the same time as the loop.
// *Any* is everybody else, at any time. Before the first release of an activation, while the loop
// thread waits, whoever starts it does what the loop does: rearm, then poll and read until there is
// a sample.
class Port {
  public:
    virtual ~Port() = default;

    // Values of a sample and of a command; 0: no such direction. Constant. Any.
    virtual size_t n_inputs() const noexcept { return 0; }
    virtual size_t n_outputs() const noexcept { return 0; }

    // Loop, once, before the first release of an activation. Afterwards nothing from before counts:
    // no sample, no fault, no safe command in force. Cannot fail.
    virtual void rearm() noexcept {}

    // Any: constant. Whether a loop waits for its first sample before its first release. Where not,
    // it waits for what its safe command holds.
    virtual bool awaits_first_sample() const noexcept { return true; }

    // Loop, once a cycle, before poll: its release, for a port whose sample is the one that counts
    // then, however late the cycle starts.
    virtual void released(int64_t release_ns) noexcept { static_cast<void>(release_ns); }

    // Loop, once a cycle, before anything is read, whatever the directions in use: takes in what
    // has arrived, and judges time-outs. Sends nothing: the guard may be sending. A failure shows
    // in report().
    virtual void poll(int64_t now_ns) noexcept { static_cast<void>(now_ns); }

    // Loop, between two cycles whose releases are far apart: takes in what must not wait for the
    // next one, because it would pile up, or because its time of arrival counts. attend() is called
    // soon after the time that attention_ns() named, if that is well before the next release.
    virtual int64_t attention_ns(int64_t now_ns) const noexcept {
        static_cast<void>(now_ns);
        return std::numeric_limits<int64_t>::max();
    }
    virtual void attend(int64_t now_ns) noexcept { static_cast<void>(now_ns); }

    // Whether a loop may be released by its samples: those, and only those, that a port tells of as
    // soon as they are there. Any: constant.
    virtual bool paces() const noexcept { return false; }
    // Loop, between two cycles, of a port that paces it: waits for a sample that is newer than the
    // last one that was read or that this told of. At once where it is there, also when `until_ns`
    // (CLOCK_MONOTONIC) is past; at `until_ns` at the latest, and then without a time. The next
    // read() gives this sample, or a newer one. It sleeps, and takes in what has arrived; other
    // than that, as poll().
    virtual Sample await_sample(int64_t until_ns) noexcept {
        static_cast<void>(until_ns);
        return {};
    }

    // Loop, at most once a cycle: the newest sample. Without one `values` (n_inputs floats) is left
    // alone. Cannot fail: after a failure the last sample stands, and ages.
    virtual Sample read(float *values) noexcept {
        static_cast<void>(values);
        return {};
    }

    // Loop, at most once a cycle: sends a command (n_outputs floats) that is meant to be in force
    // until one period after `deadline_ns`. True: it left. False: it did not, the previous command
    // stands, and nothing of this one will leave later; of a port whose commands leave in a thread
    // of its own: the one before had not left by now. A port that tells its far end until when a
    // command is valid does not send one that no longer is: it would be refused, and the next one
    // would go on from it.
    virtual bool write(const float *values, int64_t now_ns, int64_t deadline_ns) noexcept {
        static_cast<void>(values), static_cast<void>(now_ns), static_cast<void>(deadline_ns);
        return false;
    }

    // Loop, once at the end of a cycle, and never at the same time as write_default(): sends what
    // is due to the far end and did not leave with a command.
    virtual void keep_up(int64_t now_ns) noexcept { static_cast<void>(now_ns); }

    // `on_miss: default`. A command that may have to be sent by the guard, at the very deadline and
    // while the loop is anywhere in its cycle. Loop, once before each cycle: what it is, with all
    // that sending it takes of what only the loop may read. Then loop or guard, at most once, and
    // never at the same time as prepare_default() or write(), but at the same time as poll, read or
    // report: sends it. As write() for the rest. A kind without it drops the default.
    virtual void prepare_default(const float *values, int64_t deadline_ns) noexcept {
        static_cast<void>(values), static_cast<void>(deadline_ns);
    }
    virtual bool write_default(int64_t now_ns) noexcept {
        static_cast<void>(now_ns);
        return false;
    }

    // Loop and guard, also at the same time, any number of times: the safe command is in force
    // from here to the next rearm(), and write() refuses. Where the transport is gone there is
    // nothing to report: what is behind it must have a time-out of its own.
    virtual void write_safe() noexcept {}
    // Any: constant. Whether that is the `safe` of the configuration. False: the far end has a safe
    // output of its own, which is not known here.
    virtual bool knows_safe() const noexcept { return true; }
    // `safe: {hold: …}`. Loop, before the first release and once a cycle when the inputs were read,
    // also while the guard sends: what write_safe() puts in force from now on (n_outputs floats).
    // All of them, never a part, also where both happen at the same time. False: one was in force
    // before, and stays. takes_safe: any, constant; whether a kind that knows_safe has this.
    virtual bool takes_safe() const noexcept { return false; }
    virtual bool prepare_safe(const float *values) noexcept {
        static_cast<void>(values);
        return true;
    }

    // Loop, after poll, read or write. The fault stays until rearm().
    virtual PortReport report() const noexcept { return {}; }

    // Loop: what happened since, for the record. A port adds to it whatever it is in the middle of;
    // the cycle takes it out.
    PortEventQueue &events() noexcept { return events_; }

    // Any: what an observer may want to know, by name.
    virtual std::vector<std::pair<std::string, int64_t>> counters() const { return {}; }

    // One other thread: what the device behind it accounted for itself, as it said last (the
    // payload of a STATS message); empty when it has not.
    virtual std::vector<uint8_t> account() { return {}; }

    // Where a device may come back, and its loss is no fault. Any: it is lost, and nobody has it in
    // hand yet; the errno of the loss. One other thread, while it is_lost(): lets go of what is
    // held of the old device (also for good, of a loop that has ended and whose cycle hangs); hands
    // over the transport to it that was opened and agreed on anew, which the next poll takes; or
    // gives up, and `reason` is why the loop must end. The two that may fail throw
    // std::system_error, std::invalid_argument.
    virtual bool is_lost() const noexcept { return false; }
    virtual int loss_error() const noexcept { return 0; }
    virtual void let_go() {}
    virtual void reconnect(const PortOptions &options) { static_cast<void>(options); }
    virtual void give_up(FaultReason reason) noexcept { static_cast<void>(reason); }

    // One other thread, where the far end is a thread of this process: leaves a sample that was
    // taken at `time_ns`, and takes the command in force with the time it was written (-1: never).
    // False where a port has no such end.
    virtual bool put(const float *values, int64_t time_ns) noexcept {
        static_cast<void>(values), static_cast<void>(time_ns);
        return false;
    }
    virtual bool newest(float *values, int64_t &time_ns) noexcept {
        static_cast<void>(values), static_cast<void>(time_ns);
        return false;
    }

  private:
    PortEventQueue events_;
};

// Makes a port of a kind, by the name in its RTLOOP_PORT_KIND: one that was linked into the Python
// module, or one of the shared library named. (A C++ program constructs its ports, as
// examples/cpp_mailbox_loop does: of a static library the linker keeps only what is named.) Throws
// std::invalid_argument (no such kind, wrong options), std::system_error, std::runtime_error (the
// library cannot be loaded).
Port *open_port(const std::string &kind, const PortOptions &options,
                const std::string &library = "");

}  // namespace rtloop

// The last line of a kind's file. `Class` is constructed from PortOptions, and may throw what
// open_port throws.
#define RTLOOP_PORT_KIND(kind, Class)                                           \
    extern "C" __attribute__((visibility("default")))                           \
    rtloop::Port *rtloop_open_port_##kind(const rtloop::PortOptions &options) { \
        return new Class(options);                                              \
    }

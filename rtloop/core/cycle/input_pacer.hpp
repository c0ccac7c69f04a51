// Releases that come with the samples of an input, and without one after a time-out.
#pragma once

#include <algorithm>
#include <cstdint>

#include "rtloop/core/cycle/pacer.hpp"
#include "rtloop/core/ports/port.hpp"

namespace rtloop {

// A release is the time of its sample; never in the future, and never before the release before it.
// Without a sample for `timeout_ns` there is a release all the same, and then one a period until
// one comes.
class InputPacer final : public Pacer, private Awaited {
  public:
    // `port` paces: Port::paces().
    InputPacer(Clock &clock, Port &port, int64_t period_ns, int64_t timeout_ns)
        : clock_(clock), port_(port), period_ns_(period_ns), timeout_ns_(timeout_ns) {}

    Release start(int64_t first_release_ns) noexcept override {
        came_ = {};
        release_ns_ = due_ns_ = first_release_ns;
        n_since_ = 0;
        is_first_ = true;
        return {0, latest_ns_ = first_release_ns + timeout_ns_, 0};
    }

    int64_t wait(const Release &latest, const StopRequest &stop) noexcept override {
        sleep_to_first(kNever);
        for (int64_t now_ns = clock_.now(); !stop.is_made(); now_ns = clock_.now()) {
            if (await(kAtOnce)) return clock_.now();
            if (now_ns >= latest.time_ns) return now_ns;
            clock_.wait_for(*this, std::min(latest.time_ns, now_ns + kStopLatencyNs));
        }
        return -1;
    }

    bool knows_next() const noexcept override { return false; }
    bool rest(int64_t time_ns) noexcept override {
        sleep_to_first(time_ns);
        return clock_.now() >= release_ns_ && clock_.wait_for(*this, time_ns);
    }

    Release settle(const Release &latest, int64_t woke_ns, bool is_judged) noexcept override {
        const bool has_come = came_.time_ns >= 0;
        Release release = latest;
        release.timed_out = !has_come;
        if (has_come && !is_judged) {
            release.time_ns = std::max(std::min(came_.time_ns, woke_ns), release_ns_);
            release.skipped = take_sample(release.time_ns);
        } else if (!is_judged) {
            // It ran over some of them: the newest.
            release.skipped = static_cast<uint32_t>((woke_ns - latest.time_ns) / period_ns_);
            release.time_ns += release.skipped * period_ns_;
        }
        release.cycle += release.skipped;
        release_ns_ = release.time_ns;
        if (!has_come || is_judged) n_since_ += 1 + int64_t{release.skipped};
        if (has_come) {
            due_ns_ = std::max(woke_ns, due_ns_) + period_ns_ - period_ns_ / kFasterBy;
            latest_ns_ = woke_ns + timeout_ns_;
        } else {
            latest_ns_ = release_ns_ + period_ns_;
        }
        came_ = {};
        return release;
    }

    Release after(int64_t cycle, int64_t) noexcept override { return {cycle + 1, latest_ns_, 0}; }

    // As if one came in each period: of those that came the newest counts.
    int64_t lost_ns(const Release &release, uint32_t n) const noexcept override {
        return release.time_ns + (int64_t{n} + 1) * period_ns_;
    }

  private:
    static constexpr int64_t kAtOnce = 0;
    // A loop is at most so much of its rate faster than it, whatever comes.
    static constexpr int64_t kFasterBy = 20;
    // So much of how late a sample is, the next one may be late, too.
    static constexpr int64_t kFollowed = 8;

    // No sample releases before the first release, which is that of all loops of a run.
    void sleep_to_first(int64_t until_ns) noexcept {
        if (clock_.now() < release_ns_) clock_.sleep_until(std::min(until_ns, release_ns_));
    }

    // A sample that may release. What comes too early for that stays the newest, and waits to be
    // read.
    bool await(int64_t until_ns) noexcept override {
        while (came_.time_ns < 0) {
            const Sample sample = port_.await_sample(until_ns);
            if (sample.time_ns < 0) return false;
            // One may be a period ahead of the others: late ones come together.
            if (clock_.now() >= due_ns_ - period_ns_) came_ = sample;
        }
        return true;
    }

    // Periods without a release since the last sample. Samples come late, hardly ever early: what
    // is expected follows an early one at once, and a late one slowly, so that one that is late
    // hides none that is lost, nor the next one, in time again, a period.
    uint32_t take_sample(int64_t time_ns) noexcept {
        int64_t late_ns = is_first_ ? 0 : time_ns - expected_ns_ - n_since_ * period_ns_;
        const int64_t periods = (4 * late_ns + period_ns_) / (4 * period_ns_);
        const int64_t skipped = std::max<int64_t>(0, periods);
        late_ns = std::max<int64_t>(0, late_ns - skipped * period_ns_);
        expected_ns_ = time_ns - late_ns + late_ns / kFollowed + period_ns_;
        n_since_ = 0;
        is_first_ = false;
        return static_cast<uint32_t>(skipped);
    }

    Clock &clock_;
    Port &port_;
    const int64_t period_ns_;
    const int64_t timeout_ns_;
    Sample came_;              // and did not release yet
    int64_t release_ns_ = 0;   // the last one
    int64_t expected_ns_ = 0;  // of the sample after the last one that released at its time
    int64_t n_since_ = 0;      // releases since, and those that were skipped
    int64_t due_ns_ = 0;       // when the next sample comes, where they come as fast as they may
    int64_t latest_ns_ = 0;    // the next release
    bool is_first_ = true;     // no sample yet
};

}  // namespace rtloop

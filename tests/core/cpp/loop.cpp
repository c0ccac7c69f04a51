// A loop in C++ alone: stepped by a pacer of its own, and on its threads.
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "rtloop/core/cycle/loop.hpp"
#include "rtloop/core/ports/mailbox.hpp"
#include "rtloop/core/threads/loop_threads.hpp"

using namespace rtloop;

namespace {

// y [1, 1] = x [1, 1], float32, IR 8, opset 17.
const std::string kIdentity(
    "\x08\x08\x12\x00:?\n\x10\n\x01x\x12\x01y\"\x08Identity\x12\x01gZ\x13\n\x01x\x12\x0e\n\x0c\x08"
    "\x01\x12\x08\n\x02\x08\x01\n\x02\x08\x01"
    "b\x13\n\x01y\x12\x0e\n\x0c\x08\x01\x12\x08\n\x02\x08\x01\n\x02\x08\x01"
    "B\x04\n\x00\x10\x11",
    75);

constexpr int64_t kMs = 1'000'000;

// A release whenever the test says so: what a simulation in lock-step would do.
class LockStep final : public Pacer {
  public:
    Release start(int64_t first_release_ns) noexcept override { return {0, first_release_ns, 0}; }
    int64_t wait(const Release &release, const StopRequest &stop) noexcept override {
        return stop.is_made() ? -1 : release.time_ns;
    }
    Release after(int64_t cycle, int64_t now_ns) noexcept override {
        return {cycle + 1, now_ns + kMs, 0};
    }
};

// Done in time every time, and then kept from its next releases.
class Skipping final : public Pacer {
  public:
    Release start(int64_t first_release_ns) noexcept override { return {0, first_release_ns, 0}; }
    int64_t wait(const Release &release, const StopRequest &stop) noexcept override {
        return stop.is_made() ? -1 : release.time_ns;
    }
    Release after(int64_t cycle, int64_t now_ns) noexcept override {
        return {cycle + 3, now_ns + kMs, 2};
    }
};

struct Parts {
    Parts(const std::string &folder, const std::string &onnxruntime) {
        path = folder + "/loop.ring";
        unlink(path.c_str());
        config.loop_class = LoopClass::soft;
        config.inputs = {InputConfig{}};
        config.outputs = {OutputConfig{}};
        config.outputs[0].safe = {-1.0F};
        graph = std::make_shared<Graph>(onnxruntime,
                                        one_model(kIdentity, {{"x", {1, 1}}}, {"y", {1, 1}}));
        ring = std::make_shared<RingWriter>(path, 4096, 1, 1, 1, "{}");
    }
    std::string path;
    LoopConfig config;
    std::shared_ptr<Graph> graph;
    std::shared_ptr<RingWriter> ring;
    std::shared_ptr<Mailbox> mailbox = std::make_shared<Mailbox>(1, std::vector<float>{-1.0F});
};

void any_pacer_can_drive_a_loop(Parts parts) {
    auto clock = std::make_shared<VirtualClock>(kMs);
    Loop loop(parts.config, {parts.mailbox}, parts.graph, parts.ring, clock,
              std::make_unique<LockStep>());
    loop.begin(kMs);
    for (int i = 0; i < 10; ++i) {
        const auto value = static_cast<float>(i);
        parts.mailbox->put(&value, clock->now());
        CHECK(loop.step());
        float command = 0.0F;
        int64_t time_ns = 0;
        CHECK(parts.mailbox->newest(&command, time_ns) && command == value);
        clock->spend(kMs);
    }
    loop.request_stop();
    CHECK(!loop.step());
    loop.end();
    CHECK(loop.status().executed == 10);
    loop.begin(clock->now());
    CHECK(loop.step());  // the stop was meant for the activation before
    loop.end();
    CHECK(RingReader(parts.path).available() == 11);
    CHECK(parts.mailbox->counters()[0].second == 1);  // safe in force
}

void a_skipped_release_of_a_hard_loop_is_a_failure(Parts parts) {
    parts.config.loop_class = LoopClass::hard;
    auto clock = std::make_shared<VirtualClock>(kMs);
    Loop loop(parts.config, {parts.mailbox}, parts.graph, parts.ring, clock,
              std::make_unique<Skipping>());
    const float value = 0.5F;
    parts.mailbox->put(&value, clock->now());
    loop.begin(kMs);
    CHECK(loop.step());
    CHECK(!loop.step());
    CHECK(loop.status().fault_reason == static_cast<uint32_t>(FaultReason::deadline_miss));
    CHECK(loop.status().misses == 0 && loop.status().skipped >= 2);
    CHECK(parts.mailbox->counters()[0].second == 1);  // safe in force
}

void threads_run_a_loop_and_their_end_is_the_safe_command(Parts parts) {
    const float value = 0.5F;
    parts.mailbox->put(&value, MonotonicClock().now());
    parts.config.period_ns = parts.config.deadline_ns = 2 * kMs;
    auto loop =
        std::make_shared<Loop>(parts.config, std::vector<std::shared_ptr<Port>>{parts.mailbox},
                               parts.graph, parts.ring, std::make_shared<MonotonicClock>());
    {
        LoopThreads threads(loop);
        CHECK(threads.set_up({}, {}, 200).error.empty());
        CHECK(loop->status().executed == 0);
        LoopThreads *all[] = {&threads};
        const int64_t first_release_ns = LoopThreads::activate(all);
        while (loop->status().executed < 20) std::this_thread::yield();
        CHECK(loop->status().first_release_ns == first_release_ns);
    }
    CHECK(parts.mailbox->counters()[0].second == 1);
    const LoopStatus &status = loop->status();
    CHECK(status.elapsed_periods == status.executed + status.skipped);
}

// Takes its time to send a default, as a guard does that has lost its CPU meanwhile.
class SlowDefault final : public Port {
  public:
    explicit SlowDefault(int64_t delay_ms) : delay_ms_(delay_ms) {}
    size_t n_outputs() const noexcept override { return 1; }
    bool write(const float *, int64_t, int64_t) noexcept override { return true; }
    bool write_default(int64_t) noexcept override {
        std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms_));
        return true;
    }

  private:
    const int64_t delay_ms_;
};

void a_default_that_the_guard_is_still_sending_is_recorded_as_the_default(Parts parts) {
    constexpr int64_t kPeriodNs = 400 * kMs;
    parts.config.loop_class = LoopClass::firm;
    parts.config.default_on_miss = true;
    parts.config.period_ns = kPeriodNs;
    parts.config.deadline_ns = kPeriodNs / 4;
    parts.config.outputs[0].port = 1;
    parts.config.outputs[0].default_value = {-2.0F};
    // Back while the guard is in the middle of it.
    parts.config.stalls = {{Stage::infer, 1, 0, kPeriodNs / 4 + 20 * kMs}};
    const float value = 0.5F;
    parts.mailbox->put(&value, MonotonicClock().now());
    const std::vector<std::shared_ptr<Port>> ports = {parts.mailbox,
                                                      std::make_shared<SlowDefault>(60)};
    auto loop = std::make_shared<Loop>(parts.config, ports, parts.graph, parts.ring,
                                       std::make_shared<MonotonicClock>());
    LoopThreads threads(loop);
    CHECK(threads.set_up({}, {}, 200).error.empty());
    LoopThreads *all[] = {&threads};
    LoopThreads::activate(all);
    while (loop->status().executed < 2) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    threads.deactivate(1000 * kMs);
    RingReader reader(parts.path);
    std::vector<std::byte> slots(4 * 4096);
    uint64_t lost = 0;
    CHECK(reader.read(2, slots.data(), lost) == 2 && lost == 0);
    CycleRecord record;
    const size_t slot_size = sizeof(CycleRecord) + sizeof(InputRecord) + 2 * sizeof(float);
    std::memcpy(&record, slots.data() + slot_size, sizeof(record));
    CHECK(record.cycle == 1);
    CHECK(record.outcome == static_cast<uint8_t>(Outcome::default_value));
    float sent = 0.0F;
    std::memcpy(&sent, slots.data() + 2 * slot_size - sizeof(float), sizeof(sent));
    CHECK(sent == -2.0F);
}

}  // namespace

int main(int argc, char **argv) {
    if (argc < 3 || argv[2][0] == '\0') {
        std::puts("skipped: name ONNX Runtime's library with -DRTLOOP_ONNXRUNTIME=…");
        return 77;
    }
    any_pacer_can_drive_a_loop(Parts(argv[1], argv[2]));
    a_skipped_release_of_a_hard_loop_is_a_failure(Parts(argv[1], argv[2]));
    threads_run_a_loop_and_their_end_is_the_safe_command(Parts(argv[1], argv[2]));
    a_default_that_the_guard_is_still_sending_is_recorded_as_the_default(Parts(argv[1], argv[2]));
}

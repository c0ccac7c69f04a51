// Parts of the core that need neither Python nor ONNX Runtime.
#include <sys/socket.h>
#include <unistd.h>

#include <cmath>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include "check.hpp"
#include "rtloop/core/cycle/limits.hpp"
#include "rtloop/core/cycle/pacer.hpp"
#include "rtloop/core/cycle/safe.hpp"
#include "rtloop/core/cycle/stand_in.hpp"
#include "rtloop/core/ports/link.hpp"
#include "rtloop/core/ports/mailbox.hpp"

using namespace rtloop;

namespace {

void words_are_unique_within_their_table() {
    std::set<std::pair<std::string_view, uint32_t>> numbers;
    for (const Word &word : kWords) {
        CHECK(!word.sentence.empty());
        CHECK(numbers.emplace(word.table, word.number).second);
    }
}

template <typename Function>
std::string error_of(Function &&function) {
    try {
        function();
    } catch (const std::invalid_argument &error) {
        return error.what();
    }
    return "";
}

void a_port_is_opened_by_what_its_kind_asks_for() {
    const PortOptions options = {{"inputs", int64_t{2}}, {"safe", std::vector<float>{1.0F}}};
    Mailbox mailbox(options);
    CHECK(mailbox.n_inputs() == 2 && mailbox.n_outputs() == 1);
    CHECK(error_of([] {
              Mailbox(PortOptions{{"inputs", std::string("two")}});
          }) == "the port's option 'inputs' must be an integer");
    CHECK(error_of([] {
              Mailbox(PortOptions{{"inputs", int64_t{-1}}});
          }).find("0 to 65535") != std::string::npos);
}

void events_of_a_port_keep_their_order_and_what_finds_no_room_is_counted() {
    Mailbox port(1, {});
    PortEventQueue &events = port.events();
    PortEvent event;
    CHECK(!events.take(event));
    for (int32_t i = 0; i < 3; ++i) events.add({.error = i, .kind = PortEventKind::lost});
    CHECK(events.take(event) && event.error == 0 && event.kind == PortEventKind::lost);
    for (int32_t i = 3; i < 100; ++i) events.add({.error = i, .kind = PortEventKind::lost});
    int32_t expected = 1;
    while (events.take(event)) CHECK(event.error == expected++);
    CHECK(expected == 1 + static_cast<int32_t>(PortEventQueue::kRoom));
    CHECK(events.take_dropped() == 100 - static_cast<uint32_t>(expected));
    CHECK(events.take_dropped() == 0);
    events.add({.kind = PortEventKind::lost});
    events.clear();
    CHECK(!events.take(event));
}

void a_mailbox_that_is_safe_takes_no_command_until_it_is_rearmed() {
    Mailbox mailbox(0, {-1.0F});
    const float command = 0.5F;
    float newest = 0.0F;
    int64_t time_ns = 0;
    CHECK(!mailbox.write(&command, 10, 20));
    mailbox.rearm();
    CHECK(mailbox.write(&command, 10, 20));
    CHECK(mailbox.newest(&newest, time_ns) && newest == 0.5F && time_ns == 10);
    mailbox.write_safe();
    CHECK(!mailbox.write(&command, 11, 21));
    CHECK(mailbox.newest(&newest, time_ns) && newest == -1.0F);
    CHECK(!mailbox.put(&command, 1));
    mailbox.rearm();
    CHECK(mailbox.newest(&newest, time_ns) && newest == -1.0F && time_ns == -1);
}

// While a port is polled the guard may be sending: two writers would tear each other's packets.
void a_polled_link_sends_nothing_and_asks_for_the_time_when_it_keeps_up() {
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    LinkPort link(PortOptions{{"fd", int64_t{ends[0]}},
                              {"keeps_packets", int64_t{0}},
                              {"schema_id", int64_t{1}},
                              {"n_sensor", int64_t{1}},
                              {"n_command", int64_t{1}},
                              {"clock_offset_ns", int64_t{0}},
                              {"clock_error_ns", int64_t{1000}},
                              {"clock_time_ns", int64_t{0}},
                              {"command_validity_ns", int64_t{1'000'000}},
                              {"command_timeout_ns", int64_t{1'000'000'000}},
                              {"obey_timeout_ns", int64_t{0}},
                              {"silence_timeout_ns", int64_t{60'000'000'000}},
                              {"reconnects", int64_t{0}},
                              {"is_armed", int64_t{1}},
                              {"accounts", int64_t{0}}});
    link.rearm();
    char sent[64];
    const int64_t start_ns = 1'000'000'000;
    link.keep_up(start_ns);
    for (int64_t i = 0; i < 20; ++i) link.poll(start_ns + i * 100'000'000);
    CHECK(recv(ends[1], sent, sizeof(sent), MSG_DONTWAIT) < 0);
    link.keep_up(start_ns + 2'000'000'000);
    CHECK(recv(ends[1], sent, sizeof(sent), MSG_DONTWAIT) > 0);
    close(ends[0]);
    close(ends[1]);
}

void limits_clamp_and_slew_and_refuse_what_is_not_finite() {
    OutputConfig config;
    config.min = {-1.0F, -1.0F};
    config.max = {1.0F, 1.0F};
    config.max_rate_per_s = {100.0F, 1e9F};
    config.safe = {0.0F, 0.0F};
    Limits limits;
    limits.append(config, 2, 0.001);
    const float standing[] = {0.0F, 0.0F};
    float command[2];
    const float far[] = {0.5F, 3.0F};
    CHECK(limits.apply(far, standing, command) == (event::clamped | event::slew_limited));
    CHECK(std::fabs(command[0] - 0.1F) < 1e-6F && command[1] == 1.0F);
    const float broken[] = {0.0F, NAN};
    CHECK(limits.apply(broken, standing, command) & event::non_finite);
    config.safe.clear();
    CHECK(error_of([&] { Limits().append(config, 2, 0.001); }) == "an output needs a safe command");
    config.min = {0.0F};
    CHECK(error_of([&] { Limits().append(config, 2, 0.001); }) ==
          "min has 1 elements, the output has 2");
}

// A kind whose safe command is its own affair.
struct Stubborn final : Port {
    size_t n_outputs() const noexcept override { return 1; }
};

void what_a_port_cannot_be_told_is_not_held() {
    LoopConfig config;
    config.inputs = {InputConfig{}};
    config.outputs = {OutputConfig{}};
    config.outputs[0].port = 1;
    config.outputs[0].safe = {NAN};
    config.outputs[0].hold = {0};
    const auto input = std::make_shared<Mailbox>(1, std::vector<float>{});
    Limits limits;
    limits.append(config.outputs[0], 1, 0.001);
    const Wiring stubborn(config, {input, std::make_shared<Stubborn>()});
    CHECK(error_of([&] { Safe(config, stubborn, limits); }).find("cannot hold") !=
          std::string::npos);
    const Wiring open(config, {input, std::make_shared<Mailbox>(0, config.outputs[0].safe)});
    CHECK(Safe(config, open, limits).follows());
}

void a_timer_releases_on_its_grid_and_sees_a_stop() {
    VirtualClock clock(1'000);
    clock.oversleep_ns = 7;
    LoopStatus status{};
    StopRequest stop(status);
    TimerPacer pacer(clock, Grid(1'000'000, Overrun::skip, 0));
    Release release = pacer.start(5'000'000);
    CHECK(pacer.wait(release, stop) == 5'000'007);
    release = pacer.after(release.cycle, 7'400'000);
    CHECK(release.cycle == 3 && release.time_ns == 8'000'000 && release.skipped == 2);
    CHECK(pacer.wait(release, stop) == 8'000'007);
    stop.request();
    CHECK(pacer.wait(pacer.after(3, clock.now()), stop) == -1);
    LoopStatus faulted{};
    FaultLatch(faulted).latch(FaultReason::hang);
    CHECK(StopRequest(faulted).is_made());
}

// Takes a default, or not.
class Taking final : public Port {
  public:
    explicit Taking(bool takes) : takes_(takes) {}
    size_t n_outputs() const noexcept override { return 1; }
    bool write_default(int64_t) noexcept override { return takes_; }

  private:
    const bool takes_;
};

void an_output_that_took_no_default_stands_where_it_stood() {
    LoopConfig config;
    config.outputs = {OutputConfig{}, OutputConfig{}};
    config.outputs[1].port = 1;
    Limits limits;
    for (OutputConfig &output : config.outputs) {
        output.safe = {0.0F};
        output.default_value = {9.0F};
        limits.append(output, 1, 0.001);
    }
    const Wiring wiring(config, {std::make_shared<Taking>(true), std::make_shared<Taking>(false)});
    StandIn stand_in(wiring, limits);
    float standing[2] = {1.0F, 2.0F};
    uint8_t stands_safe[2] = {1, 1};
    stand_in.prepare(7, standing, 1'000);
    CHECK(!stand_in.send(7, 1'001));
    CHECK(stand_in.take(7, standing, stands_safe) == Left::some);
    CHECK(standing[0] == 9.0F && standing[1] == 2.0F);
    CHECK(stands_safe[0] == 0 && stands_safe[1] == 1);
}

}  // namespace

int main() {
    words_are_unique_within_their_table();
    events_of_a_port_keep_their_order_and_what_finds_no_room_is_counted();
    a_port_is_opened_by_what_its_kind_asks_for();
    a_mailbox_that_is_safe_takes_no_command_until_it_is_rearmed();
    a_polled_link_sends_nothing_and_asks_for_the_time_when_it_keeps_up();
    limits_clamp_and_slew_and_refuse_what_is_not_finite();
    what_a_port_cannot_be_told_is_not_held();
    an_output_that_took_no_default_stands_where_it_stood();
    a_timer_releases_on_its_grid_and_sees_a_stop();
}

// What two threads share, raced for a while: built with -fsanitize=thread by test_races.py.
// Every check also holds without the sanitizer: nothing torn, nothing lost unnoticed, one judge per
// cycle.
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "rtloop/core/cycle/gate.hpp"
#include "rtloop/core/cycle/guard.hpp"
#include "rtloop/core/cycle/stand_in.hpp"
#include "rtloop/core/graph/external.hpp"
#include "rtloop/core/ports/link.hpp"
#include "rtloop/core/ports/mailbox.hpp"
#include "rtloop/core/ports/relay.hpp"
#include "rtloop/core/ring/ring.hpp"
#include "rtloop/frame.h"

namespace {

void race_ring(const std::string &folder, uint64_t total) {
    const std::string path = folder + "/ring";
    rtloop::RingWriter writer(path, 16, 1, 3, 2, "{}");
    const auto consume = [&] {
        rtloop::RingReader reader(path);
        std::vector<std::byte> rows(8 * reader.layout().payload_size());
        uint64_t seen = 0;
        uint64_t lost = 0;
        int64_t newest = -1;
        while (seen + lost < total) {
            const size_t n = reader.read(8, rows.data(), lost);
            for (size_t i = 0; i < n; ++i) {
                const std::byte *row = rows.data() + i * reader.layout().payload_size();
                rtloop::CycleRecord record;
                rtloop::InputRecord source;
                float values[5];
                std::memcpy(&record, row, sizeof(record));
                std::memcpy(&source, row + sizeof(record), sizeof(source));
                std::memcpy(values, row + sizeof(record) + sizeof(source), sizeof(values));
                CHECK(record.cycle > newest);
                CHECK(record.release_ns == record.cycle * 3);
                CHECK(source.age_ns == record.cycle * 5);
                for (const float v : values) CHECK(v == static_cast<float>(record.cycle % 4096));
                newest = record.cycle;
            }
            seen += n;
        }
        CHECK(seen + lost == total);
    };
    std::thread first(consume);
    std::thread second(consume);
    for (uint64_t k = 0; k < total; ++k) {
        rtloop::CycleRecord record{};
        record.cycle = static_cast<int64_t>(k);
        record.release_ns = record.cycle * 3;
        const std::vector<float> values(5, static_cast<float>(k % 4096));
        const rtloop::InputRecord source{record.cycle * 5, 0, 0};
        writer.append(record, &source, values.data(), values.data() + 3);
        if (k % 64 == 0) std::this_thread::yield();
    }
    first.join();
    second.join();
    unlink(path.c_str());
}

// Cycles and events are written by one thread, and neither disturbs the other's readers.
void race_ring_events(const std::string &folder, int64_t total) {
    const std::string path = folder + "/ring";
    rtloop::RingWriter writer(path, 16, 0, 0, 0, "{}", 8);
    std::thread consumer([&] {
        rtloop::RingReader reader(path);
        std::vector<rtloop::PortEvent> events(4);
        auto *rows = reinterpret_cast<std::byte *>(events.data());
        uint64_t seen = 0;
        uint64_t lost = 0;
        int64_t newest = -1;
        while (seen + lost < static_cast<uint64_t>(total)) {
            const size_t n = reader.events().read(events.size(), rows, lost);
            for (size_t i = 0; i < n; ++i) {
                CHECK(events[i].number > newest);
                CHECK(events[i].time_ns == events[i].number * 3);
                CHECK(events[i].clock_error_ns == events[i].number * 5);
                CHECK(events[i].kind == rtloop::PortEventKind::lost);
                newest = events[i].number;
            }
            seen += n;
        }
        CHECK(seen + lost == static_cast<uint64_t>(total));
        CHECK(reader.status().port_events.load() >= 0);
    });
    for (int64_t k = 0; k < total; ++k) {
        writer.append_event({.number = k,
                             .time_ns = k * 3,
                             .clock_error_ns = k * 5,
                             .kind = rtloop::PortEventKind::lost});
        if (k % 16 == 0) writer.append({}, nullptr, nullptr, nullptr);
        if (k % 64 == 0) std::this_thread::yield();
    }
    consumer.join();
    unlink(path.c_str());
}

void race_triple_buffer(int total) {
    rtloop::TripleBuffer buffer(4);
    std::thread writer([&] {
        for (int i = 1; i <= total; ++i) {
            const std::vector<float> values(4, static_cast<float>(i));
            buffer.write(values.data(), i);
        }
    });
    int64_t newest = -1;
    while (newest < total) {
        const int64_t time = buffer.refresh();
        CHECK(time >= newest);
        newest = time;
        if (time < 0) continue;
        for (const float v : buffer.front()) CHECK(v == static_cast<float>(time));
    }
    writer.join();
}

// A loop whose commands others read as they come, as quickly as it can, and two who end it.
void race_relay(int rounds) {
    constexpr size_t kValues = 5;
    std::atomic<int64_t> n_found{0};
    for (int round = 0; round < rounds; ++round) {
        rtloop::Relay relay(kValues, 4, true);
        const std::vector<float> first(kValues, -1.0F);
        const std::vector<float> safe(kValues, -2.0F);
        relay.rearm(first.data());
        relay.prepare_safe(safe.data());
        std::atomic<int64_t> now_ns{0};
        std::atomic<bool> is_safe{false};
        // Command i counts from i on, and nothing is found before it counts.
        const auto consume = [&] {
            std::vector<float> values(kValues);
            int64_t newest = -1;
            bool was_safe = false;
            for (bool last = false; !last;) {
                last = is_safe.load();
                const int64_t at_ns = last ? 1'000'000 : now_ns.load(std::memory_order_acquire);
                const int64_t from_ns = relay.newest(at_ns, values.data());
                if (from_ns == rtloop::Relay::kNone) continue;
                n_found.fetch_add(1, std::memory_order_relaxed);
                for (const float v : values) CHECK(v == values[0]);
                if (values[0] == -2.0F) {
                    was_safe = true;
                    continue;
                }
                CHECK(!was_safe && from_ns <= at_ns && from_ns >= newest);
                CHECK(values[0] == static_cast<float>(from_ns));  // kFirst is -1, as the value
                newest = from_ns;
            }
            CHECK(was_safe);
        };
        const auto end_it = [&](int after) {
            while (now_ns.load(std::memory_order_relaxed) < after) std::this_thread::yield();
            relay.write_safe(now_ns.load());
            is_safe.store(true);
        };
        std::thread one(consume);
        std::thread two(consume);
        std::thread guard(end_it, 400 + round);
        std::thread somebody(end_it, 400);
        for (int64_t i = 1; i <= 800; ++i) {
            const std::vector<float> values(kValues, static_cast<float>(i));
            relay.write(values.data(), i - 1, i);
            now_ns.store(i, std::memory_order_release);
            if (i % 8 == 0) std::this_thread::yield();
        }
        one.join();
        two.join();
        guard.join();
        somebody.join();
    }
    std::printf("relay: %lld found\n", static_cast<long long>(n_found.load()));
}

// The loop asks and takes what is there; whoever answers may be slower, or is told to end.
void race_external(int total) {
    rtloop::External external(3, 2);
    external.open();
    external.reset();
    int64_t n_answered = 0;
    std::thread answers([&] {
        while (external.next(-1)) {
            const float first = external.values()[0];
            for (const float v : external.values()) CHECK(v == first);
            CHECK(external.question().taken_ns == static_cast<int64_t>(first));
            const std::vector<float> answer(2, -first);
            external.answer(answer.data());
            ++n_answered;
        }
    });
    int64_t n_late = 0;
    int64_t n_missing = 0;
    for (int k = 1; k <= total; ++k) {
        const std::vector<float> question(3, static_cast<float>(k));
        std::vector<float> answer(2, 0.5F);
        CHECK(external.run(question.data(), answer.data(), k));
        CHECK(answer[0] == answer[1]);
        if (external.has_answer()) CHECK(answer[0] == -static_cast<float>(external.taken_ns()));
        if (k > 1) CHECK(external.is_late() == (external.taken_ns() != k - 1));
        n_late += external.is_late() ? 1 : 0;
        n_missing += external.take_gap();
        if (k % 64 == 0) std::this_thread::yield();
    }
    external.close();
    answers.join();
    CHECK(n_missing <= n_late);
    std::printf("external: %lld answered, %lld late\n", static_cast<long long>(n_answered),
                static_cast<long long>(n_late));
}

void race_gate(int64_t total) {
    rtloop::Gate gate;
    std::atomic<bool> stop{false};
    std::vector<std::atomic<int>> judged(static_cast<size_t>(total));
    std::vector<std::atomic<int>> closed(static_cast<size_t>(total));
    std::thread guard([&] {
        while (!stop.load(std::memory_order_relaxed)) {
            const rtloop::Gate::Armed armed = gate.armed();
            if (armed.cycle < 0 || armed.phase == rtloop::Phase::done) continue;
            CHECK(armed.deadline_ns == armed.cycle * 7);
            CHECK(armed.limit_ns == armed.cycle * 11);
            const auto cycle = static_cast<size_t>(armed.cycle);
            if (armed.phase == rtloop::Phase::expired) {
                if (gate.close(armed.cycle)) closed[cycle].fetch_add(1);
            } else if (gate.expire(armed.cycle)) {
                judged[cycle].fetch_add(1);
            }
        }
    });
    int64_t in_time = 0;
    int64_t given_up = 0;
    for (int64_t k = 0; k < total; ++k) {
        gate.arm(k, k * 7, k * 11);
        if (k % 16 == 0) std::this_thread::yield();
        const bool met = gate.begin_write(k) && gate.end_write(k);
        const bool judged_here = !met && gate.expire(k);
        in_time += met ? 1 : 0;
        const int by_guard = judged[static_cast<size_t>(k)].load();
        CHECK(!judged_here || by_guard == 0);
        if (met) CHECK(by_guard == 0);
        // Either the cycle came back, or the guard gave it up.
        const bool came_back = !met && gate.close(k);
        CHECK(closed[static_cast<size_t>(k)].load() == 0 || !came_back);
        given_up += !met && !came_back ? 1 : 0;
    }
    stop.store(true);
    guard.join();
    int64_t missed = 0;
    for (const auto &j : judged) {
        CHECK(j.load() <= 1);
        missed += j.load();
    }
    CHECK(in_time + missed == total);
    int64_t closed_by_guard = 0;
    for (const auto &c : closed) {
        CHECK(c.load() <= 1);
        closed_by_guard += c.load();
    }
    CHECK(closed_by_guard == given_up);
    std::printf("gate: %lld in time, %lld judged by the guard, %lld given up\n",
                static_cast<long long>(in_time), static_cast<long long>(missed),
                static_cast<long long>(given_up));
}

// Releases that come before or after a guard has judged the latest that they may be: it never
// judges the one that came for the other's deadline.
void race_waiting(int64_t total) {
    rtloop::LoopConfig config;
    config.loop_class = rtloop::LoopClass::soft;
    config.hang_limit_ns = rtloop::kNever;
    const rtloop::Wiring wiring(config, {});
    rtloop::LoopStatus status{};
    status.expired_cycle.store(-1);
    rtloop::Gate gate;
    rtloop::Guard guard(config, wiring, nullptr, gate, status);
    std::atomic<bool> stop{false};
    std::thread watching([&] {
        while (!stop.load(std::memory_order_relaxed)) {
            const rtloop::Gate::Armed armed = gate.armed();
            if (armed.phase == rtloop::Phase::waiting) CHECK(armed.deadline_ns == armed.cycle * 7);
            if (armed.phase == rtloop::Phase::open) CHECK(armed.deadline_ns == rtloop::kNever);
            guard.fire(rtloop::kNever - 1);  // past any deadline of one that waits
        }
    });
    int64_t released = 0;
    int64_t newest_late = -1;
    for (int64_t k = 0; k < total; ++k) {
        gate.arm_waiting(k, k * 7, rtloop::kNever);
        if (k % 16 == 0) std::this_thread::yield();
        if (gate.stop_waiting(k)) {
            gate.arm(k, rtloop::kNever);
            CHECK(gate.begin_write(k));
            CHECK(gate.end_write(k));
            CHECK(status.expired_cycle.load() < k);
            ++released;
        } else {
            CHECK(gate.close(k));
            newest_late = k;
        }
    }
    stop.store(true);
    watching.join();
    CHECK(status.expired_cycle.load() == newest_late);
    CHECK(newest_late < 0 || status.expired_deadline_ns.load() == newest_late * 7);
    std::printf("waiting: %lld came, %lld were judged\n", static_cast<long long>(released),
                static_cast<long long>(total - released));
}

// A loop that sleeps until a sample comes, and misses none.
void race_arrival(int total) {
    rtloop::Mailbox mailbox(2, {});
    std::atomic<int> seen{0};
    std::thread writer([&] {
        for (int i = 1; i <= total; ++i) {
            const std::vector<float> values(2, static_cast<float>(i));
            mailbox.put(values.data(), i);
            // Now and then not before it was seen: then the other one sleeps.
            while (i % 8 == 0 && seen.load() < i) std::this_thread::yield();
        }
    });
    std::vector<float> values(2);
    for (int64_t newest = 0; newest < total;) {
        const rtloop::Sample sample =
            mailbox.await_sample(rtloop::MonotonicClock().now() + 60 * rtloop::kNsPerSecond);
        CHECK(sample.time_ns > newest);
        const rtloop::Sample read = mailbox.read(values.data());
        CHECK(read.time_ns >= sample.time_ns);
        CHECK(values[0] == static_cast<float>(read.time_ns) && values[1] == values[0]);
        newest = read.time_ns;
        seen.store(static_cast<int>(newest));
    }
    writer.join();
}

// A loop that prepares what is safe as it is measured, two who end it at any time, and a reader.
void race_safe(int rounds) {
    int64_t n_before = 0;
    for (int round = 0; round < rounds; ++round) {
        rtloop::Mailbox mailbox(0, std::vector<float>(8, -1.0F));
        mailbox.rearm();
        std::atomic<bool> stop{false};
        std::atomic<int> prepared{0};
        const auto end_it = [&] {
            while (prepared.load(std::memory_order_relaxed) < 1 + round % 7) {
                std::this_thread::yield();
            }
            mailbox.write_safe();
        };
        std::thread guard(end_it);
        std::thread somebody(end_it);
        std::vector<float> in_force;
        std::thread reader([&] {
            std::vector<float> values(8);
            int64_t time_ns = -1;
            // Once more when all has ended: it stays what it was.
            for (bool last = false; !last;) {
                last = stop.load();
                mailbox.newest(values.data(), time_ns);
                for (const float v : values) CHECK(v == values[0]);
                if (time_ns < 0) continue;
                if (in_force.empty()) in_force = values;
                CHECK(values == in_force);
            }
        });
        float newest = -1.0F;
        int64_t refused = 0;
        for (int i = 0; refused < 3; ++i) {
            const std::vector<float> values(8, static_cast<float>(i));
            if (mailbox.prepare_safe(values.data())) {
                CHECK(refused == 0);
                newest = values[0];
            } else {
                ++refused;
            }
            prepared.fetch_add(1, std::memory_order_relaxed);
        }
        guard.join();
        somebody.join();
        stop.store(true);
        reader.join();
        CHECK(!in_force.empty() && in_force[0] == newest);
        n_before += static_cast<int64_t>(newest) + 1;
    }
    std::printf("safe: %lld prepared before the end\n", static_cast<long long>(n_before));
}

// A device that talks all the time, and counts the commands that reach it whole.
class Device {
  public:
    explicit Device(bool keeps_packets) : keeps_packets_(keeps_packets) {
        const int type = keeps_packets ? SOCK_SEQPACKET : SOCK_STREAM;
        CHECK(socketpair(AF_UNIX, type, 0, fds_) == 0);
        talker_ = std::thread([this] { talk(); });
        listener_ = std::thread([this] { listen(); });
    }
    int fd() const { return fds_[1]; }
    void hang_up() {
        stop_.store(true);
        talker_.join();
        shutdown(fds_[0], SHUT_RDWR);
        listener_.join();
        close(fds_[0]);
        close(fds_[1]);
    }
    std::atomic<int64_t> commands{0};
    int64_t broken = 0;  // once it hung up
    int64_t stops = 0;
    float least = 1e9F;  // of the commands' first values
    float greatest = -1e9F;

  private:
    void talk() {
        rtl_sensor sensor{};
        sensor.count = 2;
        for (uint16_t seq = 0; !stop_.load(std::memory_order_relaxed); ++seq) {
            uint8_t payload[RTL_PAYLOAD_MAX];
            uint8_t packet[RTL_PACKET_MAX];
            uint8_t frame[RTL_FRAME_MAX];
            const rtl_header header = {0, RTL_TYPE_SENSOR, seq, 0, 7, seq};
            const size_t size = rtl_sensor_encode(&sensor, payload);
            const size_t packet_size = rtl_packet_encode(&header, payload, size, packet);
            const size_t n =
                keeps_packets_ ? packet_size : rtl_frame_encode(packet, packet_size, frame);
            const uint8_t *const bytes = keeps_packets_ ? packet : frame;
            if (send(fds_[0], bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) std::this_thread::yield();
        }
    }
    void listen() {
        rtl_frame_decoder decoder;
        rtl_frame_decoder_init(&decoder);
        uint8_t bytes[4096];
        for (ssize_t n = 0; (n = read(fds_[0], bytes, sizeof(bytes))) > 0;) {
            if (keeps_packets_) {
                take(bytes, static_cast<size_t>(n));
                continue;
            }
            for (size_t used = 0; used < static_cast<size_t>(n);) {
                const uint8_t *packet = nullptr;
                size_t size = 0;
                used += rtl_frame_decoder_feed(&decoder, bytes + used,
                                               static_cast<size_t>(n) - used, &packet, &size);
                if (size > 0) take(packet, size);
            }
        }
    }
    void take(const uint8_t *packet, size_t size) {
        const uint8_t *payload = nullptr;
        size_t payload_size = 0;
        rtl_header header;
        if (rtl_packet_decode(packet, size, &header, &payload, &payload_size) != RTL_OK) {
            ++broken;
        } else if (header.type == RTL_TYPE_COMMAND) {
            rtl_command command;
            CHECK(rtl_command_decode(payload, payload_size, &command));
            least = std::min(least, command.values[0]);
            greatest = std::max(greatest, command.values[0]);
            ++commands;
        } else if (header.type == RTL_TYPE_STOP) {
            ++stops;
        }
    }

    const bool keeps_packets_;
    int fds_[2] = {-1, -1};
    std::atomic<bool> stop_{false};
    std::thread talker_;
    std::thread listener_;
};

// A loop that is now in time, now late, and its guard, on a link and a mailbox.
void race_stand_in(int64_t total, bool keeps_packets) {
    Device device(keeps_packets);
    rtloop::LinkConfig link;
    link.fd = device.fd();
    link.keeps_packets = keeps_packets;
    link.schema_id = 7;
    link.n_sensor = 2;
    link.n_command = 1;
    link.command_timeout_ns = int64_t{1} << 60;
    link.terms.silence_timeout_ns = int64_t{1} << 60;
    rtloop::LoopConfig config;
    config.inputs = {rtloop::InputConfig{}};
    config.outputs.resize(2);
    config.outputs[1].port = 1;
    const auto mailbox = std::make_shared<rtloop::Mailbox>(0, std::vector<float>{0.0F});
    const auto relay = std::make_shared<rtloop::Relay>(1, 64, false);
    config.outputs[1].relay = relay;
    const rtloop::Wiring wiring(config, {std::make_shared<rtloop::LinkPort>(link), mailbox});
    rtloop::Limits limits;
    config.outputs[0].safe = config.outputs[1].safe = {0.0F};
    limits.append(config.outputs[0], 1, 0.001);
    limits.append(config.outputs[1], 1, 0.001);
    rtloop::StandIn stand_in(wiring, limits);
    rtloop::Gate gate;
    std::atomic<bool> stop{false};
    for (const auto &port : wiring.ports) port->rearm();

    std::thread guard([&] {
        while (!stop.load(std::memory_order_relaxed)) {
            const rtloop::Gate::Armed armed = gate.armed();
            if (armed.cycle < 0 || armed.phase != rtloop::Phase::open) continue;
            if (gate.expire_open(armed.cycle)) stand_in.send(armed.cycle, armed.cycle);
        }
    });
    std::thread reader([&] {
        float value = 0.0F;
        int64_t time_ns = 0;
        while (!stop.load(std::memory_order_relaxed)) mailbox->newest(&value, time_ns);
    });
    // By whichever of the two sends: the commands are read in their order.
    std::thread other_loop([&] {
        float value = 0.0F;
        int64_t newest_ns = -1;
        while (!stop.load(std::memory_order_relaxed)) {
            const int64_t from_ns = relay->newest(total, &value);
            CHECK(from_ns >= newest_ns || from_ns == rtloop::Relay::kNone);
            newest_ns = std::max(newest_ns, from_ns);
        }
        CHECK(newest_ns > 0);
    });
    rtloop::Port *port = wiring.outputs[0];
    int64_t left = 0;
    int64_t by_guard = 0;
    float standing[2] = {0.0F, 0.0F};
    uint8_t stands_safe[2] = {1, 1};
    for (int64_t k = 0; k < total; ++k) {
        if (!stand_in.is_out()) stand_in.prepare(k, standing, k);
        gate.arm(k, k);
        if (k % 3 == 0) std::this_thread::yield();
        port->poll(k);
        float values[2];
        port->read(values);
        if (gate.begin_write(k)) {
            if (!stand_in.is_out()) {
                left += port->write(standing, k, k) ? 1 : 0;
                wiring.write(1, standing, k, k);
            }
            CHECK(gate.end_write(k));
        } else {
            stand_in.leave_to_guard(k);
            if (k % 2 == 0) {
                while (stand_in.is_out()) std::this_thread::yield();
            }
        }
        static_cast<void>(port->report());
        if (!stand_in.is_out()) {
            by_guard += stand_in.take(k, standing, stands_safe) == rtloop::Left::all ? 1 : 0;
        }
    }
    stop.store(true);
    guard.join();
    reader.join();
    other_loop.join();
    const auto counters = port->counters();
    device.hang_up();
    CHECK(device.broken == 0);
    CHECK(by_guard > 0 && left > 0);
    std::printf("stand-in: %lld by the loop, %lld by the guard, %lld arrived\n",
                static_cast<long long>(left), static_cast<long long>(by_guard),
                static_cast<long long>(device.commands));
    CHECK(device.commands >= left);
}

int64_t reconnections(const rtloop::Port &port) {
    for (const auto &[name, value] : port.counters()) {
        if (name == "reconnections") return value;
    }
    return -1;
}

// A loop with its guard, whose device is exchanged again and again beside it. Each device must get
// what was meant for it: the loop commands the number of the device that it has.
void race_line(int n_devices, bool keeps_packets) {
    std::vector<std::unique_ptr<Device>> devices;
    devices.push_back(std::make_unique<Device>(keeps_packets));
    rtloop::LinkConfig link;
    link.keeps_packets = keeps_packets;
    link.fd = devices[0]->fd();
    link.schema_id = 7;
    link.n_sensor = 2;
    link.n_command = 1;
    link.reconnects = true;
    link.command_timeout_ns = int64_t{1} << 60;
    link.terms.silence_timeout_ns = int64_t{1} << 60;
    rtloop::LoopConfig config;
    config.inputs = {rtloop::InputConfig{}};
    config.outputs.resize(1);
    config.outputs[0].safe = {0.0F};
    const auto port = std::make_shared<rtloop::LinkPort>(link);
    const rtloop::Wiring wiring(config, {port});
    rtloop::Limits limits;
    // The default is the command that stands: nothing may move further.
    config.outputs[0].max_rate_per_s = {1e-9F};
    limits.append(config.outputs[0], 1, 1e-9);
    rtloop::StandIn stand_in(wiring, limits);
    rtloop::Gate gate;
    std::atomic<bool> stop{false};
    port->rearm();

    std::thread guard([&] {
        while (!stop.load(std::memory_order_relaxed)) {
            const rtloop::Gate::Armed armed = gate.armed();
            if (armed.cycle < 0 || armed.phase != rtloop::Phase::open) continue;
            if (gate.expire_open(armed.cycle)) stand_in.send(armed.cycle, armed.cycle);
        }
    });
    std::thread opener([&] {
        for (int i = 1; i < n_devices; ++i) {
            // Once it was commanded: on two processors the guard may come first for a while.
            for (int n = 0; n == 0 || (devices.back()->commands == 0 && n < 100); ++n)
                std::this_thread::sleep_for(std::chrono::milliseconds(2));
            devices.back()->hang_up();
            while (!port->is_lost()) std::this_thread::yield();
            port->let_go();
            devices.push_back(std::make_unique<Device>(keeps_packets));
            port->reconnect({{"fd", int64_t{devices.back()->fd()}},
                             {"clock_offset_ns", int64_t{0}},
                             {"clock_error_ns", int64_t{0}},
                             {"clock_time_ns", int64_t{0}},
                             {"obey_timeout_ns", int64_t{0}},
                             {"silence_timeout_ns", int64_t{1} << 60},
                             {"is_armed", int64_t{1}},
                             {"accounts", int64_t{0}}});
        }
        stop.store(true);
    });
    float device = 0.0F;
    float values[2];
    for (int64_t k = 0; !stop.load(std::memory_order_relaxed); ++k) {
        if (!stand_in.is_out()) stand_in.prepare(k, &device, k);
        gate.arm(k, k);
        if (k % 3 == 0) std::this_thread::yield();
        port->poll(k);
        device = static_cast<float>(reconnections(*port));
        port->read(values);
        if (gate.begin_write(k)) {
            if (!stand_in.is_out()) port->write(&device, k, k);
            CHECK(gate.end_write(k));
        } else {
            stand_in.leave_to_guard(k);
        }
        CHECK(port->report().fault == rtloop::FaultReason::none);
        float sent = 0.0F;
        uint8_t stands_safe = 1;
        if (!stand_in.is_out()) stand_in.take(k, &sent, &stands_safe);
    }
    gate.disarm();
    port->write_safe();
    opener.join();
    guard.join();
    devices.back()->hang_up();
    int64_t commands = 0;
    for (size_t i = 0; i < devices.size(); ++i) {
        CHECK(devices[i]->broken == 0);
        commands += devices[i]->commands;
        if (devices[i]->commands == 0) continue;
        CHECK(devices[i]->least == static_cast<float>(i));
        CHECK(devices[i]->greatest == static_cast<float>(i));
    }
    CHECK(commands > 0);
    CHECK(devices.back()->stops > 0);
    std::printf("line: %lld commands to %d devices\n", static_cast<long long>(commands), n_devices);
}

// An end and a new line at the same time: the line gets its STOP, whoever is first.
void race_end_of_line(int total) {
    for (int i = 0; i < total; ++i) {
        int dead[2];
        int line[2];
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, dead) == 0);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, line) == 0);
        rtloop::LinkConfig link;
        link.fd = dead[0];
        link.n_sensor = link.n_command = 1;
        link.reconnects = true;
        link.command_timeout_ns = int64_t{1} << 60;
        link.terms.silence_timeout_ns = int64_t{1} << 60;
        rtloop::LinkPort port(link);
        port.rearm();
        close(dead[0]);
        close(dead[1]);
        port.poll(1);
        const float value = 0.0F;
        port.write(&value, 1, 1);
        CHECK(port.is_lost());
        std::thread opener([&] {
            port.reconnect({{"fd", int64_t{line[0]}},
                            {"clock_offset_ns", int64_t{0}},
                            {"clock_error_ns", int64_t{0}},
                            {"clock_time_ns", int64_t{0}},
                            {"obey_timeout_ns", int64_t{0}},
                            {"silence_timeout_ns", int64_t{1} << 60},
                            {"is_armed", int64_t{1}},
                            {"accounts", int64_t{0}}});
        });
        if (i % 2 == 0) std::this_thread::yield();
        port.write_safe();
        opener.join();
        char bytes[256];
        CHECK(recv(line[1], bytes, sizeof(bytes), MSG_DONTWAIT) > 0);
        close(line[0]);
        close(line[1]);
    }
}

}  // namespace

int main(int argc, char **argv) {
    CHECK(argc == 2);
    std::signal(SIGPIPE, SIG_IGN);  // as Python has it
    race_ring(argv[1], 100'000);
    race_ring_events(argv[1], 100'000);
    race_triple_buffer(200'000);
    race_relay(60);
    race_external(20'000);
    race_gate(200'000);
    race_waiting(200'000);
    race_arrival(20'000);
    race_safe(300);
    race_stand_in(10'000, false);
    race_stand_in(10'000, true);
    race_line(20, false);
    race_line(20, true);
    race_end_of_line(500);
    std::puts("no race");
    return 0;
}

// What two threads share, raced for a while: built with -fsanitize=thread by test_races.py.
// Every check also holds without the sanitizer: nothing torn, nothing lost unnoticed, one judge per
// cycle.
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "rtloop/core/cycle/gate.hpp"
#include "rtloop/core/ports/mailbox.hpp"
#include "rtloop/core/ring/ring.hpp"

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

void race_gate(int64_t total) {
    rtloop::Gate gate;
    std::atomic<bool> stop{false};
    std::vector<std::atomic<int>> judged(static_cast<size_t>(total));
    std::thread guard([&] {
        while (!stop.load(std::memory_order_relaxed)) {
            const rtloop::Gate::Armed armed = gate.armed();
            if (armed.cycle < 0 || armed.phase == rtloop::Phase::done) continue;
            CHECK(armed.deadline_ns == armed.cycle * 7);
            if (gate.expire(armed.cycle)) judged[static_cast<size_t>(armed.cycle)].fetch_add(1);
        }
    });
    int64_t in_time = 0;
    for (int64_t k = 0; k < total; ++k) {
        gate.arm(k, k * 7);
        if (k % 16 == 0) std::this_thread::yield();
        const bool met = gate.begin_write(k) && gate.end_write(k);
        const bool judged_here = !met && gate.expire(k);
        in_time += met ? 1 : 0;
        const int by_guard = judged[static_cast<size_t>(k)].load();
        CHECK(!judged_here || by_guard == 0);
        if (met) CHECK(by_guard == 0);
    }
    stop.store(true);
    guard.join();
    int64_t missed = 0;
    for (const auto &j : judged) {
        CHECK(j.load() <= 1);
        missed += j.load();
    }
    CHECK(in_time + missed == total);
    std::printf("gate: %lld in time, %lld judged by the guard\n", static_cast<long long>(in_time),
                static_cast<long long>(missed));
}

}  // namespace

int main(int argc, char **argv) {
    CHECK(argc == 2);
    race_ring(argv[1], 100'000);
    race_triple_buffer(200'000);
    race_gate(200'000);
    std::puts("no race");
    return 0;
}

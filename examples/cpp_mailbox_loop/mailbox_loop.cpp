// A policy at 1 kHz, and the plant in another thread of this program: both meet in a mailbox.
#include <rtloop/core/ports/mailbox.hpp>
#include <rtloop/core/threads/loop_threads.hpp>

#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>

using namespace rtloop;

int main(int argc, char **argv) try {
    if (argc < 3) return std::puts("usage: mailbox_loop LIBONNXRUNTIME.so POLICY.onnx [RING]"), 2;
    std::ifstream file(argv[2], std::ios::binary);
    if (!file) return std::fprintf(stderr, "cannot read %s\n", argv[2]), 1;
    // The demo's: position, velocity, angle and rate of a cart-pole; a force.
    const GraphSpec policy = one_model({std::istreambuf_iterator<char>(file), {}},
                                       {{"observation", {1, 4}}}, {"action", {1, 1}});
    LoopConfig config;
    config.name = "balance";
    config.loop_class = LoopClass::soft;
    config.period_ns = config.deadline_ns = 1'000'000;
    config.inputs = {{.port = 0, .max_age_ns = 20'000'000}};
    config.outputs = {{.port = 0, .min = {-1}, .max = {1}, .safe = {0}}};

    auto cart = std::make_shared<Mailbox>(4, config.outputs[0].safe);
    auto clock = std::make_shared<MonotonicClock>();
    auto graph = std::make_shared<Graph>(argv[1], policy);
    const char *ring_path = argc > 3 ? argv[3] : "/dev/shm/mailbox_loop.ring";
    std::remove(ring_path);  // that of a run before, which was killed
    auto ring = std::make_shared<RingWriter>(ring_path, 60'000, 1, 4, 1, "{}");
    LoopThreads threads(std::shared_ptr<Loop>(new Loop(config, {cart}, graph, ring, clock)));
    const SetUp found =
        threads.set_up({.name = "rt:balance", .scheduler = Scheduler::fifo, .priority = 80},
                       {.name = "rtg:balance", .scheduler = Scheduler::fifo, .priority = 81}, 200);
    for (const Right &right : found.loop_rights) {
        if (!right.granted) std::printf("not granted: %s\n", right.name.c_str());
    }
    LoopThreads *all[] = {&threads};
    LoopThreads::activate(all);
    float state[] = {0, 0, 0.1F, 0}, force = 0;
    for (int64_t step = 0, written_ns = 0; step < 1000; ++step) {
        cart->put(state, clock->now());
        clock->sleep_until(clock->now() + 1'000'000);
        cart->newest(&force, written_ns);
        state[3] += 0.001F * (12 * state[2] - 15 * force), state[2] += 0.001F * state[3];
    }
    const bool returned = threads.deactivate(1'000'000'000);  // the safe command goes out last
    std::printf("%ld cycles, %ld misses, angle %+.3f rad\n", long(ring->status().executed),
                long(ring->status().misses), double(state[2]));
    std::remove(ring->path().c_str());
    return returned && ring->status().executed > 0 ? 0 : 1;
} catch (const std::exception &error) {
    std::fprintf(stderr, "mailbox_loop: %s\n", error.what());
    return 1;
}

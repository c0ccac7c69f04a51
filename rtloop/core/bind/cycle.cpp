#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <vector>

#include "rtloop/core/bind/convert.hpp"
#include "rtloop/core/cycle/deliveries.hpp"
#include "rtloop/core/cycle/loop.hpp"

namespace rtloop {

nb::dict status_dict(const LoopStatus &s);

namespace {

void bind_config(nb::module_ &m) {
    using namespace nb::literals;
    nb::enum_<LoopClass>(m, "LoopClass")
        .value("hard", LoopClass::hard)
        .value("firm", LoopClass::firm)
        .value("soft", LoopClass::soft);
    nb::enum_<Overrun>(m, "Overrun")
        .value("skip", Overrun::skip)
        .value("catch_up", Overrun::catch_up)
        .value("slip", Overrun::slip);
    nb::enum_<OnStale>(m, "OnStale")
        .value("hold", OnStale::hold)
        .value("fault", OnStale::fault)
        .value("use", OnStale::use);
    nb::enum_<Stage>(m, "Stage")
        .value("none", Stage::none)
        .value("release", Stage::release)
        .value("read", Stage::read)
        .value("infer", Stage::infer)
        .value("write", Stage::write);
    nb::class_<InputConfig>(m, "InputConfig")
        .def(nb::init<size_t, int64_t, OnStale, std::vector<float>>(), "port"_a, "max_age_ns"_a = 0,
             "on_stale"_a = OnStale::hold, "stand_in"_a = std::vector<float>{});
    nb::class_<OutputConfig>(m, "OutputConfig")
        .def(nb::init<size_t, std::vector<float>, std::vector<float>, std::vector<float>,
                      std::vector<float>, std::vector<float>, std::vector<int64_t>,
                      std::shared_ptr<Relay>>(),
             "port"_a, "min"_a = std::vector<float>{}, "max"_a = std::vector<float>{},
             "max_rate_per_s"_a = std::vector<float>{}, "safe"_a = std::vector<float>{},
             "default_value"_a = std::vector<float>{}, "hold"_a = std::vector<int64_t>{},
             "relay"_a.none() = nb::none());
    nb::class_<Stall>(m, "Stall")
        .def(nb::init<Stage, int64_t, int64_t, int64_t>(), "stage"_a, "first"_a, "every"_a,
             "duration_ns"_a);
    nb::class_<LoopConfig>(m, "LoopConfig")
        .def(nb::init<>())
        .def_rw("name", &LoopConfig::name)
        .def_rw("loop_class", &LoopConfig::loop_class)
        .def_rw("period_ns", &LoopConfig::period_ns)
        .def_rw("deadline_ns", &LoopConfig::deadline_ns)
        .def_rw("budget_ns", &LoopConfig::budget_ns)
        .def_rw("max_misses", &LoopConfig::max_misses)
        .def_rw("window", &LoopConfig::window)
        .def_rw("max_consecutive", &LoopConfig::max_consecutive)
        .def_rw("fault_on_broken_limit", &LoopConfig::fault_on_broken_limit)
        .def_rw("default_on_miss", &LoopConfig::default_on_miss)
        .def_rw("on_overrun", &LoopConfig::on_overrun)
        .def_rw("max_catch_up", &LoopConfig::max_catch_up)
        .def_rw("paced_by", &LoopConfig::paced_by, nb::arg().none())
        .def_rw("timeout_ns", &LoopConfig::timeout_ns)
        .def_rw("output_at_deadline", &LoopConfig::output_at_deadline)
        .def_rw("hang_limit_ns", &LoopConfig::hang_limit_ns)
        .def_rw("inputs", &LoopConfig::inputs)
        .def_rw("outputs", &LoopConfig::outputs)
        .def_rw("stalls", &LoopConfig::stalls);
}

// On virtual time no thread plays the guard: the clock does.
std::shared_ptr<Loop> make_loop(const LoopConfig &config,
                                const std::vector<std::shared_ptr<Port>> &ports,
                                std::shared_ptr<Runner> graph, std::shared_ptr<RingWriter> ring,
                                std::shared_ptr<Clock> clock) {
    auto *virtual_clock = dynamic_cast<VirtualClock *>(clock.get());
    auto *loop = new Loop(config, ports, std::move(graph), std::move(ring), clock);
    if (virtual_clock != nullptr) virtual_clock->add(&loop->guard());
    return {loop, [clock, virtual_clock](Loop *p) {
                if (virtual_clock != nullptr) virtual_clock->remove(&p->guard());
                delete p;
            }};
}

}  // namespace

void bind_cycle(nb::module_ &m) {
    using namespace nb::literals;
    bind_config(m);
    m.def("output_lead_ns", &output_lead_ns, "period_ns"_a, "deadline_ns"_a);
    nb::class_<Clock>(m, "Clock").def("now", &Clock::now);
    nb::class_<MonotonicClock, Clock>(m, "MonotonicClock").def(nb::init<>());
    nb::class_<VirtualClock, Clock>(m, "VirtualClock")
        .def(nb::init<int64_t>(), "start_ns"_a = 0)
        .def("spend", &VirtualClock::spend, "duration_ns"_a)
        .def_rw("oversleep_ns", &VirtualClock::oversleep_ns);
    nb::class_<Deliveries>(m, "Deliveries")
        .def(nb::init<std::shared_ptr<VirtualClock>>(), "clock"_a)
        .def(
            "add",
            [](Deliveries &deliveries, std::shared_ptr<Port> port, std::vector<float> values,
               int64_t time_ns, int64_t at_ns) {
                if (values.size() != port->n_inputs()) {
                    throw std::invalid_argument("a sample of another size than that of the port");
                }
                deliveries.add(std::move(port), std::move(values), time_ns, at_ns);
            },
            "port"_a, "values"_a, "time_ns"_a, "at_ns"_a);
    nb::class_<Loop>(m, "Loop")
        .def(nb::new_(&make_loop), "config"_a, "ports"_a, "graph"_a, "ring"_a, "clock"_a)
        .def(
            "begin", [](Loop &loop, int64_t lead_ns) { loop.begin(loop.clock().now() + lead_ns); },
            "lead_ns"_a = 0)
        .def("rearm", &Loop::rearm)
        .def("missing_input", &Loop::missing_input)
        .def("step", &Loop::step)
        .def("end", &Loop::end)
        .def("request_stop", &Loop::request_stop)
        .def(
            "measure_overhead",
            [](Loop &loop, size_t n) {
                std::vector<int64_t> overhead_ns;
                {
                    nb::gil_scoped_release no_gil;
                    overhead_ns = loop.measure_overhead(n);
                }
                return to_numpy(std::move(overhead_ns));
            },
            "n"_a)
        .def("status", [](const Loop &loop) { return status_dict(loop.status()); });
}

}  // namespace rtloop

// The Python face of the core. Converts and forwards; decides nothing. See _core.pyi for what each
// name means.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "rtloop/core/ports/link.hpp"
#include "rtloop/core/cycle/loop.hpp"
#include "rtloop/core/ports/mailbox.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace rtloop {

void bind_wire(nb::module_ &m);  // bind_wire.cpp

namespace {

using FloatVector = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename T>
nb::object to_numpy(std::vector<T> &&values, std::vector<size_t> shape = {}) {
    auto *owner = new std::vector<T>(std::move(values));
    nb::capsule free(owner, [](void *p) noexcept { delete static_cast<std::vector<T> *>(p); });
    if (shape.empty()) shape = {owner->size()};
    return nb::cast(nb::ndarray<nb::numpy, T>(owner->data(), shape.size(), shape.data(), free));
}

void check_size(const FloatVector &values, size_t size) {
    if (values.size() != size) {
        throw std::invalid_argument("got " + std::to_string(values.size()) + " values, expected " +
                                    std::to_string(size));
    }
}

// --- records and rings ---

nb::list record_fields() {
    nb::list fields;
#define FIELD(name, format) \
    fields.append(nb::make_tuple(#name, format, static_cast<int>(offsetof(CycleRecord, name))))
    FIELD(cycle, "<i8");
    FIELD(release_ns, "<i8");
    FIELD(start_ns, "<i8");
    FIELD(read_ns, "<i8");
    FIELD(infer_ns, "<i8");
    FIELD(finish_ns, "<i8");
    FIELD(deadline_ns, "<i8");
    FIELD(input_age_ns, "<i8");
    FIELD(cpu_ns, "<i8");
    FIELD(skipped, "<u4");
    FIELD(events, "<u4");
    FIELD(consecutive_misses, "<u4");
    FIELD(window_misses, "<u4");
    FIELD(loop_class, "|u1");
    FIELD(outcome, "|u1");
    FIELD(cause, "|u1");
    FIELD(device_state, "|u1");
    FIELD(device_reasons, "<u2");
    FIELD(device_late_commands, "<u2");
#undef FIELD
    return fields;
}

nb::dict names() {
    nb::dict all;
    const auto table = [&all](const char *key,
                              std::initializer_list<std::pair<const char *, uint32_t>> rows) {
        nb::dict d;
        for (const auto &[name, value] : rows) d[name] = value;
        all[key] = d;
    };
    table("CLASSES", {{"hard", 0}, {"firm", 1}, {"soft", 2}});
    table("STATES",
          {{"unconfigured", 0}, {"inactive", 1}, {"active", 2}, {"fault", 3}, {"finalized", 4}});
    table("OUTCOMES", {{"none", 0},
                       {"written", 1},
                       {"written_late", 2},
                       {"held", 3},
                       {"default", 4},
                       {"safe", 5}});
    table("CAUSES", {{"none", 0}, {"release", 1}, {"read", 2}, {"infer", 3}, {"write", 4}});
    table("FAULT_REASONS", {{"none", 0},
                            {"deadline_miss", 1},
                            {"limit_broken", 2},
                            {"non_finite", 3},
                            {"port_error", 4},
                            {"stale_input", 5},
                            {"hang", 6},
                            {"infer_error", 7},
                            {"device_safe", 8}});
    table("EVENTS", {{"MISS", event::miss},
                     {"BUDGET_OVERRUN", event::budget_overrun},
                     {"STALE_INPUT", event::stale_input},
                     {"NON_FINITE", event::non_finite},
                     {"CLAMPED", event::clamped},
                     {"SLEW_LIMITED", event::slew_limited},
                     {"GUARD", event::guard},
                     {"LIMIT_BROKEN", event::limit_broken},
                     {"PORT_ERROR", event::port_error},
                     {"FAULT", event::fault},
                     {"INJECTED", event::injected},
                     {"UNFINISHED", event::unfinished}});
    return all;
}

nb::dict status_dict(const RingStatus &s) {
    static constexpr const char *kStates[] = {"unconfigured", "inactive", "active", "fault",
                                              "finalized"};
    const uint32_t state = s.state.load(std::memory_order_acquire);
    nb::dict d;
    d["state"] = state < 5 ? kStates[state] : "unconfigured";
    d["fault_reason"] = s.fault_reason.load();
    d["fault_errno"] = s.fault_errno.load();
    d["fault_port"] = s.fault_port.load();
    d["head"] = s.head.load();
    d["first_release_ns"] = s.first_release_ns.load();
    d["elapsed_periods"] = s.elapsed_periods.load();
    d["executed"] = s.executed.load();
    d["skipped"] = s.skipped.load();
    d["misses"] = s.misses.load();
    d["slipped_ns"] = s.slipped_ns.load();
    d["open_cycle"] = s.open_cycle.load();
    d["expired_cycle"] = s.expired_cycle.load();
    d["expired_deadline_ns"] = s.expired_deadline_ns.load();
    return d;
}

nb::tuple read_ring(RingReader &ring, uint64_t max_records) {
    const size_t width = ring.layout().payload_size();
    std::vector<uint8_t> bytes;
    uint64_t lost = 0;
    size_t n = 0;
    {
        nb::gil_scoped_release no_gil;
        bytes.resize(std::min(max_records, ring.available()) * width);
        n = ring.read(bytes.size() / width, reinterpret_cast<std::byte *>(bytes.data()), lost);
        bytes.resize(n * width);
    }
    return nb::make_tuple(to_numpy(std::move(bytes), {n, width}), lost);
}

void append_payload(RingWriter &ring, nb::bytes payload) {
    const RingLayout &layout = ring.layout();
    if (payload.size() != layout.payload_size()) {
        throw std::invalid_argument("a payload of this ring has " +
                                    std::to_string(layout.payload_size()) + " bytes");
    }
    CycleRecord record;
    std::memcpy(&record, payload.c_str(), sizeof(record));
    std::vector<float> values(layout.n_inputs + layout.n_outputs);
    std::memcpy(values.data(), payload.c_str() + sizeof(record), values.size() * sizeof(float));
    ring.append(record, values.data(), values.data() + layout.n_inputs);
}

void bind_ring(nb::module_ &m) {
    m.attr("RECORD_FIELDS") = record_fields();
    m.attr("RECORD_SIZE") = sizeof(CycleRecord);
    for (const auto &[key, value] : names()) m.attr(key) = value;

    nb::class_<RingWriter>(m, "RingWriter")
        .def(
            "__init__",
            [](RingWriter *self, const std::string &path, uint64_t capacity, uint64_t n_inputs,
               uint64_t n_outputs, nb::bytes metadata) {
                new (self) RingWriter(path, capacity, n_inputs, n_outputs,
                                      std::string(metadata.c_str(), metadata.size()));
            },
            "path"_a, "capacity"_a, "n_inputs"_a, "n_outputs"_a, "metadata"_a)
        .def("append", &append_payload, "payload"_a)
        .def(
            "set_metadata",
            [](RingWriter &ring, nb::bytes metadata) {
                ring.set_metadata(std::string(metadata.c_str(), metadata.size()));
            },
            "metadata"_a)
        .def(
            "set_state",
            [](RingWriter &ring, const std::string &name) {
                const nb::dict states = nb::cast<nb::dict>(names()["STATES"]);
                ring.status().state.store(nb::cast<uint32_t>(states[name.c_str()]));
            },
            "state"_a)
        .def(
            "set_expired",
            [](RingWriter &ring, int64_t cycle, int64_t deadline_ns) {
                ring.status().expired_deadline_ns.store(deadline_ns);
                ring.status().expired_cycle.store(cycle);
            },
            "cycle"_a, "deadline_ns"_a)
        .def(
            "set_counts",
            [](RingWriter &ring, int64_t elapsed_periods, int64_t executed, int64_t skipped) {
                ring.status().elapsed_periods.store(elapsed_periods);
                ring.status().executed.store(executed);
                ring.status().skipped.store(skipped);
            },
            "elapsed_periods"_a, "executed"_a, "skipped"_a)
        .def_prop_ro("path", &RingWriter::path)
        .def("status", [](RingWriter &ring) { return status_dict(ring.status()); });

    nb::class_<RingReader>(m, "RingReader")
        .def(nb::init<const std::string &>(), "path"_a)
        .def("read", &read_ring, "max_records"_a)
        .def("seek", &RingReader::seek, "position"_a)
        .def("status", [](const RingReader &ring) { return status_dict(ring.status()); })
        .def_prop_ro("position", &RingReader::position)
        .def_prop_ro("available", &RingReader::available)
        .def_prop_ro("metadata",
                     [](const RingReader &ring) {
                         const std::string text = ring.metadata();
                         return nb::bytes(text.data(), text.size());
                     })
        .def_prop_ro("record_size",
                     [](const RingReader &ring) { return ring.layout().record_size; })
        .def_prop_ro("n_inputs", [](const RingReader &ring) { return ring.layout().n_inputs; })
        .def_prop_ro("n_outputs", [](const RingReader &ring) { return ring.layout().n_outputs; })
        .def_prop_ro("capacity", [](const RingReader &ring) { return ring.layout().capacity; })
        .def_prop_ro("writer_pid", &RingReader::writer_pid)
        .def_prop_ro("writer_start_time", &RingReader::writer_start_time);
}

// --- ports ---

void bind_ports(nb::module_ &m) {
    nb::class_<InputPort>(m, "InputPort").def_prop_ro("size", &InputPort::input_size);
    nb::class_<OutputPort>(m, "OutputPort").def_prop_ro("size", &OutputPort::output_size);
    nb::class_<InputMailbox, InputPort>(m, "InputMailbox")
        .def(nb::init<size_t>(), "size"_a)
        .def(
            "put",
            [](InputMailbox &box, const FloatVector &values, int64_t time_ns) {
                check_size(values, box.input_size());
                box.put(values.data(), time_ns < 0 ? MonotonicClock().now() : time_ns);
            },
            "values"_a, "time_ns"_a = -1);
    nb::class_<OutputMailbox, OutputPort>(m, "OutputMailbox")
        .def(nb::init<std::vector<float>>(), "safe"_a)
        .def("newest",
             [](OutputMailbox &box) {
                 int64_t time_ns = -1;
                 std::vector<float> values = box.newest(time_ns);
                 return nb::make_tuple(to_numpy(std::move(values)), time_ns);
             })
        .def_prop_ro("safe_in_force", &OutputMailbox::safe_in_force);

    nb::class_<TimeMap>(m, "TimeMap")
        .def(nb::init<int64_t, int64_t, int64_t>(), "offset_ns"_a, "error_ns"_a, "now_ns"_a)
        .def("exchange", &TimeMap::exchange, "t1"_a, "t2"_a, "t3"_a, "t4"_a)
        .def("advance", &TimeMap::advance, "now_ns"_a)
        .def("to_device_us", &TimeMap::to_device_us, "host_ns"_a)
        .def("to_host_ns", &TimeMap::to_host_ns, "device_us"_a, "now_ns"_a)
        .def_prop_ro("offset_ns", &TimeMap::offset_ns)
        .def_prop_ro("error_ns", &TimeMap::error_ns);
    nb::class_<LinkConfig>(m, "LinkConfig")
        .def(nb::init<>())
        .def_rw("fd", &LinkConfig::fd)
        .def_rw("schema_id", &LinkConfig::schema_id)
        .def_rw("n_sensor", &LinkConfig::n_sensor)
        .def_rw("n_command", &LinkConfig::n_command)
        .def_rw("clock_offset_ns", &LinkConfig::clock_offset_ns)
        .def_rw("clock_error_ns", &LinkConfig::clock_error_ns)
        .def_rw("clock_time_ns", &LinkConfig::clock_time_ns)
        .def_rw("command_validity_ns", &LinkConfig::command_validity_ns)
        .def_rw("silence_timeout_ns", &LinkConfig::silence_timeout_ns);
    nb::class_<LinkPort, InputPort>(m, "LinkPort")
        .def(nb::init<const LinkConfig &>(), "config"_a)
        .def_prop_ro("output_size", &LinkPort::output_size)
        .def("write_safe", &LinkPort::write_safe)
        .def("counters", [](const LinkPort &port) {
            const LinkCounters &c = port.counters();
            nb::dict d;
            d["rx_packets"] = c.rx_packets.load();
            d["rx_errors"] = c.rx_errors.load();
            d["tx_packets"] = c.tx_packets.load();
            d["tx_dropped"] = c.tx_dropped.load();
            d["device_events"] = c.device_events.load();
            d["device_reasons"] = c.device_reasons.load();
            d["clock_error_ns"] = c.clock_error_ns.load();
            return d;
        });
}

// --- graph ---

using NamedShape = std::pair<std::string, std::vector<int64_t>>;

void bind_graph(nb::module_ &m) {
    nb::class_<Graph>(m, "Graph")
        .def(
            "__init__",
            [](Graph *self, const std::string &library, nb::bytes model,
               const std::vector<NamedShape> &inputs, const NamedShape &command,
               const std::vector<std::pair<std::string, NamedShape>> &feedback) {
                GraphSpec spec;
                spec.model.assign(model.c_str(), model.size());
                for (const auto &[name, shape] : inputs) spec.inputs.push_back({name, shape});
                spec.command = {command.first, command.second};
                for (const auto &[input, output] : feedback) {
                    spec.feedback.push_back({input, output.first, output.second});
                }
                new (self) Graph(library, std::move(spec));
            },
            "library"_a, "model"_a, "inputs"_a, "command"_a, "feedback"_a)
        .def(
            "run",
            [](Graph &graph, const std::vector<FloatVector> &inputs) {
                if (inputs.size() != graph.n_inputs()) {
                    throw std::invalid_argument("got " + std::to_string(inputs.size()) +
                                                " inputs, expected " +
                                                std::to_string(graph.n_inputs()));
                }
                for (size_t i = 0; i < inputs.size(); ++i) {
                    check_size(inputs[i], graph.input_size(i));
                    std::memcpy(graph.input(i), inputs[i].data(), inputs[i].size() * sizeof(float));
                }
                if (!graph.run()) throw std::runtime_error("ONNX Runtime refused to run the graph");
                return to_numpy(
                    std::vector<float>(graph.command(), graph.command() + graph.command_size()));
            },
            "inputs"_a)
        .def("reset", &Graph::reset)
        .def(
            "warm_up",
            [](Graph &graph, size_t n) {
                WarmUp w = graph.warm_up(n);
                return nb::make_tuple(w.first_ns, to_numpy(std::move(w.run_ns)));
            },
            "n"_a)
        .def_prop_ro("onnxruntime_version", &Graph::onnxruntime_version);
}

// --- real-time set-up ---

void bind_realtime(nb::module_ &m) {
    nb::class_<Right>(m, "Right")
        .def_ro("name", &Right::name)
        .def_ro("requested", &Right::requested)
        .def_ro("actual", &Right::actual)
        .def_ro("granted", &Right::granted)
        .def_ro("error", &Right::error);
    nb::enum_<Scheduler>(m, "Scheduler")
        .value("other", Scheduler::other)
        .value("fifo", Scheduler::fifo)
        .value("rr", Scheduler::rr)
        .value("deadline", Scheduler::deadline);
    nb::class_<ThreadSetup>(m, "ThreadSetup")
        .def(nb::init<>())
        .def_rw("name", &ThreadSetup::name)
        .def_rw("scheduler", &ThreadSetup::scheduler)
        .def_rw("priority", &ThreadSetup::priority)
        .def_rw("cpus", &ThreadSetup::cpus)
        .def_rw("runtime_ns", &ThreadSetup::runtime_ns)
        .def_rw("deadline_ns", &ThreadSetup::deadline_ns)
        .def_rw("period_ns", &ThreadSetup::period_ns);
    m.def("apply_to_this_thread", &apply_to_this_thread, "setup"_a);
    m.def("lock_memory", &lock_memory);
    m.def("allowed_cpus", &allowed_cpus);
    nb::class_<CpuLatencyHold>(m, "CpuLatencyHold")
        .def(nb::init<int32_t>(), "max_latency_us"_a)
        .def_prop_ro("right", &CpuLatencyHold::right);
}

// --- the loop ---

// Owns a Loop for Python: when the last reference goes, the threads end and the safe command goes
// out.
class LoopHandle {
  public:
    LoopHandle(const LoopConfig &config, const std::vector<std::shared_ptr<InputPort>> &inputs,
               const nb::list &outputs, std::shared_ptr<Graph> graph,
               std::shared_ptr<RingWriter> ring, std::shared_ptr<Clock> clock)
        : clock_(clock) {
        loop_ = std::make_shared<Loop>(config, inputs, output_ports(outputs), std::move(graph),
                                       std::move(ring), clock);
        if (auto *virtual_clock = dynamic_cast<VirtualClock *>(clock.get())) {
            virtual_clock->set_alarm(&loop_->guard());
        }
    }
    ~LoopHandle() {
        deactivate(kGiveUpNs);
        if (auto *virtual_clock = dynamic_cast<VirtualClock *>(clock_.get())) {
            virtual_clock->set_alarm(nullptr);
        }
    }
    LoopHandle(const LoopHandle &) = delete;
    LoopHandle &operator=(const LoopHandle &) = delete;

    Activation activate(const ThreadSetup &loop, const ThreadSetup &guard, size_t warm_up_runs,
                        bool fail_on_denied) {
        nb::gil_scoped_release no_gil;
        return loop_->activate(loop, guard, warm_up_runs, fail_on_denied);
    }
    bool deactivate(int64_t timeout_ns) {
        nb::gil_scoped_release no_gil;
        return loop_->deactivate(timeout_ns);
    }
    std::vector<int64_t> measure_overhead(size_t n) {
        nb::gil_scoped_release no_gil;
        return loop_->measure_overhead(n);
    }
    Loop &loop() noexcept { return *loop_; }

  private:
    static constexpr int64_t kGiveUpNs = kNsPerSecond;

    // A LinkPort is an input to Python's type system (one base); as an output it comes through
    // here.
    static std::vector<std::shared_ptr<OutputPort>> output_ports(const nb::list &objects) {
        std::vector<std::shared_ptr<OutputPort>> ports;
        for (nb::handle object : objects) {
            if (nb::isinstance<LinkPort>(object)) {
                ports.push_back(nb::cast<std::shared_ptr<LinkPort>>(object));
            } else {
                ports.push_back(nb::cast<std::shared_ptr<OutputPort>>(object));
            }
        }
        return ports;
    }

    std::shared_ptr<Clock> clock_;
    std::shared_ptr<Loop> loop_;
};

void bind_config(nb::module_ &m) {
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
    nb::enum_<Cause>(m, "Stage")
        .value("release", Cause::release)
        .value("read", Cause::read)
        .value("infer", Cause::infer)
        .value("write", Cause::write);
    nb::class_<InputConfig>(m, "InputConfig")
        .def(nb::init<int64_t, OnStale>(), "max_age_ns"_a = 0, "on_stale"_a = OnStale::hold);
    nb::class_<OutputConfig>(m, "OutputConfig")
        .def(nb::init<std::vector<float>, std::vector<float>, std::vector<float>,
                      std::vector<float>, std::vector<float>>(),
             "min"_a = std::vector<float>{}, "max"_a = std::vector<float>{},
             "max_rate_per_s"_a = std::vector<float>{}, "safe"_a = std::vector<float>{},
             "default_value"_a = std::vector<float>{});
    nb::class_<Stall>(m, "Stall")
        .def(nb::init<Cause, int64_t, int64_t, int64_t>(), "stage"_a, "first"_a, "every"_a,
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
        .def_rw("output_at_deadline", &LoopConfig::output_at_deadline)
        .def_rw("hang_limit_ns", &LoopConfig::hang_limit_ns)
        .def_rw("inputs", &LoopConfig::inputs)
        .def_rw("outputs", &LoopConfig::outputs)
        .def_rw("stalls", &LoopConfig::stalls);
}

void bind_loop(nb::module_ &m) {
    nb::class_<Clock>(m, "Clock").def("now", &Clock::now);
    nb::class_<MonotonicClock, Clock>(m, "MonotonicClock").def(nb::init<>());
    nb::class_<VirtualClock, Clock>(m, "VirtualClock")
        .def(nb::init<int64_t>(), "start_ns"_a = 0)
        .def("spend", &VirtualClock::spend, "duration_ns"_a)
        .def_rw("oversleep_ns", &VirtualClock::oversleep_ns);
    nb::class_<Activation>(m, "Activation")
        .def_ro("loop_rights", &Activation::loop_rights)
        .def_ro("guard_rights", &Activation::guard_rights)
        .def_ro("error", &Activation::error)
        .def_prop_ro("first_run_ns", [](const Activation &a) { return a.warm_up.first_ns; })
        .def_prop_ro("warm_up_ns", [](const Activation &a) {
            return to_numpy(std::vector<int64_t>(a.warm_up.run_ns));
        });
    nb::class_<LoopHandle>(m, "Loop")
        .def(nb::init<const LoopConfig &, const std::vector<std::shared_ptr<InputPort>> &,
                      const nb::list &, std::shared_ptr<Graph>, std::shared_ptr<RingWriter>,
                      std::shared_ptr<Clock>>(),
             "config"_a, "inputs"_a, "outputs"_a, "graph"_a, "ring"_a, "clock"_a)
        .def("activate", &LoopHandle::activate, "loop_thread"_a, "guard_thread"_a, "warm_up_runs"_a,
             "fail_on_denied"_a)
        .def("deactivate", &LoopHandle::deactivate, "timeout_ns"_a)
        .def(
            "begin", [](LoopHandle &h, int64_t lead_ns) { h.loop().begin(lead_ns); },
            "lead_ns"_a = 0)
        .def("step", [](LoopHandle &h) { return h.loop().step(); })
        .def("end", [](LoopHandle &h) { h.loop().end(); })
        .def(
            "measure_overhead",
            [](LoopHandle &h, size_t n) { return to_numpy(h.measure_overhead(n)); }, "n"_a)
        .def("status", [](LoopHandle &h) { return status_dict(h.loop().status()); });
}

}  // namespace
}  // namespace rtloop

NB_MODULE(_core, m) {
    m.doc() = "The real-time core of rtloop.";
    // OSError with its errno, instead of nanobind's RuntimeError.
    nb::register_exception_translator([](const std::exception_ptr &p, void *) {
        try {
            std::rethrow_exception(p);
        } catch (const std::system_error &e) {
            nb::object args = nb::make_tuple(e.code().value(), e.what());
            PyErr_SetObject(PyExc_OSError, args.ptr());
        }
    });
    rtloop::bind_ring(m);
    rtloop::bind_wire(m);
    rtloop::bind_ports(m);
    rtloop::bind_graph(m);
    rtloop::bind_realtime(m);
    rtloop::bind_config(m);
    rtloop::bind_loop(m);
}

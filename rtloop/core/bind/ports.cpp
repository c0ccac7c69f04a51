#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <vector>

#include "rtloop/core/bind/convert.hpp"
#include "rtloop/core/cycle/clock.hpp"
#include "rtloop/core/ports/port.hpp"
#include "rtloop/core/ports/relay.hpp"
#include "rtloop/core/ports/time_map.hpp"
#include "rtloop/core/ports/zmq_bridge.hpp"

namespace rtloop {

namespace {

PortOptions options_of(const nb::dict &values) {
    PortOptions options;
    for (const auto &[key, value] : values) {
        std::string name;
        if (!nb::try_cast(key, name)) {
            throw std::invalid_argument("an option of a port has a name, which is a text");
        }
        int64_t integer = 0;
        double number = 0.0;
        std::string text;
        std::vector<float> numbers;
        if (!nb::isinstance<nb::float_>(value) && nb::try_cast(value, integer)) {
            options.set(name, integer);
        } else if (nb::try_cast(value, number)) {
            options.set(name, number);
        } else if (nb::try_cast(value, text)) {
            options.set(name, text);
        } else if (nb::try_cast(value, numbers)) {
            options.set(name, numbers);
        } else {
            throw std::invalid_argument("the port's option '" + name +
                                        "' must be a number, a text or a list of numbers");
        }
    }
    return options;
}

}  // namespace

void bind_ports(nb::module_ &m) {
    using namespace nb::literals;
    nb::class_<Port>(m, "Port")
        .def(nb::new_(
                 [](const std::string &kind, const nb::dict &options, const std::string &library) {
                     return open_port(kind, options_of(options), library);
                 }),
             "kind"_a, "options"_a, "library"_a = "")
        .def_prop_ro("n_inputs", &Port::n_inputs)
        .def_prop_ro("n_outputs", &Port::n_outputs)
        .def_prop_ro("paces", &Port::paces)
        .def(
            "await_sample",
            [](Port &port, int64_t until_ns) { return port.await_sample(until_ns).time_ns; },
            "until_ns"_a, nb::call_guard<nb::gil_scoped_release>())
        .def(
            "put",
            [](Port &port, const FloatVector &values, int64_t time_ns) {
                check_size(values, port.n_inputs());
                if (!port.put(values.data(), time_ns < 0 ? MonotonicClock().now() : time_ns)) {
                    throw std::invalid_argument("nothing can be put into this kind of port");
                }
            },
            "values"_a, "time_ns"_a = -1)
        .def("newest",
             [](Port &port) {
                 int64_t time_ns = -1;
                 std::vector<float> values(port.n_outputs());
                 if (!port.newest(values.data(), time_ns)) {
                     throw std::invalid_argument("no command can be taken from this kind of port");
                 }
                 return nb::make_tuple(to_numpy(std::move(values)), time_ns);
             })
        .def("write_safe", &Port::write_safe)
        .def("account",
             [](Port &port) {
                 const std::vector<uint8_t> said = port.account();
                 return nb::bytes(said.data(), said.size());
             })
        .def_prop_ro("is_lost", &Port::is_lost)
        .def_prop_ro("loss_error", &Port::loss_error)
        .def("let_go", &Port::let_go, nb::call_guard<nb::gil_scoped_release>())
        .def(
            "reconnect",
            [](Port &port, const nb::dict &options) {
                const PortOptions given = options_of(options);
                nb::gil_scoped_release no_gil;
                port.reconnect(given);
            },
            "options"_a)
        .def(
            "give_up",
            [](Port &port, int reason) { port.give_up(static_cast<FaultReason>(reason)); },
            "reason"_a)
        .def("counters", [](const Port &port) {
            nb::dict counters;
            for (const auto &[name, value] : port.counters()) counters[name.c_str()] = value;
            return counters;
        });

    nb::class_<Relay>(m, "Relay")
        .def(nb::init<size_t, size_t, bool>(), "size"_a, "capacity"_a, "at_deadline"_a)
        .def(
            "reader", [](std::shared_ptr<Relay> relay) -> Port * { return new RelayReader(relay); },
            nb::rv_policy::take_ownership);

    nb::class_<ZmqBridge> bridge(m, "ZmqBridge");
    nb::enum_<ZmqBridge::Stage>(bridge, "Stage")
        .value("connecting", ZmqBridge::Stage::connecting)
        .value("greeting", ZmqBridge::Stage::greeting)
        .value("open", ZmqBridge::Stage::open)
        .value("lost", ZmqBridge::Stage::lost);
    bridge.def(nb::init<const std::string &, const std::string &>(), "library"_a, "endpoint"_a)
        .def("fileno", &ZmqBridge::fd)
        .def("wait", &ZmqBridge::wait, "timeout_ns"_a, nb::call_guard<nb::gil_scoped_release>())
        .def_prop_ro("reached", &ZmqBridge::reached)
        .def("schedule", &ZmqBridge::schedule, "setup"_a)
        .def("close", &ZmqBridge::close, nb::call_guard<nb::gil_scoped_release>());

    nb::class_<TimeMap>(m, "TimeMap")
        .def(nb::init<int64_t, int64_t, int64_t>(), "offset_ns"_a, "error_ns"_a, "now_ns"_a)
        .def("packet_arrived", &TimeMap::packet_arrived, "device_us"_a, "now_ns"_a)
        .def("request_arrived", &TimeMap::request_arrived, "sent_ns"_a, "device_us"_a, "now_ns"_a)
        .def("advance", &TimeMap::advance, "now_ns"_a)
        .def("to_device_us", &TimeMap::to_device_us, "host_ns"_a)
        .def("to_host_ns", &TimeMap::to_host_ns, "device_us"_a)
        .def("widened_us", &TimeMap::widened_us, "device_us"_a, "now_ns"_a)
        .def_prop_ro("offset_ns", &TimeMap::offset_ns)
        .def_prop_ro("error_ns", &TimeMap::error_ns)
        .def_prop_ro("skew_ppb", &TimeMap::skew_ppb)
        .def_prop_ro("skew_error_ppb", &TimeMap::skew_error_ppb)
        .def_prop_ro("contradictions", &TimeMap::contradictions);
}

}  // namespace rtloop

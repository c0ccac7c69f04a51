#include <nanobind/nanobind.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <vector>

#include "rtloop/core/bind/convert.hpp"
#include "rtloop/core/cycle/clock.hpp"
#include "rtloop/core/ports/topic_input.hpp"
#include "rtloop/core/ports/topic_output.hpp"

namespace rtloop {

namespace {

// Of an entity of rclpy: what it wraps.
const void *pointer_of(const nb::object &handle) {
    return reinterpret_cast<const void *>(nb::cast<uintptr_t>(handle.attr("pointer")));
}

}  // namespace

void bind_topic_ports(nb::module_ &m) {
    using namespace nb::literals;
    // The handle lives as long as the port; and until close() it must not be destroyed either.
    nb::class_<TopicInput, Port>(m, "TopicInput")
        .def(
            "__init__",
            [](TopicInput *self, const nb::object &handle, std::shared_ptr<CdrReader> reader,
               bool stamp, bool keeps) {
                const auto which = stamp ? TopicInput::Stamp::header : TopicInput::Stamp::received;
                const void *pointer = pointer_of(handle);
                nb::gil_scoped_release no_gil;
                new (self) TopicInput(pointer, std::move(reader), which, keeps);
            },
            nb::keep_alive<1, 2>(), "handle"_a, "reader"_a, "stamp"_a, "keeps"_a)
        .def_prop_ro("refused",
                     [](const TopicInput &port) {
                         const char *why = port.refused();
                         return std::string(why == nullptr ? "" : why);
                     })
        .def("schedule", &TopicInput::schedule, "setup"_a)
        .def("close", &TopicInput::close, nb::call_guard<nb::gil_scoped_release>());
    nb::class_<TopicOutput, Port>(m, "TopicOutput")
        .def(
            "__init__",
            [](TopicOutput *self, const nb::object &handle, std::shared_ptr<CdrWriter> writer,
               std::vector<float> safe, int64_t period_ns) {
                const void *pointer = pointer_of(handle);
                nb::gil_scoped_release no_gil;
                new (self) TopicOutput(pointer, std::move(writer), std::move(safe), period_ns);
            },
            nb::keep_alive<1, 2>(), "handle"_a, "writer"_a, "safe"_a, "period_ns"_a)
        .def(
            "safe_was_sent",
            [](const TopicOutput &port, int64_t timeout_ns) {
                return port.safe_was_sent(MonotonicClock().now() + timeout_ns);
            },
            "timeout_ns"_a, nb::call_guard<nb::gil_scoped_release>())
        .def("schedule", &TopicOutput::schedule, "setup"_a)
        .def("close", &TopicOutput::close, nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace rtloop

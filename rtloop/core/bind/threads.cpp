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
#include "rtloop/core/threads/loop_threads.hpp"
#include "rtloop/core/threads/thread_setup.hpp"

namespace rtloop {

void bind_threads(nb::module_ &m) {
    using namespace nb::literals;
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
    m.def("apply_to_thread", &apply_to_thread, "thread"_a, "setup"_a);
    m.def("lock_memory", &lock_memory);
    m.def("allowed_cpus", &allowed_cpus);
    nb::class_<CpuLatencyHold>(m, "CpuLatencyHold")
        .def(nb::init<int32_t>(), "max_latency_us"_a)
        .def_prop_ro("right", &CpuLatencyHold::right);
    nb::class_<SetUp>(m, "SetUp")
        .def_ro("loop_rights", &SetUp::loop_rights)
        .def_ro("guard_rights", &SetUp::guard_rights)
        .def_ro("error", &SetUp::error)
        .def_prop_ro("first_run_ns", [](const SetUp &s) { return s.warm_up.first_ns; })
        .def_prop_ro("warm_up_ns", [](const SetUp &s) {
            return to_numpy(std::vector<int64_t>(s.warm_up.run_ns));
        });
    nb::class_<LoopThreads>(m, "LoopThreads")
        .def(nb::init<std::shared_ptr<Loop>>(), "loop"_a)
        .def(
            "set_up",
            [](LoopThreads &threads, const ThreadSetup &loop_thread,
               const ThreadSetup &guard_thread, size_t warm_up_runs,
               const std::optional<nb::callable> &look) {
                nb::gil_scoped_release no_gil;
                return threads.set_up(loop_thread, guard_thread, warm_up_runs, [&look] {
                    nb::gil_scoped_acquire gil;
                    if (look) (*look)();
                });
            },
            "loop_thread"_a, "guard_thread"_a, "warm_up_runs"_a, "look"_a = nb::none())
        .def("deactivate", &LoopThreads::deactivate, "timeout_ns"_a,
             nb::call_guard<nb::gil_scoped_release>());
    m.def("process_will_end", &LoopThreads::process_will_end);
    m.def("leaks_are_meant", [] { nb::set_leak_warnings(false); });
    m.def(
        "activate",
        [](const std::vector<LoopThreads *> &threads) { return LoopThreads::activate(threads); },
        "threads"_a, nb::call_guard<nb::gil_scoped_release>());
}

}  // namespace rtloop

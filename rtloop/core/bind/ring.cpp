#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "rtloop/core/bind/convert.hpp"
#include "rtloop/core/ring/ring.hpp"

namespace rtloop {

nb::dict status_dict(const LoopStatus &s) {
    nb::dict d;
    d["state"] = "unconfigured";
    const uint32_t state = s.state.load(std::memory_order_acquire);
    for (const Word &word : kWords) {
        if (word.table == "states" && word.number == state) {
            d["state"] = nb::str(word.word.data(), word.word.size());
        }
    }
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
    d["expired_outcome"] = s.expired_outcome.load();
    d["event_head"] = s.event_head.load();
    d["port_events"] = s.port_events.load();
    return d;
}

namespace {

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
    FIELD(longest_stage, "|u1");
    FIELD(device_state, "|u1");
    FIELD(device_reasons, "<u2");
    FIELD(device_late_commands, "<u2");
#undef FIELD
    return fields;
}

nb::list event_fields() {
    nb::list fields;
#define FIELD(name, format) \
    fields.append(nb::make_tuple(#name, format, static_cast<int>(offsetof(PortEvent, name))))
    FIELD(number, "<i8");
    FIELD(time_ns, "<i8");
    FIELD(clock_offset_ns, "<i8");
    FIELD(clock_error_ns, "<i8");
    FIELD(clock_skew_ppb, "<i4");
    FIELD(lateness_us, "<i4");
    FIELD(total, "<u4");
    FIELD(error, "<i4");
    FIELD(device_reasons, "<u2");
    FIELD(port, "<u2");
    FIELD(kind, "|u1");
    FIELD(loop_class, "|u1");
    FIELD(device_state, "|u1");
    FIELD(device_event, "|u1");
#undef FIELD
    return fields;
}

nb::tuple read_slots(SlotReader &slots, uint64_t most) {
    const size_t width = slots.payload_size();
    std::vector<uint8_t> bytes;
    uint64_t lost = 0;
    size_t n = 0;
    {
        nb::gil_scoped_release no_gil;
        bytes.resize(std::min(most, slots.available()) * width);
        n = slots.read(bytes.size() / width, reinterpret_cast<std::byte *>(bytes.data()), lost);
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
    const char *from = payload.c_str();
    const auto take = [&from](void *to, size_t size) {
        if (size > 0) std::memcpy(to, from, size);
        from += size;
    };
    CycleRecord record;
    std::vector<InputRecord> sources(layout.n_sources);
    std::vector<float> values(layout.n_inputs + layout.n_outputs);
    take(&record, sizeof(record));
    take(sources.data(), sources.size() * sizeof(InputRecord));
    take(values.data(), values.size() * sizeof(float));
    ring.append(record, sources.data(), values.data(), values.data() + layout.n_inputs);
}

void append_event(RingWriter &ring, nb::bytes raw) {
    PortEvent event;
    if (raw.size() != sizeof(event)) {
        throw std::invalid_argument("a port event has " + std::to_string(sizeof(event)) + " bytes");
    }
    std::memcpy(static_cast<void *>(&event), raw.c_str(), sizeof(event));
    ring.append_event(event);
    ring.status().port_events.store(event.number + 1);
}

void bind_slots(nb::module_ &m) {
    using namespace nb::literals;
    nb::class_<SlotReader>(m, "SlotReader")
        .def("read", &read_slots, "most"_a)
        .def("seek", &SlotReader::seek, "position"_a)
        .def("sequences",
             [](const SlotReader &slots) {
                 const std::vector<uint64_t> words = slots.sequences();
                 std::vector<uint8_t> bytes(words.size() * sizeof(uint64_t));
                 if (!words.empty()) std::memcpy(bytes.data(), words.data(), bytes.size());
                 return to_numpy(std::move(bytes), {words.size(), sizeof(uint64_t)});
             })
        .def("end_at", &SlotReader::end_at, "end"_a)
        .def_prop_ro("position", &SlotReader::position)
        .def_prop_ro("available", &SlotReader::available);
}

}  // namespace

void bind_ring(nb::module_ &m) {
    using namespace nb::literals;
    m.attr("RECORD_FIELDS") = record_fields();
    m.attr("PORT_EVENT_FIELDS") = event_fields();
    m.attr("PORT_EVENT_SIZE") = sizeof(PortEvent);
    nb::list input_fields;
    input_fields.append(nb::make_tuple("age_ns", "<i8", offsetof(InputRecord, age_ns)));
    input_fields.append(nb::make_tuple("gap", "<u4", offsetof(InputRecord, gap)));
    input_fields.append(nb::make_tuple("events", "<u4", offsetof(InputRecord, events)));
    m.attr("INPUT_RECORD_FIELDS") = input_fields;
    m.attr("INPUT_RECORD_SIZE") = sizeof(InputRecord);
    m.attr("RECORD_SIZE") = sizeof(CycleRecord);

    nb::class_<RingWriter>(m, "RingWriter")
        .def(
            "__init__",
            [](RingWriter *self, const std::string &path, uint64_t capacity, uint64_t n_sources,
               uint64_t n_inputs, uint64_t n_outputs, nb::bytes metadata, uint64_t event_capacity) {
                new (self)
                    RingWriter(path, capacity, n_sources, n_inputs, n_outputs,
                               std::string(metadata.c_str(), metadata.size()), event_capacity);
            },
            "path"_a, "capacity"_a, "n_sources"_a, "n_inputs"_a, "n_outputs"_a, "metadata"_a,
            "event_capacity"_a = RingWriter::kEventCapacity)
        .def("append", &append_payload, "payload"_a)
        .def("append_event", &append_event, "event"_a)
        .def(
            "set_metadata",
            [](RingWriter &ring, nb::bytes metadata) {
                ring.set_metadata(std::string(metadata.c_str(), metadata.size()));
            },
            "metadata"_a)
        .def(
            "set_state",
            [](RingWriter &ring, const std::string &name) {
                for (const Word &word : kWords) {
                    if (word.table == "states" && word.word == name) {
                        ring.status().state.store(word.number);
                    }
                }
            },
            "state"_a)
        .def(
            "set_expired",
            [](RingWriter &ring, int64_t cycle, int64_t deadline_ns, uint32_t outcome) {
                ring.status().expired_deadline_ns.store(deadline_ns);
                ring.status().expired_outcome.store(outcome);
                ring.status().expired_cycle.store(cycle);
            },
            "cycle"_a, "deadline_ns"_a, "outcome"_a = 0)
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

    bind_slots(m);
    nb::class_<RingReader, SlotReader>(m, "RingReader")
        .def(nb::init<const std::string &, bool>(), "path"_a, "of_anybody"_a = false)
        .def_prop_ro("events", &RingReader::events, nb::rv_policy::reference_internal)
        .def("status", [](const RingReader &ring) { return status_dict(ring.status()); })
        .def_prop_ro("metadata",
                     [](const RingReader &ring) {
                         const std::string text = ring.metadata();
                         return nb::bytes(text.data(), text.size());
                     })
        .def_prop_ro("record_size",
                     [](const RingReader &ring) { return ring.layout().record_size; })
        .def_prop_ro("n_sources", [](const RingReader &ring) { return ring.layout().n_sources; })
        .def_prop_ro("n_inputs", [](const RingReader &ring) { return ring.layout().n_inputs; })
        .def_prop_ro("n_outputs", [](const RingReader &ring) { return ring.layout().n_outputs; })
        .def_prop_ro("capacity", [](const RingReader &ring) { return ring.layout().capacity; })
        .def_prop_ro("writer_pid", &RingReader::writer_pid)
        .def_prop_ro("writer_start_time", &RingReader::writer_start_time);
}

}  // namespace rtloop

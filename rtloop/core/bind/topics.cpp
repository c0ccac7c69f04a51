#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "rtloop/core/bind/convert.hpp"
#include "rtloop/core/topics/cdr_reader.hpp"
#include "rtloop/core/topics/cdr_writer.hpp"

namespace rtloop {

namespace {

using Triples = std::vector<std::tuple<uint32_t, uint32_t, uint32_t>>;

// In memory of exactly this size, so that a sanitizer sees a byte too far.
std::vector<uint8_t> copied(const nb::bytes &message) {
    const auto *const begin = static_cast<const uint8_t *>(message.data());
    return {begin, begin + message.size()};
}

std::shared_ptr<CdrReader> make_reader(const Triples &steps, std::vector<std::string> joints,
                                       size_t n_values) {
    std::vector<CdrStep> program;
    for (const auto &[op, a, b] : steps) {
        if (op >= kCdrOps) throw std::invalid_argument("there is no such step");
        program.push_back({static_cast<CdrOp>(op), a, b});
    }
    return std::make_shared<CdrReader>(std::move(program), std::move(joints), n_values);
}

std::pair<nb::object, int64_t> read(CdrReader &reader, const nb::bytes &message) {
    const std::vector<uint8_t> bytes = copied(message);
    std::vector<float> values(reader.n_values());
    const CdrReader::Found found = reader.read(bytes.data(), bytes.size(), values.data());
    if (found.why != nullptr) throw std::invalid_argument(found.why);
    return {to_numpy(std::move(values)), found.stamp_ns};
}

std::shared_ptr<CdrWriter> make_writer(const nb::bytes &message, const Triples &slots,
                                       int64_t stamp_offset) {
    std::vector<CdrSlot> numbers;
    for (const auto &[offset, type, value] : slots) {
        if (type >= kCdrTypes) throw std::invalid_argument("there is no such type");
        numbers.push_back({offset, static_cast<CdrType>(type), value});
    }
    return std::make_shared<CdrWriter>(copied(message), std::move(numbers), stamp_offset);
}

nb::bytes data(CdrWriter &writer, const FloatVector &values, int64_t stamp_ns) {
    check_size(values, writer.n_values());
    writer.set(values.data(), stamp_ns);
    return nb::bytes(writer.data(), writer.size());
}

}  // namespace

void bind_topics(nb::module_ &m) {
    using namespace nb::literals;
    nb::enum_<CdrOp>(m, "CdrOp", nb::is_arithmetic())
        .value("skip", CdrOp::skip)
        .value("strings", CdrOp::strings)
        .value("count", CdrOp::count)
        .value("skip_rest", CdrOp::skip_rest)
        .value("repeat", CdrOp::repeat)
        .value("rest", CdrOp::rest)
        .value("take", CdrOp::take)
        .value("names", CdrOp::names)
        .value("joints", CdrOp::joints)
        .value("stamp", CdrOp::stamp);
    nb::enum_<CdrType>(m, "CdrType", nb::is_arithmetic())
        .value("boolean", CdrType::boolean)
        .value("int8", CdrType::int8)
        .value("uint8", CdrType::uint8)
        .value("int16", CdrType::int16)
        .value("uint16", CdrType::uint16)
        .value("int32", CdrType::int32)
        .value("uint32", CdrType::uint32)
        .value("int64", CdrType::int64)
        .value("uint64", CdrType::uint64)
        .value("float32", CdrType::float32)
        .value("float64", CdrType::float64);
    nb::class_<CdrReader>(m, "CdrReader")
        .def(nb::new_(&make_reader), "steps"_a, "joints"_a, "n_values"_a)
        .def_prop_ro("n_values", &CdrReader::n_values)
        .def("read", &read, "message"_a);
    nb::class_<CdrWriter>(m, "CdrWriter")
        .def(nb::new_(&make_writer), "message"_a, "slots"_a, "stamp_offset"_a)
        .def_prop_ro("n_values", &CdrWriter::n_values)
        .def("data", &data, "values"_a, "stamp_ns"_a);
}

}  // namespace rtloop

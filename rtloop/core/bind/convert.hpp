// Between the core and Python: what several rooms' bindings need.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <stdexcept>
#include <string>
#include <vector>

namespace rtloop {

namespace nb = nanobind;

using FloatVector = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename T>
nb::object to_numpy(std::vector<T> &&values, std::vector<size_t> shape = {}) {
    auto *owner = new std::vector<T>(std::move(values));
    nb::capsule free(owner, [](void *p) noexcept { delete static_cast<std::vector<T> *>(p); });
    if (shape.empty()) shape = {owner->size()};
    return nb::cast(nb::ndarray<nb::numpy, T>(owner->data(), shape.size(), shape.data(), free));
}

inline void check_size(const FloatVector &values, size_t size) {
    if (values.size() != size) {
        throw std::invalid_argument("got " + std::to_string(values.size()) + " values, expected " +
                                    std::to_string(size));
    }
}

// One per room; module.cpp calls them.
void bind_words(nb::module_ &m);
void bind_ring(nb::module_ &m);
void bind_link(nb::module_ &m);
void bind_messages(nb::module_ &m);
void bind_ports(nb::module_ &m);
void bind_topic_ports(nb::module_ &m);
void bind_graph(nb::module_ &m);
void bind_cycle(nb::module_ &m);
void bind_threads(nb::module_ &m);
void bind_topics(nb::module_ &m);

}  // namespace rtloop

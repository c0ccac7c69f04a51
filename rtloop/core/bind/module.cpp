// The Python face of the core. Converts and forwards; decides nothing. See _core.pyi for what each
// name means.
#include <nanobind/nanobind.h>

#include <system_error>

#include "rtloop/core/bind/convert.hpp"

NB_MODULE(_core, m) {
    namespace nb = nanobind;
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
    rtloop::bind_words(m);
    rtloop::bind_ring(m);
    rtloop::bind_link(m);
    rtloop::bind_messages(m);
    rtloop::bind_ports(m);
    rtloop::bind_topic_ports(m);
    rtloop::bind_graph(m);
    rtloop::bind_cycle(m);
    rtloop::bind_threads(m);
    rtloop::bind_topics(m);
}

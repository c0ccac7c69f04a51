#include "rtloop/core/ports/zmq_api.hpp"

#include <dlfcn.h>

#include <cstring>
#include <stdexcept>

namespace rtloop::zmq {

namespace {

template <typename Function>
void entry(void *library, const char *name, Function &out) {
    void *const symbol = dlsym(library, name);
    if (symbol == nullptr) throw std::runtime_error(std::string("no libzmq: it lacks ") + name);
    std::memcpy(&out, &symbol, sizeof(out));
}

}  // namespace

Api::Api(const std::string &library_path) {
    // Never unloaded: pyzmq may use the same.
    void *const library = dlopen(library_path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        throw std::runtime_error(std::string("cannot load libzmq: ") + dlerror());
    }
    entry(library, "zmq_version", version);
    int major = 0, minor = 0, patch = 0;
    version(&major, &minor, &patch);
    if (major != 4 || minor < 3) {
        throw std::runtime_error(library_path + " is libzmq " + std::to_string(major) + "." +
                                 std::to_string(minor) + ", expected 4.3 or a later 4");
    }
    entry(library, "zmq_ctx_new", ctx_new);
    entry(library, "zmq_ctx_term", ctx_term);
    entry(library, "zmq_socket", socket);
    entry(library, "zmq_close", close);
    entry(library, "zmq_setsockopt", setsockopt);
    entry(library, "zmq_getsockopt", getsockopt);
    entry(library, "zmq_connect", connect);
    entry(library, "zmq_socket_monitor", socket_monitor);
    entry(library, "zmq_send", send);
    entry(library, "zmq_recv", recv);
    entry(library, "zmq_poll", poll);
    entry(library, "zmq_errno", last_error);
    entry(library, "zmq_strerror", error_text);
}

}  // namespace rtloop::zmq

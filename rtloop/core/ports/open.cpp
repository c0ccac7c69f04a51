#include <dlfcn.h>

#include <cstring>
#include <stdexcept>

#include "rtloop/core/ports/port.hpp"

namespace rtloop {

namespace {

// The library or program that this function is in; Python loads it privately, so that its symbols
// are found by asking it, and nobody else.
void *this_library() {
    Dl_info info;
    if (dladdr(reinterpret_cast<void *>(&open_port), &info) == 0) return nullptr;
    void *library = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    return library != nullptr ? library : dlopen(nullptr, RTLD_NOW);
}

}  // namespace

Port *open_port(const std::string &kind, const PortOptions &options, const std::string &library) {
    // Never unloaded: ports of it may outlive whoever opened them.
    void *handle = library.empty() ? this_library() : dlopen(library.c_str(), RTLD_NOW);
    if (handle == nullptr) {
        throw std::runtime_error("cannot load the port library: " + std::string(dlerror()));
    }
    void *symbol = dlsym(handle, ("rtloop_open_port_" + kind).c_str());
    if (symbol == nullptr) {
        throw std::invalid_argument("there is no kind of port '" + kind + "' in " +
                                    (library.empty() ? "the core" : library));
    }
    Port *(*open)(const PortOptions &) = nullptr;
    std::memcpy(&open, &symbol, sizeof(open));
    Port *port = open(options);
    if (port == nullptr) throw std::invalid_argument("the kind of port '" + kind + "' made none");
    return port;
}

}  // namespace rtloop

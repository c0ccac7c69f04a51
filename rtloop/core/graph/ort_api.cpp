#include "rtloop/core/graph/ort_api.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace rtloop::ort {

namespace {

struct ApiBase {
    const void *(*get_api)(uint32_t version);
    const char *(*get_version)();
};

template <typename Function>
void entry(const void *table, size_t index, Function &out) {
    void *const *functions = static_cast<void *const *>(table);
    std::memcpy(&out, functions + index, sizeof(out));
}

}  // namespace

Api::Api(const std::string &library_path) {
    // Recent releases (seen in 1.31) write a device id and upload usage events from a thread of its
    // own, unless this is set. A controller tells nobody anything behind its owner's back.
    setenv("ORT_DISABLE_TELEMETRY", "1", /*overwrite=*/0);
    // Never unloaded: the process may hold other sessions of it.
    void *library = dlopen(library_path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr)
        throw std::runtime_error(std::string("cannot load ONNX Runtime: ") + dlerror());
    using GetApiBase = const ApiBase *(*)();
    GetApiBase get_base = nullptr;
    void *symbol = dlsym(library, "OrtGetApiBase");
    if (symbol == nullptr)
        throw std::runtime_error(library_path + " does not export OrtGetApiBase");
    std::memcpy(&get_base, &symbol, sizeof(get_base));
    const ApiBase *base = get_base();
    version_ = base->get_version();
    const void *table = base->get_api(kApiVersion);
    if (table == nullptr) {
        throw std::runtime_error("ONNX Runtime " + version_ + " does not offer its C API version " +
                                 std::to_string(kApiVersion));
    }
    entry(table, 2, get_error_message);
    entry(table, 3, create_env);
    entry(table, 8, create_session_from_array);
    entry(table, 9, run);
    entry(table, 10, create_session_options);
    entry(table, 24, set_intra_op_num_threads);
    entry(table, 25, set_inter_op_num_threads);
    entry(table, 49, create_tensor_with_data);
    entry(table, 69, create_cpu_memory_info);
    entry(table, 92, release_env);
    entry(table, 93, release_status);
    entry(table, 94, release_memory_info);
    entry(table, 95, release_session);
    entry(table, 96, release_value);
    entry(table, 100, release_session_options);
}

void Api::check(Status *status, const char *what) const {
    if (status == nullptr) return;
    const std::string message = std::string(what) + ": " + get_error_message(status);
    release_status(status);
    throw std::runtime_error(message);
}

}  // namespace rtloop::ort

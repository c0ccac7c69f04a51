#include "rtloop/core/topics/rcl_api.hpp"

#include <dlfcn.h>

#include <cstring>
#include <stdexcept>
#include <string>

namespace rtloop::rcl {

namespace {

// Never closed again: rclpy uses the same.
void *loaded(const char *name) {
    void *const library = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
    if (library == nullptr) {
        throw std::runtime_error(std::string(name) + " is not loaded: topics need rclpy");
    }
    return library;
}

template <typename Function>
void entry(void *library, const char *name, Function &out) {
    void *const symbol = dlsym(library, name);
    if (symbol == nullptr) throw std::runtime_error(std::string("rcl lacks ") + name);
    std::memcpy(&out, &symbol, sizeof(out));
}

}  // namespace

Api::Api() {
    void *const rcl = loaded("librcl.so");
    void *const rcutils = loaded("librcutils.so");
    entry(rcl, "rcl_take_serialized_message", take_serialized);
    entry(rcl, "rcl_publish_serialized_message", publish_serialized);
    entry(rcl, "rcl_subscription_set_on_new_message_callback", set_on_new_message);
    entry(rcutils, "rcutils_reset_error", forget_error);
    entry(rcutils, "rcutils_get_default_allocator", default_allocator);
}

}  // namespace rtloop::rcl

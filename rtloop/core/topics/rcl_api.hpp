// The few calls of rcl that the core makes, looked up in the librcl that rclpy has loaded into this
// process: no header and no library of ROS to build with. These functions and structs are the same
// in Jazzy, Kilted and Lyrical; tests/core/test_rcl_api.py holds them against the headers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rtloop::rcl {

using Ret = int32_t;
inline constexpr Ret kOk = 0;
inline constexpr Ret kTakeFailed = 401;  // RCL_RET_SUBSCRIPTION_TAKE_FAILED: there is none

struct Allocator {  // rcutils_allocator_t
    void *(*allocate)(size_t size, void *state);
    void (*deallocate)(void *pointer, void *state);
    void *(*reallocate)(void *pointer, size_t size, void *state);
    void *(*zero_allocate)(size_t number_of_elements, size_t size_of_element, void *state);
    void *state;
};

struct Bytes {  // rcl_serialized_message_t, which is rcutils_uint8_array_t
    uint8_t *buffer;
    size_t buffer_length;
    size_t buffer_capacity;
    Allocator allocator;
};

inline constexpr size_t kGidSize = 16;  // RMW_GID_STORAGE_SIZE
// RMW_MESSAGE_INFO_SEQUENCE_NUMBER_UNSUPPORTED
inline constexpr uint64_t kNoSequenceNumber = UINT64_MAX;

struct MessageInfo {  // rmw_message_info_t
    int64_t source_timestamp;
    int64_t received_timestamp;
    uint64_t publication_sequence_number;
    uint64_t reception_sequence_number;
    struct {
        const char *implementation_identifier;
        uint8_t data[kGidSize];
    } publisher_gid;
    bool from_intra_process;
};

using NewMessage = void (*)(const void *user, size_t n);

struct Api {
    // Throws std::runtime_error where no rclpy is loaded.
    Api();

    Ret (*take_serialized)(const void *subscription, Bytes *message, MessageInfo *info,
                           void *allocation);
    Ret (*publish_serialized)(const void *publisher, const Bytes *message, void *allocation);
    Ret (*set_on_new_message)(const void *subscription, NewMessage callback, const void *user);
    // Of this thread: one that is not forgotten is written to stderr by the next.
    void (*forget_error)();
    Allocator (*default_allocator)();
};

}  // namespace rtloop::rcl

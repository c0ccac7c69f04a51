// The few entries of ONNX Runtime's C API that the core calls. The onnxruntime wheel ships the
// library but no header; the API is an append-only table of function pointers, so an entry's index
// is its name for ever.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace rtloop::ort {

struct Status;
struct Env;
struct SessionOptions;
struct Session;
struct MemoryInfo;
struct Value;

inline constexpr int kDeviceAllocator = 0;  // OrtDeviceAllocator
inline constexpr int kMemTypeDefault = 0;   // OrtMemTypeDefault
inline constexpr int kLogFatal = 4;  // ORT_LOGGING_LEVEL_FATAL: what else goes wrong is in a status
inline constexpr uint32_t kApiVersion = 11;  // every entry below is older

// Released by the entry of its own kind.
template <typename T>
struct Release {
    void (*release)(T *) = nullptr;
    void operator()(T *p) const noexcept { release(p); }
};
template <typename T>
struct Owned : std::unique_ptr<T, Release<T>> {
    Owned() = default;
    Owned(T *p, void (*release)(T *)) : std::unique_ptr<T, Release<T>>(p, Release<T>{release}) {}
};

class Api {
  public:
    // Loads libonnxruntime. Throws std::runtime_error.
    explicit Api(const std::string &library_path);

    const char *(*get_error_message)(const Status *);
    Status *(*create_env)(int log_level, const char *log_id, Env **);
    Status *(*create_session_from_array)(const Env *, const void *, size_t, const SessionOptions *,
                                         Session **);
    Status *(*run)(Session *, const void *run_options, const char *const *input_names,
                   const Value *const *inputs, size_t n_inputs, const char *const *output_names,
                   size_t n_outputs, Value **outputs);
    Status *(*create_session_options)(SessionOptions **);
    Status *(*set_intra_op_num_threads)(SessionOptions *, int);
    Status *(*set_inter_op_num_threads)(SessionOptions *, int);
    Status *(*create_tensor_with_data)(const MemoryInfo *, void *data, size_t bytes,
                                       const int64_t *shape, size_t rank, int type, Value **);
    Status *(*create_cpu_memory_info)(int allocator, int mem_type, MemoryInfo **);
    void (*release_env)(Env *);
    void (*release_status)(Status *);
    void (*release_memory_info)(MemoryInfo *);
    void (*release_session)(Session *);
    void (*release_value)(Value *);
    void (*release_session_options)(SessionOptions *);

    const std::string &version() const noexcept { return version_; }
    // Throws std::runtime_error with ONNX Runtime's message, unless `status` is null (success).
    void check(Status *status, const char *what) const;

  private:
    std::string version_;
};

}  // namespace rtloop::ort

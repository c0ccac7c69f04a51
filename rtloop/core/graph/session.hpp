// ONNX Runtime: one model, run on buffers that never move.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rtloop/core/graph/ort_api.hpp"
#include "rtloop/core/graph/tensor.hpp"

namespace rtloop {

// The library and what its sessions share.
class Runtime {
  public:
    // Throws std::runtime_error.
    explicit Runtime(const std::string &library);

    const ort::Api &api() const noexcept { return api_; }
    const ort::Env *env() const noexcept { return env_.get(); }
    const ort::SessionOptions *options() const noexcept { return options_.get(); }
    const ort::MemoryInfo *memory() const noexcept { return memory_.get(); }

  private:
    ort::Api api_;
    ort::Owned<ort::Env> env_;
    ort::Owned<ort::SessionOptions> options_;
    ort::Owned<ort::MemoryInfo> memory_;
};

class Session {
  public:
    // A name of the model, and the tensor it stands for.
    using Bound = std::pair<std::string, const Tensor *>;

    // `model` is serialised ONNX; runtime and tensors outlive the session. Throws
    // std::runtime_error with ONNX Runtime's own message.
    Session(const Runtime &runtime, const std::string &model, const std::vector<Bound> &inputs,
            const std::vector<Bound> &outputs);
    Session(const Session &) = delete;
    Session &operator=(const Session &) = delete;

    // Real-time. Null, or what went wrong: to be released by the caller.
    ort::Status *run() noexcept;

  private:
    struct Side {  // inputs, or outputs
        std::vector<std::string> names;
        std::vector<const char *> c_names;
        std::vector<ort::Owned<ort::Value>> owned;
        std::vector<ort::Value *> values;
    };
    void bind(const std::vector<Bound> &tensors, Side &side);

    const Runtime &runtime_;
    ort::Owned<ort::Session> session_;
    Side inputs_;
    Side outputs_;
};

}  // namespace rtloop

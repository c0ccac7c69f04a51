// A model that was compiled ahead of time: a shared object with one C function, on the graph's
// tensors.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "rtloop/core/graph/compiled_model.h"
#include "rtloop/core/graph/tensor.hpp"

namespace rtloop {

class Compiled {
  public:
    // `object` are the bytes of the shared object, which is loaded from memory: nobody exchanges or
    // cuts it while it runs. `label` names it in errors; the tensors outlive it. Throws
    // std::runtime_error where it cannot be loaded, is of another ABI, or its tensors are others.
    Compiled(const std::string &label, const std::string &object,
             const std::vector<const Tensor *> &inputs, const std::vector<const Tensor *> &outputs);

    // Real-time. Where an input is not finite, no number is computed from it: outputs of float
    // types are NaN, the others zero; and the model runs on zeros, so that it takes its time and is
    // warm. It may have been compiled to take NaN for what does not occur.
    void run() const noexcept;

  private:
    // A file that only its descriptor leads to. It stays open: the loader knows what it has loaded
    // by its path, and would take another file that came to have this number for the same library.
    class MemoryFile {
      public:
        explicit MemoryFile(const std::string &content);
        ~MemoryFile();
        MemoryFile(const MemoryFile &) = delete;
        MemoryFile &operator=(const MemoryFile &) = delete;
        std::string path() const;

      private:
        int descriptor_;
    };
    struct Unload {
        void operator()(void *library) const noexcept;
    };
    MemoryFile file_;
    std::unique_ptr<void, Unload> library_;
    void (*run_)(const void *const *, void *const *) = nullptr;
    std::vector<const Tensor *> checked_;  // inputs that may be not finite
    std::vector<const Tensor *> filled_;
    std::vector<Tensor> zeros_;  // in place of those
    std::vector<const void *> inputs_;
    std::vector<const void *> without_checked_;
    std::vector<void *> outputs_;
};

}  // namespace rtloop

#include "rtloop/core/graph/compiled.hpp"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace rtloop {

namespace {

[[noreturn]] void refuse(const std::string &label, const std::string &found) {
    throw std::runtime_error("the compiled model '" + label + "' " + found);
}

void *load(const std::string &label, const std::string &path) {
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) refuse(label, std::string("cannot be loaded: ") + dlerror());
    return library;
}

void check_bytes(const std::string &label, const char *side,
                 const std::vector<const Tensor *> &tensors, const uint64_t *bytes) {
    for (size_t i = 0; i < tensors.size(); ++i) {
        if (bytes[i] == tensors[i]->bytes()) continue;
        refuse(label, "has " + std::to_string(bytes[i]) + " bytes as its " + side + " " +
                          std::to_string(i) + ": tensor " + tensors[i]->words() + " has " +
                          std::to_string(tensors[i]->bytes()));
    }
}

}  // namespace

Compiled::MemoryFile::MemoryFile(const std::string &content)
    : descriptor_(memfd_create("rtloop-model", MFD_CLOEXEC)) {
    for (size_t written = 0; descriptor_ >= 0 && written < content.size();) {
        const ssize_t n = write(descriptor_, content.data() + written, content.size() - written);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            close(descriptor_);
            descriptor_ = -1;
        }
        written += static_cast<size_t>(std::max<ssize_t>(n, 0));
    }
    if (descriptor_ >= 0) return;
    throw std::runtime_error(std::string("no memory for a compiled model: ") +
                             std::strerror(errno));
}

Compiled::MemoryFile::~MemoryFile() {
    close(descriptor_);
}

std::string Compiled::MemoryFile::path() const {
    return "/proc/self/fd/" + std::to_string(descriptor_);
}

void Compiled::Unload::operator()(void *library) const noexcept {
    dlclose(library);
}

Compiled::Compiled(const std::string &label, const std::string &object,
                   const std::vector<const Tensor *> &inputs,
                   const std::vector<const Tensor *> &outputs)
    : file_(object), library_(load(label, file_.path())) {
    const auto *model = static_cast<const rtloop_compiled_model *>(
        dlsym(library_.get(), RTLOOP_COMPILED_MODEL_SYMBOL));
    if (model == nullptr) {
        refuse(label, "has no symbol '" RTLOOP_COMPILED_MODEL_SYMBOL "': compile it again");
    }
    if (model->abi != RTLOOP_COMPILED_MODEL_ABI) {
        refuse(label, "is of ABI " + std::to_string(model->abi) + ", this rtloop reads " +
                          std::to_string(RTLOOP_COMPILED_MODEL_ABI) + ": compile it again");
    }
    if (model->n_inputs != inputs.size() || model->n_outputs != outputs.size()) {
        refuse(label, "has " + std::to_string(model->n_inputs) + " inputs and " +
                          std::to_string(model->n_outputs) + " outputs: the graph gives it " +
                          std::to_string(inputs.size()) + " and " + std::to_string(outputs.size()));
    }
    check_bytes(label, "input", inputs, model->bytes);
    check_bytes(label, "output", outputs, model->bytes + inputs.size());
    run_ = model->run;
    filled_ = outputs;
    for (const Tensor *t : inputs) {
        inputs_.push_back(t->data());
        without_checked_.push_back(t->data());
        if (!is_float(t->type()) || t->is_constant) continue;
        checked_.push_back(t);
        zeros_.emplace_back(TensorSpec{t->name(), t->shape(), t->type()});
        without_checked_.back() = zeros_.back().data();
    }
    for (const Tensor *t : outputs) outputs_.push_back(t->data());
}

void Compiled::run() const noexcept {
    const bool is_finite = std::all_of(checked_.begin(), checked_.end(),
                                       [](const Tensor *t) { return t->is_finite(); });
    run_(is_finite ? inputs_.data() : without_checked_.data(), outputs_.data());
    if (is_finite) return;
    // All bits set is NaN, in every float type.
    for (const Tensor *t : filled_)
        std::memset(t->data(), is_float(t->type()) ? 0xFF : 0, t->bytes());
}

}  // namespace rtloop

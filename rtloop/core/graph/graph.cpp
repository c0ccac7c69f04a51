#include "rtloop/core/graph/graph.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "rtloop/core/cycle/clock.hpp"
#include "rtloop/core/cycle/probe.hpp"
#include "rtloop/core/graph/ort_api.hpp"

namespace rtloop {

namespace ort {

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

}  // namespace ort

namespace {

size_t element_count(const std::vector<int64_t> &shape) {
    size_t n = 1;
    for (const int64_t d : shape) {
        if (d <= 0) throw std::runtime_error("a tensor dimension is not fixed and positive");
        n *= static_cast<size_t>(d);
    }
    return n;
}

}  // namespace

Graph::Buffer::Buffer(size_t n) : size(n) {
    constexpr size_t kLine = 64;
    const size_t bytes = (n * sizeof(float) + kLine - 1) / kLine * kLine;
    void *p = std::aligned_alloc(kLine, bytes == 0 ? kLine : bytes);
    if (p == nullptr) throw std::bad_alloc();
    storage.reset(static_cast<float *>(p));
    std::memset(p, 0, bytes);
}

void Graph::Buffer::Free::operator()(float *p) const noexcept {
    std::free(p);
}

Graph::Graph(const std::string &onnxruntime_library, GraphSpec spec)
    : spec_(std::move(spec)),
      api_(std::make_unique<ort::Api>(onnxruntime_library)),
      command_(element_count(spec_.command.shape)) {
    try {
        api_->check(api_->create_env(ort::kLogFatal, "rtloop", &env_), "ONNX Runtime");
        ort::SessionOptions *options = nullptr;
        api_->check(api_->create_session_options(&options), "session options");
        std::unique_ptr<ort::SessionOptions, void (*)(ort::SessionOptions *)> owner(
            options, api_->release_session_options);
        // One thread and no pool: nothing else to wake, nothing that spins.
        api_->check(api_->set_intra_op_num_threads(options, 1), "session options");
        api_->check(api_->set_inter_op_num_threads(options, 1), "session options");
        api_->check(api_->create_session_from_array(env_, spec_.model.data(), spec_.model.size(),
                                                    options, &session_),
                    "cannot load the graph");
        spec_.model = {};
        api_->check(
            api_->create_cpu_memory_info(ort::kDeviceAllocator, ort::kMemTypeDefault, &memory_),
            "memory info");
        for (const TensorSpec &t : spec_.inputs) {
            inputs_.emplace_back(element_count(t.shape));
            input_names_.push_back(t.name.c_str());
            input_values_.push_back(tensor(inputs_.back(), t.shape));
        }
        output_names_.push_back(spec_.command.name.c_str());
        output_values_.push_back(tensor(command_, spec_.command.shape));
        for (const FeedbackSpec &f : spec_.feedback) {
            feedback_in_.emplace_back(element_count(f.shape));
            feedback_out_.emplace_back(element_count(f.shape));
            input_names_.push_back(f.input.c_str());
            input_values_.push_back(tensor(feedback_in_.back(), f.shape));
            output_names_.push_back(f.output.c_str());
            output_values_.push_back(tensor(feedback_out_.back(), f.shape));
        }
        // One run now: what the graph refuses must be refused at configure time.
        api_->check(api_->run(session_, nullptr, input_names_.data(), input_values_.data(),
                              input_names_.size(), output_names_.data(), output_names_.size(),
                              output_values_.data()),
                    "cannot run the graph");
        reset();
    } catch (...) {
        release();
        throw;
    }
}

Graph::~Graph() {
    release();
}

void Graph::release() noexcept {
    for (ort::Value *v : input_values_) api_->release_value(v);
    for (ort::Value *v : output_values_) api_->release_value(v);
    if (memory_ != nullptr) api_->release_memory_info(memory_);
    if (session_ != nullptr) api_->release_session(session_);
    if (env_ != nullptr) api_->release_env(env_);
}

ort::Value *Graph::tensor(const Buffer &buffer, const std::vector<int64_t> &shape) {
    ort::Value *value = nullptr;
    api_->check(api_->create_tensor_with_data(memory_, buffer.data(), buffer.size * sizeof(float),
                                              shape.data(), shape.size(), ort::kFloat32, &value),
                "tensor");
    return value;
}

bool Graph::run() noexcept {
    if (rtloop_probe_run != nullptr) rtloop_probe_run(1);
    ort::Status *status =
        api_->run(session_, nullptr, input_names_.data(), input_values_.data(), input_names_.size(),
                  output_names_.data(), output_names_.size(), output_values_.data());
    if (rtloop_probe_run != nullptr) rtloop_probe_run(0);
    if (status != nullptr) {
        keep_error(api_->get_error_message(status));
        api_->release_status(status);
        return false;
    }
    feed_back(false);
    return true;
}

void Graph::keep_error(const char *message) noexcept {
    if (error_size_.load(std::memory_order_relaxed) != 0) return;
    const size_t size = strnlen(message, error_.size());
    std::memcpy(error_.data(), message, size);
    error_size_.store(size, std::memory_order_release);
}

std::string Graph::error() const {
    return {error_.data(), error_size_.load(std::memory_order_acquire)};
}

void Graph::applied() noexcept {
    feed_back(true);
}

void Graph::feed_back(bool of_applied) noexcept {
    for (size_t i = 0; i < feedback_in_.size(); ++i) {
        if (spec_.feedback[i].of_applied != of_applied) continue;
        std::memcpy(feedback_in_[i].data(), feedback_out_[i].data(),
                    feedback_in_[i].size * sizeof(float));
    }
}

void Graph::reset() noexcept {
    for (Buffer &b : inputs_) std::memset(b.data(), 0, b.size * sizeof(float));
    for (Buffer &b : feedback_in_) std::memset(b.data(), 0, b.size * sizeof(float));
    std::memset(command_.data(), 0, command_.size * sizeof(float));
    error_size_.store(0, std::memory_order_relaxed);
}

WarmUp Graph::warm_up(size_t n, const std::function<bool()> &goes_on) {
    MonotonicClock clock;
    WarmUp result;
    result.run_ns.reserve(n);
    reset();
    for (size_t i = 0; i <= n && goes_on(); ++i) {
        const int64_t start = clock.now();
        if (!run()) throw std::runtime_error("the graph failed while warming up: " + error());
        const int64_t duration = clock.now() - start;
        if (i == 0) {
            result.first_ns = duration;
        } else {
            result.run_ns.push_back(duration);
        }
    }
    reset();
    return result;
}

const std::string &Graph::onnxruntime_version() const noexcept {
    return api_->version();
}

}  // namespace rtloop

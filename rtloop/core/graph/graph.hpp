// One ONNX graph on buffers that never move: everything between input samples and commands.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace rtloop {

namespace ort {
class Api;
struct Env;
struct Session;
struct MemoryInfo;
struct Value;
}  // namespace ort

struct TensorSpec {
    std::string name;
    std::vector<int64_t> shape;  // all fixed; float32
};

// State that is an output of one run and an input of the next; starts at zero. It follows what was
// observed; or, of_applied, only the runs whose command was applied.
struct FeedbackSpec {
    std::string input;
    std::string output;
    std::vector<int64_t> shape;
    bool of_applied = false;
};

struct GraphSpec {
    std::string model;  // serialised ONNX
    std::vector<TensorSpec> inputs;
    TensorSpec command;
    std::vector<FeedbackSpec> feedback;
};

struct WarmUp {
    int64_t first_ns = 0;
    std::vector<int64_t> run_ns;  // after the first
};

class Graph {
  public:
    // Throws std::runtime_error with ONNX Runtime's own message.
    Graph(const std::string &onnxruntime_library, GraphSpec spec);
    ~Graph();
    Graph(const Graph &) = delete;
    Graph &operator=(const Graph &) = delete;

    size_t n_inputs() const noexcept { return spec_.inputs.size(); }
    float *input(size_t i) noexcept { return inputs_[i].data(); }
    size_t input_size(size_t i) const noexcept { return inputs_[i].size; }
    const float *command() const noexcept { return command_.data(); }
    size_t command_size() const noexcept { return command_.size; }

    // What the graph carries from one run to the next (recurrent state, previous action): the
    // feedback values, in the order of the specification. To be read and set while nothing runs; a
    // replay that sets them starts wherever it likes.
    size_t n_states() const noexcept { return feedback_in_.size(); }
    const FeedbackSpec &state_spec(size_t i) const noexcept { return spec_.feedback[i]; }
    std::span<float> state(size_t i) noexcept {
        return {feedback_in_[i].data(), feedback_in_[i].size};
    }

    // One thread at a time may use it. False while another one does: perhaps one whose cycle hung.
    bool claim() noexcept { return !is_claimed_.exchange(true, std::memory_order_acquire); }
    void give_back() noexcept { is_claimed_.store(false, std::memory_order_release); }

    // Real-time. False when ONNX Runtime reported an error: `error` has its words.
    bool run() noexcept;
    // Any thread. What ONNX Runtime said against the first run that failed since the last reset,
    // cut to what a buffer of fixed size holds; empty where none failed.
    std::string error() const;
    // Real-time, after a run: its command was applied.
    void applied() noexcept;
    // Back to the initial state, inputs zero.
    void reset() noexcept;
    // Runs `n` times on zeros, timed on CLOCK_MONOTONIC, then resets. In the thread that will run
    // it: the allocator's caches are per thread.
    // `n` runs, or fewer where `goes_on` says no before that.
    WarmUp warm_up(
        size_t n, const std::function<bool()> &goes_on = [] { return true; });
    const std::string &onnxruntime_version() const noexcept;

  private:
    // 64-byte aligned floats, whole cache lines.
    struct Buffer {
        explicit Buffer(size_t n);
        float *data() const noexcept { return storage.get(); }
        struct Free {
            void operator()(float *p) const noexcept;
        };
        size_t size;
        std::unique_ptr<float, Free> storage;
    };
    ort::Value *tensor(const Buffer &buffer, const std::vector<int64_t> &shape);
    void release() noexcept;
    void feed_back(bool of_applied) noexcept;
    void keep_error(const char *message) noexcept;

    GraphSpec spec_;
    std::unique_ptr<ort::Api> api_;
    ort::Env *env_ = nullptr;
    ort::Session *session_ = nullptr;
    ort::MemoryInfo *memory_ = nullptr;
    std::vector<Buffer> inputs_;
    Buffer command_;
    std::vector<Buffer> feedback_in_;
    std::vector<Buffer> feedback_out_;
    std::vector<const char *> input_names_;
    std::vector<const char *> output_names_;
    std::vector<ort::Value *> input_values_;
    std::vector<ort::Value *> output_values_;
    std::atomic<bool> is_claimed_{false};
    // Written once, then published by its length: nobody reads what is being written.
    std::array<char, 1024> error_;
    std::atomic<size_t> error_size_{0};
};

}  // namespace rtloop

#include "rtloop/core/graph/graph.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "rtloop/core/cycle/clock.hpp"
#include "rtloop/core/words.hpp"

namespace rtloop {

Graph::Graph(const std::string &onnxruntime_library, GraphSpec spec)
    : runtime_(onnxruntime_library) {
    tensors_.reserve(spec.tensors.size());
    for (TensorSpec &t : spec.tensors) tensors_.emplace_back(std::move(t));
    check(spec, tensors_);

    for (const FeedbackSpec &f : spec.feedback) {
        const auto initial = spec.constants.extract(f.input);
        states_.push_back({&tensors_[f.input], &tensors_[f.output], f.of_applied,
                           initial.empty() ? std::string() : std::move(initial.mapped())});
    }
    for (const auto &[t, bytes] : spec.constants) {
        std::memcpy(tensors_[t].data(), bytes.data(), bytes.size());
        tensors_[t].is_constant = true;
    }
    for (const size_t t : spec.inputs) inputs_.push_back(&tensors_[t]);
    command_ = &tensors_[spec.command];
    if (spec.last_command) last_command_ = &tensors_[*spec.last_command];
    if (spec.cycles_since_due) cycles_since_due_ = &tensors_[*spec.cycles_since_due];
    if (spec.terminations) terminations_ = &tensors_[*spec.terminations];
    for (const size_t t : spec.checked) checked_.push_back(&tensors_[t]);
    every_ = spec.every;
    for (const StepSpec &step : spec.steps) {
        steps_.push_back({std::visit([this](const auto &s) { return bind(s); }, step), false});
    }
    for (const size_t step : spec.each_cycle) steps_[step].each_cycle = true;
    for (const Timed &timed : steps_) {
        if (const auto *outside = std::get_if<Outside>(&timed.step)) external_ = outside->external;
    }
    // One run now: what the graph refuses must be refused at configure time.
    reset();
    if (!run_steps(true, 0)) throw std::runtime_error("cannot run the graph: " + error());
    reset();
}

Graph::Step Graph::bind(const NodeSpec &spec) const {
    return Node(spec.op, pointers(spec.inputs), tensors_[spec.output]);
}

Graph::Step Graph::bind(const CompiledSpec &spec) const {
    return std::make_unique<Compiled>(spec.label, spec.object, pointers(spec.inputs),
                                      pointers(spec.outputs));
}

Graph::Step Graph::bind(const ExternalSpec &spec) const {
    return Outside{spec.external, tensors_[spec.input].as<float>(),
                   tensors_[spec.output].as<float>()};
}

std::vector<const Tensor *> Graph::pointers(const std::vector<size_t> &numbers) const {
    std::vector<const Tensor *> found;
    for (const size_t t : numbers) found.push_back(&tensors_[t]);
    return found;
}

Graph::Step Graph::bind(const ModelSpec &spec) const {
    const auto bound = [this](const auto &side) {
        std::vector<Session::Bound> all;
        for (const auto &[name, t] : side) all.emplace_back(name, &tensors_[t]);
        return all;
    };
    return std::make_unique<Session>(runtime_, spec.model, bound(spec.inputs), bound(spec.outputs));
}

// A period whose first cycles were skipped, or had no samples, has its policy in the first one that
// can. What it gave stands in its tensors, and so do the states that follow from it.
bool Graph::run(int64_t cycle, int64_t now_ns) noexcept {
    policy_ran_ = cycle / every_ != period_;
    if (cycles_since_due_ != nullptr) {
        *cycles_since_due_->as<float>() = static_cast<float>(cycle % every_);
    }
    if (!run_steps(policy_ran_, now_ns)) return false;
    period_ = cycle / every_;
    check_finite();
    feed_back(false);
    return true;
}

bool Graph::run_steps(bool with_policy, int64_t now_ns) noexcept {
    for (const auto &[step, each_cycle] : steps_) {
        if (!with_policy && !each_cycle) continue;
        if (const auto *node = std::get_if<Node>(&step)) {
            node->run();
            continue;
        }
        if (const auto *compiled = std::get_if<std::unique_ptr<Compiled>>(&step)) {
            (*compiled)->run();
            continue;
        }
        if (const auto *outside = std::get_if<Outside>(&step)) {
            if (outside->external->run(outside->question, outside->answer, now_ns)) continue;
            keep_error(outside->external->error());
            return false;
        }
        const ort::Api &api = runtime_.api();
        if (ort::Status *status = std::get<std::unique_ptr<Session>>(step)->run()) {
            keep_error(api.get_error_message(status));
            api.release_status(status);
            return false;
        }
    }
    return true;
}

// A value that a clip would hide, or a state that would carry it on, must not go unseen.
void Graph::check_finite() noexcept {
    const bool all = std::all_of(checked_.begin(), checked_.end(),
                                 [](const Tensor *t) { return t->is_finite(); });
    if (all) return;
    std::fill_n(command_->as<float>(), command_->size(), std::numeric_limits<float>::quiet_NaN());
}

uint32_t Graph::events() const noexcept {
    return every_ > 1 && policy_ran_ ? event::policy : 0;
}

bool Graph::terminates() const noexcept {
    if (terminations_ == nullptr) return false;
    const auto *flags = terminations_->as<uint8_t>();
    return std::any_of(flags, flags + terminations_->size(), [](uint8_t f) { return f != 0; });
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
    for (const State &s : states_) {
        if (s.of_applied != of_applied) continue;
        std::memcpy(s.input->data(), s.output->data(), s.input->bytes());
    }
}

void Graph::reset() noexcept {
    for (Tensor *t : inputs_) t->clear();
    for (const State &s : states_) {
        if (s.initial.empty()) {
            std::memset(s.input->data(), 0, s.input->bytes());
        } else {
            std::memcpy(s.input->data(), s.initial.data(), s.initial.size());
        }
    }
    if (last_command_ != nullptr) last_command_->clear();
    command_->clear();
    period_ = -1;
    policy_ran_ = false;
    if (external_) external_->reset();
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

}  // namespace rtloop

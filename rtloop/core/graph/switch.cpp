#include "rtloop/core/graph/switch.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "rtloop/core/words.hpp"

namespace rtloop {

namespace {

int64_t median(std::vector<int64_t> values) {
    if (values.empty()) return 0;
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

void refuse(bool wrong, const std::string &why) {
    if (wrong) throw std::invalid_argument(why);
}

}  // namespace

Switch::Switch(std::vector<std::shared_ptr<Graph>> policies, SwitchSpec spec)
    : policies_(std::move(policies)), spec_(std::move(spec)) {
    refuse(policies_.size() < 2, "a switch is between two policies or more");
    for (const auto &policy : policies_) refuse(policy == nullptr, "a policy is missing");
    const Graph &first = *policies_.front();
    for (size_t p = 0; p < policies_.size(); ++p) {
        const Graph &policy = *policies_[p];
        refuse(policy.external() != nullptr,
               "policy " + std::to_string(p) +
                   " is answered outside the cycle, which none of several can be");
        bool fits = policy.n_inputs() == first.n_inputs() &&
                    policy.command_size() == first.command_size() &&
                    std::count(policies_.begin(), policies_.end(), policies_[p]) == 1;
        for (size_t i = 0; fits && i < first.n_inputs(); ++i) {
            fits = policy.input_size(i) == first.input_size(i);
        }
        refuse(!fits, "policy " + std::to_string(p) +
                          " has other inputs, or a command of another size, than policy 0, or is "
                          "there twice");
    }
    refuse(spec_.input >= first.n_inputs() || spec_.element >= first.input_size(spec_.input),
           "the selector is no element of an input");
    refuse(spec_.blend_cycles < 0, "a blend takes no negative number of cycles");
    refuse(spec_.transitions.size() != policies_.size(),
           "a switch says of each policy which may follow");
    for (const auto &next : spec_.transitions) {
        for (const size_t p : next) refuse(p >= policies_.size(), "a policy that there is not");
    }
    has_slower_ = std::any_of(policies_.begin(), policies_.end(),
                              [](const auto &policy) { return policy->every() > 1; });
    for (size_t i = 0; i < first.n_inputs(); ++i) inputs_.emplace_back(first.input_size(i), 0.0F);
    last_command_.assign(first.command_size(), 0.0F);
    from_ = command_ = last_command_;
}

bool Switch::run(int64_t cycle, int64_t now_ns) noexcept {
    select(cycle);
    Graph &policy = this->policy();
    for (size_t i = 0; i < inputs_.size(); ++i) {
        std::copy(inputs_[i].begin(), inputs_[i].end(), policy.input(i));
    }
    if (float *last = policy.last_command()) {
        std::copy(last_command_.begin(), last_command_.end(), last);
    }
    if (!policy.run(cycle - entered_, now_ns)) return false;
    std::copy_n(policy.command(), command_.size(), command_.begin());
    if (is_entered_) blend(cycle);
    return true;
}

// Beside one that is slower than the loop, the runs of all are told: they are counted together.
uint32_t Switch::events() const noexcept {
    return events_ | (has_slower_ && policy().policy_ran() ? event::policy : 0);
}

// Whatever is no number of a policy that may follow, NaN too, changes nothing: the one that acts
// knows how to go on, and no other does.
void Switch::select(int64_t cycle) noexcept {
    events_ = 0;
    const float asked = inputs_[spec_.input][spec_.element];
    if (asked == static_cast<float>(acting())) return;
    for (const size_t next : spec_.transitions[acting()]) {
        if (asked != static_cast<float>(next)) continue;
        enter(next, cycle);
        events_ = event::switched;
        return;
    }
    events_ = event::switch_refused;
}

void Switch::enter(size_t policy, int64_t cycle) noexcept {
    acting_.store(policy, std::memory_order_relaxed);
    entered_ = cycle;
    is_entered_ = true;
    has_left_ = false;
    policies_[policy]->reset();
}

// By cycles of the grid, executed or not: how long it takes does not depend on what was late. Until
// a first command left, it starts from whatever stands instead: a default, perhaps.
void Switch::blend(int64_t cycle) noexcept {
    if (!has_left_) from_ = last_command_;
    const int64_t done = cycle - entered_ + 1;
    if (done >= spec_.blend_cycles) return;
    const float share = static_cast<float>(done) / static_cast<float>(spec_.blend_cycles);
    for (size_t i = 0; i < command_.size(); ++i) {
        command_[i] = from_[i] + share * (command_[i] - from_[i]);
    }
}

void Switch::applied() noexcept {
    has_left_ = true;
    policy().applied();
}

void Switch::reset() noexcept {
    for (const auto &policy : policies_) policy->reset();
    for (auto &values : inputs_) std::fill(values.begin(), values.end(), 0.0F);
    std::fill(last_command_.begin(), last_command_.end(), 0.0F);
    std::fill(command_.begin(), command_.end(), 0.0F);
    acting_.store(0, std::memory_order_relaxed);
    entered_ = 0;
    is_entered_ = has_left_ = false;
    events_ = 0;
}

WarmUp Switch::warm_up(size_t n, const std::function<bool()> &goes_on) {
    WarmUp slowest;
    for (const auto &policy : policies_) {
        WarmUp found = policy->warm_up(n, goes_on);
        const bool is_slower = median(found.run_ns) >= median(slowest.run_ns);
        if (is_slower) std::swap(found.run_ns, slowest.run_ns);
        slowest.first_ns = std::max(slowest.first_ns, found.first_ns);
    }
    reset();
    return slowest;
}

}  // namespace rtloop

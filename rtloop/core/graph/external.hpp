// A step that is answered outside the cycle, by a thread that may be slow, or never answer: a
// source of values with an age.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "rtloop/core/ports/triple_buffer.hpp"

namespace rtloop {

// Each run leaves a question, which is what was observed, and takes the newest answer. Only that to
// the question before is in time: who answers has the whole period, and what is commanded does not
// depend on how much of it was taken. Neither side waits for the other.
class External {
  public:
    // Throws std::invalid_argument for a size of 0, std::system_error where there is no eventfd.
    External(size_t question_size, size_t answer_size);
    ~External();
    External(const External &) = delete;
    External &operator=(const External &) = delete;

    size_t question_size() const noexcept { return question_size_; }
    size_t answer_size() const noexcept { return answer_size_; }

    // Not real-time, while nothing runs. Until open() nobody is asked: the answer is zeros, in
    // time, so that the graph around it can be run warm. From close() on nobody answers.
    void open() noexcept;
    void close() noexcept;
    // In place of both: whoever runs the graph is the one who answers, in the run itself. An empty
    // `answer` ends that. What it throws is an error of the run; `begin` is called by reset().
    using Answer = std::function<void(const float *question, float *answer)>;
    void answer_at_once(Answer answer, std::function<void()> begin);

    // The loop's thread, real-time. What was observed at `taken_ns` becomes the question, the
    // newest answer goes to `answer`. False where an answer has failed: `error` says why.
    bool run(const float *question, float *answer, int64_t taken_ns) noexcept;
    // Of the last run: the answer to the question before is not there.
    bool is_late() const noexcept { return is_late_; }
    // There is one of this activation, however old.
    bool has_answer() const noexcept { return has_answer_; }
    // When that was observed which the newest answer is of; -1 without any.
    int64_t taken_ns() const noexcept { return taken_ns_; }
    // How many questions before that one the loop never had an answer to, whether there was one too
    // late or none, since this was called last.
    uint32_t take_gap() noexcept;
    // A new activation: what was asked before counts no more.
    void reset() noexcept;

    // Whoever answers, one thread.
    struct Question {
        int64_t number;    // from 1
        int64_t taken_ns;  // by the loop's clock
        int64_t asked_ns;  // CLOCK_MONOTONIC, when it was left
    };
    // Waits for a question that was not given out yet. False after close(), and after `timeout_ns`;
    // less than 0 is for ever.
    bool next(int64_t timeout_ns) noexcept;
    const Question &question() const noexcept { return given_out_; }
    const std::vector<float> &values() const noexcept { return questions_.front(); }
    // To the question that was given out last.
    void answer(const float *values) noexcept;
    // Instead of an answer: the next run ends the loop. The first one counts, cut to what a buffer
    // holds.
    void fail(const char *why) noexcept;
    // Any thread: what was said; empty where nothing has failed.
    const char *error() const noexcept {
        return error_size_.load(std::memory_order_acquire) == 0 ? "" : error_.data();
    }

    // A thread of its own, while no loop runs: leaves `n` questions of zeros, one a period.
    void ask(size_t n, int64_t period_ns);

  private:
    enum class Mode : uint8_t { rehearsed, open, closed };
    void leave(const float *question, int64_t taken_ns) noexcept;
    bool run_at_once(const float *question, float *answer, int64_t taken_ns) noexcept;
    void wake() noexcept;

    const size_t question_size_;
    const size_t answer_size_;
    const int wake_;  // an eventfd: to write to it never blocks
    std::atomic<Mode> mode_{Mode::rehearsed};
    Answer answer_at_once_;
    std::function<void()> begin_at_once_;
    Newest<Question> questions_;
    Newest<Question> answers_;
    // Of the loop's thread.
    int64_t asked_ = 0;     // the question that was left last
    int64_t before_ = 0;    // the last one of the activation before
    int64_t answered_ = 0;  // the question of the newest answer
    int64_t gap_ = 0;
    int64_t taken_ns_ = -1;
    bool is_late_ = false;
    bool has_answer_ = false;
    // Of whoever answers.
    Question given_out_{0, -1, -1};
    // Written once, then published by its length.
    std::array<char, 1024> error_{};
    std::atomic<bool> is_failing_{false};
    std::atomic<size_t> error_size_{0};
};

}  // namespace rtloop

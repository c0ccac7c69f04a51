// Numbers out of the bytes of a message: a flat program that nodes/fields.py compiles from the
// message's type.
#pragma once

#include <string>
#include <vector>

#include "rtloop/core/topics/cdr.hpp"

namespace rtloop {

// What a step does; `a` and `b` are its operands. Each takes up where the one before left off.
enum class CdrOp : uint8_t {
    skip,     // b numbers of a bytes each
    strings,  // skips b strings, a bytes a character of the length that stands before each
    count,    // how many elements a sequence has: at least a; with b exactly a. Opens the sequence
    skip_rest,  // the open sequence's numbers of a bytes each from element b on; closes it
    repeat,     // the next a steps, b times
    rest,       // the next a steps for each of the open sequence's elements from b on; closes it
    take,       // a number of type a; it becomes value b
    names,      // a sequence of strings: where each joint stands in this message
    joints,  // a sequence of numbers of type a, parallel to the names; joint j becomes value b + j
    stamp,   // seconds (int32) and nanoseconds (uint32); reads them without passing them
};
constexpr uint32_t kCdrOps = 10;

struct CdrStep {
    CdrOp op;
    uint32_t a;
    uint32_t b;
};

// For one thread at a time. Allocates when constructed, never after.
class CdrReader {
  public:
    // Throws std::invalid_argument for a program that could not be run, or leaves a value out.
    CdrReader(std::vector<CdrStep> steps, std::vector<std::string> joints, size_t n_values);

    struct Found {
        const char
            *why;  // nullptr: all is right; else a sentence that lives as long as the process
        int64_t stamp_ns;  // since the epoch of ROS; -1: the program takes none
    };
    // Any bytes. Values are written only when all is right.
    Found read(const uint8_t *bytes, size_t size, float *values) noexcept;

    size_t n_values() const noexcept { return values_.size(); }

  private:
    static constexpr size_t kDepth = 16;         // of sequences in sequences
    static constexpr size_t kNamesRoom = 16384;  // longer names are matched anew in each message
    static constexpr uint32_t kNowhere = UINT32_MAX;

    // A message while it is read.
    struct Reading {
        const uint8_t *bytes;
        size_t size;
        bool swaps;
        size_t at = 0;
        uint32_t counts[kDepth] = {};
        size_t depth = 0;
        uint32_t n_names = 0;
        int64_t stamp_ns = -1;

        size_t left() const noexcept { return at < size ? size - at : 0; }
        void align(size_t number_size) noexcept {
            at = (at + number_size - 1) / number_size * number_size;
        }
        const char *skip(size_t number_size, size_t count) noexcept;
        const char *length(uint32_t &count) noexcept;
        const char *text(size_t character_size, const char *&begin, size_t &length) noexcept;
    };
    struct JointSequence {
        CdrType type;
        uint32_t first;
        uint32_t count;
        const uint8_t *begin;
    };

    void check(size_t begin, size_t end, size_t depth, bool is_repeated,
               std::vector<uint32_t> &taken);
    const char *run(Reading &message, size_t begin, size_t end) noexcept;
    const char *repeat(Reading &message, size_t begin, size_t end, uint32_t times) noexcept;
    const char *read_names(Reading &message) noexcept;
    const char *match_names(Reading &message) noexcept;
    const char *read_joints(Reading &message, CdrType type, uint32_t first) noexcept;
    const char *read_stamp(Reading &message) noexcept;
    const char *arrange(const Reading &message) noexcept;

    const std::vector<CdrStep> steps_;
    const std::vector<std::string> joints_;
    std::vector<const char *> missing_;  // per joint, what is said where it is missing
    std::vector<float> values_;          // of the message that is read
    bool has_names_ = false;

    // They may stand behind the numbers that they name.
    std::vector<JointSequence> sequences_;
    // Where each joint stands, and the bytes of the names that say so: made anew when these change.
    std::vector<uint32_t> place_;
    std::vector<uint8_t> known_names_;
    size_t known_size_ = 0;
    uint32_t known_count_ = 0;
};

}  // namespace rtloop

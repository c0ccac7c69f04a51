// The ring: file-backed shared memory, the only way out for telemetry.
//
// One writer that never waits; any number of readers, in any process, that detect what they lost.
// The file outlives both, which makes it the flight recorder after a crash.
//
// File: Header (one page) | metadata (JSON, room to grow) | Status (one page) | capacity × slot.
// A slot is a sequence word followed by the payload: record, one InputRecord per input, input and
// output values; and a checksum, since 60 s of memory outlive the process that could vouch for
// them. Every word is an atomic, so a reader that
// races the writer has no undefined behaviour and simply sees a sequence that does not fit: a
// seqlock after Boehm, "Can seqlocks get along with programming language memory models?" (MSPC
// 2012), with release stores and acquire loads of the payload instead of fences (which
// ThreadSanitizer cannot follow).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "rtloop/core/cycle/record.hpp"
#include "rtloop/core/cycle/status.hpp"

namespace rtloop {

class Mapping {
  public:
    Mapping() = default;
    Mapping(const Mapping &) = delete;
    Mapping &operator=(const Mapping &) = delete;
    ~Mapping();
    void create(const std::string &path, size_t size);
    void open(const std::string &path, bool of_anybody);
    std::byte *data() const noexcept { return data_; }
    size_t size() const noexcept { return size_; }

  private:
    std::byte *data_ = nullptr;
    size_t size_ = 0;
};

struct RingLayout {
    uint64_t record_size = 0;  // bytes of the record proper
    uint64_t n_sources = 0;    // inputs, each with an InputRecord
    uint64_t n_inputs = 0;     // values of all inputs
    uint64_t n_outputs = 0;
    uint64_t capacity = 0;
    uint64_t checksum_words = 1;  // none in versions 1 and 2
    size_t payload_size() const noexcept {
        return record_size + sizeof(InputRecord) * n_sources +
               sizeof(float) * (n_inputs + n_outputs);
    }
    size_t payload_words() const noexcept { return (payload_size() + 7) / 8; }
    size_t slot_words() const noexcept { return 1 + payload_words() + checksum_words; }
};

class RingWriter {
  public:
    // Creates the file, for its owner alone, and faults all of it in. Throws std::system_error,
    // std::invalid_argument.
    RingWriter(const std::string &path, uint64_t capacity, uint64_t n_sources, uint64_t n_inputs,
               uint64_t n_outputs, const std::string &metadata);
    ~RingWriter();

    // Real-time: wait-free, no system call.
    void append(const CycleRecord &record, const InputRecord *sources, const float *inputs,
                const float *outputs) noexcept;

    // Not real-time. Throws std::invalid_argument when the room reserved at creation does not do.
    void set_metadata(const std::string &metadata);

    LoopStatus &status() noexcept { return *status_; }
    const RingLayout &layout() const noexcept { return layout_; }
    const std::string &path() const noexcept { return path_; }

  private:
    std::string path_;
    Mapping mapping_;
    RingLayout layout_;
    LoopStatus *status_ = nullptr;
    std::atomic<uint64_t> *slots_ = nullptr;
    std::vector<uint64_t> scratch_;
};

class RingReader {
  public:
    // Of the caller's own ring, unless it says that it wants to read anybody's. Throws
    // std::system_error, std::invalid_argument (not a ring, or cut).
    explicit RingReader(const std::string &path, bool of_anybody = false);

    // Copies up to `max_records` payloads to `out` (payload_size() each, unpadded), oldest first,
    // and adds to `lost` what the writer overwrote before it could be read. Never waits.
    size_t read(uint64_t max_records, std::byte *out, uint64_t &lost) noexcept;
    uint64_t available() const noexcept;

    uint64_t position() const noexcept { return position_; }
    void seek(uint64_t position) noexcept { position_ = position; }

    // What recovery reads of a ring whose writer is dead: the sequence word of every slot, and from
    // then on the records before `end`, whatever the status says that was written.
    std::vector<uint64_t> sequences() const;
    void end_at(uint64_t end) noexcept { end_ = end; }
    const LoopStatus &status() const noexcept { return *status_; }
    const RingLayout &layout() const noexcept { return layout_; }
    // Throws std::invalid_argument when it is damaged.
    std::string metadata() const;
    int64_t writer_pid() const noexcept { return writer_pid_; }
    uint64_t writer_start_time() const noexcept { return writer_start_time_; }

  private:
    bool copy_slot(uint64_t index, std::byte *out) noexcept;
    uint64_t head() const noexcept;

    Mapping mapping_;
    RingLayout layout_;
    const LoopStatus *status_ = nullptr;
    const std::atomic<uint64_t> *slots_ = nullptr;
    std::vector<uint64_t> scratch_;
    uint64_t position_ = 0;
    uint64_t end_ = UINT64_MAX;
    int64_t writer_pid_ = 0;
    uint64_t writer_start_time_ = 0;
};

}  // namespace rtloop

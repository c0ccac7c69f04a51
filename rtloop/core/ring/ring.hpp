// The ring: file-backed shared memory, the only way out for telemetry.
//
// One writer that never waits; any number of readers, in any process, that detect what they lost.
// The file outlives both, which makes it the flight recorder after a crash.
//
// File: Header (one page) | metadata (JSON, room to grow, twice) | Status (one page) | slots of
// port events | slots of cycles: record, one InputRecord per input, input and output values.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "rtloop/core/cycle/record.hpp"
#include "rtloop/core/cycle/status.hpp"
#include "rtloop/core/ports/port_event.hpp"
#include "rtloop/core/ring/slots.hpp"

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
    uint64_t event_capacity = 0;  // none in versions 1 to 3
    uint64_t checksum_words = 1;  // none in versions 1 and 2
    size_t payload_size() const noexcept {
        return record_size + sizeof(InputRecord) * n_sources +
               sizeof(float) * (n_inputs + n_outputs);
    }
    SlotLayout cycles() const noexcept { return {capacity, payload_size(), checksum_words}; }
    SlotLayout events() const noexcept { return {event_capacity, sizeof(PortEvent), 1}; }
};

class RingWriter {
  public:
    // More than devices report in a minute, by the rate that they keep to: 300 kB.
    static constexpr uint64_t kEventCapacity = 4096;

    // Creates the file, for its owner alone, and faults all of it in. Throws std::system_error,
    // std::invalid_argument.
    RingWriter(const std::string &path, uint64_t capacity, uint64_t n_sources, uint64_t n_inputs,
               uint64_t n_outputs, const std::string &metadata,
               uint64_t event_capacity = kEventCapacity);
    ~RingWriter();

    // Real-time: wait-free, no system call.
    void append(const CycleRecord &record, const InputRecord *sources, const float *inputs,
                const float *outputs) noexcept;
    void append_event(const PortEvent &event) noexcept;

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
    SlotWriter cycles_;
    SlotWriter events_;
};

// Reads cycles: of each its record, InputRecords and values, unpadded.
class RingReader : public SlotReader {
  public:
    // Of the caller's own ring, unless it says that it wants to read anybody's. Throws
    // std::system_error, std::invalid_argument (not a ring, or cut).
    explicit RingReader(const std::string &path, bool of_anybody = false);

    // Of each port event a PortEvent; none in rings of versions 1 to 3.
    SlotReader &events() noexcept { return events_; }

    const LoopStatus &status() const noexcept { return *status_; }
    const RingLayout &layout() const noexcept { return layout_; }
    // Throws std::invalid_argument when it is damaged.
    std::string metadata() const;
    int64_t writer_pid() const noexcept { return writer_pid_; }
    uint64_t writer_start_time() const noexcept { return writer_start_time_; }

  private:
    Mapping mapping_;
    RingLayout layout_;
    const LoopStatus *status_ = nullptr;
    SlotReader events_;
    int64_t writer_pid_ = 0;
    uint64_t writer_start_time_ = 0;
};

}  // namespace rtloop

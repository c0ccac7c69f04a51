// Rows of slots in shared memory: one writer that never waits, readers that detect what they lost.
//
// A slot is a sequence word followed by the payload, and a checksum, since what outlives the
// process that could vouch for it may be damaged. Every word is an atomic, so a reader that races
// the writer has no undefined behaviour and simply sees a sequence that does not fit: a seqlock
// after Boehm, "Can seqlocks get along with programming language memory models?" (MSPC 2012), with
// release stores and acquire loads of the payload instead of fences (which ThreadSanitizer cannot
// follow).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace rtloop {

struct SlotLayout {
    uint64_t capacity = 0;
    size_t payload_size = 0;    // bytes
    size_t checksum_words = 1;  // none in rings of versions 1 and 2
    size_t payload_words() const noexcept { return (payload_size + 7) / 8; }
    size_t slot_words() const noexcept { return 1 + payload_words() + checksum_words; }
    size_t size() const noexcept { return capacity * slot_words() * sizeof(uint64_t); }
};

// Each step is invertible: no change of a single word goes unseen. A dozen cycles of a CPU for
// eight bytes of a slot that was just written.
inline uint64_t mixed(uint64_t sum, uint64_t word) noexcept {
    sum = (sum ^ word) * 0xff51afd7ed558ccdULL;
    return sum ^ (sum >> 32);
}

inline uint64_t slot_checksum(uint64_t index, const uint64_t *words, size_t n) noexcept {
    uint64_t sum = index + 0x9e3779b97f4a7c15ULL;
    for (size_t i = 0; i < n; ++i) sum = mixed(sum, words[i]);
    return sum;
}

class SlotWriter {
  public:
    SlotWriter() = default;
    // `slots`: room for layout.size() bytes. `head`, which all readers see, counts what was ever
    // written.
    SlotWriter(const SlotLayout &layout, std::byte *slots, std::atomic<uint64_t> &head)
        : layout_(layout), slots_(reinterpret_cast<std::atomic<uint64_t> *>(slots)), head_(&head) {
        for (uint64_t i = 0; i < layout.capacity * layout.slot_words(); ++i) {
            slots_[i].store(0, std::memory_order_relaxed);  // faults every page in, dirty
        }
        scratch_.assign(layout.payload_words() + layout.checksum_words, 0);
    }

    // Where the payload of the next slot is put together.
    std::byte *payload() noexcept { return reinterpret_cast<std::byte *>(scratch_.data()); }
    // Real-time: wait-free.
    void append() noexcept {
        const uint64_t index = head_->load(std::memory_order_relaxed);
        scratch_.back() = slot_checksum(index, scratch_.data(), layout_.payload_words());
        std::atomic<uint64_t> *slot = slots_ + (index % layout_.capacity) * layout_.slot_words();
        slot[0].store(2 * index + 1, std::memory_order_relaxed);  // odd: being written
        for (size_t i = 0; i < scratch_.size(); ++i) {
            slot[1 + i].store(scratch_[i], std::memory_order_release);
        }
        slot[0].store(2 * index + 2, std::memory_order_release);
        head_->store(index + 1, std::memory_order_release);
    }

  private:
    SlotLayout layout_;
    std::atomic<uint64_t> *slots_ = nullptr;
    std::atomic<uint64_t> *head_ = nullptr;
    std::vector<uint64_t> scratch_;
};

class SlotReader {
  public:
    SlotReader() = default;
    SlotReader(const SlotLayout &layout, const std::byte *slots, const std::atomic<uint64_t> &head)
        : layout_(layout),
          slots_(reinterpret_cast<const std::atomic<uint64_t> *>(slots)),
          head_(&head) {
        scratch_.assign(layout.payload_words() + layout.checksum_words, 0);
    }

    // Copies up to `most` payloads to `out` (payload_size each, unpadded), oldest first, and adds
    // to `lost` what the writer overwrote before it could be read. Never waits.
    size_t read(uint64_t most, std::byte *out, uint64_t &lost) noexcept {
        size_t n = 0;
        while (n < most) {
            const uint64_t head = this->head();
            if (position_ >= head) break;
            const uint64_t held = layout_.capacity - kTailMargin;
            const uint64_t oldest = head > held ? head - held : 0;
            if (position_ < oldest) {
                lost += oldest - position_;
                position_ = oldest;
            }
            if (copy(position_, out + n * layout_.payload_size)) {
                ++n;
            } else {
                ++lost;  // overtaken while copying, or damaged
            }
            ++position_;
        }
        return n;
    }
    uint64_t available() const noexcept {
        const uint64_t head = this->head();
        return head > position_ ? head - position_ : 0;
    }
    uint64_t position() const noexcept { return position_; }
    void seek(uint64_t position) noexcept { position_ = position; }

    // What recovery reads of a ring whose writer is dead: the sequence word of every slot, and from
    // then on what comes before `end`, whatever the head says that was written.
    std::vector<uint64_t> sequences() const {
        std::vector<uint64_t> found(layout_.capacity);
        for (size_t i = 0; i < found.size(); ++i) {
            found[i] = slots_[i * layout_.slot_words()].load(std::memory_order_acquire);
        }
        return found;
    }
    void end_at(uint64_t end) noexcept { end_ = end; }
    size_t payload_size() const noexcept { return layout_.payload_size; }

  private:
    // Readers ask in order; a slot is rewritten `capacity` later. Staying this far behind the
    // writer's tail saves copies that would be torn anyway.
    static constexpr uint64_t kTailMargin = 1;

    uint64_t head() const noexcept {
        if (layout_.capacity == 0) return 0;
        return end_ != UINT64_MAX ? end_ : head_->load(std::memory_order_acquire);
    }
    bool copy(uint64_t index, std::byte *out) noexcept {
        const std::atomic<uint64_t> *slot =
            slots_ + (index % layout_.capacity) * layout_.slot_words();
        if (slot[0].load(std::memory_order_acquire) != 2 * index + 2) return false;
        for (size_t i = 0; i < scratch_.size(); ++i) {
            scratch_[i] = slot[1 + i].load(std::memory_order_acquire);
        }
        if (slot[0].load(std::memory_order_relaxed) != 2 * index + 2) return false;
        const size_t n = layout_.payload_words();
        if (layout_.checksum_words != 0 &&
            scratch_[n] != slot_checksum(index, scratch_.data(), n)) {
            return false;
        }
        std::memcpy(out, scratch_.data(), layout_.payload_size);
        return true;
    }

    SlotLayout layout_;
    const std::atomic<uint64_t> *slots_ = nullptr;
    const std::atomic<uint64_t> *head_ = nullptr;
    std::vector<uint64_t> scratch_;
    uint64_t position_ = 0;
    uint64_t end_ = UINT64_MAX;
};

}  // namespace rtloop

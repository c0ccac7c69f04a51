#include "rtloop/core/ring/ring.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <system_error>
#include <thread>

namespace rtloop {

namespace {

constexpr size_t kPage = 4096;
// What is known only after activation (rights, clocks) is added to the metadata then.
constexpr size_t kMetadataGrowth = 16 * kPage;
// Keeps products of what a header says from wrapping.
constexpr uint64_t kMostSlots = uint64_t{1} << 32;
constexpr char kMagic[8] = {'R', 'T', 'L', 'R', 'I', 'N', 'G', '4'};
// Without port events.
constexpr char kMagicVersion3[8] = {'R', 'T', 'L', 'R', 'I', 'N', 'G', '3'};
// Without checksums.
constexpr char kMagicVersion2[8] = {'R', 'T', 'L', 'R', 'I', 'N', 'G', '2'};
// Written before every input had a record of its own: what a crash of that version left can still
// be recovered.
constexpr char kMagicVersion1[8] = {'R', 'T', 'L', 'R', 'I', 'N', 'G', '1'};
struct Header {
    std::atomic<uint64_t> magic;
    uint64_t record_size;
    uint64_t n_inputs;
    uint64_t n_outputs;
    uint64_t capacity;
    std::atomic<uint64_t> metadata_size;
    uint64_t metadata_room;
    uint64_t status_offset;
    uint64_t slots_offset;
    int64_t writer_pid;
    uint64_t writer_start_time;
    uint64_t n_sources;  // zero in version 1
    std::atomic<uint64_t> metadata_checksum;
    uint64_t event_capacity;  // zero in versions 1 to 3
    // The metadata have room twice, and one of the two counts: whoever is killed as it writes
    // leaves the other. The second is 0, and never counts, in what was written before there was
    // one.
    std::atomic<uint64_t> second_size;
    std::atomic<uint64_t> second_checksum;
    std::atomic<uint64_t> second_counts;
};
static_assert(sizeof(Header) <= kPage);
static_assert(sizeof(LoopStatus) <= kPage);

uint64_t magic_word(const char (&text)[8]) {
    uint64_t word = 0;
    std::memcpy(&word, text, sizeof(word));
    return word;
}

uint64_t checksum(const std::byte *text, size_t size) {
    uint64_t sum = size;
    for (size_t i = 0; i < size; ++i) sum = mixed(sum, std::to_integer<uint64_t>(text[i]));
    return sum;
}

size_t page_rounded(size_t n) {
    return (n + kPage - 1) / kPage * kPage;
}

std::system_error errno_error(const std::string &what) {
    return std::system_error(errno, std::generic_category(), what);
}

// Field 22 of /proc/self/stat: tells this process from a later one with the same pid.
uint64_t process_start_time() {
    std::ifstream file("/proc/self/stat");
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    size_t at = text.rfind(')');  // the command name may hold spaces
    for (int field = 2; field < 22 && at != std::string::npos; ++field) at = text.find(' ', at + 1);
    return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at, nullptr, 10);
}

}  // namespace

Mapping::~Mapping() {
    if (data_ != nullptr) munmap(data_, size_);
}

void Mapping::create(const std::string &path, size_t size) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) throw errno_error("cannot create ring " + path);
    // Reserve now: a full tmpfs must be an error here, not a SIGBUS in the cycle.
    const int rc = posix_fallocate(fd, 0, static_cast<off_t>(size));
    void *p = MAP_FAILED;
    if (rc == 0) {
        p = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    }
    const int saved = rc != 0 ? rc : errno;
    close(fd);
    if (p == MAP_FAILED) {
        unlink(path.c_str());
        errno = saved;
        throw errno_error("cannot reserve " + std::to_string(size) + " bytes for ring " + path);
    }
    data_ = static_cast<std::byte *>(p);
    size_ = size;
}

void Mapping::open(const std::string &path, bool of_anybody) {
    // Not through a link, and not waiting for whoever would write to a FIFO of that name.
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) throw errno_error("cannot open ring " + path);
    struct stat st = {};
    const bool found = fstat(fd, &st) == 0;
    void *p = MAP_FAILED;
    // Before it is mapped: who may shorten the file can end whoever reads it, by SIGBUS.
    const bool foreign = found && !of_anybody && st.st_uid != geteuid();
    if (found && !foreign && S_ISREG(st.st_mode) && st.st_size >= static_cast<off_t>(kPage)) {
        p = mmap(nullptr, static_cast<size_t>(st.st_size), PROT_READ, MAP_SHARED, fd, 0);
    } else if (found) {
        errno = foreign ? EPERM : EINVAL;
    }
    const int saved = errno;
    close(fd);
    errno = saved;
    if (foreign) throw errno_error("not yours: ring " + path);
    if (p == MAP_FAILED) throw errno_error("cannot map ring " + path);
    data_ = static_cast<std::byte *>(p);
    size_ = static_cast<size_t>(st.st_size);
}

RingWriter::RingWriter(const std::string &path, uint64_t capacity, uint64_t n_sources,
                       uint64_t n_inputs, uint64_t n_outputs, const std::string &metadata,
                       uint64_t event_capacity)
    : path_(path), layout_{sizeof(CycleRecord), n_sources, n_inputs, n_outputs, capacity,
                           event_capacity,      1} {
    if (capacity < 2 || event_capacity < 2)
        throw std::invalid_argument("a ring holds at least 2 records");
    constexpr uint64_t kMostValues = 65'535;  // as readers believe
    if (n_sources > kMostValues || n_inputs > kMostValues || n_outputs > kMostValues ||
        event_capacity > kMostSlots ||
        capacity > SIZE_MAX / 4 / (layout_.cycles().slot_words() * sizeof(uint64_t))) {
        throw std::invalid_argument("a ring cannot be as large as that");
    }
    const size_t metadata_room = 2 * (page_rounded(metadata.size()) + kMetadataGrowth);
    const size_t status_offset = kPage + metadata_room;
    const size_t events_offset = status_offset + kPage;
    const size_t slots_offset = events_offset + layout_.events().size();
    mapping_.create(path, slots_offset + layout_.cycles().size());
    std::byte *base = mapping_.data();
    status_ = new (base + status_offset) LoopStatus{};
    status_->state.store(static_cast<uint32_t>(State::inactive));
    status_->open_cycle.store(-1);
    status_->expired_cycle.store(-1);
    events_ = SlotWriter(layout_.events(), base + events_offset, status_->event_head);
    cycles_ = SlotWriter(layout_.cycles(), base + slots_offset, status_->head);
    auto *header = new (base) Header{};
    header->record_size = layout_.record_size;
    header->n_sources = n_sources;
    header->n_inputs = n_inputs;
    header->n_outputs = n_outputs;
    header->capacity = capacity;
    header->event_capacity = event_capacity;
    header->metadata_room = metadata_room;
    header->status_offset = status_offset;
    header->slots_offset = slots_offset;
    header->writer_pid = getpid();
    header->writer_start_time = process_start_time();
    header->second_counts = 1;  // so that the first is written first
    set_metadata(metadata);
    // Last: a reader that sees the magic sees a complete ring.
    header->magic.store(magic_word(kMagic), std::memory_order_release);
}

void RingWriter::set_metadata(const std::string &metadata) {
    auto *header = reinterpret_cast<Header *>(mapping_.data());
    const uint64_t room = header->metadata_room / 2;
    if (metadata.size() > room) {
        throw std::invalid_argument("a ring's metadata may grow by " +
                                    std::to_string(kMetadataGrowth) + " bytes, not more");
    }
    const bool is_second = header->second_counts.load(std::memory_order_relaxed) == 0;
    std::byte *const to = mapping_.data() + kPage + (is_second ? room : 0);
    std::memcpy(to, metadata.data(), metadata.size());
    auto &checksum_of = is_second ? header->second_checksum : header->metadata_checksum;
    auto &size_of = is_second ? header->second_size : header->metadata_size;
    checksum_of.store(checksum(to, metadata.size()), std::memory_order_relaxed);
    size_of.store(metadata.size(), std::memory_order_relaxed);
    header->second_counts.store(is_second ? 1 : 0, std::memory_order_release);
}

RingWriter::~RingWriter() {
    // Of a forked child the ring is not: its parent goes on.
    if (reinterpret_cast<const Header *>(mapping_.data())->writer_pid != getpid()) return;
    // A finalized ring tells its readers that nothing more will come.
    status_->state.store(static_cast<uint32_t>(State::finalized), std::memory_order_release);
}

void RingWriter::append(const CycleRecord &record, const InputRecord *sources, const float *inputs,
                        const float *outputs) noexcept {
    std::byte *to = cycles_.payload();
    const auto put = [&to](const void *from, size_t size) {
        if (size > 0) std::memcpy(to, from, size);
        to += size;
    };
    put(&record, sizeof(record));
    put(sources, layout_.n_sources * sizeof(InputRecord));
    put(inputs, layout_.n_inputs * sizeof(float));
    put(outputs, layout_.n_outputs * sizeof(float));
    cycles_.append();
}

void RingWriter::append_event(const PortEvent &event) noexcept {
    std::memcpy(events_.payload(), &event, sizeof(event));
    events_.append();
}

RingReader::RingReader(const std::string &path, bool of_anybody) {
    mapping_.open(path, of_anybody);
    const auto &header = *reinterpret_cast<const Header *>(mapping_.data());
    const uint64_t magic = header.magic.load(std::memory_order_acquire);
    const bool has_events = magic == magic_word(kMagic);
    const bool is_checked = has_events || magic == magic_word(kMagicVersion3);
    if (!is_checked && magic != magic_word(kMagicVersion2) && magic != magic_word(kMagicVersion1)) {
        throw std::invalid_argument(path + " is not an rtloop ring (or not of this version)");
    }
    layout_ = {header.record_size,  header.n_sources, header.n_inputs,
               header.n_outputs,    header.capacity,  has_events ? header.event_capacity : 0,
               is_checked ? 1u : 0u};
    const bool sane =
        layout_.record_size == sizeof(CycleRecord) && layout_.n_sources < 65536 &&
        layout_.n_inputs < 65536 && layout_.n_outputs < 65536 && layout_.capacity >= 2 &&
        layout_.capacity < kMostSlots && header.metadata_room < kMostSlots &&
        layout_.event_capacity >= (has_events ? 2u : 0u) && layout_.event_capacity < kMostSlots &&
        header.status_offset == kPage + header.metadata_room &&
        header.metadata_size <= header.metadata_room &&
        header.slots_offset == header.status_offset + kPage + layout_.events().size() &&
        header.slots_offset + layout_.cycles().size() == mapping_.size();
    if (!sane)
        throw std::invalid_argument(path + " is cut or damaged: its header does not fit its size");
    const std::byte *base = mapping_.data();
    status_ = reinterpret_cast<const LoopStatus *>(base + header.status_offset);
    events_ =
        SlotReader(layout_.events(), base + header.status_offset + kPage, status_->event_head);
    static_cast<SlotReader &>(*this) =
        SlotReader(layout_.cycles(), base + header.slots_offset, status_->head);
    writer_pid_ = header.writer_pid;
    writer_start_time_ = header.writer_start_time;
}

// Its writer may say more twice while this reads once.
std::string RingReader::metadata() const {
    constexpr int kAttempts = 16;
    const auto &header = *reinterpret_cast<const Header *>(mapping_.data());
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        const bool is_second = header.second_counts.load(std::memory_order_acquire) != 0;
        const size_t room = header.metadata_room / (is_second ? 2 : 1);
        const size_t size =
            std::min<size_t>(is_second ? header.second_size : header.metadata_size, room);
        const std::byte *const from = mapping_.data() + kPage + (is_second ? room : 0);
        std::string text(reinterpret_cast<const char *>(from), size);
        if (layout_.checksum_words == 0 ||
            (is_second ? header.second_checksum : header.metadata_checksum) ==
                checksum(reinterpret_cast<const std::byte *>(text.data()), size)) {
            return text;
        }
        std::this_thread::yield();
    }
    throw std::invalid_argument("its metadata is damaged");
}

}  // namespace rtloop

#include "rtloop/core/topics/cdr_reader.hpp"

#include <mutex>
#include <set>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace rtloop {

namespace {

constexpr const char *kTooDeep = "a program of more than 16 sequences in one another";

// What a message may be instead of right.
constexpr const char *kNotCdr = "not a message in plain CDR";
constexpr const char *kTruncated = "the message ends before its last number";
constexpr const char *kTooShort = "a sequence ends before the element that is wanted";
constexpr const char *kOtherLength = "a sequence has another length than there are joints";
constexpr const char *kNotParallel = "a field of the joints has another length than the names";
constexpr const char *kEmpty = "a field of the joints is empty: the publisher does not send it";
constexpr const char *kTwice = "a joint is there twice among the names";
constexpr const char *kNoTime = "the stamp is no time: its nanoseconds are 1e9 or more";
constexpr const char *kBeforeEpoch = "the stamp is a time before 1970";

// A sentence that outlives who asks for it.
const char *lasting(const std::string &sentence) {
    static std::mutex mutex;
    static auto *const sentences = new std::set<std::string>();
    const std::lock_guard<std::mutex> lock(mutex);
    return sentences->insert(sentence).first->c_str();
}

float number_at(const uint8_t *at, CdrType type, bool swaps) noexcept {
    switch (type) {
        case CdrType::boolean:
            return *at != 0 ? 1.0F : 0.0F;
        case CdrType::int8:
            return static_cast<float>(load_cdr<int8_t>(at, swaps));
        case CdrType::uint8:
            return static_cast<float>(*at);
        case CdrType::int16:
            return static_cast<float>(load_cdr<int16_t>(at, swaps));
        case CdrType::uint16:
            return static_cast<float>(load_cdr<uint16_t>(at, swaps));
        case CdrType::int32:
            return static_cast<float>(load_cdr<int32_t>(at, swaps));
        case CdrType::uint32:
            return static_cast<float>(load_cdr<uint32_t>(at, swaps));
        case CdrType::int64:
            return static_cast<float>(load_cdr<int64_t>(at, swaps));
        case CdrType::uint64:
            return static_cast<float>(load_cdr<uint64_t>(at, swaps));
        case CdrType::float32:
            return load_cdr<float>(at, swaps);
        case CdrType::float64:
            return static_cast<float>(load_cdr<double>(at, swaps));
    }
    return 0.0F;
}

bool is_size(uint32_t size) {
    return size == 1 || size == 2 || size == 4 || size == 8;
}

void demand(bool holds, const char *sentence) {
    if (!holds) throw std::invalid_argument(sentence);
}

}  // namespace

CdrReader::CdrReader(std::vector<CdrStep> steps, std::vector<std::string> joints, size_t n_values)
    : steps_(std::move(steps)),
      joints_(std::move(joints)),
      values_(n_values),
      place_(joints_.size()) {
    std::vector<uint32_t> taken(n_values);
    check(0, steps_.size(), 0, false, taken);
    demand(std::count(taken.begin(), taken.end(), 1U) == static_cast<ptrdiff_t>(n_values),
           "a value is taken by no step, or by several");
    demand(sequences_.empty() || has_names_, "joints without names");
    for (const std::string &joint : joints_) {
        missing_.push_back(lasting("there is no joint '" + joint + "' among the names"));
    }
    known_names_.resize(has_names_ ? kNamesRoom : 0);
}

// So that run() needs to look at the message only. `taken` is how often each value is taken.
void CdrReader::check(size_t begin, size_t end, size_t depth, bool is_repeated,
                      std::vector<uint32_t> &taken) {
    size_t open = 0;
    for (size_t i = begin; i < end; ++i) {
        const CdrStep &step = steps_[i];
        const bool closes = step.op == CdrOp::skip_rest || step.op == CdrOp::rest;
        const bool has_body = step.op == CdrOp::repeat || step.op == CdrOp::rest;
        demand(!closes || open > 0, "a step closes a sequence that is not open");
        open -= closes ? 1 : 0;
        if (has_body) {
            demand(step.a > 0 && step.a < end - i, "a step repeats steps that are not there");
            demand(depth + open < kDepth, kTooDeep);
            check(i + 1, i + 1 + step.a, depth + open + 1, true, taken);
            i += step.a;
            continue;
        }
        switch (step.op) {
            case CdrOp::skip:
            case CdrOp::skip_rest:
            case CdrOp::strings:
                demand(is_size(step.a), "a number has 1, 2, 4 or 8 bytes");
                break;
            case CdrOp::count:
                demand(depth + ++open <= kDepth, kTooDeep);
                break;
            default:
                demand(!is_repeated, "a step that takes a value is not repeated");
                demand(step.op < CdrOp{kCdrOps}, "there is no such step");
        }
        if (step.op == CdrOp::take || step.op == CdrOp::joints) {
            const bool is_joints = step.op == CdrOp::joints;
            const size_t n = is_joints ? joints_.size() : 1;
            demand(step.a < kCdrTypes, "there is no such type");
            demand(step.b <= taken.size() && n <= taken.size() - step.b, "there is no such value");
            for (size_t j = 0; j < n; ++j) ++taken[step.b + j];
            if (is_joints) sequences_.push_back({});  // their room
        } else if (step.op == CdrOp::names) {
            demand(!has_names_, "names are read once");
            has_names_ = true;
        }
    }
    demand(!is_repeated || open == 0, "a sequence stays open where it is repeated");
}

CdrReader::Found CdrReader::read(const uint8_t *bytes, size_t size, float *values) noexcept {
    const CdrOrder order = order_of(bytes, size);
    if (order == CdrOrder::not_cdr) return {kNotCdr, -1};
    Reading message{bytes + kCdrHeader, size - kCdrHeader, order == CdrOrder::swapped};
    sequences_.clear();
    const char *why = run(message, 0, steps_.size());
    if (why == nullptr) why = arrange(message);
    if (why != nullptr) return {why, -1};
    std::copy(values_.begin(), values_.end(), values);
    return {nullptr, message.stamp_ns};
}

const char *CdrReader::run(Reading &message, size_t begin, size_t end) noexcept {
    const char *why = nullptr;
    for (size_t i = begin; i < end && why == nullptr; ++i) {
        const CdrStep &step = steps_[i];
        uint32_t count = 0;
        switch (step.op) {
            case CdrOp::skip:
                why = message.skip(step.a, step.b);
                break;
            case CdrOp::strings:
                for (uint32_t k = 0; k < step.b && why == nullptr; ++k) {
                    const char *text;
                    size_t length;
                    why = message.text(step.a, text, length);
                }
                break;
            case CdrOp::count:
                why = message.length(count);
                if (why == nullptr && step.b != 0 && count != step.a) why = kOtherLength;
                if (why == nullptr && count < step.a) why = kTooShort;
                message.counts[message.depth++] = count;
                break;
            case CdrOp::skip_rest:
                count = message.counts[--message.depth];
                why = message.skip(step.a, count - std::min(step.b, count));
                break;
            case CdrOp::repeat:
                why = repeat(message, i + 1, i + 1 + step.a, step.b);
                i += step.a;
                break;
            case CdrOp::rest:
                count = message.counts[--message.depth];
                why = repeat(message, i + 1, i + 1 + step.a, count - std::min(step.b, count));
                i += step.a;
                break;
            case CdrOp::take: {
                const auto type = static_cast<CdrType>(step.a);
                why = message.skip(size_of(type), 1);
                if (why != nullptr) break;
                const uint8_t *const at = message.bytes + message.at - size_of(type);
                values_[step.b] = number_at(at, type, message.swaps);
                break;
            }
            case CdrOp::names:
                why = read_names(message);
                break;
            case CdrOp::joints:
                why = read_joints(message, static_cast<CdrType>(step.a), step.b);
                break;
            case CdrOp::stamp:
                why = read_stamp(message);
                break;
        }
    }
    return why;
}

// Never longer than the message, whatever length it claims: each round passes a byte or is the
// last.
const char *CdrReader::repeat(Reading &message, size_t begin, size_t end, uint32_t times) noexcept {
    const char *why = nullptr;
    for (uint32_t k = 0; k < times && why == nullptr; ++k) {
        const size_t before = message.at;
        why = run(message, begin, end);
        if (message.at == before) break;
    }
    return why;
}

const char *CdrReader::read_names(Reading &message) noexcept {
    message.align(4);
    // How they are laid out depends on nothing before them: the same bytes are the same names. Not
    // so in the other order of bytes, but there another number of them stands first.
    if (known_size_ > 0 && known_size_ <= message.left() &&
        std::memcmp(message.bytes + message.at, known_names_.data(), known_size_) == 0) {
        message.at += known_size_;
        message.n_names = known_count_;
        return nullptr;
    }
    return match_names(message);
}

const char *CdrReader::match_names(Reading &message) noexcept {
    known_size_ = 0;
    std::fill(place_.begin(), place_.end(), kNowhere);
    const size_t begin = message.at;
    const char *why = message.length(message.n_names);
    for (uint32_t i = 0; i < message.n_names && why == nullptr; ++i) {
        const char *text = nullptr;
        size_t length = 0;
        why = message.text(1, text, length);
        for (size_t j = 0; j < joints_.size() && why == nullptr; ++j) {
            if (std::string_view(text, length) != joints_[j]) continue;
            if (place_[j] != kNowhere) why = kTwice;
            place_[j] = i;
        }
    }
    for (size_t j = 0; j < joints_.size() && why == nullptr; ++j) {
        if (place_[j] == kNowhere) why = missing_[j];
    }
    const size_t size = message.at - begin;
    if (why == nullptr && size <= known_names_.size()) {
        std::copy_n(message.bytes + begin, size, known_names_.begin());
        known_size_ = size;
        known_count_ = message.n_names;
    }
    return why;
}

const char *CdrReader::read_joints(Reading &message, CdrType type, uint32_t first) noexcept {
    uint32_t count = 0;
    const char *why = message.length(count);
    if (why == nullptr) why = message.skip(size_of(type), count);
    if (why != nullptr) return why;
    const size_t size = size_of(type) * count;
    sequences_.push_back({type, first, count, message.bytes + message.at - size});
    return nullptr;
}

const char *CdrReader::read_stamp(Reading &message) noexcept {
    const char *why = message.skip(4, 2);
    if (why != nullptr) return why;
    message.at -= 8;
    const auto seconds = load_cdr<int32_t>(message.bytes + message.at, message.swaps);
    const auto nanoseconds = load_cdr<uint32_t>(message.bytes + message.at + 4, message.swaps);
    if (nanoseconds >= 1'000'000'000U) return kNoTime;
    if (seconds < 0) return kBeforeEpoch;
    message.stamp_ns = int64_t{seconds} * 1'000'000'000 + nanoseconds;
    return nullptr;
}

// The numbers of the joints, in the order of the joints.
const char *CdrReader::arrange(const Reading &message) noexcept {
    for (const JointSequence &sequence : sequences_) {
        if (sequence.count != message.n_names) {
            return sequence.count == 0 ? kEmpty : kNotParallel;
        }
        const size_t size = size_of(sequence.type);
        for (size_t j = 0; j < place_.size(); ++j) {
            const uint8_t *const at = sequence.begin + size * place_[j];
            values_[sequence.first + j] = number_at(at, sequence.type, message.swaps);
        }
    }
    return nullptr;
}

// An empty sequence is followed by no padding.
const char *CdrReader::Reading::skip(size_t number_size, size_t count) noexcept {
    if (count == 0) return nullptr;
    align(number_size);
    if (count > left() / number_size) return kTruncated;
    at += number_size * count;
    return nullptr;
}

const char *CdrReader::Reading::length(uint32_t &count) noexcept {
    const char *const why = skip(4, 1);
    if (why == nullptr) count = load_cdr<uint32_t>(bytes + at - 4, swaps);
    return why;
}

// Without the NUL at its end, which some leave out.
const char *CdrReader::Reading::text(size_t character_size, const char *&begin,
                                     size_t &length) noexcept {
    uint32_t count = 0;
    const char *why = this->length(count);
    if (why == nullptr) why = skip(character_size, count);
    if (why != nullptr) return why;
    length = character_size * count;
    begin = reinterpret_cast<const char *>(bytes + at - length);
    if (length > 0 && begin[length - 1] == '\0') --length;
    return nullptr;
}

}  // namespace rtloop

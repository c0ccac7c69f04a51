// CdrReader and CdrWriter against bytes that anybody may have sent. An input is the choices that
// make a program and a message for it, in either order of bytes; then, mostly, the message is
// damaged, or is any bytes. What must hold:
// - a whole message gives the values that were put in, a damaged one a sentence or values;
// - beside a sentence no value is written;
// - what was read before changes nothing: a reader that has seen other messages says what a new one
// says;
// - neither reading nor writing allocates, and no byte is touched that is not the message's, or a
// slot's.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "rtloop/core/topics/cdr_reader.hpp"
#include "rtloop/core/topics/cdr_writer.hpp"

extern "C" {
#include "fuzz/fuzz.h"
}

using namespace rtloop;

namespace {

unsigned long long allocations = 0;

}  // namespace

void *operator new(size_t size) {
    ++allocations;
    if (void *memory = std::malloc(size)) return memory;
    throw std::bad_alloc();
}
void operator delete(void *memory) noexcept {
    std::free(memory);
}
void operator delete(void *memory, size_t) noexcept {
    std::free(memory);
}

namespace {

constexpr float kUntouched = -12345.5F;
choices from;
uint64_t seed;
unsigned long long whole, read_damaged, refused, refused_programs, written;

// For what no choice is spent on.
uint32_t drawn(uint32_t n) {
    return random_below(&seed, n);
}

uint32_t operand(uint32_t op) {
    const bool is_type = op == static_cast<uint32_t>(CdrOp::take);
    return is_type ? choose(&from, kCdrTypes) : 1U << choose(&from, 4);
}

// --- a program, and a message that it reads ---

struct Program {
    std::vector<CdrStep> steps;
    std::vector<std::string> joints;
    uint32_t n_values = 0;
    bool has_names = false;

    void add(CdrOp op, uint32_t a, uint32_t b) { steps.push_back({op, a, b}); }

    // The steps of a struct; what is repeated takes nothing.
    void make(uint32_t depth, bool is_repeated) {
        for (uint32_t n = 1 + choose(&from, 4); n > 0; --n) make_field(depth, is_repeated);
    }

    void make_field(uint32_t depth, bool is_repeated) {
        switch (choose(&from, is_repeated ? 4 : 8)) {
            case 0:
                return add(CdrOp::skip, operand(0), choose(&from, 4));
            case 1:
                return add(CdrOp::strings, choose(&from, 4) == 0 ? 4 : 1, choose(&from, 3));
            case 2:
                return make_body(CdrOp::repeat, choose(&from, 4), depth);
            case 3:
                return make_sequence(depth, is_repeated);
            case 4:
                add(CdrOp::stamp, 0, 0);
                return add(CdrOp::skip, 4, 2);
            case 5:
                if (has_names) return;
                has_names = true;
                return add(CdrOp::names, 0, 0);
            case 6:
                add(CdrOp::joints, choose(&from, kCdrTypes), n_values);
                n_values += static_cast<uint32_t>(joints.size());
                return;
            default:
                return add(CdrOp::take, choose(&from, kCdrTypes), n_values++);
        }
    }

    void make_body(CdrOp op, uint32_t b, uint32_t depth) {
        const size_t at = steps.size();
        add(op, 0, b);
        if (depth < 4) {
            make(depth + 1, true);
        } else {
            add(CdrOp::skip, operand(0), 1);
        }
        steps[at].a = static_cast<uint32_t>(steps.size() - at - 1);
    }

    void make_sequence(uint32_t depth, bool is_repeated) {
        const bool has_struct = choose(&from, 2) == 0;
        const uint32_t n = is_repeated ? 0 : choose(&from, 3);
        add(CdrOp::count, n, n > 0 && choose(&from, 4) == 0);
        if (has_struct) return make_body(CdrOp::rest, 0, depth);
        const uint32_t type = choose(&from, kCdrTypes);
        for (uint32_t i = 0; i < n; ++i) add(CdrOp::take, type, n_values++);
        add(CdrOp::skip_rest, static_cast<uint32_t>(size_of(static_cast<CdrType>(type))), n);
    }
};

struct Message {
    const Program &program;
    bool is_swapped;
    std::vector<uint8_t> bytes;
    std::vector<float> expected;
    int64_t stamp_ns = -1;
    std::vector<std::string> names;
    std::vector<uint32_t> counts;
    bool is_stamp_next = false;

    explicit Message(const Program &program)
        : program(program), is_swapped(drawn(2) == 0), expected(program.n_values) {
        const bool is_little = (std::endian::native == std::endian::little) != is_swapped;
        bytes = {0, static_cast<uint8_t>(is_little), 0, 0};
        names = program.joints;
        for (uint32_t n = drawn(3); n > 0; --n) names.push_back(std::string(drawn(9), 'x'));
        for (size_t i = names.size(); i > 1; --i) {
            std::swap(names[i - 1], names[drawn(static_cast<uint32_t>(i))]);
        }
        put(0, program.steps.size());
    }

    template <typename Number>
    void number(Number value) {
        while ((bytes.size() - kCdrHeader) % sizeof(Number) != 0) {
            bytes.push_back(static_cast<uint8_t>(drawn(256)));
        }
        bytes.resize(bytes.size() + sizeof(Number));
        store_cdr(bytes.data() + bytes.size() - sizeof(Number), value, is_swapped);
    }

    // Of bytes alone.
    void blank(size_t size) {
        switch (size) {
            case 1:
                return number(static_cast<uint8_t>(drawn(256)));
            case 2:
                return number(static_cast<uint16_t>(drawn(65536)));
            case 4:
                return number(drawn(UINT32_MAX));
            default:
                return number(random_word(&seed));
        }
    }

    float typed(CdrType type) {
        const uint32_t value = drawn(type == CdrType::boolean ? 2 : 128);
        switch (type) {
            case CdrType::float32:
                number(static_cast<float>(value));
                break;
            case CdrType::float64:
                number(static_cast<double>(value));
                break;
            default:
                switch (size_of(type)) {
                    case 1:
                        number(static_cast<uint8_t>(value));
                        break;
                    case 2:
                        number(static_cast<uint16_t>(value));
                        break;
                    case 4:
                        number(value);
                        break;
                    default:
                        number(static_cast<uint64_t>(value));
                }
        }
        return static_cast<float>(value);
    }

    void string(const std::string &text) {
        number(static_cast<uint32_t>(text.size() + 1));
        bytes.insert(bytes.end(), text.begin(), text.end());
        bytes.push_back(0);
    }

    void put(size_t begin, size_t end) {
        for (size_t i = begin; i < end; ++i) {
            const CdrStep &step = program.steps[i];
            const bool has_body = step.op == CdrOp::repeat || step.op == CdrOp::rest;
            uint32_t times = step.b;
            if (step.op == CdrOp::rest || step.op == CdrOp::skip_rest) {
                times = counts.back() - std::min(counts.back(), step.b);
                counts.pop_back();
            }
            if (has_body) {
                for (uint32_t k = 0; k < times; ++k) put(i + 1, i + 1 + step.a);
                i += step.a;
            } else {
                put_one(step, times);
            }
        }
    }

    void put_one(const CdrStep &step, uint32_t times) {
        const auto type = static_cast<CdrType>(step.a);
        switch (step.op) {
            case CdrOp::skip:
                if (is_stamp_next) return put_stamp();
                [[fallthrough]];
            case CdrOp::skip_rest:
                for (uint32_t k = 0; k < times; ++k) blank(step.a);
                break;
            case CdrOp::strings:
                for (uint32_t k = 0; k < times; ++k) {
                    if (step.a == 1) {
                        string(std::string(drawn(7), 'y'));
                        continue;
                    }
                    const uint32_t length = drawn(4);
                    number(length);
                    for (uint32_t c = 0; c < length; ++c) blank(4);
                }
                break;
            case CdrOp::count:
                counts.push_back(step.a + (step.b != 0 ? 0 : drawn(4)));
                number(counts.back());
                break;
            case CdrOp::take:
                expected[step.b] = typed(type);
                break;
            case CdrOp::names:
                number(static_cast<uint32_t>(names.size()));
                for (const std::string &name : names) string(name);
                break;
            case CdrOp::joints:
                put_joints(type, step.b);
                break;
            default:
                is_stamp_next = true;
        }
    }

    void put_stamp() {
        is_stamp_next = false;
        const uint32_t seconds = drawn(1U << 31), nanoseconds = drawn(1'000'000'000);
        number(seconds);
        number(nanoseconds);
        stamp_ns = int64_t{seconds} * 1'000'000'000 + nanoseconds;
    }

    void put_joints(CdrType type, uint32_t first) {
        number(static_cast<uint32_t>(names.size()));
        for (const std::string &name : names) {
            const float value = typed(type);
            for (size_t j = 0; j < program.joints.size(); ++j) {
                if (program.joints[j] == name) expected[first + j] = value;
            }
        }
    }
};

// --- what is done with them ---

bool is_same(float a, float b) {
    return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

struct Outcome {
    std::string why;
    int64_t stamp_ns;
    std::vector<float> values;

    bool operator==(const Outcome &other) const {
        return why == other.why && stamp_ns == other.stamp_ns &&
               std::equal(values.begin(), values.end(), other.values.begin(), is_same);
    }
};

// In memory of exactly their sizes, so that a sanitizer sees a byte too far.
Outcome read(CdrReader &reader, const std::vector<uint8_t> &message) {
    const std::vector<uint8_t> bytes(message.begin(), message.end());
    std::vector<float> values(reader.n_values(), kUntouched);
    const unsigned long long before = allocations;
    const CdrReader::Found found = reader.read(bytes.data(), bytes.size(), values.data());
    if (allocations != before) fuzz_fail("reading allocates nothing");
    if (found.why != nullptr) {
        for (const float value : values) {
            if (value != kUntouched) fuzz_fail("beside a sentence no value is written");
        }
    }
    return {found.why == nullptr ? "" : found.why, found.stamp_ns, values};
}

void damage(std::vector<uint8_t> &bytes) {
    if (choose(&from, 8) == 0) {
        for (size_t i = kCdrHeader; i < bytes.size(); ++i) {
            bytes[i] = static_cast<uint8_t>(drawn(256));
        }
        return;
    }
    for (uint32_t n = 1 + choose(&from, 3); n > 0 && !bytes.empty(); --n) {
        const auto at = choose(&from, static_cast<uint32_t>(bytes.size()));
        switch (choose(&from, 4)) {
            case 0:
                bytes.resize(at);
                break;
            case 1:
                bytes[at] = 255;
                break;
            case 2:
                bytes[at] = 0;
                break;
            default:
                bytes[at] = static_cast<uint8_t>(bytes[at] ^ 1U << choose(&from, 8));
        }
    }
}

void read_with(const Program &program) {
    CdrReader reader(program.steps, program.joints, program.n_values);
    for (uint32_t n = 1 + choose(&from, 4); n > 0; --n) {
        Message message(program);
        const bool is_whole = choose(&from, 3) == 0;
        if (!is_whole) damage(message.bytes);
        const Outcome outcome = read(reader, message.bytes);
        CdrReader fresh(program.steps, program.joints, program.n_values);
        if (!(read(fresh, message.bytes) == outcome)) {
            fuzz_fail("what was read before changes nothing");
        }
        if (!is_whole) {
            ++(outcome.why.empty() ? read_damaged : refused);
        } else if (outcome == Outcome{"", message.stamp_ns, message.expected}) {
            ++whole;
        } else {
            fuzz_fail("a whole message gives what was put in");
        }
    }
}

void write_into(const std::vector<uint8_t> &message) {
    std::vector<CdrSlot> slots;
    std::vector<uint8_t> is_slot(message.size());
    for (uint32_t n = choose(&from, 6); n > 0; --n) {
        const auto type = static_cast<CdrType>(choose(&from, kCdrTypes));
        const size_t room = message.size() / size_of(type) + 2;
        const size_t at = choose(&from, static_cast<uint32_t>(room)) * size_of(type);
        slots.push_back({kCdrHeader + at, type, slots.size()});
        for (size_t i = slots.back().offset; i < slots.back().offset + size_of(type); ++i) {
            if (i < is_slot.size()) is_slot[i] = 1;
        }
    }
    const float specials[] = {NAN, INFINITY, -INFINITY, 0.5F, -1e30F, 3e38F, 2147483648.0F, -0.0F};
    try {
        CdrWriter writer(message, slots, -1);
        std::vector<float> values;
        for (size_t i = 0; i < slots.size(); ++i) values.push_back(specials[drawn(8)]);
        const unsigned long long before = allocations;
        writer.set(values.data(), 0);
        if (allocations != before) fuzz_fail("writing allocates nothing");
        for (size_t i = 0; i < message.size(); ++i) {
            if (!is_slot[i] && writer.data()[i] != message[i]) {
                fuzz_fail("only slots are written");
            }
        }
        written += !slots.empty();
    } catch (const std::invalid_argument &) {
    }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    from = {data, size};
    seed = choose_seed(&from);
    Program program;
    for (uint32_t n = choose(&from, 4); n > 0; --n) program.joints.push_back(std::string(n, 'j'));
    program.make(0, false);
    bool has_joints = false;
    for (const CdrStep &step : program.steps) has_joints |= step.op == CdrOp::joints;
    if (has_joints && !program.has_names) program.add(CdrOp::names, 0, 0);
    read_with(program);
    write_into(Message(program).bytes);
    // A program that nothing compiles: refused, or as safe as any.
    CdrStep &step = program.steps[choose(&from, static_cast<uint32_t>(program.steps.size()))];
    step = {static_cast<CdrOp>(choose(&from, kCdrOps)), choose(&from, 20), choose(&from, 20)};
    try {
        CdrReader reader(program.steps, program.joints, program.n_values);
        std::vector<uint8_t> bytes = {0, 1, 0, 0};
        for (; from.left > 0; ++from.at, --from.left) bytes.push_back(*from.at);
        read(reader, bytes);
    } catch (const std::invalid_argument &) {
        ++refused_programs;
    }
    return 0;
}

bool fuzz_report(void) {
    std::printf(
        "%llu messages read whole, %llu damaged ones read, %llu refused, %llu programs refused, "
        "%llu templates "
        "written\n",
        whole, read_damaged, refused, refused_programs, written);
    return whole > 0 && read_damaged > 0 && refused > 0 && refused_programs > 0 && written > 0;
}

// The vocabulary of words.def as C++ types, and as tables for whoever shows it.
#pragma once

#include <cstdint>
#include <string_view>

namespace rtloop {

#define RTLOOP_CLASS(id, word, number, sentence) id = (number),
enum class LoopClass : uint8_t {
#include "rtloop/core/words.def"
};

#define RTLOOP_STATE(id, word, number, sentence) id = (number),
enum class State : uint32_t {
#include "rtloop/core/words.def"
};

#define RTLOOP_OUTCOME(id, word, number, sentence) id = (number),
enum class Outcome : uint8_t {
#include "rtloop/core/words.def"
};

#define RTLOOP_STAGE(id, word, number, sentence, remedy) id = (number),
enum class Stage : uint8_t {
#include "rtloop/core/words.def"
};

#define RTLOOP_FAULT_REASON(id, word, number, sentence, remedy) id = (number),
enum class FaultReason : uint32_t {
#include "rtloop/core/words.def"
};

#define RTLOOP_PORT_EVENT(id, word, number, sentence, remedy) id = (number),
enum class PortEventKind : uint8_t {
#include "rtloop/core/words.def"
};

namespace event {
#define RTLOOP_EVENT(id, word, number, sentence, remedy) inline constexpr uint32_t id = (number);
#include "rtloop/core/words.def"
}  // namespace event

struct Word {
    std::string_view table;
    std::string_view word;
    uint32_t number;
    std::string_view sentence;
    std::string_view remedy;  // empty in tables of which nothing needs one
};

#define RTLOOP_CLASS(id, word, number, sentence) {"classes", word, number, sentence, ""},
#define RTLOOP_STATE(id, word, number, sentence) {"states", word, number, sentence, ""},
#define RTLOOP_OUTCOME(id, word, number, sentence) {"outcomes", word, number, sentence, ""},
#define RTLOOP_STAGE(id, word, number, sentence, remedy) {"stages", word, number, sentence, remedy},
#define RTLOOP_EVENT(id, word, number, sentence, remedy) {"events", word, number, sentence, remedy},
#define RTLOOP_PORT_EVENT(id, word, number, sentence, remedy) \
    {"port_events", word, number, sentence, remedy},
#define RTLOOP_FAULT_REASON(id, word, number, sentence, remedy) \
    {"fault_reasons", word, number, sentence, remedy},
inline constexpr Word kWords[] = {
#include "rtloop/core/words.def"
};

}  // namespace rtloop

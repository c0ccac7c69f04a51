#include "rtloop/words.h"

#include <stddef.h>
#include <string.h>

static const char *const states[] = {"INIT", "IDLE", "ARMED", "ACTIVE", "SAFE"};
static const char *const reasons_by_bit[] = {"COMMAND_TIMEOUT", "DEADLINE_MISSES", "LINK_ERRORS",
                                             "NON_FINITE",      "LIMIT",           "HOST_STOP",
                                             "HARDWARE"};

const char *rtl_state_word(unsigned state) {
    return state < sizeof states / sizeof *states ? states[state] : "?";
}

const char *rtl_reason_word(unsigned bit) {
    return bit < sizeof reasons_by_bit / sizeof *reasons_by_bit ? reasons_by_bit[bit] : NULL;
}

static char *appended(char *end, const char *text) {
    const size_t n = strlen(text);
    memcpy(end, text, n + 1);
    return end + n;
}

const char *rtl_state_words(unsigned state, uint16_t reasons, char *out) {
    char *end = appended(out, rtl_state_word(state));
    const char *before = ": ";
    for (unsigned bit = 0; rtl_reason_word(bit) != NULL; ++bit) {
        if ((reasons & 1u << bit) != 0) {
            end = appended(appended(end, before), rtl_reason_word(bit));
            before = " ";
        }
    }
    return out;
}

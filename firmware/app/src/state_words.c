#include "state_words.h"

#include <string.h>
#include <zephyr/sys/util.h>

static const char *const states[] = {"INIT", "IDLE", "ARMED", "ACTIVE", "SAFE"};
static const char *const reason_names[] = {"COMMAND_TIMEOUT", "DEADLINE_MISSES", "LINK_ERRORS",
                                           "NON_FINITE",      "LIMIT",           "HOST_STOP",
                                           "HARDWARE"};

const char *state_word(unsigned state) {
    return state < ARRAY_SIZE(states) ? states[state] : "?";
}

const char *reason_words(uint16_t reasons, char *out) {
    out[0] = '\0';
    for (unsigned bit = 0; bit < ARRAY_SIZE(reason_names); ++bit) {
        if ((reasons & BIT(bit)) != 0) {
            strcat(out, out[0] == '\0' ? ": " : " ");
            strcat(out, reason_names[bit]);
        }
    }
    return out;
}

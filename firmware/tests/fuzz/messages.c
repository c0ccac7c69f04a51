/*
 * The messages: a byte for the type, then a payload. What a decoder takes is of the size that the
 * encoder gives it, and is the same again after it was encoded and decoded; reserved bytes apart,
 * that is the payload itself.
 */
#include <string.h>

#include "fuzz.h"
#include "rtloop/messages.h"
#include "rtloop/packet.h"

static unsigned long long taken[256], refused;

#define TAKE(name)                                                                      \
    do {                                                                                \
        rtl_##name first, second;                                                       \
        memset(&first, 0, sizeof first);                                                \
        memset(&second, 0, sizeof second);                                              \
        if (!rtl_##name##_decode(payload, size, &first)) {                              \
            ++refused;                                                                  \
            return;                                                                     \
        }                                                                               \
        ++taken[type];                                                                  \
        uint8_t once[RTL_PAYLOAD_MAX], twice[RTL_PAYLOAD_MAX];                          \
        if (rtl_##name##_encode(&first, once) != size) {                                \
            fuzz_fail("a " #name " is as long as it was");                              \
        }                                                                               \
        if (!rtl_##name##_decode(once, size, &second) ||                                \
            rtl_##name##_encode(&second, twice) != size || memcmp(once, twice, size)) { \
            fuzz_fail("a " #name " is what it was");                                    \
        }                                                                               \
    } while (0)

static void take(uint8_t type, const uint8_t *payload, size_t size) {
    switch (type) {
        case RTL_TYPE_HELLO:
            TAKE(hello);
            break;
        case RTL_TYPE_HELLO_REPLY:
            TAKE(hello_reply);
            break;
        case RTL_TYPE_SCHEMA_REQUEST:
            TAKE(schema_request);
            break;
        case RTL_TYPE_SCHEMA_CHUNK:
            TAKE(schema_chunk);
            break;
        case RTL_TYPE_TIME_REQUEST:
            TAKE(time_request);
            break;
        case RTL_TYPE_TIME_REPLY:
            TAKE(time_reply);
            break;
        case RTL_TYPE_SENSOR:
            TAKE(sensor);
            break;
        case RTL_TYPE_COMMAND:
            TAKE(command);
            break;
        case RTL_TYPE_ARM:
            TAKE(arm);
            break;
        case RTL_TYPE_STOP:
            TAKE(stop);
            break;
        case RTL_TYPE_EVENT:
            TAKE(event);
            break;
        case RTL_TYPE_STATUS:
            TAKE(device_status);
            break;
        case RTL_TYPE_STATS:
            TAKE(stats);
            break;
        case RTL_TYPE_HISTOGRAM_REQUEST:
            TAKE(histogram_request);
            break;
        case RTL_TYPE_HISTOGRAM:
            TAKE(histogram_counts);
            break;
        default:
            break;
    }
}

/* The sizes that a message of this type may have: of a random size hardly any is taken. */
static const uint16_t sizes[] = {4, 8, 12, 16, 24, 28, 40, 44, 48, 96, 100};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > 1 + RTL_PAYLOAD_MAX) {
        return 0;
    }
    take(data[0], data + 1, size - 1);
    const uint8_t type = data[0] % 19u;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; ++i) {
        const size_t cut = sizes[i];
        if (cut < size) {
            uint8_t *const payload = malloc(cut);
            memcpy(payload, data + 1, cut);
            take(type, payload, cut);
            free(payload);
        }
    }
    return 0;
}

bool fuzz_report(void) {
    unsigned kinds = 0;
    unsigned long long all = 0;
    for (size_t type = 0; type < 256; ++type) {
        kinds += taken[type] > 0;
        all += taken[type];
    }
    printf("%llu messages of %u kinds taken, %llu refused\n", all, kinds, refused);
    return kinds >= 8 && refused > 0;
}

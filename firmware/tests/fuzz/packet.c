/*
 * The packet, and its CRC:
 * - what is accepted is what rtl_packet_encode() makes of what was decoded, byte for byte;
 * - what is refused touches none of the outputs;
 * - the same bytes with the CRC that they should have are accepted where size and version fit, and
 *   with any single bit flipped they are not.
 */
#include <string.h>

#include "fuzz.h"
#include "rtloop/packet.h"

static unsigned long long accepted, refused, of_another_version;

static void take(const uint8_t *packet, size_t size, bool must_be_accepted) {
    static const uint8_t untouched[] = "?";
    rtl_header header;
    memset(&header, 0x5a, sizeof header);
    rtl_header before = header;
    const uint8_t *payload = untouched;
    size_t payload_size = 77;
    uint8_t again[RTL_PACKET_MAX];
    const rtl_status status = rtl_packet_decode(packet, size, &header, &payload, &payload_size);
    if (status != RTL_OK) {
        if (must_be_accepted) {
            fuzz_fail("a packet with the right CRC is accepted");
        }
        if (payload != untouched || payload_size != 77 ||
            memcmp(&header, &before, sizeof header) != 0) {
            fuzz_fail("a refused packet leaves the outputs untouched");
        }
        ++refused;
        of_another_version += status == RTL_VERSION;
        return;
    }
    if (payload != packet + RTL_HEADER_SIZE ||
        rtl_packet_encode(&header, payload, payload_size, again) != size ||
        memcmp(again, packet, size) != 0) {
        fuzz_fail("an accepted packet is the one that was sent");
    }
    ++accepted;
}

static void put_crc(uint8_t *packet, size_t size) {
    const uint32_t crc = rtl_crc32(packet, size - RTL_CRC_SIZE);
    for (size_t i = 0; i < RTL_CRC_SIZE; ++i) {
        packet[size - RTL_CRC_SIZE + i] = (uint8_t)(crc >> (8 * i));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    take(data, size, false);
    if (size < RTL_PACKET_MIN) {
        return 0;
    }
    uint8_t *const packet = malloc(size);
    memcpy(packet, data, size);
    put_crc(packet, size);
    take(packet, size, size <= RTL_PACKET_MAX && packet[0] >> 4 == RTL_PROTOCOL_VERSION);
    const size_t bit = data[0] * 7919u % (8 * size);
    packet[bit / 8] ^= (uint8_t)(1u << bit % 8);
    const unsigned long long accepted_before = accepted;
    take(packet, size, false);
    if (accepted != accepted_before) {
        fuzz_fail("a packet with a bit flipped is refused");
    }
    free(packet);
    return 0;
}

bool fuzz_report(void) {
    printf("%llu packets accepted, %llu refused, %llu of these intact, of another version\n",
           accepted, refused, of_another_version);
    return accepted > 0 && refused > 0 && of_another_version > 0;
}

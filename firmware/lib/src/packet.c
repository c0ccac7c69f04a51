#include "rtloop/packet.h"

#include <string.h>

#include "bytes.h"

/* One entry a nibble: 64 bytes of flash instead of 1 KiB, two look-ups a byte. */
static const uint32_t crc_of_nibble[16] = {
    0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
    0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
    0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu,
};

uint32_t rtl_crc32(const void *data, size_t size) {
    const uint8_t *p = data;
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; ++i) {
        crc = crc_of_nibble[(crc ^ p[i]) & 15u] ^ (crc >> 4);
        crc = crc_of_nibble[(crc ^ (uint32_t)(p[i] >> 4)) & 15u] ^ (crc >> 4);
    }
    return ~crc;
}

size_t rtl_packet_encode(const rtl_header *h, const void *payload, size_t payload_size,
                         uint8_t *out) {
    if (payload_size > RTL_PAYLOAD_MAX) {
        return 0;
    }
    out[0] = (uint8_t)(RTL_PROTOCOL_VERSION << 4 | (h->flags & 15u));
    out[1] = h->type;
    rtl_put_u16(out + 2, h->seq);
    rtl_put_u16(out + 4, h->ack);
    rtl_put_u16(out + 6, h->schema_id);
    rtl_put_u32(out + 8, h->time_us);
    if (payload_size > 0) {
        memcpy(out + RTL_HEADER_SIZE, payload, payload_size);
    }
    const size_t covered = RTL_HEADER_SIZE + payload_size;
    rtl_put_u32(out + covered, rtl_crc32(out, covered));
    return covered + RTL_CRC_SIZE;
}

rtl_status rtl_packet_decode(const uint8_t *packet, size_t size, rtl_header *h,
                             const uint8_t **payload, size_t *payload_size) {
    if (size < RTL_PACKET_MIN) {
        return RTL_SHORT;
    }
    if (size > RTL_PACKET_MAX) {
        return RTL_LONG;
    }
    const size_t covered = size - RTL_CRC_SIZE;
    if (rtl_crc32(packet, covered) != rtl_get_u32(packet + covered)) {
        return RTL_CRC;
    }
    if (packet[0] >> 4 != RTL_PROTOCOL_VERSION) {
        return RTL_VERSION;
    }
    h->flags = packet[0] & 15u;
    h->type = packet[1];
    h->seq = rtl_get_u16(packet + 2);
    h->ack = rtl_get_u16(packet + 4);
    h->schema_id = rtl_get_u16(packet + 6);
    h->time_us = rtl_get_u32(packet + 8);
    *payload = packet + RTL_HEADER_SIZE;
    *payload_size = covered - RTL_HEADER_SIZE;
    return RTL_OK;
}

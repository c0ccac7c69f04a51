/*
 * The packet: what travels on every transport of an rtloop link.
 *
 *     offset  0   u8   version (high nibble), flags (low nibble)
 *             1   u8   type, see messages.h
 *             2   u16  seq, counts the packets of this sender, wraps
 *             4   u16  ack, seq of the newest packet received from the peer, see below
 *             6   u16  schema id, see messages.h
 *             8   u32  sender time in µs, wraps after 71.6 min
 *            12   ...  payload, at most RTL_PAYLOAD_MAX bytes
 *          last   u32  CRC-32 over header and payload
 *
 * The ack of a COMMAND is that of the newest SENSOR that its host had; 0: none yet.
 *
 * Everything is little-endian and is read and written byte by byte, so neither alignment nor the
 * compiler's struct layout matters. All functions are pure: no state, no allocation, any thread.
 */
#ifndef RTLOOP_PACKET_H
#define RTLOOP_PACKET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RTL_PROTOCOL_VERSION 1u
#define RTL_HEADER_SIZE 12u
#define RTL_CRC_SIZE 4u
#ifndef RTL_PAYLOAD_MAX /* a board short of RAM may take fewer, 324 or more */
#define RTL_PAYLOAD_MAX 524u
#endif
#define RTL_PACKET_MIN (RTL_HEADER_SIZE + RTL_CRC_SIZE)
#define RTL_PACKET_MAX (RTL_HEADER_SIZE + RTL_PAYLOAD_MAX + RTL_CRC_SIZE)

/* The version is not a field: encode writes RTL_PROTOCOL_VERSION, decode accepts no other. */
typedef struct rtl_header {
    uint8_t flags; /* 0..15; HELLO_REPLY: RTL_FLAG_ACCOUNTS, see messages.h */
    uint8_t type;
    uint16_t seq, ack, schema_id;
    uint32_t time_us;
} rtl_header;

typedef enum rtl_status {
    RTL_OK = 0,
    RTL_SHORT,   /* fewer bytes than a header and a CRC */
    RTL_LONG,    /* more bytes than RTL_PACKET_MAX */
    RTL_VERSION, /* intact, but of another protocol version */
    RTL_CRC      /* damaged */
} rtl_status;

/*
 * Writes the packet to `out`, which has room for RTL_PACKET_MAX bytes, and returns its size, or 0
 * (nothing written) when the payload exceeds RTL_PAYLOAD_MAX. `payload` may be NULL when
 * `payload_size` is 0, and must not overlap `out`.
 */
size_t rtl_packet_encode(const rtl_header *h, const void *payload, size_t payload_size,
                         uint8_t *out);

/*
 * On RTL_OK fills `h` and points `payload` into `packet`. On any other status the three outputs
 * are untouched. The CRC is judged before the version, so RTL_VERSION never means line noise.
 */
rtl_status rtl_packet_decode(const uint8_t *packet, size_t size, rtl_header *h,
                             const uint8_t **payload, size_t *payload_size);

/* The CRC-32 of zlib (and of Zephyr's crc32_ieee). */
uint32_t rtl_crc32(const void *data, size_t size);

#ifdef __cplusplus
}
#endif

#endif

/*
 * The frame: a packet on a byte stream. COBS (consistent overhead byte stuffing) takes every zero
 * out of the packet, so that the one delimiter 0x00 marks the end of a frame and nothing else. The
 * overhead is one byte for every 254 begun, plus the delimiter.
 *
 * Whatever is lost or damaged on the line, the receiver is in step again at the next delimiter.
 */
#ifndef RTLOOP_FRAME_H
#define RTLOOP_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rtloop/packet.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RTL_FRAME_MAX (RTL_PACKET_MAX + RTL_PACKET_MAX / 254u + 2u)

/*
 * Writes the frame of a packet of 1..RTL_PACKET_MAX bytes to `out` (room for RTL_FRAME_MAX) and
 * returns its size, or 0 (nothing written) for any other size. Must not overlap.
 */
size_t rtl_frame_encode(const uint8_t *packet, size_t size, uint8_t *out);

typedef struct rtl_frame_decoder {
    uint8_t packet[RTL_PACKET_MAX];
    uint16_t size;    /* bytes un-stuffed so far */
    uint8_t block;    /* bytes left of the present COBS block */
    bool zero_is_due; /* a zero follows the present block, unless the frame ends there */
    bool has_begun;   /* a byte came since the last delimiter */
    bool is_broken;   /* skip to the delimiter */
    uint32_t errors;  /* frames that were damaged or longer than a packet */
    uint32_t empty;   /* delimiters without a frame: how a sender gets in step again */
} rtl_frame_decoder;

void rtl_frame_decoder_init(rtl_frame_decoder *decoder);

/*
 * Consumes bytes until one frame is complete or `n` are used up, and returns how many it consumed:
 * call again with the rest. When a frame was complete, `*packet` and `*size` (> 0) name its packet,
 * valid until the next call; otherwise `*size` is 0. Empty and broken frames are counted and
 * skipped.
 */
size_t rtl_frame_decoder_feed(rtl_frame_decoder *decoder, const uint8_t *data, size_t n,
                              const uint8_t **packet, size_t *size);

#ifdef __cplusplus
}
#endif

#endif

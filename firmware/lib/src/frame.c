#include "rtloop/frame.h"

/* A COBS block holds 254 bytes: up to there one code byte a zero is all the overhead there is. */
_Static_assert(RTL_PACKET_MAX <= 254u, "the overhead of a frame is one byte");

size_t rtl_frame_encode(const uint8_t *packet, size_t size, uint8_t *out) {
    if (size == 0 || size > RTL_PACKET_MAX) {
        return 0;
    }
    size_t code_at = 0;
    for (size_t i = 0; i < size; ++i) {
        if (packet[i] == 0) {
            out[code_at] = (uint8_t)(i + 1 - code_at);
            code_at = i + 1;
        } else {
            out[i + 1] = packet[i];
        }
    }
    out[code_at] = (uint8_t)(size + 1 - code_at);
    out[size + 1] = 0;
    return size + 2;
}

static void begin_frame(rtl_frame_decoder *d) {
    d->size = 0;
    d->block = 0;
    d->is_broken = false;
    d->has_begun = false;
}

void rtl_frame_decoder_init(rtl_frame_decoder *decoder) {
    begin_frame(decoder);
    decoder->errors = 0;
    decoder->empty = 0;
}

static void append(rtl_frame_decoder *d, uint8_t byte) {
    if (d->size == RTL_PACKET_MAX) {
        d->is_broken = true;
        return;
    }
    d->packet[d->size++] = byte;
}

/* A code 0xff, which would stand for no zero, leads a block longer than any packet: no case. */
static void unstuff(rtl_frame_decoder *d, uint8_t byte) {
    if (d->block > 0) {
        append(d, byte);
        d->block--;
        return;
    }
    if (d->has_begun) {
        append(d, 0);
    }
    d->has_begun = true;
    d->block = (uint8_t)(byte - 1u);
}

size_t rtl_frame_decoder_feed(rtl_frame_decoder *decoder, const uint8_t *data, size_t n,
                              const uint8_t **packet, size_t *size) {
    *size = 0;
    for (size_t i = 0; i < n; ++i) {
        if (data[i] != 0) {
            if (!decoder->is_broken) {
                unstuff(decoder, data[i]);
            }
            continue;
        }
        const bool is_empty = !decoder->has_begun;
        const bool is_whole = !decoder->is_broken && decoder->block == 0 && decoder->size > 0;
        const size_t unstuffed = decoder->size;
        begin_frame(decoder);
        if (is_whole) {
            *packet = decoder->packet;
            *size = unstuffed;
            return i + 1;
        }
        if (is_empty) {
            decoder->empty++;
        } else {
            decoder->errors++;
        }
    }
    return n;
}

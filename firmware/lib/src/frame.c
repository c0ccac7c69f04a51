#include "rtloop/frame.h"

/* A code of 255 leads a block of 254 bytes that no zero follows. */
#define FULL_BLOCK 255u

size_t rtl_frame_encode(const uint8_t *packet, size_t size, uint8_t *out) {
    if (size == 0 || size > RTL_PACKET_MAX) {
        return 0;
    }
    size_t code_at = 0;
    size_t end = 1;
    for (size_t i = 0; i < size; ++i) {
        if (packet[i] != 0) {
            out[end++] = packet[i];
        }
        const bool is_full = end - code_at == FULL_BLOCK && i + 1 < size;
        if (packet[i] == 0 || is_full) {
            out[code_at] = (uint8_t)(end - code_at);
            code_at = end++;
        }
    }
    out[code_at] = (uint8_t)(end - code_at);
    out[end++] = 0;
    return end;
}

static void begin_frame(rtl_frame_decoder *d) {
    d->size = 0;
    d->block = 0;
    d->zero_is_due = false;
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

static void unstuff(rtl_frame_decoder *d, uint8_t byte) {
    if (d->block > 0) {
        append(d, byte);
        d->block--;
        return;
    }
    if (d->zero_is_due) {
        append(d, 0);
    }
    d->has_begun = true;
    d->zero_is_due = byte != FULL_BLOCK;
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

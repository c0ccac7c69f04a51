/*
 * A receiver on a bad line. Takes the input as the bytes of a line, which must come out the same
 * whole and byte by byte; or as the choices of a line that sends a stream of packets, damages some
 * frames and pours noise between others:
 * - every packet that is accepted was sent, byte for byte;
 * - every frame that came through whole is accepted, except the one right after damage that took
 *   away or added to the bytes before its start: at most one frame is lost to find the beat again.
 */
#include <string.h>

#include "fuzz.h"
#include "rtloop/frame.h"
#include "rtloop/packet.h"

/* A frame may be repeated or held up by noise, but not for longer than this many frames. */
#define REMEMBERED 64u

typedef struct {
    uint8_t bytes[RTL_PACKET_MAX];
    size_t size;
    bool must_arrive, arrived;
} sent_packet;

static choices from;
static uint64_t content; /* the seed of what nobody chooses */
static sent_packet sent[REMEMBERED];
static uint64_t n_sent;
static bool line_is_dirty; /* bytes without a delimiter lie before the next frame */
static rtl_frame_decoder decoder;
static unsigned long long bytes_fed, packets, broken, accepted, refused, damaged, noise_bursts,
    must_arrive;

/* ---- receiving ----------------------------------------------------------------------------- */

static void accept(const uint8_t *packet, size_t size) {
    rtl_header header;
    const uint8_t *payload;
    size_t payload_size;
    if (rtl_packet_decode(packet, size, &header, &payload, &payload_size) != RTL_OK) {
        ++refused;
        return;
    }
    ++accepted;
    /* Every packet carries its number, in seq and, whole, in the payload. */
    uint64_t number;
    if (payload_size < sizeof number) {
        fuzz_fail("what is accepted is as long as what is sent");
    }
    memcpy(&number, payload, sizeof number);
    if (number >= n_sent || n_sent - number > REMEMBERED) {
        fuzz_fail("what is accepted was sent");
    }
    sent_packet *const original = &sent[number % REMEMBERED];
    if (size != original->size || memcmp(packet, original->bytes, size) != 0) {
        fuzz_fail("what is accepted is as it was sent");
    }
    original->arrived = true;
}

static void feed(const uint8_t *bytes, size_t n) {
    bytes_fed += n;
    while (n > 0) {
        size_t piece = 1 + choose(&from, 300);
        piece = piece < n ? piece : n;
        for (size_t used = 0; used < piece;) {
            const uint8_t *packet;
            size_t size;
            used += rtl_frame_decoder_feed(&decoder, bytes + used, piece - used, &packet, &size);
            if (size > 0) {
                accept(packet, size);
            }
        }
        bytes += piece;
        n -= piece;
    }
}

/* ---- sending ------------------------------------------------------------------------------- */

static size_t make_frame(uint8_t *frame) {
    const uint64_t number = n_sent;
    ++packets;
    sent_packet *const p = &sent[number % REMEMBERED];
    uint8_t payload[RTL_PAYLOAD_MAX];
    const size_t size = sizeof number + choose(&from, RTL_PAYLOAD_MAX - sizeof number + 1);
    content = choose_seed(&from);
    const uint32_t zeros = choose(&from, 3); /* none, some, many: COBS looks different */
    for (size_t i = 0; i < size; ++i) {
        const uint8_t byte = (uint8_t)random_word(&content);
        payload[i] = random_below(&content, 2) < zeros ? 0 : byte;
    }
    memcpy(payload, &number, sizeof number);
    const rtl_header header = {
        .type = (uint8_t)random_word(&content),
        .seq = (uint16_t)number,
        .time_us = (uint32_t)random_word(&content),
    };
    p->size = rtl_packet_encode(&header, payload, size, p->bytes);
    p->arrived = false;
    p->must_arrive = false;
    ++n_sent;
    return rtl_frame_encode(p->bytes, p->size, frame);
}

/* Damages the frame in one way of several; returns its new size. */
static size_t damage(uint8_t *frame, size_t size) {
    const size_t at = choose(&from, (uint32_t)size);
    switch (choose(&from, 6)) {
        case 0: /* flip up to 4 bits */
            for (uint32_t i = 1 + choose(&from, 4); i > 0; --i) {
                frame[choose(&from, (uint32_t)size)] ^= (uint8_t)(1u << choose(&from, 8));
            }
            return size;
        case 1: /* lose a byte */
            memmove(frame + at, frame + at + 1, size - at - 1);
            return size - 1;
        case 2: /* gain a byte */
            memmove(frame + at + 1, frame + at, size - at);
            frame[at] = (uint8_t)random_word(&content);
            return size + 1;
        case 3: /* lose the rest */
            return at;
        case 4: /* lose the beginning */
            memmove(frame, frame + at, size - at);
            return size - at;
        default: /* a burst over some bytes */
            for (size_t i = at; i < size && i < at + 20; ++i) {
                frame[i] = (uint8_t)random_word(&content);
            }
            return size;
    }
}

static void pour_noise(void) {
    uint8_t noise[600];
    const size_t size = 1 + choose(&from, sizeof noise);
    content = choose_seed(&from);
    const bool has_delimiters = choose(&from, 2) == 0;
    for (size_t i = 0; i < size; ++i) {
        noise[i] = (uint8_t)random_word(&content);
        if (noise[i] == 0 && !has_delimiters) {
            noise[i] = 1;
        }
    }
    line_is_dirty = noise[size - 1] != 0;
    ++noise_bursts;
    feed(noise, size);
}

static void check_arrival(uint64_t number) {
    const sent_packet *const p = &sent[number % REMEMBERED];
    if (p->must_arrive && !p->arrived) {
        fuzz_fail("what comes through whole is accepted");
    }
}

static void send_one(void) {
    uint8_t frame[RTL_FRAME_MAX + 1];
    const uint64_t number = n_sent;
    size_t size = make_frame(frame);
    if (choose(&from, 4) == 0) {
        size = damage(frame, size);
        line_is_dirty = size == 0 ? line_is_dirty : frame[size - 1] != 0;
        ++damaged;
    } else {
        sent[number % REMEMBERED].must_arrive = !line_is_dirty;
        must_arrive += !line_is_dirty;
        line_is_dirty = false;
    }
    feed(frame, size);
    check_arrival(number);
    if (choose(&from, 16) == 0) {
        feed(frame, size); /* a repeated frame is a frame that was sent */
        line_is_dirty = size == 0 ? line_is_dirty : frame[size - 1] != 0;
    }
    if (choose(&from, 8) == 0) {
        pour_noise();
    }
}

/* ---- the bytes of a line --------------------------------------------------------------------- */

#define LINE_MAX 4096u

/* Every packet, after its size, that a decoder makes of the bytes in pieces of up to `piece`. */
static size_t decoded(rtl_frame_decoder *d, const uint8_t *bytes, size_t n, size_t piece,
                      uint8_t *out) {
    size_t out_size = 0;
    rtl_frame_decoder_init(d);
    for (size_t at = 0; at < n;) {
        const size_t rest = n - at;
        const uint8_t *packet;
        size_t size;
        const size_t used =
            rtl_frame_decoder_feed(d, bytes + at, piece < rest ? piece : rest, &packet, &size);
        if (used == 0) {
            fuzz_fail("a decoder that is fed gets on");
        }
        at += used;
        if (size > 0) {
            out[out_size++] = (uint8_t)(size >> 8);
            out[out_size++] = (uint8_t)size;
            memcpy(out + out_size, packet, size);
            out_size += size;
        }
    }
    return out_size;
}

static void take_line(const uint8_t *bytes, size_t n) {
    static uint8_t whole[2 * LINE_MAX], by_one[2 * LINE_MAX];
    rtl_frame_decoder a, b;
    if (n > LINE_MAX) {
        return;
    }
    const size_t size = decoded(&a, bytes, n, n, whole);
    if (decoded(&b, bytes, n, 1, by_one) != size || memcmp(whole, by_one, size) != 0 ||
        a.errors != b.errors || a.empty != b.empty) {
        fuzz_fail("it does not matter in what pieces bytes come");
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        take_line(data + 1, size - 1);
        return 0;
    }
    from = (choices){data + 1, size - 1};
    n_sent = 0;
    line_is_dirty = false;
    rtl_frame_decoder_init(&decoder);
    while (from.left > 0) {
        send_one();
    }
    broken += decoder.errors;
    return 0;
}

bool fuzz_report(void) {
    printf(
        "%llu bytes on the line, %llu packets sent, %llu damaged, %llu bursts of noise; %llu had "
        "to arrive and did, %llu accepted, %llu refused by the packet, %llu by the frame\n",
        bytes_fed, packets, damaged, noise_bursts, must_arrive, accepted, refused, broken);
    return accepted > 0 && refused > 0 && broken > 0 && damaged > 0 && must_arrive > 0;
}

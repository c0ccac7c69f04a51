/*
 * fuzz_frames BYTES SEED: a receiver on a bad line.
 *
 * Sends a stream of packets, damages some frames and pours noise between others, and asserts that
 * - every packet that is accepted was sent, byte for byte;
 * - every frame that came through whole is accepted, except the one right after damage that took
 *   away or added to the bytes before its start: at most one frame is lost to find the beat again.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"
#include "rtloop/frame.h"
#include "rtloop/packet.h"

/* A frame may be repeated or held up by noise, but not for longer than this many frames. */
#define REMEMBERED 64u

typedef struct {
    uint8_t bytes[RTL_PACKET_MAX];
    size_t size;
    bool must_arrive, arrived;
} sent_packet;

static uint64_t seed;
static sent_packet sent[REMEMBERED];
static uint64_t n_sent;
static bool line_is_dirty; /* bytes without a delimiter lie before the next frame */
static rtl_frame_decoder decoder;
static unsigned long long bytes_fed, accepted, refused, damaged, noise_bursts, must_arrive;

static void fail(const char *what, uint64_t number) {
    printf("packet %llu: %s\n", (unsigned long long)number, what);
    exit(1);
}

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
        fail("accepted, but too short to have been sent", n_sent);
    }
    memcpy(&number, payload, sizeof number);
    if (number >= n_sent || n_sent - number > REMEMBERED) {
        fail("accepted, but never sent", number);
    }
    sent_packet *const original = &sent[number % REMEMBERED];
    if (size != original->size || memcmp(packet, original->bytes, size) != 0) {
        fail("accepted, but not as it was sent", number);
    }
    original->arrived = true;
}

static void feed(const uint8_t *bytes, size_t n) {
    bytes_fed += n;
    while (n > 0) {
        size_t piece = 1 + random_below(&seed, 300);
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
    sent_packet *const p = &sent[number % REMEMBERED];
    uint8_t payload[RTL_PAYLOAD_MAX];
    const size_t size = sizeof number + random_below(&seed, RTL_PAYLOAD_MAX - sizeof number + 1);
    const uint32_t zeros = random_below(&seed, 3); /* none, some, many: COBS looks different */
    for (size_t i = 0; i < size; ++i) {
        const uint8_t byte = (uint8_t)random_word(&seed);
        payload[i] = random_below(&seed, 2) < zeros ? 0 : byte;
    }
    memcpy(payload, &number, sizeof number);
    const rtl_header header = {
        .type = (uint8_t)random_word(&seed),
        .seq = (uint16_t)number,
        .time_us = (uint32_t)random_word(&seed),
    };
    p->size = rtl_packet_encode(&header, payload, size, p->bytes);
    p->arrived = false;
    p->must_arrive = false;
    ++n_sent;
    return rtl_frame_encode(p->bytes, p->size, frame);
}

/* Damages the frame in one way of several; returns its new size. */
static size_t damage(uint8_t *frame, size_t size) {
    const size_t at = random_below(&seed, (uint32_t)size);
    switch (random_below(&seed, 6)) {
        case 0: /* flip up to 4 bits */
            for (uint32_t i = 1 + random_below(&seed, 4); i > 0; --i) {
                frame[random_below(&seed, (uint32_t)size)] ^=
                    (uint8_t)(1u << random_below(&seed, 8));
            }
            return size;
        case 1: /* lose a byte */
            memmove(frame + at, frame + at + 1, size - at - 1);
            return size - 1;
        case 2: /* gain a byte */
            memmove(frame + at + 1, frame + at, size - at);
            frame[at] = (uint8_t)random_word(&seed);
            return size + 1;
        case 3: /* lose the rest */
            return at;
        case 4: /* lose the beginning */
            memmove(frame, frame + at, size - at);
            return size - at;
        default: /* a burst over some bytes */
            for (size_t i = at; i < size && i < at + 20; ++i) {
                frame[i] = (uint8_t)random_word(&seed);
            }
            return size;
    }
}

static void pour_noise(void) {
    uint8_t noise[600];
    const size_t size = 1 + random_below(&seed, sizeof noise);
    const bool has_delimiters = random_below(&seed, 2) == 0;
    for (size_t i = 0; i < size; ++i) {
        noise[i] = (uint8_t)random_word(&seed);
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
        fail("came through whole, but was not accepted", number);
    }
}

static void send_one(void) {
    uint8_t frame[RTL_FRAME_MAX + 1];
    const uint64_t number = n_sent;
    size_t size = make_frame(frame);
    if (random_below(&seed, 4) == 0) {
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
    if (random_below(&seed, 16) == 0) {
        feed(frame, size); /* a repeated frame is a frame that was sent */
        line_is_dirty = size == 0 ? line_is_dirty : frame[size - 1] != 0;
    }
    if (random_below(&seed, 8) == 0) {
        pour_noise();
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fputs("usage: fuzz_frames BYTES SEED\n", stderr);
        return 2;
    }
    const unsigned long long wanted = strtoull(argv[1], NULL, 10);
    seed = strtoull(argv[2], NULL, 10);
    rtl_frame_decoder_init(&decoder);
    while (bytes_fed < wanted) {
        send_one();
    }
    printf(
        "fuzz_frames seed %s: %llu bytes, %llu packets sent, %llu damaged, %llu bursts of noise; "
        "%llu had to arrive and did, %llu accepted, %llu refused by the packet, %u by the frame\n",
        argv[2], bytes_fed, (unsigned long long)n_sent, damaged, noise_bursts, must_arrive,
        accepted, refused, (unsigned)decoder.errors);
    /* A run in which nothing went wrong, or nothing went right, has tested nothing. */
    const bool is_telling = wanted < 100000 || (accepted > 0 && refused > 0 && decoder.errors > 0 &&
                                                damaged > 0 && must_arrive > 0);
    return is_telling ? 0 : 1;
}

/*
 * fuzz_zmtp BYTES SEED: a ZeroMQ peer among peers that keep to the protocol and peers that do not.
 *
 * Plays sessions in pieces of random sizes, half of them damaged somewhere, with a connection that
 * takes the answers as it likes, and asserts that
 * - of an undamaged session every message is handed over, byte for byte, and nothing fails;
 * - no message is longer than the buffer, and none comes after a failure;
 * - what leaves is the greeting and then whole frames, whatever came in: exactly the messages that
 *   rtl_zmtp_send() took, READY or ERROR, and PONG.
 * The buffers are on the heap, of random sizes, so that a sanitizer sees a byte too far.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "random.h"
#include "rtloop/zmtp.h"

#define SESSION_MAX 16384u
#define STREAM_MAX 65536u

static uint64_t seed;
static rtl_zmtp z;
static size_t in_size;
static uint8_t session[SESSION_MAX];
static size_t session_size;
static uint8_t expected[SESSION_MAX]; /* each message as u16 size, bytes */
static size_t expected_size, expected_at;
static bool is_damaged;
static uint8_t taken[STREAM_MAX]; /* what rtl_zmtp_send() took, likewise */
static size_t taken_size;
static uint8_t stream[STREAM_MAX]; /* what left */
static size_t stream_size;
static unsigned long long bytes_fed, sessions, damaged, failures, ready, delivered, sent, refused;
static unsigned long long pongs, errors;

static void fail(const char *what) {
    printf("session %llu: %s\n", sessions, what);
    exit(1);
}

/* ---- the session of a peer ------------------------------------------------------------------- */

static void put(const void *bytes, size_t n) {
    memcpy(session + session_size, bytes, n);
    session_size += n;
}

static void put_frame(uint8_t flags, const uint8_t *body, size_t size) {
    const bool is_long = size > 255 || random_below(&seed, 8) == 0;
    uint8_t head[9] = {(uint8_t)(flags | (is_long ? 2u : 0u)), (uint8_t)size};
    if (is_long) {
        head[1] = 0;
        head[7] = (uint8_t)(size >> 8);
        head[8] = (uint8_t)size;
    }
    put(head, is_long ? 9 : 2);
    put(body, size);
}

static size_t random_body(uint8_t *body, size_t most) {
    const size_t size = random_below(&seed, (uint32_t)most + 1);
    for (size_t i = 0; i < size; ++i) {
        body[i] = (uint8_t)random_word(&seed);
    }
    return size;
}

static void put_something(void) {
    uint8_t body[1024];
    size_t size;
    switch (random_below(&seed, 6)) {
        case 0:
            memcpy(body, "\4PING\0\5", 7);
            size = 7 + random_body(body + 7, 16);
            put_frame(4, body, size);
            return;
        case 1:
            memcpy(body, "\7UNKNOWN", 8);
            size = 8 + random_body(body + 8, 100);
            put_frame(4, body, size);
            return;
        case 2:
            for (uint32_t i = 1 + random_below(&seed, 3); i > 0; --i) {
                size = random_body(body, 50);
                put_frame(1, body, size);
            }
            put_frame(0, body, random_body(body, 50));
            return;
        default:
            size = random_body(body, random_below(&seed, 4) == 0 ? in_size : 60);
            put_frame(0, body, size);
            expected[expected_size++] = (uint8_t)(size >> 8);
            expected[expected_size++] = (uint8_t)size;
            memcpy(expected + expected_size, body, size);
            expected_size += size;
    }
}

static void make_session(void) {
    static const uint8_t greeting[64] = {0xff, 0,    0, 0, 0,   0,   0,   0,
                                         1,    0x7f, 3, 1, 'N', 'U', 'L', 'L'};
    static const char dealer[] = "\5READY\xbSocket-Type\0\0\0\6DEALER";
    static const char request[] = "\5READY\xbSocket-Type\0\0\0\3REQ";
    const bool is_refused = random_below(&seed, 16) == 0;
    session_size = 0;
    expected_size = 0;
    expected_at = 0;
    is_damaged = is_refused || random_below(&seed, 2) == 0;
    put(greeting, sizeof greeting);
    if (is_refused) {
        put_frame(4, (const uint8_t *)request, sizeof request - 1);
    } else {
        put_frame(4, (const uint8_t *)dealer, sizeof dealer - 1);
    }
    while (session_size < SESSION_MAX / 2 && random_below(&seed, 20) != 0) {
        put_something();
    }
}

static void damage(void) {
    ++damaged;
    for (uint32_t n = 1 + random_below(&seed, 3); n > 0; --n) {
        /* Also in the handshake, which is short. */
        const uint32_t end = random_below(&seed, 2) == 0 ? 100 : (uint32_t)session_size;
        const size_t at = random_below(&seed, end < session_size ? end : (uint32_t)session_size);
        switch (random_below(&seed, 4)) {
            case 0:
                session[at] ^= (uint8_t)(1u << random_below(&seed, 8));
                break;
            case 1:
                session[at] = (uint8_t)random_word(&seed);
                break;
            case 2:
                memmove(session + at, session + at + 1, session_size - at - 1);
                --session_size;
                break;
            default:
                memmove(session + at + 1, session + at, session_size - at);
                session[at] = (uint8_t)random_word(&seed);
                ++session_size;
        }
    }
}

/* ---- this end -------------------------------------------------------------------------------- */

static void send_one(void) {
    uint8_t body[1024];
    const size_t size = random_body(body, random_below(&seed, 4) == 0 ? 1000 : 40);
    if (taken_size + size + 2 > STREAM_MAX / 2) {
        return;
    }
    if (!rtl_zmtp_send(&z, body, size)) {
        ++refused;
        return;
    }
    ++sent;
    taken[taken_size++] = (uint8_t)(size >> 8);
    taken[taken_size++] = (uint8_t)size;
    memcpy(taken + taken_size, body, size);
    taken_size += size;
}

static void on_message(void *context, const uint8_t *message, size_t size) {
    if (context != &z || size > in_size) {
        fail("a message longer than the buffer");
    }
    if (rtl_zmtp_failed(&z) != RTL_ZMTP_OK || !rtl_zmtp_is_ready(&z)) {
        fail("a message of a connection that has failed or is not ready");
    }
    ++delivered;
    if (!is_damaged) {
        const uint8_t *const p = expected + expected_at;
        if (expected_at == expected_size || (size_t)(p[0] << 8 | p[1]) != size ||
            memcmp(p + 2, message, size) != 0) {
            fail("a message that was not sent");
        }
        expected_at += 2 + size;
    }
    if (random_below(&seed, 4) == 0) {
        send_one();
    }
}

static void drain(size_t most) {
    size_t n;
    const uint8_t *const bytes = rtl_zmtp_pending(&z, &n);
    n = n < most ? n : most;
    if (stream_size + n > STREAM_MAX) {
        fail("more left than was ever queued");
    }
    memcpy(stream + stream_size, bytes, n);
    stream_size += n;
    rtl_zmtp_consumed(&z, n);
}

/* ---- what left ------------------------------------------------------------------------------- */

static size_t frame_size_at(size_t at, size_t *head) {
    const bool is_long = (stream[at] & 2u) != 0;
    *head = is_long ? 9 : 2;
    if (at + *head > stream_size) {
        fail("a frame is cut");
    }
    size_t size = 0;
    for (size_t i = 1; i < *head; ++i) {
        size = size << 8 | stream[at + i];
    }
    if (size > stream_size - at - *head) {
        fail("a frame is cut");
    }
    return size;
}

static bool begins_with(const uint8_t *body, size_t size, const char *text) {
    return size >= strlen(text) && memcmp(body, text, strlen(text)) == 0;
}

static void check_stream(void) {
    size_t at = 64, taken_at = 0, head;
    bool is_first = true;
    if (stream_size < 64 || memcmp(stream, "\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL", 16) != 0) {
        fail("no greeting left");
    }
    while (at < stream_size) {
        const size_t size = frame_size_at(at, &head);
        const uint8_t *const body = stream + at + head;
        const uint8_t flags = stream[at];
        if (is_first) {
            const bool is_error = begins_with(body, size, "\5ERROR");
            if (flags != 4 || !(is_error || begins_with(body, size, "\5READY"))) {
                fail("neither READY nor ERROR came first");
            }
            errors += is_error;
        } else if (flags == 4) {
            pongs += 1;
            if (!begins_with(body, size, "\4PONG") || size > 21) {
                fail("a command that is no PONG");
            }
        } else {
            const uint8_t *const p = taken + taken_at;
            if ((flags & ~2u) != 0 || taken_at == taken_size ||
                (size_t)(p[0] << 8 | p[1]) != size || memcmp(p + 2, body, size) != 0) {
                fail("a message left that was not sent");
            }
            taken_at += 2 + size;
        }
        is_first = false;
        at += head + size;
    }
    if (taken_at != taken_size) {
        fail("a message was taken, and never left");
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void play(void) {
    const bool is_slow = random_below(&seed, 4) == 0;
    for (size_t at = 0; at < session_size;) {
        const size_t rest = session_size - at;
        const size_t most = 1 + random_below(&seed, random_below(&seed, 2) == 0 ? 10 : 2000);
        const size_t n = most < rest ? most : rest;
        uint8_t *const piece = malloc(n);
        memcpy(piece, session + at, n);
        rtl_zmtp_receive(&z, piece, n, 0, on_message, &z);
        free(piece);
        at += n;
        bytes_fed += n;
        if (random_below(&seed, 3) == 0) {
            send_one();
        }
        drain(is_slow ? random_below(&seed, 8) : random_below(&seed, 400));
    }
}

static void run_session(void) {
    in_size = RTL_ZMTP_IN_MIN + random_below(&seed, 400);
    const size_t out_size = RTL_ZMTP_OUT_MIN + random_below(&seed, 2000);
    const rtl_zmtp_settings settings = {malloc(in_size), in_size, malloc(out_size), out_size, 0};
    if (!rtl_zmtp_init(&z, &settings, 0)) {
        fail("not begun");
    }
    stream_size = 0;
    taken_size = 0;
    make_session();
    if (is_damaged) {
        damage();
    }
    play();
    drain(SIZE_MAX);
    check_stream();
    if (!is_damaged && (rtl_zmtp_failed(&z) != RTL_ZMTP_OK || expected_at != expected_size)) {
        fail("it was undamaged, and not all of it came");
    }
    failures += rtl_zmtp_failed(&z) != RTL_ZMTP_OK;
    ready += rtl_zmtp_is_ready(&z);
    ++sessions;
    free(settings.in);
    free(settings.out);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fputs("usage: fuzz_zmtp BYTES SEED\n", stderr);
        return 2;
    }
    const unsigned long long wanted = strtoull(argv[1], NULL, 10);
    seed = strtoull(argv[2], NULL, 10);
    while (bytes_fed < wanted) {
        run_session();
    }
    printf(
        "fuzz_zmtp seed %s: %llu bytes, %llu sessions, %llu damaged, %llu failed, %llu ready at "
        "the end; %llu messages came, %llu were sent, %llu refused, %llu PONG, %llu ERROR\n",
        argv[2], bytes_fed, sessions, damaged, failures, ready, delivered, sent, refused, pongs,
        errors);
    /* A run in which nothing went wrong, or nothing went right, has tested nothing. */
    const bool is_telling = wanted < 100000 || (failures > 0 && ready > 0 && delivered > 0 &&
                                                sent > 0 && refused > 0 && pongs > 0 && errors > 0);
    return is_telling ? 0 : 1;
}

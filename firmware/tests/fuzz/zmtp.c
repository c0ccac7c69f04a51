/*
 * A ZeroMQ peer among peers that keep to the protocol and peers that do not: takes the input as the
 * bytes of a connection, or as the choices of a session, half of them damaged somewhere, that comes
 * in pieces over a connection that takes the answers as it likes.
 * - of an undamaged session every message is handed over, byte for byte, and nothing fails;
 * - no message is longer than the buffer, and none comes after a failure;
 * - what leaves is the greeting and then whole frames, whatever came in: exactly the messages that
 *   rtl_zmtp_send() took, READY or ERROR, and PONG.
 * The buffers are on the heap, of random sizes, so that a sanitizer sees a byte too far.
 */
#include <string.h>

#include "fuzz.h"
#include "rtloop/zmtp.h"

#define SESSION_MAX 16384u
#define STREAM_MAX 65536u

static choices from;
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

/* ---- the session of a peer ------------------------------------------------------------------- */

static void put(const void *bytes, size_t n) {
    memcpy(session + session_size, bytes, n);
    session_size += n;
}

static void put_frame(uint8_t flags, const uint8_t *body, size_t size) {
    const bool is_long = size > 255 || choose(&from, 8) == 0;
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
    const size_t size = choose(&from, (uint32_t)most + 1);
    uint64_t content = choose_seed(&from);
    for (size_t i = 0; i < size; ++i) {
        body[i] = (uint8_t)random_word(&content);
    }
    return size;
}

static void put_something(void) {
    uint8_t body[1024];
    size_t size;
    switch (choose(&from, 6)) {
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
            for (uint32_t i = 1 + choose(&from, 3); i > 0; --i) {
                size = random_body(body, 50);
                put_frame(1, body, size);
            }
            put_frame(0, body, random_body(body, 50));
            return;
        default:
            size = random_body(body, choose(&from, 4) == 0 ? in_size : 60);
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
    const bool is_refused = choose(&from, 16) == 0;
    session_size = 0;
    expected_size = 0;
    expected_at = 0;
    is_damaged = is_refused || choose(&from, 2) == 0;
    put(greeting, sizeof greeting);
    if (is_refused) {
        put_frame(4, (const uint8_t *)request, sizeof request - 1);
    } else {
        put_frame(4, (const uint8_t *)dealer, sizeof dealer - 1);
    }
    while (session_size < SESSION_MAX / 2 && choose(&from, 20) != 0 && from.left > 0) {
        put_something();
    }
}

static void damage(void) {
    ++damaged;
    for (uint32_t n = 1 + choose(&from, 3); n > 0; --n) {
        /* Also in the handshake, which is short. */
        const uint32_t end = choose(&from, 2) == 0 ? 100 : (uint32_t)session_size;
        const size_t at = choose(&from, end < session_size ? end : (uint32_t)session_size);
        switch (choose(&from, 4)) {
            case 0:
                session[at] ^= (uint8_t)(1u << choose(&from, 8));
                break;
            case 1:
                session[at] = (uint8_t)choose(&from, 256);
                break;
            case 2:
                memmove(session + at, session + at + 1, session_size - at - 1);
                --session_size;
                break;
            default:
                memmove(session + at + 1, session + at, session_size - at);
                session[at] = (uint8_t)choose(&from, 256);
                ++session_size;
        }
    }
}

/* ---- this end -------------------------------------------------------------------------------- */

static void send_one(void) {
    uint8_t body[1024];
    const size_t size = random_body(body, choose(&from, 4) == 0 ? 1000 : 40);
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
        fuzz_fail("a message fits the buffer");
    }
    if (rtl_zmtp_failed(&z) != RTL_ZMTP_OK || !rtl_zmtp_is_ready(&z)) {
        fuzz_fail("messages come while it is ready and has not failed");
    }
    ++delivered;
    if (!is_damaged) {
        const uint8_t *const p = expected + expected_at;
        if (expected_at == expected_size || (size_t)(p[0] << 8 | p[1]) != size ||
            memcmp(p + 2, message, size) != 0) {
            fuzz_fail("a message is what was sent");
        }
        expected_at += 2 + size;
    }
    if (choose(&from, 4) == 0) {
        send_one();
    }
}

static void drain(size_t most) {
    size_t n;
    const uint8_t *const bytes = rtl_zmtp_pending(&z, &n);
    n = n < most ? n : most;
    if (stream_size + n > STREAM_MAX) {
        fuzz_fail("what leaves was queued");
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
        fuzz_fail("frames leave whole");
    }
    size_t size = 0;
    for (size_t i = 1; i < *head; ++i) {
        size = size << 8 | stream[at + i];
    }
    if (size > stream_size - at - *head) {
        fuzz_fail("frames leave whole");
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
        fuzz_fail("a greeting leaves first");
    }
    while (at < stream_size) {
        const size_t size = frame_size_at(at, &head);
        const uint8_t *const body = stream + at + head;
        const uint8_t flags = stream[at];
        if (is_first) {
            const bool is_error = begins_with(body, size, "\5ERROR");
            if (flags != 4 || !(is_error || begins_with(body, size, "\5READY"))) {
                fuzz_fail("then READY or ERROR");
            }
            errors += is_error;
        } else if (flags == 4) {
            pongs += 1;
            if (!begins_with(body, size, "\4PONG") || size > 21) {
                fuzz_fail("a command is a PONG");
            }
        } else {
            const uint8_t *const p = taken + taken_at;
            if ((flags & ~2u) != 0 || taken_at == taken_size ||
                (size_t)(p[0] << 8 | p[1]) != size || memcmp(p + 2, body, size) != 0) {
                fuzz_fail("a message that leaves was sent");
            }
            taken_at += 2 + size;
        }
        is_first = false;
        at += head + size;
    }
    if (taken_at != taken_size) {
        fuzz_fail("a message that was taken leaves");
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void play(void) {
    const bool is_slow = choose(&from, 4) == 0;
    for (size_t at = 0; at < session_size;) {
        const size_t rest = session_size - at;
        const uint32_t longest = choose(&from, 2) == 0 ? 10 : 2000;
        const size_t most = from.left == 0 ? rest : 1 + choose(&from, longest);
        const size_t n = most < rest ? most : rest;
        uint8_t *const piece = malloc(n);
        memcpy(piece, session + at, n);
        rtl_zmtp_receive(&z, piece, n, 0, on_message, &z);
        free(piece);
        at += n;
        bytes_fed += n;
        if (choose(&from, 3) == 0) {
            send_one();
        }
        drain(is_slow ? choose(&from, 8) : choose(&from, 400));
    }
}

/* The peer's bytes, or where there are none a session of its choices. */
static void run_session(const uint8_t *line, size_t size) {
    in_size = RTL_ZMTP_IN_MIN + choose(&from, 400);
    const size_t out_size = RTL_ZMTP_OUT_MIN + choose(&from, 2000);
    const rtl_zmtp_settings settings = {malloc(in_size), in_size, malloc(out_size), out_size, 0};
    if (!rtl_zmtp_init(&z, &settings, 0)) {
        fuzz_fail("it begins");
    }
    stream_size = 0;
    taken_size = 0;
    if (line != NULL) {
        is_damaged = true; /* who knows */
        session_size = size < SESSION_MAX ? size : SESSION_MAX;
        memcpy(session, line, session_size);
    } else {
        make_session();
        if (is_damaged) {
            damage();
        }
    }
    play();
    drain(SIZE_MAX);
    check_stream();
    if (!is_damaged && (rtl_zmtp_failed(&z) != RTL_ZMTP_OK || expected_at != expected_size)) {
        fuzz_fail("all of an undamaged session comes");
    }
    failures += rtl_zmtp_failed(&z) != RTL_ZMTP_OK;
    ready += rtl_zmtp_is_ready(&z);
    ++sessions;
    free(settings.in);
    free(settings.out);
}

/* Of the bytes of a connection, how it takes them. */
#define CHOICES 32u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size <= 1 + CHOICES) {
        return 0;
    }
    if (data[0] % 2 == 0) {
        from = (choices){data + 1, CHOICES};
        run_session(data + 1 + CHOICES, size - 1 - CHOICES);
    } else {
        from = (choices){data + 1, size - 1};
        run_session(NULL, 0);
    }
    return 0;
}

bool fuzz_report(void) {
    printf(
        "%llu bytes came in %llu sessions, %llu damaged, %llu failed, %llu ready at the end; %llu "
        "messages came, %llu were sent, %llu refused, %llu PONG, %llu ERROR\n",
        bytes_fed, sessions, damaged, failures, ready, delivered, sent, refused, pongs, errors);
    return failures > 0 && ready > 0 && delivered > 0 && sent > 0 && refused > 0 && pongs > 0 &&
           errors > 0;
}

#include "rtloop/zmtp.h"

#include <string.h>

#define GREETING_SIZE 64u
#define MECHANISM_AT 12u
#define MECHANISM_SIZE 20u

/* Flags of a frame. */
#define MORE 1u
#define LONG_SIZE 2u
#define COMMAND 4u

#define SHORT_MAX 255u
#define SHORT_HEAD 2u
#define LONG_HEAD 9u

#define PING_CONTEXT_MAX 16u
#define TTL_UNIT_US 100000u
#define PONG_ROOM (SHORT_HEAD + 5u + PING_CONTEXT_MAX)

static const uint8_t greeting_head[] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0};
static const char ready_body[] = "\5READY\13Socket-Type\0\0\0\6DEALER";
static const char error_body[] = "\5ERROR\43Socket-Type is not DEALER or ROUTER";

/* ---- sending --------------------------------------------------------------------------------- */

static size_t room(const rtl_zmtp *z) {
    return z->settings.out_size - (z->out_end - z->out_at);
}

/* Room is for the caller to see to. */
static void append(rtl_zmtp *z, const void *bytes, size_t n) {
    uint8_t *const out = z->settings.out;
    if (n == 0) {
        return;
    }
    if (z->settings.out_size - z->out_end < n) {
        memmove(out, out + z->out_at, z->out_end - z->out_at);
        z->out_end -= z->out_at;
        z->out_at = 0;
    }
    memcpy(out + z->out_end, bytes, n);
    z->out_end += n;
}

static void append_head(rtl_zmtp *z, uint8_t flags, size_t size) {
    uint8_t head[LONG_HEAD] = {flags, (uint8_t)size};
    if (size <= SHORT_MAX) {
        append(z, head, SHORT_HEAD);
        return;
    }
    head[0] |= LONG_SIZE;
    for (unsigned i = 0; i < 8; ++i) {
        head[8u - i] = (uint8_t)((uint64_t)size >> (8u * i));
    }
    append(z, head, LONG_HEAD);
}

static void append_command(rtl_zmtp *z, const char *body, size_t size) {
    append_head(z, COMMAND, size);
    append(z, body, size);
}

bool rtl_zmtp_send(rtl_zmtp *zmtp, const void *bytes, size_t n) {
    const size_t head = n <= SHORT_MAX ? SHORT_HEAD : LONG_HEAD;
    const size_t free = room(zmtp);
    if (!rtl_zmtp_is_ready(zmtp) || free < PONG_ROOM + head || free - PONG_ROOM - head < n) {
        return false;
    }
    append_head(zmtp, 0, n);
    append(zmtp, bytes, n);
    return true;
}

const uint8_t *rtl_zmtp_pending(const rtl_zmtp *zmtp, size_t *n) {
    *n = zmtp->out_end - zmtp->out_at;
    return zmtp->settings.out + zmtp->out_at;
}

void rtl_zmtp_consumed(rtl_zmtp *zmtp, size_t n) {
    const size_t waiting = zmtp->out_end - zmtp->out_at;
    zmtp->out_at += n < waiting ? n : waiting;
}

/* ---- commands -------------------------------------------------------------------------------- */

static void fail(rtl_zmtp *z, rtl_zmtp_failure failure) {
    z->failure = failure;
}

static bool is_text(const uint8_t *bytes, size_t n, const char *text) {
    return n == strlen(text) && memcmp(bytes, text, n) == 0;
}

/* Names of properties are alike in upper and lower case; this one has letters and a hyphen. */
static bool is_socket_type(const uint8_t *name, size_t n) {
    static const char expected[] = "socket-type";
    if (n != sizeof expected - 1) {
        return false;
    }
    for (size_t i = 0; i < n; ++i) {
        const bool is_upper = name[i] >= 'A' && name[i] <= 'Z';
        if ((char)(is_upper ? name[i] + ('a' - 'A') : name[i]) != expected[i]) {
            return false;
        }
    }
    return true;
}

/* Name (one byte of size), value (four, the highest first), and so on. */
static void on_ready(rtl_zmtp *z, const uint8_t *p, size_t n) {
    bool is_accepted = false;
    while (n > 0) {
        const size_t name_size = p[0];
        if (n < 1u + name_size + 4u) {
            fail(z, RTL_ZMTP_MALFORMED);
            return;
        }
        const uint8_t *const name = p + 1;
        const uint8_t *const size = name + name_size;
        const uint32_t value_size = (uint32_t)size[0] << 24 | (uint32_t)size[1] << 16 |
                                    (uint32_t)size[2] << 8 | (uint32_t)size[3];
        const uint8_t *const value = size + 4;
        n -= 1u + name_size + 4u;
        if (n < value_size) {
            fail(z, RTL_ZMTP_MALFORMED);
            return;
        }
        if (is_socket_type(name, name_size)) {
            is_accepted =
                is_text(value, value_size, "DEALER") || is_text(value, value_size, "ROUTER");
        }
        p = value + value_size;
        n -= value_size;
    }
    /* ERROR stands in place of READY: that is why READY waits for the peer's. */
    if (!is_accepted) {
        append_command(z, error_body, sizeof error_body - 1);
        fail(z, RTL_ZMTP_SOCKET_TYPE);
        return;
    }
    append_command(z, ready_body, sizeof ready_body - 1);
    z->is_ready = true;
}

static void on_ping(rtl_zmtp *z, const uint8_t *p, size_t n) {
    if (n < 2) {
        fail(z, RTL_ZMTP_MALFORMED);
        return;
    }
    z->ttl_us = ((uint64_t)p[0] << 8 | p[1]) * TTL_UNIT_US;
    const size_t context = n - 2 < PING_CONTEXT_MAX ? n - 2 : PING_CONTEXT_MAX;
    char pong[5 + PING_CONTEXT_MAX] = "\4PONG";
    if (room(z) >= SHORT_HEAD + 5 + context) {
        memcpy(pong + 5, p + 2, context);
        append_command(z, pong, 5 + context);
    }
}

static void on_command(rtl_zmtp *z) {
    const uint8_t *const name = z->settings.in + 1;
    const size_t size = (size_t)z->body_size;
    if (size == 0 || size - 1 < z->settings.in[0]) {
        fail(z, RTL_ZMTP_MALFORMED);
        return;
    }
    const size_t name_size = z->settings.in[0];
    const uint8_t *const rest = name + name_size;
    const size_t rest_size = size - 1 - name_size;
    if (is_text(name, name_size, "ERROR")) {
        fail(z, RTL_ZMTP_PEER_ERROR);
    } else if (!z->is_ready && is_text(name, name_size, "READY")) {
        on_ready(z, rest, rest_size);
    } else if (z->is_ready && is_text(name, name_size, "PING")) {
        on_ping(z, rest, rest_size);
    }
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Judged byte by byte, so that whatever is no ZeroMQ is told apart by its first. */
static void on_greeting(rtl_zmtp *z, uint8_t byte) {
    static const char mechanism[MECHANISM_SIZE] = "NULL";
    const unsigned at = z->have++;
    if ((at == 0 && byte != 0xff) || (at == 9 && (byte & 1u) == 0)) {
        fail(z, RTL_ZMTP_NO_GREETING);
    } else if (at == 10 && byte < 3) {
        fail(z, RTL_ZMTP_VERSION);
    } else if (at >= MECHANISM_AT && at < MECHANISM_AT + MECHANISM_SIZE &&
               byte != (uint8_t)mechanism[at - MECHANISM_AT]) {
        fail(z, RTL_ZMTP_MECHANISM);
    } else if (at == GREETING_SIZE - 1) {
        z->stage = RTL_ZMTP_FLAGS;
    }
}

static void on_flags(rtl_zmtp *z, uint8_t flags) {
    const bool is_command = (flags & COMMAND) != 0;
    const bool is_defined = flags <= (MORE | LONG_SIZE | COMMAND);
    /* A command may stand between the frames of a message: libzmq's PING does. */
    if (!is_defined || (is_command ? (flags & MORE) != 0 : !z->is_ready)) {
        fail(z, RTL_ZMTP_MALFORMED);
        return;
    }
    z->flags = flags;
    z->have = 0;
    z->body_size = 0;
    z->body_have = 0;
    z->stage = RTL_ZMTP_SIZE;
}

static void on_size(rtl_zmtp *z, uint8_t byte) {
    z->body_size = z->body_size << 8 | byte;
    if (++z->have < ((z->flags & LONG_SIZE) != 0 ? 8 : 1)) {
        return;
    }
    if (z->body_size > z->settings.in_size) {
        fail(z, RTL_ZMTP_TOO_LONG);
        return;
    }
    z->stage = RTL_ZMTP_BODY;
}

static size_t on_body(rtl_zmtp *z, const uint8_t *bytes, size_t n) {
    const size_t missing = (size_t)z->body_size - z->body_have;
    const size_t taken = n < missing ? n : missing;
    memcpy(z->settings.in + z->body_have, bytes, taken);
    z->body_have += taken;
    return taken;
}

static void end_frame(rtl_zmtp *z, rtl_zmtp_on_message on_message, void *context) {
    z->stage = RTL_ZMTP_FLAGS;
    if ((z->flags & COMMAND) != 0) {
        on_command(z);
        return;
    }
    const bool is_last = (z->flags & MORE) == 0;
    if (is_last && !z->in_multipart) {
        on_message(context, z->settings.in, (size_t)z->body_size);
        return;
    }
    z->multipart += is_last;
    z->in_multipart = !is_last;
}

void rtl_zmtp_receive(rtl_zmtp *zmtp, const uint8_t *bytes, size_t n, uint64_t now_us,
                      rtl_zmtp_on_message on_message, void *context) {
    size_t at = 0;
    while (at < n && zmtp->failure == RTL_ZMTP_OK) {
        switch (zmtp->stage) {
            case RTL_ZMTP_GREETING:
                on_greeting(zmtp, bytes[at++]);
                break;
            case RTL_ZMTP_FLAGS:
                on_flags(zmtp, bytes[at++]);
                break;
            case RTL_ZMTP_SIZE:
                on_size(zmtp, bytes[at++]);
                break;
            case RTL_ZMTP_BODY:
                at += on_body(zmtp, bytes + at, n - at);
                break;
        }
        if (zmtp->stage == RTL_ZMTP_BODY && zmtp->body_have == zmtp->body_size) {
            end_frame(zmtp, on_message, context);
        }
    }
    if (n > 0 && zmtp->is_ready) {
        zmtp->heard_us = now_us;
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

uint64_t rtl_zmtp_deadline_us(const rtl_zmtp *zmtp) {
    uint64_t silence_us = zmtp->settings.idle_timeout_us;
    if (zmtp->ttl_us > 0 && (silence_us == 0 || zmtp->ttl_us < silence_us)) {
        silence_us = zmtp->ttl_us;
    }
    if (silence_us == 0 || zmtp->failure != RTL_ZMTP_OK) {
        return RTL_ZMTP_NEVER_US;
    }
    return zmtp->heard_us + silence_us;
}

void rtl_zmtp_tick(rtl_zmtp *zmtp, uint64_t now_us) {
    const uint64_t deadline_us = rtl_zmtp_deadline_us(zmtp);
    if (deadline_us != RTL_ZMTP_NEVER_US && now_us >= deadline_us) {
        fail(zmtp, RTL_ZMTP_SILENT);
    }
}

/* ---- start and state ------------------------------------------------------------------------- */

bool rtl_zmtp_init(rtl_zmtp *zmtp, const rtl_zmtp_settings *settings, uint64_t now_us) {
    if (settings->in == NULL || settings->in_size < RTL_ZMTP_IN_MIN || settings->out == NULL ||
        settings->out_size < RTL_ZMTP_OUT_MIN) {
        return false;
    }
    memset(zmtp, 0, sizeof *zmtp);
    zmtp->settings = *settings;
    zmtp->heard_us = now_us;
    uint8_t greeting[GREETING_SIZE] = {0};
    memcpy(greeting, greeting_head, sizeof greeting_head);
    memcpy(greeting + MECHANISM_AT, "NULL", 4);
    append(zmtp, greeting, sizeof greeting);
    return true;
}

bool rtl_zmtp_is_ready(const rtl_zmtp *zmtp) {
    return zmtp->is_ready && zmtp->failure == RTL_ZMTP_OK;
}

rtl_zmtp_failure rtl_zmtp_failed(const rtl_zmtp *zmtp) {
    return zmtp->failure;
}

const char *rtl_zmtp_failure_text(rtl_zmtp_failure failure) {
    switch (failure) {
        case RTL_ZMTP_OK:
            return "no failure";
        case RTL_ZMTP_NO_GREETING:
            return "the first bytes are not those of ZeroMQ";
        case RTL_ZMTP_VERSION:
            return "the peer speaks a ZMTP older than 3";
        case RTL_ZMTP_MECHANISM:
            return "the peer wants another security mechanism than NULL";
        case RTL_ZMTP_SOCKET_TYPE:
            return "the peer is neither a DEALER nor a ROUTER";
        case RTL_ZMTP_MALFORMED:
            return "a frame breaks the protocol";
        case RTL_ZMTP_TOO_LONG:
            return "a frame is longer than the longest message";
        case RTL_ZMTP_PEER_ERROR:
            return "the peer sent ERROR";
        case RTL_ZMTP_SILENT:
            return "nothing came for too long";
    }
    return "unknown";
}

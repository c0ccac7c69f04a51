/*
 * A ZeroMQ peer on a byte stream: ZMTP 3.0 (RFC 23), listening side, socket type DEALER, mechanism
 * NULL, and of 3.1 (RFC 37) PING and PONG. The other end is a DEALER or a ROUTER of libzmq or any
 * other implementation; one of these is one connection.
 *
 * It has no socket: the caller hands over bytes that came, in pieces of any size, sends what
 * rtl_zmtp_pending() shows, and closes the connection when rtl_zmtp has failed and nothing is
 * pending.
 *
 * - A message is one frame, as a packet is: DEALER, DEALER and ROUTER put no envelope and no
 *   delimiter on the wire. A message of several frames is counted and dropped as a whole.
 * - What a slow connection does not take waits in `out`. A message for which there is no room is
 *   refused whole, and those that wait are not touched: whoever would rather have the newest one
 *   waits with making it until there is room.
 * - PING is answered with its context, for which there is room of its own; where even that is full,
 *   the peer has not read the PONG before, and gets no other.
 * - Unknown commands are ignored. Anything else that is not of the protocol is a failure, and so is
 *   silence for the idle time-out, the TTL of the last PING, or a handshake that takes longer.
 *
 * No allocation, no OS, no clock: times are µs of one monotonic clock of the caller. One thread.
 */
#ifndef RTLOOP_ZMTP_H
#define RTLOOP_ZMTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What `in` and `out` need for the handshake; both also bound the messages, see below. */
#define RTL_ZMTP_IN_MIN 320u /* a READY with an identity of 255 bytes */
#define RTL_ZMTP_OUT_MIN 160u

/* `out` takes a message of n bytes, at least, when it is this much larger and nothing waits. */
#define RTL_ZMTP_OUT_OVERHEAD 32u

/* rtl_zmtp_deadline_us(): there is none. */
#define RTL_ZMTP_NEVER_US UINT64_MAX

typedef enum rtl_zmtp_failure {
    RTL_ZMTP_OK = 0,
    RTL_ZMTP_NO_GREETING, /* the first bytes are not those of ZMTP */
    RTL_ZMTP_VERSION,     /* ZMTP, but older than 3 */
    RTL_ZMTP_MECHANISM,   /* not NULL */
    RTL_ZMTP_SOCKET_TYPE, /* neither DEALER nor ROUTER; the peer is told by ERROR */
    RTL_ZMTP_MALFORMED,   /* a frame or command that breaks the protocol */
    RTL_ZMTP_TOO_LONG,    /* a frame larger than `in` */
    RTL_ZMTP_PEER_ERROR,  /* the peer sent ERROR */
    RTL_ZMTP_SILENT       /* nothing came for too long */
} rtl_zmtp_failure;

typedef struct rtl_zmtp_settings {
    uint8_t *in;    /* the longest message that is taken, RTL_ZMTP_IN_MIN or more */
    size_t in_size; /* bytes */
    uint8_t *out;   /* what waits to be sent, RTL_ZMTP_OUT_MIN or more */
    size_t out_size;
    uint64_t idle_timeout_us; /* without a byte, and for the handshake; 0: none */
} rtl_zmtp_settings;

/* A whole message, valid during the call, which may call rtl_zmtp_send(). */
typedef void (*rtl_zmtp_on_message)(void *context, const uint8_t *message, size_t size);

typedef enum rtl_zmtp_stage {
    RTL_ZMTP_GREETING = 0,
    RTL_ZMTP_FLAGS,
    RTL_ZMTP_SIZE,
    RTL_ZMTP_BODY
} rtl_zmtp_stage;

/* Read the counter; leave the rest to the functions below. */
typedef struct rtl_zmtp {
    rtl_zmtp_settings settings;
    rtl_zmtp_failure failure;
    rtl_zmtp_stage stage;
    bool is_ready;
    bool in_multipart;      /* frames of the present message came and went */
    uint8_t flags;          /* of the present frame */
    uint8_t have;           /* bytes of the greeting, or of a frame's size */
    uint64_t body_size;     /* of the present frame */
    size_t body_have;       /* bytes of it in `in` */
    size_t out_at, out_end; /* what waits in `out` */
    uint64_t heard_us;      /* when bytes came last; until ready: when it began */
    uint64_t ttl_us;        /* of the last PING; 0: none */
    uint32_t multipart;     /* messages dropped for having several frames */
} rtl_zmtp;

/*
 * A connection that was just accepted; the greeting is pending at once. Returns false, and leaves
 * `zmtp` unusable, when a buffer is missing or too small. The buffers must outlive it.
 */
bool rtl_zmtp_init(rtl_zmtp *zmtp, const rtl_zmtp_settings *settings, uint64_t now_us);

/* Takes bytes of the connection and hands over the messages in them, in order. */
void rtl_zmtp_receive(rtl_zmtp *zmtp, const uint8_t *bytes, size_t n, uint64_t now_us,
                      rtl_zmtp_on_message on_message, void *context);

/*
 * Queues a message of one frame. False, and nothing queued: not ready, failed, or no room. `bytes`
 * may be NULL when `n` is 0.
 */
bool rtl_zmtp_send(rtl_zmtp *zmtp, const void *bytes, size_t n);

/* The bytes to be sent next, `*n` of them; valid until the next call of another function. */
const uint8_t *rtl_zmtp_pending(const rtl_zmtp *zmtp, size_t *n);

/* The connection took the first `n` of the pending bytes. */
void rtl_zmtp_consumed(rtl_zmtp *zmtp, size_t n);

/* Watches the time-outs. */
void rtl_zmtp_tick(rtl_zmtp *zmtp, uint64_t now_us);

/* When rtl_zmtp_tick() has to be called, unless bytes come before; RTL_ZMTP_NEVER_US: never. */
uint64_t rtl_zmtp_deadline_us(const rtl_zmtp *zmtp);

/* Messages can be sent: the handshake is done and nothing has failed. */
bool rtl_zmtp_is_ready(const rtl_zmtp *zmtp);

/* RTL_ZMTP_OK, or why the connection is to be closed. Nothing is taken and queued after that. */
rtl_zmtp_failure rtl_zmtp_failed(const rtl_zmtp *zmtp);

/* A failure in words, for a log. */
const char *rtl_zmtp_failure_text(rtl_zmtp_failure failure);

#ifdef __cplusplus
}
#endif

#endif

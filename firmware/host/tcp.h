/*
 * A TCP port on the loopback interface where ZeroMQ peers (DEALER, ROUTER) find the firmware: the
 * sockets around an rtl_zmtp. One peer at a time; the next one is taken when it has left, and waits
 * in the kernel until then.
 *
 * Nothing here waits. A peer that does not read fills the line; what does not fit is dropped as
 * whole messages, because a device must not stall with its host. There is no authentication, so
 * no address but loopback is taken.
 */
#ifndef RTLOOP_HOST_TCP_H_
#define RTLOOP_HOST_TCP_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rtloop/zmtp.h"

typedef struct {
    int listen_fd; /* for poll(); -1 when closed */
    int fd;        /* of the peer, for poll(); -1: none */
    char address[32];
    rtl_zmtp_settings settings;
    rtl_zmtp zmtp; /* of the peer */
} tcp;

/* For a line that is not opened: all calls below do nothing. */
#define TCP_CLOSED \
    { .listen_fd = -1, .fd = -1 }

/*
 * Listens at `address`, "tcp://127.0.0.1:PORT"; port 0 is any that is free, and `line->address`
 * says which. The buffers of `settings` must outlive the line. On failure returns false with a
 * message in `error`.
 */
bool tcp_open(tcp *line, const char *address, const rtl_zmtp_settings *settings, char *error,
              size_t error_size);

/* Which events of `line->fd` end a wait: bytes, and room where messages wait for it. */
short tcp_poll_events(const tcp *line);

/* When tcp_receive() has to be called even if nothing came; RTL_ZMTP_NEVER_US: never. */
uint64_t tcp_deadline_us(const tcp *line);

/* Accepts a peer, reads once, at most 4 KiB, and hands over the messages; lets go of a peer that
 * left, went silent or broke the protocol. */
void tcp_receive(tcp *line, uint64_t now_us, rtl_zmtp_on_message on_message, void *context);

/* Queues a whole message, or nothing and returns false. */
bool tcp_send(tcp *line, const void *message, size_t size);

/* Writes what is queued, as far as the line takes it. */
void tcp_flush(tcp *line);

/* Hangs up and listens no more. May be called again. */
void tcp_close(tcp *line);

#endif /* RTLOOP_HOST_TCP_H_ */

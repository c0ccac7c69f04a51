/*
 * A UDP port on the loopback interface: each datagram is one packet. Whoever sends there is known
 * by the address; which of them is the host is the device's to say (rtl_device.answer_to).
 *
 * Nothing here waits; what the kernel has no room for is dropped. There is no authentication, so no
 * address but loopback is taken.
 */
#ifndef RTLOOP_HOST_UDP_H_
#define RTLOOP_HOST_UDP_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rtloop/device.h"

typedef struct {
    int fd; /* for poll(); -1 when closed */
    char address[32];
} udp;

/* For a port that is not opened: all calls below do nothing. */
#define UDP_CLOSED \
    { .fd = -1 }

/*
 * Binds `address`, "udp://127.0.0.1:PORT"; port 0 is any that is free, and `line->address` says
 * which. On failure returns false with a message in `error`.
 */
bool udp_open(udp *line, const char *address, char *error, size_t error_size);

typedef void (*udp_on_packet)(void *context, const rtl_address *from, const uint8_t *packet,
                              size_t size);

/* Hands over what has come, up to 64 datagrams, whatever they hold. */
void udp_receive(udp *line, udp_on_packet on_packet, void *context);

/* Sends all of a packet, or nothing and returns false. */
bool udp_send(udp *line, const rtl_address *to, const uint8_t *packet, size_t size);

/* May be called again. */
void udp_close(udp *line);

#endif /* RTLOOP_HOST_UDP_H_ */

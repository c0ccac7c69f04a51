/*
 * The link over the network: packets between a thread with sockets and the loop, through two
 * queues. What the sockets speak is in network_peer.h.
 */
#ifndef APP_NETWORK_LINK_H_
#define APP_NETWORK_LINK_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rtloop/device.h"

/* Returns 0, or -errno when nothing can be opened. */
int network_link_start(void);

typedef struct network_packet {
    rtl_address peer; /* from whom, or to whom */
    uint64_t arrived_us;
    uint16_t size;
    uint8_t bytes[RTL_PACKET_MAX];
} network_packet;

/* From the loop: the next packet, valid until the next call; NULL: none. */
const network_packet *network_link_read(void);

/* From the loop: rtl_hardware.transmit_packet. The context is the rtl_device. */
bool network_link_write(void *context, const uint8_t *packet, size_t size);

#endif

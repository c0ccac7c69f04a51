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

/* From the loop: the next packet, RTL_PACKET_MAX bytes of room, whose, and when it came; 0: none.
 */
size_t network_link_read(uint8_t *packet, rtl_address *from, uint64_t *arrived_us);

/* From the loop: rtl_hardware.transmit_packet. The context is the rtl_device. */
bool network_link_write(void *context, const uint8_t *packet, size_t size);

#endif

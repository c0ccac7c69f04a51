/*
 * Who is at the other end of the network: a ZeroMQ peer (zmq_peer.c), or who sends to a UDP port
 * (udp_peer.c). All from one thread; only the wait for peer_waits_for() waits.
 */
#ifndef APP_NETWORK_PEER_H_
#define APP_NETWORK_PEER_H_

#include <stddef.h>
#include <stdint.h>
#include <zephyr/net/socket.h>

#include "rtloop/device.h"

/* Opens CONFIG_APP_LINK_PORT. Returns 0, or -errno. */
int peer_open(void);

struct zsock_pollfd peer_waits_for(void);

/* When peer_receive() has to be called even if nothing came; RTL_NEVER_US: never. */
uint64_t peer_deadline_us(void);

/* Hands what came to network_link_take(); `from` is empty where there is but one peer. */
void peer_receive(uint64_t now_us);
void network_link_take(const rtl_address *from, const uint8_t *packet, size_t size,
                       uint64_t arrived_us);

/* A packet for which there is no peer, or no room, is dropped. */
void peer_send(const rtl_address *to, const uint8_t *packet, size_t size);
void peer_flush(void);

/* Where to listen: every address of the board, or the loopback. */
static inline struct sockaddr_in peer_own_address(void) {
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons(CONFIG_APP_LINK_PORT),
        .sin_addr.s_addr =
            htonl(IS_ENABLED(CONFIG_APP_LINK_LOOPBACK_ONLY) ? 0x7f000001u : INADDR_ANY),
    };
}

#endif

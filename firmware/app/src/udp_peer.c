/* A UDP port: each datagram is one packet. Which of its senders is the host is the device's to say.
 */
#include <errno.h>
#include <string.h>

#include "network_peer.h"
#include "rtloop/packet.h"

/* Whoever floods the port cannot hold up what is to be sent. */
#define DATAGRAMS_AT_ONCE 16

BUILD_ASSERT(sizeof(struct sockaddr_in) <= RTL_ADDRESS_MAX, "an address fits");

static int port = -1;

int peer_open(void) {
    struct sockaddr_in own = peer_own_address();
    port = zsock_socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
    return port < 0 || zsock_bind(port, (struct sockaddr *)&own, sizeof own) != 0 ? -errno : 0;
}

struct zsock_pollfd peer_waits_for(void) {
    return (struct zsock_pollfd){.fd = port, .events = ZSOCK_POLLIN};
}

uint64_t peer_deadline_us(void) {
    return RTL_NEVER_US;
}

void peer_receive(uint64_t now_us) {
    static uint8_t packet[RTL_PACKET_MAX + 1]; /* a longer one is seen to be one */
    for (int i = 0; i < DATAGRAMS_AT_ONCE; ++i) {
        struct sockaddr_in peer = {0};
        socklen_t peer_size = sizeof peer;
        const ssize_t n = zsock_recvfrom(port, packet, sizeof packet, ZSOCK_MSG_DONTWAIT,
                                         (struct sockaddr *)&peer, &peer_size);
        if (n < 0) {
            return;
        }
        rtl_address from = {.size = sizeof peer};
        memcpy(from.bytes, &peer, sizeof peer);
        network_link_take(&from, packet, (size_t)n, now_us);
    }
}

void peer_send(const rtl_address *to, const uint8_t *packet, size_t size) {
    struct sockaddr_in peer;
    if (to->size == sizeof peer) {
        memcpy(&peer, to->bytes, sizeof peer);
        zsock_sendto(port, packet, size, ZSOCK_MSG_DONTWAIT, (struct sockaddr *)&peer, sizeof peer);
    }
}

void peer_flush(void) {}

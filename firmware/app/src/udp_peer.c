/* One packet is one datagram, and the host is who sent the last one. */
#include <errno.h>

#include "network_peer.h"
#include "rtloop/device.h"

static int fd = -1;
static struct sockaddr_in host;

int peer_open(void) {
    struct sockaddr_in own = peer_own_address();
    fd = zsock_socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP);
    if (fd < 0 || zsock_bind(fd, (struct sockaddr *)&own, sizeof own) != 0) {
        return -errno;
    }
    return 0;
}

struct zsock_pollfd peer_waits_for(void) {
    return (struct zsock_pollfd){.fd = fd, .events = ZSOCK_POLLIN};
}

uint64_t peer_deadline_us(void) {
    return RTL_NEVER_US;
}

/* One byte more than a packet: what is longer is seen to be. */
void peer_receive(uint64_t now_us, rtl_zmtp_on_message on_packet, void *context) {
    ARG_UNUSED(now_us);
    uint8_t packet[RTL_PACKET_MAX + 1];
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    ssize_t n;
    while ((n = zsock_recvfrom(fd, packet, sizeof packet, ZSOCK_MSG_DONTWAIT,
                               (struct sockaddr *)&from, &size)) >= 0) {
        host = from;
        on_packet(context, packet, (size_t)n);
    }
}

void peer_send(const uint8_t *packet, size_t size) {
    if (host.sin_port != 0) {
        zsock_sendto(fd, packet, size, ZSOCK_MSG_DONTWAIT, (struct sockaddr *)&host, sizeof host);
    }
}

void peer_flush(void) {}

#include "udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A peer that floods the port cannot hold up a tick. */
#define DATAGRAMS_AT_ONCE 64

static bool parse(const char *address, struct sockaddr_in *out) {
    char host[16];
    unsigned port;
    int end = 0;
    if (sscanf(address, "udp://%15[0-9.]:%5u%n", host, &port, &end) != 2 || address[end] != '\0' ||
        port > UINT16_MAX || inet_pton(AF_INET, host, &out->sin_addr) != 1) {
        return false;
    }
    out->sin_family = AF_INET;
    out->sin_port = htons((uint16_t)port);
    return ntohl(out->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

bool udp_open(udp *line, const char *address, char *error, size_t error_size) {
    struct sockaddr_in at = {0};
    socklen_t size = sizeof at;
    *line = (udp)UDP_CLOSED;
    if (!parse(address, &at)) {
        snprintf(error, error_size,
                 "the UDP address is \"%s\"; give udp://127.0.0.1:PORT, 0 for any free port",
                 address);
        return false;
    }
    line->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (line->fd < 0 || bind(line->fd, (struct sockaddr *)&at, size) != 0 ||
        getsockname(line->fd, (struct sockaddr *)&at, &size) != 0) {
        snprintf(error, error_size, "cannot receive at %s: %s", address, strerror(errno));
        udp_close(line);
        return false;
    }
    char host[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &at.sin_addr, host, sizeof host);
    snprintf(line->address, sizeof line->address, "udp://%s:%u", host,
             (unsigned)ntohs(at.sin_port));
    return true;
}

_Static_assert(sizeof(struct sockaddr_in) <= RTL_ADDRESS_MAX, "an address fits");

void udp_receive(udp *line, udp_on_packet on_packet, void *context) {
    uint8_t packet[RTL_PACKET_MAX + 1]; /* a longer one is seen to be one */
    for (int i = 0; i < DATAGRAMS_AT_ONCE && line->fd >= 0; ++i) {
        struct sockaddr_in peer = {0};
        socklen_t peer_size = sizeof peer;
        const ssize_t n =
            recvfrom(line->fd, packet, sizeof packet, 0, (struct sockaddr *)&peer, &peer_size);
        if (n < 0) {
            return;
        }
        rtl_address from = {.size = (uint8_t)peer_size};
        memcpy(from.bytes, &peer, sizeof peer);
        on_packet(context, &from, packet, (size_t)n);
    }
}

bool udp_send(udp *line, const rtl_address *to, const uint8_t *packet, size_t size) {
    struct sockaddr_in peer;
    if (line->fd < 0 || to->size != sizeof peer) {
        return false;
    }
    memcpy(&peer, to->bytes, sizeof peer);
    return sendto(line->fd, packet, size, 0, (struct sockaddr *)&peer, sizeof peer) ==
           (ssize_t)size;
}

void udp_close(udp *line) {
    if (line->fd >= 0) {
        close(line->fd);
    }
    line->fd = -1;
}

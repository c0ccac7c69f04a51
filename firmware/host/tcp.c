#include "tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 4096

/* The kernel's own would hold seconds of samples for a peer that does not read. */
#define KERNEL_SEND_BUFFER 32768

/* ---- opening --------------------------------------------------------------------------------- */

static bool parse(const char *address, struct sockaddr_in *out) {
    char host[16];
    unsigned port;
    int end = 0;
    if (sscanf(address, "tcp://%15[0-9.]:%5u%n", host, &port, &end) != 2 || address[end] != '\0' ||
        port > UINT16_MAX || inet_pton(AF_INET, host, &out->sin_addr) != 1) {
        return false;
    }
    out->sin_family = AF_INET;
    out->sin_port = htons((uint16_t)port);
    return ntohl(out->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

static bool start_listening(tcp *line, struct sockaddr_in *at) {
    const int yes = 1; /* the port of a device that was restarted is its own again */
    socklen_t size = sizeof *at;
    line->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return line->listen_fd >= 0 &&
           setsockopt(line->listen_fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
           bind(line->listen_fd, (struct sockaddr *)at, size) == 0 &&
           listen(line->listen_fd, 4) == 0 &&
           getsockname(line->listen_fd, (struct sockaddr *)at, &size) == 0;
}

bool tcp_open(tcp *line, const char *address, const rtl_zmtp_settings *settings, char *error,
              size_t error_size) {
    struct sockaddr_in at = {0};
    *line = (tcp)TCP_CLOSED;
    line->settings = *settings;
    if (!parse(address, &at)) {
        snprintf(error, error_size,
                 "the ZeroMQ address is \"%s\"; give tcp://127.0.0.1:PORT, 0 for any free port",
                 address);
        return false;
    }
    if (!start_listening(line, &at)) {
        snprintf(error, error_size, "cannot listen at %s: %s", address, strerror(errno));
        tcp_close(line);
        return false;
    }
    char host[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &at.sin_addr, host, sizeof host);
    snprintf(line->address, sizeof line->address, "tcp://%s:%u", host,
             (unsigned)ntohs(at.sin_port));
    return true;
}

/* ---- one peer -------------------------------------------------------------------------------- */

static void let_go(tcp *line) {
    close(line->fd);
    line->fd = -1;
}

static void accept_peer(tcp *line, uint64_t now_us) {
    const int yes = 1, buffer = KERNEL_SEND_BUFFER;
    line->fd = accept4(line->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (line->fd < 0) {
        return;
    }
    setsockopt(line->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(line->fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    if (!rtl_zmtp_init(&line->zmtp, &line->settings, now_us)) {
        let_go(line);
    }
}

static bool is_gone(ssize_t done) {
    return done == 0 || (done < 0 && errno != EAGAIN && errno != EINTR);
}

static void read_some(tcp *line, uint64_t now_us, rtl_zmtp_on_message on_message, void *context) {
    uint8_t bytes[READ_SIZE];
    const ssize_t got = recv(line->fd, bytes, sizeof bytes, 0);
    if (is_gone(got)) {
        let_go(line);
    } else if (got > 0) {
        rtl_zmtp_receive(&line->zmtp, bytes, (size_t)got, now_us, on_message, context);
    }
}

void tcp_receive(tcp *line, uint64_t now_us, rtl_zmtp_on_message on_message, void *context) {
    if (line->fd < 0 && line->listen_fd >= 0) {
        accept_peer(line, now_us);
    }
    if (line->fd >= 0) {
        read_some(line, now_us, on_message, context);
    }
    if (line->fd >= 0) {
        rtl_zmtp_tick(&line->zmtp, now_us);
    }
    if (line->fd >= 0 && rtl_zmtp_failed(&line->zmtp) != RTL_ZMTP_OK) {
        tcp_flush(line); /* ERROR says why, if there is room */
        if (line->fd >= 0) {
            let_go(line);
        }
    }
}

short tcp_poll_events(const tcp *line) {
    size_t n = 0;
    if (line->fd >= 0) {
        rtl_zmtp_pending(&line->zmtp, &n);
    }
    return (short)(n > 0 ? POLLIN | POLLOUT : POLLIN);
}

uint64_t tcp_deadline_us(const tcp *line) {
    return line->fd < 0 ? RTL_ZMTP_NEVER_US : rtl_zmtp_deadline_us(&line->zmtp);
}

bool tcp_send(tcp *line, const void *message, size_t size) {
    return line->fd >= 0 && rtl_zmtp_send(&line->zmtp, message, size);
}

void tcp_flush(tcp *line) {
    size_t n = 0;
    ssize_t put = 1;
    while (line->fd >= 0 && put > 0) {
        const uint8_t *const bytes = rtl_zmtp_pending(&line->zmtp, &n);
        if (n == 0) {
            return;
        }
        put = send(line->fd, bytes, n, MSG_NOSIGNAL);
        if (put > 0) {
            rtl_zmtp_consumed(&line->zmtp, (size_t)put);
        } else if (is_gone(put)) {
            let_go(line);
        }
    }
}

/* In this order: who sees the connection end finds nobody listening. */
void tcp_close(tcp *line) {
    if (line->listen_fd >= 0) {
        close(line->listen_fd);
    }
    line->listen_fd = -1;
    if (line->fd >= 0) {
        let_go(line);
    }
}

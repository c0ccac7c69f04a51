/* rtl_zmtp around a TCP socket: one peer at a time, the next one waits until it has left. */
#include <errno.h>
#include <zephyr/logging/log.h>

#include "network_peer.h"
#include "rtloop/packet.h"
#include "rtloop/zmtp.h"

LOG_MODULE_REGISTER(rtloop_zmq);

/* A peer that is silent for so long has left; a host asks for the time ten times a second. */
#define IDLE_US 5000000u

/* What waits here is old when it arrives. */
#define QUEUE_SIZE 2048

static int listener = -1, peer = -1;
static uint8_t in[RTL_PACKET_MAX], out[QUEUE_SIZE];
static rtl_zmtp zmtp;

int peer_open(void) {
    struct sockaddr_in own = peer_own_address();
    const int yes = 1;
    listener = zsock_socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    if (listener < 0) {
        return -errno;
    }
    zsock_setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (zsock_bind(listener, (struct sockaddr *)&own, sizeof own) != 0 ||
        zsock_listen(listener, 1) != 0) {
        return -errno;
    }
    return 0;
}

struct zsock_pollfd peer_waits_for(void) {
    size_t n = 0;
    if (peer >= 0) {
        rtl_zmtp_pending(&zmtp, &n);
    }
    return (struct zsock_pollfd){
        .fd = peer >= 0 ? peer : listener,
        .events = n > 0 ? ZSOCK_POLLIN | ZSOCK_POLLOUT : ZSOCK_POLLIN,
    };
}

uint64_t peer_deadline_us(void) {
    return peer >= 0 ? rtl_zmtp_deadline_us(&zmtp) : RTL_ZMTP_NEVER_US;
}

static void let_go(const char *why) {
    LOG_INF("the ZeroMQ peer has left: %s", why);
    zsock_close(peer);
    peer = -1;
}

static void accept_peer(uint64_t now_us) {
    const rtl_zmtp_settings settings = {
        .in = in,
        .in_size = sizeof in,
        .out = out,
        .out_size = sizeof out,
        .idle_timeout_us = IDLE_US,
    };
    const int yes = 1;
    peer = zsock_accept(listener, NULL, NULL);
    if (peer >= 0) {
        zsock_setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        rtl_zmtp_init(&zmtp, &settings, now_us);
    }
}

static bool is_gone(ssize_t done) {
    return done == 0 || (done < 0 && errno != EAGAIN && errno != EINTR);
}

static void on_message(void *now_us, const uint8_t *packet, size_t size) {
    network_link_take(&(rtl_address){0}, packet, size, *(const uint64_t *)now_us);
}

void peer_receive(uint64_t now_us) {
    if (peer < 0) {
        accept_peer(now_us); /* its bytes end the next wait */
        return;
    }
    uint8_t bytes[256];
    ssize_t n;
    while ((n = zsock_recv(peer, bytes, sizeof bytes, ZSOCK_MSG_DONTWAIT)) > 0) {
        rtl_zmtp_receive(&zmtp, bytes, (size_t)n, now_us, on_message, &now_us);
    }
    rtl_zmtp_tick(&zmtp, now_us);
    if (is_gone(n)) {
        let_go("it hung up");
    } else if (rtl_zmtp_failed(&zmtp) != RTL_ZMTP_OK) {
        peer_flush(); /* ERROR says why, if there is room */
        if (peer >= 0) {
            let_go(rtl_zmtp_failure_text(rtl_zmtp_failed(&zmtp)));
        }
    }
}

void peer_send(const rtl_address *to, const uint8_t *packet, size_t size) {
    if (peer >= 0) {
        rtl_zmtp_send(&zmtp, packet, size);
    }
}

void peer_flush(void) {
    size_t n = 0;
    ssize_t put = 1;
    while (peer >= 0 && put > 0) {
        const uint8_t *const bytes = rtl_zmtp_pending(&zmtp, &n);
        if (n == 0) {
            return;
        }
        put = zsock_send(peer, bytes, n, ZSOCK_MSG_DONTWAIT);
        if (put > 0) {
            rtl_zmtp_consumed(&zmtp, (size_t)put);
        } else if (is_gone(put)) {
            let_go("it hung up");
        }
    }
}

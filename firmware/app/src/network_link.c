#include "network_link.h"

#include <string.h>
#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>
#include <zephyr/net/socket.h>
#include <zephyr/zvfs/eventfd.h>

#include "loop.h"
#include "network_peer.h"

LOG_MODULE_REGISTER(rtloop_network);

#define QUEUED 4

typedef struct queued_packet {
    rtl_address peer; /* from whom, or to whom */
    uint64_t arrived_us;
    uint16_t size;
    uint8_t bytes[RTL_PACKET_MAX];
} queued_packet;

K_MSGQ_DEFINE(packets_received, sizeof(queued_packet), QUEUED, 8);
K_MSGQ_DEFINE(packets_to_send, sizeof(queued_packet), QUEUED, 8);

static int something_to_send = -1; /* an eventfd, so that poll() ends for it, too */

/* The eventfd takes a mutex, which is nothing for the loop. */
static void on_nudge(struct k_work *work) {
    ARG_UNUSED(work);
    zvfs_eventfd_write(something_to_send, 1);
}

static K_WORK_DEFINE(nudge, on_nudge);

size_t network_link_read(uint8_t *packet, rtl_address *from, uint64_t *arrived_us) {
    static queued_packet next;
    if (k_msgq_get(&packets_received, &next, K_NO_WAIT) != 0) {
        return 0;
    }
    memcpy(packet, next.bytes, next.size);
    *from = next.peer;
    *arrived_us = next.arrived_us;
    return next.size;
}

bool network_link_write(void *context, const uint8_t *packet, size_t size) {
    const rtl_device *const device = context;
    static queued_packet next;
    next.peer = device->answer_to.address;
    next.size = (uint16_t)size;
    memcpy(next.bytes, packet, size);
    if (k_msgq_put(&packets_to_send, &next, K_NO_WAIT) != 0) {
        return false;
    }
    k_work_submit(&nudge);
    return true;
}

static void on_packet(void *arrived_us, const rtl_address *from, const uint8_t *packet,
                      size_t size) {
    static queued_packet next;
    if (size == 0 || size > RTL_PACKET_MAX) {
        return;
    }
    next.peer = *from;
    next.arrived_us = *(const uint64_t *)arrived_us;
    next.size = (uint16_t)size;
    memcpy(next.bytes, packet, size);
    if (k_msgq_put(&packets_received, &next, K_NO_WAIT) == 0) {
        loop_wake();
    }
}

static int wait_ms(uint64_t deadline_us) {
    const uint64_t now_us = loop_now_us();
    if (deadline_us == RTL_NEVER_US) {
        return -1;
    }
    return deadline_us <= now_us ? 0 : (int)((deadline_us - now_us) / 1000u) + 1;
}

static void serve(void *unused_1, void *unused_2, void *unused_3) {
    ARG_UNUSED(unused_1), ARG_UNUSED(unused_2), ARG_UNUSED(unused_3);
    static queued_packet next;
    for (;;) {
        struct zsock_pollfd waiting[] = {{.fd = something_to_send, .events = ZSOCK_POLLIN},
                                         peer_waits_for()};
        zsock_poll(waiting, ARRAY_SIZE(waiting), wait_ms(peer_deadline_us()));
        zvfs_eventfd_t count;
        if ((waiting[0].revents & ZSOCK_POLLIN) != 0) {
            zvfs_eventfd_read(something_to_send, &count);
        }
        uint64_t now_us = loop_now_us();
        if (waiting[1].revents != 0 || peer_deadline_us() <= now_us) {
            peer_receive(now_us, on_packet, &now_us);
        }
        while (k_msgq_get(&packets_to_send, &next, K_NO_WAIT) == 0) {
            peer_send(&next.peer, next.bytes, next.size);
        }
        peer_flush();
    }
}

K_THREAD_DEFINE(network_link, CONFIG_APP_NETWORK_STACK_SIZE, serve, NULL, NULL, NULL,
                K_PRIO_PREEMPT(1), 0, SYS_FOREVER_MS);

int network_link_start(void) {
    const int failed = peer_open();
    if (failed != 0) {
        LOG_ERR("port %d cannot be opened: %d", CONFIG_APP_LINK_PORT, failed);
        return failed;
    }
    something_to_send = zvfs_eventfd(0, ZVFS_EFD_NONBLOCK);
    if (something_to_send < 0) {
        return -errno;
    }
    k_thread_start(network_link);
    return 0;
}

#include "network_link.h"

#include <string.h>
#include <zephyr/kernel.h>
#include <zephyr/logging/log.h>
#include <zephyr/net/socket.h>
#include <zephyr/zvfs/eventfd.h>

#include "device_time.h"
#include "loop.h"
#include "network_peer.h"

LOG_MODULE_REGISTER(rtloop_network);

#define QUEUED 4

K_MSGQ_DEFINE(packets_received, sizeof(network_packet), QUEUED, 8);
K_MSGQ_DEFINE(packets_to_send, sizeof(network_packet), QUEUED, 8);

static int something_to_send = -1; /* an eventfd, so that poll() ends for it, too */

/* The eventfd takes a mutex, which is nothing for the loop. */
static void on_nudge(struct k_work *work) {
    zvfs_eventfd_write(something_to_send, 1);
}

static K_WORK_DEFINE(nudge, on_nudge);

const network_packet *network_link_read(void) {
    static network_packet next;
    return k_msgq_get(&packets_received, &next, K_NO_WAIT) == 0 ? &next : NULL;
}

static bool put(struct k_msgq *queue, network_packet *next, const rtl_address *peer,
                const uint8_t *packet, size_t size) {
    next->peer = *peer;
    next->size = (uint16_t)size;
    memcpy(next->bytes, packet, size);
    return k_msgq_put(queue, next, K_NO_WAIT) == 0;
}

bool network_link_write(void *context, const uint8_t *packet, size_t size) {
    const rtl_device *const device = context;
    static network_packet next;
    const bool has_room = put(&packets_to_send, &next, &device->answer_to.address, packet, size);
    if (has_room) {
        k_work_submit(&nudge);
    }
    return has_room;
}

void network_link_take(const rtl_address *from, const uint8_t *packet, size_t size,
                       uint64_t arrived_us) {
    static network_packet next = {0};
    next.arrived_us = arrived_us;
    if (size > 0 && size <= RTL_PACKET_MAX && put(&packets_received, &next, from, packet, size)) {
        loop_wake();
    }
}

static int wait_ms(uint64_t deadline_us) {
    const uint64_t now_us = device_time_us();
    if (deadline_us == RTL_NEVER_US) {
        return -1;
    }
    return deadline_us <= now_us ? 0 : (int)((deadline_us - now_us) / 1000u) + 1;
}

static void serve(void *unused_1, void *unused_2, void *unused_3) {
    static network_packet next;
    for (;;) {
        struct zsock_pollfd waiting[] = {{.fd = something_to_send, .events = ZSOCK_POLLIN},
                                         peer_waits_for()};
        zsock_poll(waiting, ARRAY_SIZE(waiting), wait_ms(peer_deadline_us()));
        zvfs_eventfd_t count;
        if ((waiting[0].revents & ZSOCK_POLLIN) != 0) {
            zvfs_eventfd_read(something_to_send, &count);
        }
        const uint64_t now_us = device_time_us();
        if (waiting[1].revents != 0 || peer_deadline_us() <= now_us) {
            peer_receive(now_us);
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

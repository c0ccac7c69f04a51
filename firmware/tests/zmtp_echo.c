/*
 * zmtp_echo: sends back every message that comes over ZeroMQ, and prints its address. Each message
 * ends with the CRC-32 of the bytes before it; one that does not ends the program with 1.
 *
 * It reads no more while there is no room for an answer, so that none is refused.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rtloop/packet.h"
#include "tcp.h"

#define MESSAGE_MAX 70000u
#define READ_MOST 4096u /* of one tcp_receive() */

static tcp line;
static uint8_t in[MESSAGE_MAX];
/* For all the messages of one read: many small ones are 9 bytes each with their frames. */
static uint8_t out[2 * (MESSAGE_MAX + 2 * READ_MOST)];

static void echo(void *context, const uint8_t *message, size_t size) {
    (void)context;
    uint8_t expected[4] = {0};
    const uint32_t crc = size < 4 ? 0 : rtl_crc32(message, size - 4);
    for (unsigned i = 0; i < 4; ++i) {
        expected[i] = (uint8_t)(crc >> (8 * i));
    }
    if (size < 4 || memcmp(message + size - 4, expected, 4) != 0) {
        fputs("zmtp_echo: a message was damaged\n", stderr);
        exit(1);
    }
    if (!tcp_send(&line, message, size)) {
        fputs("zmtp_echo: no room for an answer\n", stderr);
        exit(1);
    }
}

static bool has_room(void) {
    size_t n = 0;
    if (line.fd >= 0) {
        rtl_zmtp_pending(&line.zmtp, &n);
    }
    return n < MESSAGE_MAX / 2;
}

int main(void) {
    const rtl_zmtp_settings settings = {in, sizeof in, out, sizeof out, 0};
    char error[256];
    if (!tcp_open(&line, "tcp://127.0.0.1:0", &settings, error, sizeof error)) {
        fprintf(stderr, "zmtp_echo: %s\n", error);
        return 1;
    }
    printf("%s\n", line.address);
    fflush(stdout);
    for (;;) {
        struct pollfd waiting = {line.fd < 0 ? line.listen_fd : line.fd, POLLIN, 0};
        if (!has_room()) {
            waiting.events = POLLOUT;
        } else if (line.fd >= 0) {
            waiting.events = tcp_poll_events(&line);
        }
        poll(&waiting, 1, -1);
        tcp_flush(&line);
        if (has_room()) {
            tcp_receive(&line, 0, echo, NULL);
        }
        tcp_flush(&line);
    }
}

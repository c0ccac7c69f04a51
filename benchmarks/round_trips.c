/*
 * The host's end of a round trip, without Python: a time request of the link's protocol goes out,
 * and comes back as it is (an echo) or as its reply (a device). Called by ctypes, which lets go of
 * the GIL.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rtloop/frame.h"
#include "rtloop/messages.h"
#include "rtloop/packet.h"

#define TIMEOUT_MS 5000
#define READ_SIZE 4096

typedef struct {
    int fd;
    int keeps_packets; /* else bytes of frames */
    int is_echo;
    uint16_t schema_id;
    int64_t pause_ns; /* between two of them */
} round_trips_line;

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static size_t make_request(const round_trips_line *line, int64_t began_ns, uint8_t *out) {
    uint8_t payload[RTL_PAYLOAD_MAX], packet[RTL_PACKET_MAX];
    static uint16_t seq = 1000; /* a number that came before is a copy, and not answered */
    const rtl_header header = {
        .type = RTL_TYPE_TIME_REQUEST, .seq = seq++, .schema_id = line->schema_id};
    const rtl_time_request request = {(uint64_t)began_ns};
    const size_t size =
        rtl_packet_encode(&header, payload, rtl_time_request_encode(&request, payload), packet);
    if (line->keeps_packets) {
        memcpy(out, packet, size);
        return size;
    }
    return rtl_frame_encode(packet, size, out);
}

/* Whether this is what came of the request: itself, or its reply. */
static bool is_answer(const round_trips_line *line, int64_t began_ns, const uint8_t *packet,
                      size_t packet_size) {
    rtl_header header;
    const uint8_t *payload;
    size_t size;
    rtl_time_reply reply;
    rtl_time_request request;
    if (rtl_packet_decode(packet, packet_size, &header, &payload, &size) != RTL_OK) {
        return false;
    }
    if (line->is_echo) {
        return header.type == RTL_TYPE_TIME_REQUEST &&
               rtl_time_request_decode(payload, size, &request) &&
               (int64_t)request.host_ns == began_ns;
    }
    return header.type == RTL_TYPE_TIME_REPLY && rtl_time_reply_decode(payload, size, &reply) &&
           (int64_t)reply.host_ns == began_ns;
}

static bool has_answer(const round_trips_line *line, int64_t began_ns, rtl_frame_decoder *decoder,
                       const uint8_t *bytes, size_t n) {
    if (line->keeps_packets) {
        return is_answer(line, began_ns, bytes, n);
    }
    bool found = false;
    for (size_t used = 0; used < n;) {
        const uint8_t *packet;
        size_t size;
        used += rtl_frame_decoder_feed(decoder, bytes + used, n - used, &packet, &size);
        found |= size > 0 && is_answer(line, began_ns, packet, size);
    }
    return found;
}

/* How long one took, ns; -1: there was no answer. Samples that came meanwhile are nobody's. */
static int64_t round_trip(const round_trips_line *line, rtl_frame_decoder *decoder) {
    uint8_t bytes[READ_SIZE];
    struct pollfd waiting = {.fd = line->fd, .events = POLLIN};
    while (poll(&waiting, 1, 0) > 0 && read(line->fd, bytes, sizeof bytes) > 0) {
    }
    rtl_frame_decoder_init(decoder);
    const int64_t began_ns = now_ns();
    const size_t size = make_request(line, began_ns, bytes);
    if (write(line->fd, bytes, size) != (ssize_t)size) {
        return -1;
    }
    while (now_ns() - began_ns < TIMEOUT_MS * INT64_C(1000000) &&
           poll(&waiting, 1, TIMEOUT_MS) > 0) {
        const ssize_t n = read(line->fd, bytes, sizeof bytes);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            return -1;
        }
        if (n > 0 && has_answer(line, began_ns, decoder, bytes, (size_t)n)) {
            return now_ns() - began_ns;
        }
    }
    return -1;
}

/* `n` of them, one after the other; how many had an answer. */
int round_trips(const round_trips_line *line, int64_t *times_ns, int n) {
    rtl_frame_decoder decoder;
    const struct timespec pause = {.tv_nsec = (long)line->pause_ns};
    for (int i = 0; i < n; ++i) {
        times_ns[i] = round_trip(line, &decoder);
        if (times_ns[i] < 0) {
            return i;
        }
        nanosleep(&pause, NULL);
    }
    return n;
}

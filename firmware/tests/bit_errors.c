/*
 * bit_errors FORM FRAMES SEED ONE_IN: a device behind a wire that flips one bit in ONE_IN,
 * delimiters and heads of frames included. FORM is what travels: `stream`, COBS on a serial line;
 * `packets`, as UDP and the messages of ZeroMQ carry them; `zmtp`, the bytes of a ZeroMQ
 * connection, made anew each time that the peer gives it up.
 *
 * - What is applied and what is answered was sent, bit for bit.
 * - Sent = accepted + told to be lost (`seq_gaps`), to the packet.
 * - Accepted is exactly what came through whole; on a stream, where its beginning did, too: the
 *   delimiter before it. (Of a connection that was given up, at most that.)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bit_flips.h"
#include "rig.h"
#include "rtloop/zmtp.h"

typedef enum { STREAM, PACKETS, ZMTP } form;

static const char *const form_names[] = {"stream", "packets", "zmtp"};

static rig r;
static form travels;
static bit_flips wire;
static uint64_t seed;
static unsigned long long sent, whole, applied, replies, connections;
static bool begins_well = true; /* the delimiter before came through */
static uint32_t newest;         /* the number of the packet sent last */

static rtl_zmtp zmtp;
static uint8_t zmtp_in[RTL_PACKET_MAX], zmtp_out[4096];

static void fail(const char *what) {
    printf("after %llu frames: %s\n", sent, what);
    exit(1);
}

/* ---- what the device did ------------------------------------------------------------------- */

/* A packet carries its number, so that it cannot be taken for another one: 23 bits, which a float
 * holds, in a command, and all of 64 that depend on it in a time request. */
static float value_of(uint32_t number) {
    return (float)(number & 0x7fffffu) - 4194304.0f;
}

static uint64_t time_of(uint32_t number) {
    uint64_t mixed = number;
    return random_word(&mixed);
}

static void apply(void *context, const float *values) {
    (void)context;
    ++applied;
    if (values[0] != value_of(newest) && values[0] != value_of(newest - 1)) {
        fail("a command was applied that was not sent");
    }
}

static bool transmit_packet(void *context, const uint8_t *packet, size_t size) {
    (void)context;
    rtl_header header;
    const uint8_t *payload;
    size_t payload_size;
    rtl_time_reply reply;
    if (rtl_packet_decode(packet, size, &header, &payload, &payload_size) != RTL_OK) {
        fail("the device sent something malformed");
    }
    if (header.type == RTL_TYPE_TIME_REPLY &&
        rtl_time_reply_decode(payload, payload_size, &reply)) {
        ++replies;
        if (reply.host_ns != time_of(newest) && reply.host_ns != time_of(newest - 1)) {
            fail("a time request was answered that was not sent");
        }
    }
    return true;
}

static bool transmit_frame(void *context, const uint8_t *bytes, size_t n) {
    rtl_frame_decoder decoder;
    const uint8_t *packet;
    size_t size;
    rtl_frame_decoder_init(&decoder);
    rtl_frame_decoder_feed(&decoder, bytes, n, &packet, &size);
    return transmit_packet(context, packet, size);
}

/* ---- what travels -------------------------------------------------------------------------- */

static void on_message(void *context, const uint8_t *message, size_t size) {
    (void)context;
    rtl_device_receive_packet(&r.device, message, size, r.now_us);
}

static void connect_anew(void) {
    static const char ready[] = "\4\x1c\5READY\xbSocket-Type\0\0\0\6DEALER";
    uint8_t hello[64 + sizeof ready - 1] = {0xff, [8] = 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
    memcpy(hello + 64, ready, sizeof ready - 1);
    const rtl_zmtp_settings settings = {zmtp_in, sizeof zmtp_in, zmtp_out, sizeof zmtp_out, 0};
    if (!rtl_zmtp_init(&zmtp, &settings, 0)) {
        fail("no connection");
    }
    rtl_zmtp_receive(&zmtp, hello, sizeof hello, 0, on_message, NULL);
    if (!rtl_zmtp_is_ready(&zmtp)) {
        fail("no connection: the handshake was whole");
    }
    ++connections;
}

static void carry_message(uint8_t *packet, size_t size) {
    uint8_t frame[RTL_PACKET_MAX + 9] = {0, (uint8_t)size};
    size_t head = 2;
    if (size > 255) {
        frame[0] = 2;
        frame[1] = 0;
        frame[7] = (uint8_t)(size >> 8);
        frame[8] = (uint8_t)size;
        head = 9;
    }
    memcpy(frame + head, packet, size);
    whole += bit_flips_send(&wire, frame, head + size) == 0;
    rtl_zmtp_receive(&zmtp, frame, head + size, 0, on_message, NULL);
    rtl_zmtp_consumed(&zmtp, SIZE_MAX);
    if (rtl_zmtp_failed(&zmtp) != RTL_ZMTP_OK) {
        connect_anew();
    }
}

static void carry(uint8_t *packet, size_t size) {
    uint8_t frame[RTL_FRAME_MAX];
    if (travels == ZMTP) {
        carry_message(packet, size);
    } else if (travels == PACKETS) {
        whole += bit_flips_send(&wire, packet, size) == 0;
        rtl_device_receive_packet(&r.device, packet, size, r.now_us);
    } else {
        const size_t n = rtl_frame_encode(packet, size, frame);
        whole += (bit_flips_send(&wire, frame, n) == 0) && begins_well;
        begins_well = frame[n - 1] == 0;
        rtl_device_receive(&r.device, frame, n, r.now_us);
    }
}

/* Mostly what a loop sends; now and then a packet as long as they get, of a type that nobody knows.
 */
static void send_one(void) {
    uint8_t payload[RTL_PAYLOAD_MAX], packet[RTL_PACKET_MAX];
    rtl_header header = {.type = RTL_TYPE_COMMAND,
                         .seq = r.tx_seq++,
                         .schema_id = r.schema_id,
                         .time_us = (uint32_t)r.now_us};
    size_t size;
    ++newest;
    const uint32_t kind = random_below(&seed, 16);
    if (kind < 10) {
        const rtl_command command = {(uint32_t)r.now_us + 10000u, 1, {value_of(newest)}};
        size = rtl_command_encode(&command, payload);
    } else if (kind < 15) {
        header.type = RTL_TYPE_TIME_REQUEST;
        size = rtl_time_request_encode(&(rtl_time_request){time_of(newest)}, payload);
    } else {
        header.type = 200;
        size = random_below(&seed, RTL_PAYLOAD_MAX + 1);
        memset(payload, (int)newest, size);
    }
    size = rtl_packet_encode(&header, payload, size, packet);
    ++sent;
    r.now_us += 2;
    carry(packet, size);
}

/* ---- all of it ----------------------------------------------------------------------------- */

static void open_device(void) {
    static const float limit_min[] = {-1e7f}, limit_max[] = {1e7f};
    rig_init(&r, 0);
    rtl_hardware hardware = rig_hardware(&r);
    rtl_description description = rig_description();
    hardware.apply = apply;
    hardware.transmit = travels == STREAM ? transmit_frame : NULL;
    hardware.transmit_packet = travels == STREAM ? NULL : transmit_packet;
    hardware.command_min = limit_min;
    hardware.command_max = limit_max;
    description.max_link_errors = 0; /* a machine would have given up long ago */
    if (!rtl_device_init(&r.device, &hardware, &description)) {
        fail("no device");
    }
    rtl_device_ready(&r.device);
}

/* A wire without errors, for what must arrive. */
static void carry_whole(rtl_type type, const uint8_t *payload, size_t size) {
    const bit_flips damaged = wire;
    uint8_t packet[RTL_PACKET_MAX];
    const rtl_header header = {.type = (uint8_t)type,
                               .seq = r.tx_seq++,
                               .schema_id = r.schema_id,
                               .time_us = (uint32_t)r.now_us};
    wire.bits_left = UINT64_MAX;
    if (travels == ZMTP) {
        connect_anew();
    }
    carry(packet, rtl_packet_encode(&header, payload, size, packet));
    wire = damaged;
    ++sent;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fputs("usage: bit_errors stream|packets|zmtp FRAMES SEED ONE_IN\n", stderr);
        return 2;
    }
    while (strcmp(argv[1], form_names[travels]) != 0) {
        if (travels == ZMTP) {
            fputs("bit_errors: FORM is stream, packets or zmtp\n", stderr);
            return 2;
        }
        ++travels;
    }
    const unsigned long long wanted = strtoull(argv[2], NULL, 10);
    seed = strtoull(argv[3], NULL, 10);
    bit_flips_init(&wire, seed, (uint32_t)strtoul(argv[4], NULL, 10));

    uint8_t payload[RTL_PAYLOAD_MAX];
    open_device();
    carry_whole(RTL_TYPE_HELLO, payload, rtl_hello_encode(&(rtl_hello){1, 1}, payload));
    carry_whole(RTL_TYPE_ARM, payload, rtl_arm_encode(&(rtl_arm){RTL_CLASS_SOFT, 0, 0}, payload));
    while (sent < wanted) {
        send_one();
    }
    if (travels == STREAM) { /* whatever was cut before ends here */
        rtl_device_receive(&r.device, (const uint8_t[]){0}, 1, r.now_us);
        begins_well = true;
    }
    carry_whole(RTL_TYPE_STATUS_REQUEST, NULL, 0);

    const rtl_device *const d = &r.device;
    const unsigned long long accepted = d->rx_packets, lost = d->seq_gaps;
    printf(
        "%s, one bit in %s flipped: %llu packets sent, %llu came through whole, %llu accepted, "
        "%llu "
        "told to be lost; %llu commands applied, %llu time requests answered, none that was not "
        "sent; %u CRC errors, %u frame errors, %llu connections\n",
        argv[1], argv[4], sent, whole, accepted, lost, applied, replies, (unsigned)d->crc_errors,
        (unsigned)d->frame_errors, connections);
    if (accepted + lost != sent) {
        fail("sent is not accepted + lost");
    }
    if (travels == ZMTP ? accepted > whole : accepted != whole) {
        fail("accepted is not what came through whole");
    }
    /* A run in which nothing was damaged, or nothing arrived, has tested nothing. */
    return applied > 0 && replies > 0 && lost > 0 && d->crc_errors > 0 ? 0 : 1;
}

/* A device on a stream and on packets at once, and on packets of many: where its one host is, and
 * what the others may. */
#include <string.h>

#include "check.h"
#include "rig.h"

static rig r; /* its line is the stream */
static unsigned packets[RIG_TYPES];
static rtl_header last_header;
static bool packets_are_full;

static bool transmit_packet(void *context, const uint8_t *packet, size_t size) {
    (void)context;
    const uint8_t *payload;
    size_t payload_size;
    if (packets_are_full) {
        return false;
    }
    CHECK_EQUAL(rtl_packet_decode(packet, size, &last_header, &payload, &payload_size), RTL_OK);
    packets[last_header.type % RIG_TYPES]++;
    return true;
}

static void begin(void) {
    rig_init(&r, 0);
    rtl_hardware hardware = r.device.hardware;
    const rtl_description description = r.device.description;
    hardware.transmit_packet = transmit_packet;
    CHECK(rtl_device_init(&r.device, &hardware, &description));
    rtl_device_ready(&r.device);
    memset(packets, 0, sizeof packets);
    packets_are_full = false;
}

static void send_packet(rtl_type type, uint16_t seq, const void *payload, size_t size) {
    const rtl_header header = {.type = (uint8_t)type, .seq = seq, .schema_id = r.schema_id};
    uint8_t packet[RTL_PACKET_MAX];
    const size_t packet_size = rtl_packet_encode(&header, payload, size, packet);
    rtl_device_receive_packet(&r.device, packet, packet_size, r.now_us);
}

static void send_hello(uint16_t seq) {
    const rtl_hello hello = {1, 1};
    uint8_t payload[RTL_PAYLOAD_MAX];
    send_packet(RTL_TYPE_HELLO, seq, payload, rtl_hello_encode(&hello, payload));
}

static void send_command(uint16_t seq) {
    const rtl_command command = {(uint32_t)r.now_us + 1000, 1, {3.0f}};
    uint8_t payload[RTL_PAYLOAD_MAX];
    send_packet(RTL_TYPE_COMMAND, seq, payload, rtl_command_encode(&command, payload));
}

/* How many packets came on the stream since the last look. */
static unsigned on_stream(void) {
    unsigned n = 0;
    for (unsigned i = 0; i < RIG_TYPES; ++i) {
        n += r.received[i];
        r.received[i] = 0;
    }
    return n;
}

static void a_session_over_packets_alone(void) {
    begin();
    send_hello(7);
    CHECK_EQUAL(packets[RTL_TYPE_HELLO_REPLY], 1);
    CHECK_EQUAL(last_header.ack, 7);
    rig_run(&r, 10 * RIG_PERIOD_US);
    CHECK_EQUAL(packets[RTL_TYPE_SENSOR], 10);
    const rtl_arm arm = {RTL_CLASS_FIRM, 0, 0};
    uint8_t payload[RTL_PAYLOAD_MAX];
    send_packet(RTL_TYPE_ARM, 8, payload, rtl_arm_encode(&arm, payload));
    CHECK_EQUAL(packets[RTL_TYPE_STATUS], 1);
    send_command(9);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    CHECK(r.applied_value == 3.0f);
    CHECK_EQUAL(on_stream(), 0);
    packets_are_full = true;
    rig_run(&r, RIG_PERIOD_US);
    CHECK_EQUAL(r.device.tx_dropped, 2); /* a sample, and the event that goes on waiting */
}

static void the_last_hello_says_where_the_host_is(void) {
    begin();
    send_hello(1);
    rig_send_hello(&r, 1, 1);
    CHECK_EQUAL(r.received[RTL_TYPE_HELLO_REPLY], 1);
    rig_run(&r, 10 * RIG_PERIOD_US);
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], 10);
    CHECK_EQUAL(packets[RTL_TYPE_SENSOR], 0);
    on_stream();
    send_packet(RTL_TYPE_STATUS_REQUEST, 2, NULL, 0); /* it has lost the device */
    CHECK_EQUAL(packets[RTL_TYPE_STATUS] + on_stream(), 0);
    send_hello(3);
    rig_run(&r, 10 * RIG_PERIOD_US);
    CHECK_EQUAL(packets[RTL_TYPE_SENSOR], 10);
    CHECK_EQUAL(on_stream(), 0);
    CHECK_EQUAL(r.device.seq_gaps, 0);
}

static void a_hello_of_another_version_is_answered_and_takes_nothing_over(void) {
    const rtl_hello hello = {2, 3};
    uint8_t payload[RTL_PAYLOAD_MAX];
    begin();
    rig_send_hello(&r, 1, 1);
    send_packet(RTL_TYPE_HELLO, 9, payload, rtl_hello_encode(&hello, payload));
    CHECK_EQUAL(packets[RTL_TYPE_HELLO_REPLY], 1);
    rig_run(&r, 10 * RIG_PERIOD_US);
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], 10);
}

static void while_it_moves_nobody_else_takes_it_over_or_commands_it(void) {
    begin();
    rig_activate(&r);
    send_hello(1);
    send_command(60000);
    CHECK_EQUAL(packets[RTL_TYPE_HELLO_REPLY], 0);
    CHECK(r.applied_value == 1.0f);
    rig_send_command(&r, 2.0f, 1000);
    CHECK(r.applied_value == 2.0f);
    CHECK_EQUAL(r.device.seq_gaps, 0);
    rig_run(&r, RIG_TIMEOUT_US + 2 * RIG_PERIOD_US);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
    send_hello(2); /* now it may, and is told the reason */
    CHECK_EQUAL(packets[RTL_TYPE_HELLO_REPLY], 1);
    send_packet(RTL_TYPE_CLEAR, 3, NULL, 0);
    CHECK_EQUAL(r.device.state, RTL_STATE_IDLE);
}

static void a_stop_is_obeyed_from_anywhere_and_answered_where_it_came_from(void) {
    begin();
    rig_activate(&r);
    send_packet(RTL_TYPE_STOP, 500, NULL, 0);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
    CHECK_EQUAL(packets[RTL_TYPE_STATUS], 1);
    CHECK_EQUAL(last_header.ack, 500);
    on_stream();
    rig_send_plain(&r, RTL_TYPE_STATUS_REQUEST);
    CHECK_EQUAL(r.received[RTL_TYPE_STATUS], 1); /* the host is where it was */
    CHECK_EQUAL(r.last_header.ack, (uint16_t)(r.tx_seq - 1));
    CHECK_EQUAL(r.device.seq_gaps, 0);
}

static void damage_where_the_host_is_not_does_not_count(void) {
    static const uint8_t noise[20] = {3, 9};
    begin();
    rig_activate(&r);
    for (unsigned i = 0; i < 2 * RIG_LINK_ERRORS; ++i) {
        rtl_device_receive_packet(&r.device, noise, sizeof noise, r.now_us);
    }
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    CHECK_EQUAL(r.device.crc_errors + r.device.frame_errors, 0);
    rig_send_stop(&r, 0);
    send_hello(1);
    for (unsigned i = 0; i < 2 * RIG_LINK_ERRORS; ++i) {
        rig_receive(&r, (const uint8_t *)"\5ab\0", 4);
        rig_send_damaged(&r);
    }
    CHECK_EQUAL(r.device.crc_errors + r.device.frame_errors, 0);
    rtl_device_receive_packet(&r.device, noise, sizeof noise, r.now_us);
    CHECK_EQUAL(r.device.crc_errors, 1);
}

/* ---- many that can send ---------------------------------------------------------------------- */

static const rtl_address here = {6, {127, 0, 0, 1, 9, 9}};
static const rtl_address there = {6, {127, 0, 0, 1, 9, 8}};
static const rtl_address longer = {7, {127, 0, 0, 1, 9, 9}};
static unsigned sent_here, sent_there, sent_elsewhere;

static bool is_it(const rtl_address *a, const rtl_address *b) {
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

static bool transmit_somewhere(void *context, const uint8_t *packet, size_t size) {
    const rtl_address *const to = &r.device.answer_to.address;
    sent_here += is_it(to, &here);
    sent_there += is_it(to, &there);
    sent_elsewhere += !is_it(to, &here) && !is_it(to, &there);
    return transmit_packet(context, packet, size);
}

static void send_from(const rtl_address *from, rtl_type type, uint16_t seq, const void *payload,
                      size_t size) {
    const rtl_header header = {.type = (uint8_t)type, .seq = seq, .schema_id = r.schema_id};
    uint8_t packet[RTL_PACKET_MAX];
    const size_t packet_size = rtl_packet_encode(&header, payload, size, packet);
    rtl_device_receive_packet_from(&r.device, from, packet, packet_size, r.now_us);
}

static void send_hello_from(const rtl_address *from, uint16_t seq) {
    const rtl_hello hello = {1, 1};
    uint8_t payload[RTL_PAYLOAD_MAX];
    send_from(from, RTL_TYPE_HELLO, seq, payload, rtl_hello_encode(&hello, payload));
}

static void send_command_from(const rtl_address *from, uint16_t seq, float value) {
    const rtl_command command = {(uint32_t)r.now_us + 1000, 1, {value}};
    uint8_t payload[RTL_PAYLOAD_MAX];
    send_from(from, RTL_TYPE_COMMAND, seq, payload, rtl_command_encode(&command, payload));
}

/* The host is here. */
static void begin_among_many(void) {
    begin();
    rtl_hardware hardware = r.device.hardware;
    const rtl_description description = r.device.description;
    hardware.transmit_packet = transmit_somewhere;
    CHECK(rtl_device_init(&r.device, &hardware, &description));
    rtl_device_ready(&r.device);
    send_hello_from(&here, 1);
    rig_run(&r, RIG_PERIOD_US); /* with the event of its being ready */
    sent_here = sent_there = sent_elsewhere = 0;
}

static void activate_from(const rtl_address *from) {
    const rtl_arm arm = {RTL_CLASS_FIRM, 0, 0};
    uint8_t payload[RTL_PAYLOAD_MAX];
    send_from(from, RTL_TYPE_ARM, 2, payload, rtl_arm_encode(&arm, payload));
    send_command_from(from, 3, 1.0f);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
}

static void who_said_hello_last_is_the_host_by_address(void) {
    begin_among_many();
    rig_run(&r, 3 * RIG_PERIOD_US);
    CHECK_EQUAL(sent_here, 3);
    send_from(&there, RTL_TYPE_STATUS_REQUEST, 5, NULL, 0);
    send_from(&longer, RTL_TYPE_STATUS_REQUEST, 5, NULL, 0);
    CHECK_EQUAL(packets[RTL_TYPE_STATUS], 0);
    send_hello_from(&there, 6);
    rig_run(&r, 3 * RIG_PERIOD_US);
    CHECK_EQUAL(sent_here, 3);
    CHECK_EQUAL(sent_there, 1 + 3);
    CHECK_EQUAL(sent_elsewhere, 0);
    send_from(&here, RTL_TYPE_STATUS_REQUEST, 2, NULL, 0); /* it has lost the device */
    CHECK_EQUAL(packets[RTL_TYPE_STATUS], 0);
    CHECK_EQUAL(r.device.seq_gaps, 0);
}

static void while_it_moves_another_address_is_not_heard(void) {
    begin_among_many();
    activate_from(&here);
    sent_here = 0;
    send_hello_from(&there, 1);
    send_command_from(&there, 4, 9.0f);
    send_from(&there, RTL_TYPE_CLEAR, 5, NULL, 0);
    CHECK(r.applied_value == 1.0f);
    CHECK_EQUAL(sent_there + sent_here, 0);
    CHECK_EQUAL(r.device.rx_packets, 3);
    send_command_from(&here, 4, 2.0f);
    CHECK(r.applied_value == 2.0f);
    CHECK_EQUAL(r.device.seq_gaps, 0);
}

static void a_stop_from_any_address_is_obeyed_and_answered_there(void) {
    begin_among_many();
    activate_from(&here);
    sent_here = 0;
    send_from(&there, RTL_TYPE_STOP, 700, NULL, 0);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
    CHECK_EQUAL(sent_there, 1);
    CHECK_EQUAL(last_header.ack, 700);
    rig_run(&r, RIG_PERIOD_US);
    CHECK(sent_here > 0); /* the host is where it was */
    CHECK_EQUAL(sent_there, 1);
}

static void damage_from_another_address_does_not_count(void) {
    static const uint8_t noise[20] = {3, 9};
    begin_among_many();
    activate_from(&here);
    for (unsigned i = 0; i < 2 * RIG_LINK_ERRORS; ++i) {
        rtl_device_receive_packet_from(&r.device, &there, noise, sizeof noise, r.now_us);
    }
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    CHECK_EQUAL(r.device.crc_errors, 0);
    for (unsigned i = 0; i < RIG_LINK_ERRORS; ++i) {
        rtl_device_receive_packet_from(&r.device, &here, noise, sizeof noise, r.now_us);
    }
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
}

static void one_transport_is_enough(void) {
    begin();
    rtl_hardware hardware = r.device.hardware;
    const rtl_description description = r.device.description;
    hardware.transmit = NULL;
    CHECK(rtl_device_init(&r.device, &hardware, &description));
    rtl_device_ready(&r.device);
    rig_send_hello(&r, 1, 1);
    CHECK(!r.device.peer_is_known);
    send_hello(1);
    CHECK_EQUAL(packets[RTL_TYPE_HELLO_REPLY], 1);
    hardware.transmit_packet = NULL;
    CHECK(!rtl_device_init(&r.device, &hardware, &description));
    rig_init(&r, 0);
    rtl_device_ready(&r.device);
    send_hello(1);
    CHECK(!r.device.peer_is_known);
}

int main(void) {
    RUN(a_session_over_packets_alone);
    RUN(the_last_hello_says_where_the_host_is);
    RUN(a_hello_of_another_version_is_answered_and_takes_nothing_over);
    RUN(while_it_moves_nobody_else_takes_it_over_or_commands_it);
    RUN(a_stop_is_obeyed_from_anywhere_and_answered_where_it_came_from);
    RUN(damage_where_the_host_is_not_does_not_count);
    RUN(who_said_hello_last_is_the_host_by_address);
    RUN(while_it_moves_another_address_is_not_heard);
    RUN(a_stop_from_any_address_is_obeyed_and_answered_there);
    RUN(damage_from_another_address_does_not_count);
    RUN(one_transport_is_enough);
    CHECK_EQUAL(r.received_bad, 0);
    return check_verdict();
}

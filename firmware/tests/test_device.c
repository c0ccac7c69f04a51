/* What the device tells: HELLO, schema, time, SENSOR, EVENT, STATUS, under a virtual clock. */
#include <string.h>

#include "check.h"
#include "rig.h"
#include "rtloop/words.h"

static rig r;

static void a_new_device_is_driven_safe_and_says_nothing(void) {
    rig_init(&r, 0);
    CHECK_EQUAL(r.safe_calls, 1);
    CHECK_EQUAL(r.device.state, RTL_STATE_INIT);
    rtl_device_ready(&r.device);
    CHECK_EQUAL(r.device.state, RTL_STATE_IDLE);
    rig_run(&r, 100000);
    CHECK_EQUAL(r.device.tx_packets, 0);
}

static void an_incomplete_description_is_refused(void) {
    rig_init(&r, 0);
    rtl_device device;
    rtl_hardware hardware = r.device.hardware;
    rtl_description description = r.device.description;
    description.sensor_period_us = 0;
    CHECK(!rtl_device_init(&device, &hardware, &description));
    description = r.device.description;
    description.n_sensor = RTL_VALUES_MAX + 1;
    CHECK(!rtl_device_init(&device, &hardware, &description));
    description = r.device.description;
    description.command_timeout_us = RIG_TIMEOUT_MAX_US + 1;
    CHECK(!rtl_device_init(&device, &hardware, &description));
    hardware.safe = NULL;
    CHECK(!rtl_device_init(&device, &hardware, &r.device.description));
}

static void hello_is_answered_with_what_the_device_is(void) {
    rig_init(&r, 0);
    rig_open(&r);
    CHECK_EQUAL(r.received[RTL_TYPE_HELLO_REPLY], 1);
    CHECK_EQUAL(r.hello_reply.version, 1);
    CHECK_EQUAL(r.hello_reply.state, RTL_STATE_IDLE);
    CHECK_EQUAL(r.hello_reply.n_sensor, 2);
    CHECK_EQUAL(r.hello_reply.n_command, 1);
    CHECK_EQUAL(r.hello_reply.schema_bytes, strlen(rig_schema));
    CHECK_EQUAL(r.hello_reply.sensor_period_us, RIG_PERIOD_US);
    CHECK_EQUAL(r.hello_reply.command_timeout_us, RIG_TIMEOUT_US);
    CHECK_EQUAL(r.hello_reply.boot_id, 77);
    CHECK(strcmp(r.hello_reply.name, "rig") == 0);
    CHECK_EQUAL(r.last_header.schema_id, r.schema_id);
}

static uint32_t told_timeout_us(rtl_state state) {
    rig_send_hello(&r, 1, 1);
    CHECK_EQUAL(r.hello_reply.state, state);
    return r.hello_reply.command_timeout_us;
}

static void hello_tells_the_command_timeout_in_force(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 50000);
    CHECK_EQUAL(told_timeout_us(RTL_STATE_ARMED), 50000);
    rig_send_arm(&r, RTL_CLASS_FIRM, 0,
                 RIG_TIMEOUT_MAX_US + 1); /* refused: those of before stand */
    CHECK_EQUAL(told_timeout_us(RTL_STATE_ARMED), 50000);
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 0);
    CHECK_EQUAL(told_timeout_us(RTL_STATE_ARMED), RIG_TIMEOUT_US);
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, RIG_TIMEOUT_MAX_US);
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(told_timeout_us(RTL_STATE_ACTIVE), RIG_TIMEOUT_MAX_US);
    rig_send_stop(&r, 0);
    CHECK_EQUAL(told_timeout_us(RTL_STATE_SAFE), RIG_TIMEOUT_US);
    rig_send_plain(&r, RTL_TYPE_CLEAR);
    CHECK_EQUAL(told_timeout_us(RTL_STATE_IDLE), RIG_TIMEOUT_US);
}

static void a_host_of_another_version_is_told_so_and_gets_no_samples(void) {
    rig_init(&r, 0);
    rtl_device_ready(&r.device);
    rig_send_hello(&r, 2, 9);
    CHECK_EQUAL(r.hello_reply.version, 0);
    rig_run(&r, 10000);
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], 0);
}

static void the_schema_comes_in_chunks_to_a_host_that_does_not_know_its_id(void) {
    char text[1024] = {0};
    size_t offset = 0;
    rig_init(&r, 0);
    rig_open(&r);
    r.schema_id = 0;
    do {
        const rtl_schema_request request = {(uint16_t)offset};
        uint8_t payload[RTL_PAYLOAD_MAX];
        rig_send(&r, RTL_TYPE_SCHEMA_REQUEST, payload,
                 rtl_schema_request_encode(&request, payload));
        CHECK_EQUAL(r.schema_chunk.offset, offset);
        CHECK_EQUAL(r.schema_chunk.total, strlen(rig_schema));
        memcpy(text + offset, r.schema_chunk.bytes, r.schema_chunk.size);
        offset += r.schema_chunk.size;
    } while (r.schema_chunk.size > 0 && offset < sizeof text - RTL_SCHEMA_CHUNK_MAX);
    CHECK(r.received[RTL_TYPE_SCHEMA_CHUNK] >= 3);
    CHECK(strcmp(text, rig_schema) == 0);
    const rtl_schema_request far = {0xffff};
    uint8_t payload[RTL_PAYLOAD_MAX];
    rig_send(&r, RTL_TYPE_SCHEMA_REQUEST, payload, rtl_schema_request_encode(&far, payload));
    CHECK_EQUAL(r.schema_chunk.size, 0);
}

static void time_requests_are_answered_with_64_bits_of_device_time(void) {
    const rtl_time_request request = {0x1122334455667788u};
    uint8_t payload[RTL_PAYLOAD_MAX];
    rig_init(&r, UINT64_C(5) << 32);
    rig_open(&r);
    rig_run(&r, 1234);
    rig_send(&r, RTL_TYPE_TIME_REQUEST, payload, rtl_time_request_encode(&request, payload));
    CHECK(r.time_reply.host_ns == request.host_ns);
    CHECK(r.time_reply.t2_us == (UINT64_C(5) << 32) + 1234);
    CHECK(r.time_reply.t3_us == r.time_reply.t2_us);
}

static void samples_leave_at_every_multiple_of_the_period(void) {
    rig_init(&r, 12345);
    rig_open(&r);
    rig_run(&r, 100000);
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], 100);
    CHECK_EQUAL(r.sensor.sample_time_us, 112000);
    CHECK_EQUAL(r.sensor.state, RTL_STATE_IDLE);
    CHECK_EQUAL(r.sensor.count, 2);
    CHECK(r.sensor.values[0] == 1.5f && r.sensor.values[1] == -2.5f);
    CHECK_EQUAL(r.last_header.ack, 0);
    CHECK_EQUAL(r.last_header.schema_id, r.schema_id);
}

static void late_ticks_skip_samples_and_do_not_shift_the_grid(void) {
    rig_init(&r, 0);
    rig_open(&r);
    r.now_us = 5700;
    rtl_device_tick(&r.device);
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], 1);
    CHECK_EQUAL(r.sensor.sample_time_us, 5700);
    r.now_us = 5999;
    rtl_device_tick(&r.device);
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], 1);
    r.now_us = 6000;
    rtl_device_tick(&r.device);
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], 2);
}

static void a_second_hello_does_not_disturb_the_samples(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    for (int i = 0; i < 10; ++i) {
        rig_run(&r, 1000);
        rig_send_command(&r, 1.0f, 1000);
        rig_send_hello(&r, 1, 1);
    }
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], 10);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
}

static void a_full_line_drops_packets_and_stalls_nothing(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    rig_run(&r, 5000);
    const unsigned before = r.received[RTL_TYPE_SENSOR];
    r.line_is_full = true;
    rig_run(&r, 100000);
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], before);
    CHECK(r.device.tx_dropped >= 100);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE); /* nor does it keep the timeout from acting */
    r.line_is_full = false;
    rig_run(&r, 10000);
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], before + 10);
    /* The event that could not leave waited. */
    CHECK_EQUAL(r.events[RTL_EVENT_STATE_CHANGE].state, RTL_STATE_SAFE);
    CHECK_EQUAL(r.events[RTL_EVENT_STATE_CHANGE].reasons, RTL_REASON_COMMAND_TIMEOUT);
}

static void missing_packets_are_counted_as_gaps(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rig_send_plain(&r, RTL_TYPE_STATUS_REQUEST);
    CHECK_EQUAL(r.status.seq_gaps, 0);
    r.tx_seq = (uint16_t)(r.tx_seq + 3);
    rig_send_plain(&r, RTL_TYPE_STATUS_REQUEST);
    CHECK_EQUAL(r.status.seq_gaps, 3);
    r.tx_seq = 65535; /* more than half the range ahead: another beginning */
    rig_send_plain(&r, RTL_TYPE_STATUS_REQUEST);
    rig_send_plain(&r, RTL_TYPE_STATUS_REQUEST); /* across the wrap */
    CHECK_EQUAL(r.status.seq_gaps, 3);
    r.tx_seq = 500;
    rig_send_hello(&r, 1, 1); /* a new host counts anew */
    r.tx_seq = 9999;
    rig_send_stop(&r, 0); /* made up ahead: its seq says nothing */
    CHECK_EQUAL(r.status.seq_gaps, 3);
    CHECK_EQUAL(r.last_header.ack, 9999);
}

static void status_tells_the_counters(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rig_send_command(&r, 1.0f, 1000);
    rig_send_damaged(&r);
    rig_receive(&r, (const uint8_t *)"\x09\x01\x02", 4); /* no frame */
    rig_receive(&r, (const uint8_t *)"", 1);             /* empty: no error */
    rig_send_plain(&r, RTL_TYPE_STATUS_REQUEST);
    CHECK_EQUAL(r.status.state, RTL_STATE_IDLE);
    CHECK_EQUAL(r.status.boot_id, 77);
    CHECK_EQUAL(r.status.rx_packets, 3);
    CHECK_EQUAL(r.status.crc_errors, 1);
    CHECK_EQUAL(r.status.frame_errors, 1);
    CHECK_EQUAL(r.status.rejected_commands, 1);
    CHECK_EQUAL(r.status.tx_packets, 1);
}

static void unknown_and_malformed_packets_are_reported_and_do_nothing(void) {
    const uint8_t payload[RTL_PAYLOAD_MAX] = {0};
    rig_init(&r, 0);
    rig_activate(&r);
    rig_send(&r, (rtl_type)200, payload, 5);
    rig_send(&r, RTL_TYPE_SENSOR, payload, 12); /* not for a device */
    rig_send(&r, RTL_TYPE_ARM, payload, 7);     /* a byte is missing */
    rig_send(&r, RTL_TYPE_COMMAND, payload, 8); /* of no values */
    rig_send_arm(&r, (rtl_class)3, 0, 0);       /* no such class */
    rig_run(&r, 1000);
    CHECK_EQUAL(r.events[RTL_EVENT_BAD_PACKET].total, 5);
    CHECK_EQUAL(r.device.rejected_commands, 1);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE); /* well sent, so no link error */
    CHECK_EQUAL(r.applied, 1);
}

static void a_flood_of_events_starves_neither_samples_nor_changes_of_state(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    rig_run(&r, 1000);
    const unsigned samples = r.received[RTL_TYPE_SENSOR];
    for (int ms = 0; ms < 1000; ++ms) {
        for (int i = 0; i < 20; ++i) {
            rig_send_command(&r, 1.0f, -100);
            rig_send_damaged(&r);
            r.schema_id ^= 1;
            rig_send_command(&r, 1.0f, 1000);
            r.schema_id ^= 1;
        }
        rig_run(&r, 1000);
    }
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], samples + 1000);
    /* A second's worth at one in 10 ms, and the burst. */
    CHECK(r.received[RTL_TYPE_EVENT] <= 100 + 2 * RTL_EVENT_BURST);
    CHECK(r.received_events[RTL_EVENT_LATE_COMMAND] >= 1);
    CHECK(r.received_events[RTL_EVENT_BAD_PACKET] >= 30);
    CHECK(r.received_events[RTL_EVENT_SCHEMA_MISMATCH] >= 30);
    CHECK_EQUAL(r.events[RTL_EVENT_STATE_CHANGE].state, RTL_STATE_SAFE); /* no valid command */
    rig_run(&r, 100000);
    CHECK_EQUAL(r.events[RTL_EVENT_BAD_PACKET].total, 20000);
    CHECK_EQUAL(r.events[RTL_EVENT_SCHEMA_MISMATCH].total, 20000);
    CHECK(r.events[RTL_EVENT_LATE_COMMAND].total == r.device.late_commands);
}

static void a_change_of_state_is_reported_with_time_and_reasons(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    rig_run(&r, 1000);
    CHECK_EQUAL(r.events[RTL_EVENT_STATE_CHANGE].state, RTL_STATE_ACTIVE);
    r.now_us += 300;
    rtl_device_trip(&r.device, RTL_REASON_LIMIT);
    rig_run(&r, 1000);
    CHECK_EQUAL(r.events[RTL_EVENT_STATE_CHANGE].state, RTL_STATE_SAFE);
    CHECK_EQUAL(r.events[RTL_EVENT_STATE_CHANGE].reasons, RTL_REASON_LIMIT);
    CHECK_EQUAL(r.events[RTL_EVENT_STATE_CHANGE].time_us, 1300);
    CHECK_EQUAL(r.events[RTL_EVENT_STATE_CHANGE].loop_class, RTL_CLASS_FIRM);
}

/* For an event of whichever kind was the last to leave before. */
static void a_change_of_state_goes_before_the_events_that_wait_already(void) {
    for (int n = 100; n < 500; n += 100) {
        rig_init(&r, 0);
        rig_activate(&r);
        for (int i = 0; i < n; ++i) { /* all kinds wait, and the credit is used up */
            rig_run(&r, 100);
            rig_send_damaged(&r);
            rig_send_command(&r, 1.0f, -1);
            rig_send_command(&r, 1.0f, 1000);
            r.schema_id ^= 1;
            rig_send_command(&r, 1.0f, 1000);
            r.schema_id ^= 1;
        }
        rtl_device_trip(&r.device, RTL_REASON_LIMIT);
        const unsigned before = r.received[RTL_TYPE_EVENT];
        while (r.received[RTL_TYPE_EVENT] == before) {
            rig_run(&r, 1000);
        }
        CHECK_EQUAL(r.received[RTL_TYPE_EVENT], before + 1);
        CHECK_EQUAL(r.events[RTL_EVENT_STATE_CHANGE].state, RTL_STATE_SAFE);
        CHECK_EQUAL(r.events[RTL_EVENT_STATE_CHANGE].reasons, RTL_REASON_LIMIT);
    }
}

static void states_and_reasons_have_words(void) {
    char text[RTL_STATE_WORDS_SIZE];
    CHECK(strcmp(rtl_state_word(RTL_STATE_ACTIVE), "ACTIVE") == 0);
    CHECK(rtl_reason_word(7) == NULL);
    CHECK(strcmp(rtl_state_words(RTL_STATE_INIT, 0, text), "INIT") == 0);
    CHECK(strcmp(rtl_state_words(RTL_STATE_SAFE + 1, 0x8000, text), "?") == 0);
    CHECK(strcmp(rtl_state_words(RTL_STATE_SAFE, RTL_REASON_HARDWARE, text), "SAFE: HARDWARE") ==
          0);
    const uint16_t two = RTL_REASON_COMMAND_TIMEOUT | RTL_REASON_LIMIT;
    CHECK(strcmp(rtl_state_words(RTL_STATE_SAFE, two, text), "SAFE: COMMAND_TIMEOUT LIMIT") == 0);
    CHECK(strlen(rtl_state_words(RTL_STATE_ACTIVE, UINT16_MAX, text)) < sizeof text);
}

int main(void) {
    RUN(a_new_device_is_driven_safe_and_says_nothing);
    RUN(an_incomplete_description_is_refused);
    RUN(hello_is_answered_with_what_the_device_is);
    RUN(hello_tells_the_command_timeout_in_force);
    RUN(a_host_of_another_version_is_told_so_and_gets_no_samples);
    RUN(the_schema_comes_in_chunks_to_a_host_that_does_not_know_its_id);
    RUN(time_requests_are_answered_with_64_bits_of_device_time);
    RUN(samples_leave_at_every_multiple_of_the_period);
    RUN(late_ticks_skip_samples_and_do_not_shift_the_grid);
    RUN(a_second_hello_does_not_disturb_the_samples);
    RUN(a_full_line_drops_packets_and_stalls_nothing);
    RUN(missing_packets_are_counted_as_gaps);
    RUN(status_tells_the_counters);
    RUN(unknown_and_malformed_packets_are_reported_and_do_nothing);
    RUN(a_flood_of_events_starves_neither_samples_nor_changes_of_state);
    RUN(a_change_of_state_is_reported_with_time_and_reasons);
    RUN(a_change_of_state_goes_before_the_events_that_wait_already);
    CHECK_EQUAL(r.received_bad, 0);
    RUN(states_and_reasons_have_words);
    return check_verdict();
}

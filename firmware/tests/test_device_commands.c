/* Which commands count: their numbers, since which arming, and until when they are valid. */
#include "check.h"
#include "rig.h"

static rig r;

static void a_line_that_repeats_commands_does_not_keep_it_moving(void) {
    rig_init(&r, 0);
    rig_arm(&r);
    rig_run(&r, 1000);
    r.tx_seq = 65530; /* a beginning; through the wrap */
    for (int i = 0; i < 12; ++i) {
        rig_send_command(&r, 1.0f, 10000);
        r.tx_seq--;
        rig_send_command(&r, 2.0f, 10000); /* the same number, even with another value */
        r.tx_seq = (uint16_t)(r.tx_seq - 3);
        rig_send_command(&r, 3.0f, 10000);
        r.tx_seq = (uint16_t)(r.tx_seq + 2);
        rig_run(&r, 1000);
    }
    CHECK_EQUAL(r.applied, 12);
    CHECK(r.applied_value == 1.0f);
    CHECK_EQUAL(r.device.rejected_commands, 24);
    for (int i = 0; i < 21; ++i) {
        r.tx_seq--;
        rig_send_command(&r, 1.0f, 10000);
        rig_run(&r, 1000);
    }
    CHECK(rig_is_safe(&r, RTL_REASON_COMMAND_TIMEOUT));
}

/* Sends again what was sent so many packets ago, or what should have been, at the time of then. */
static void send_history(uint16_t seq, uint64_t sent_us, rtl_type type, const uint8_t *payload,
                         size_t size) {
    const uint64_t now_us = r.now_us;
    const uint16_t tx_seq = r.tx_seq;
    const rtl_header header = {(uint8_t)0, (uint8_t)type, seq, 0, r.schema_id, (uint32_t)sent_us};
    uint8_t packet[RTL_PACKET_MAX];
    uint8_t frame[RTL_FRAME_MAX];
    const size_t packet_size = rtl_packet_encode(&header, payload, size, packet);
    rig_receive(&r, frame, rtl_frame_encode(packet, packet_size, frame));
    CHECK_EQUAL(r.now_us, now_us);
    CHECK_EQUAL(r.tx_seq, tx_seq);
}

static void what_was_overtaken_or_comes_twice_clears_and_arms_nothing(void) {
    const rtl_arm arm = {RTL_CLASS_FIRM, 0, 0};
    const rtl_stop stop = {0};
    uint8_t payload[RTL_PAYLOAD_MAX];
    rig_init(&r, 5000000);
    rig_open(&r);
    rig_run(&r, 1000);
    const uint64_t armed_us = r.now_us;
    const uint16_t armed_seq = r.tx_seq;
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 0);
    rig_run(&r, 1000);
    const uint16_t missing = r.tx_seq++; /* a CLEAR that is on its way for long */
    const uint64_t missing_us = r.now_us;
    rig_run(&r, 1000);
    rig_send_stop(&r, 0);
    rig_run(&r, 1000);
    const unsigned answers = r.received[RTL_TYPE_STATUS];
    send_history(missing, missing_us, RTL_TYPE_CLEAR, NULL, 0);
    CHECK(rig_is_safe(&r, RTL_REASON_HOST_STOP));
    CHECK_EQUAL(r.device.sequence.reordered, 1);
    rig_send_plain(&r, RTL_TYPE_CLEAR);
    CHECK_EQUAL(r.device.state, RTL_STATE_IDLE);
    rig_run(&r, 1000);
    send_history(armed_seq, armed_us, RTL_TYPE_ARM, payload, rtl_arm_encode(&arm, payload));
    CHECK_EQUAL(r.device.state, RTL_STATE_IDLE);
    CHECK_EQUAL(r.device.sequence.repeated, 1);
    CHECK_EQUAL(r.received[RTL_TYPE_STATUS], answers + 1);
    CHECK_EQUAL(r.device.rejected_commands, 0);
    /* STOP is obeyed whenever it comes. */
    send_history(armed_seq, armed_us, RTL_TYPE_STOP, payload, rtl_stop_encode(&stop, payload));
    CHECK(rig_is_safe(&r, RTL_REASON_HOST_STOP));
    CHECK_EQUAL(r.device.seq_gaps, 0);
}

static void a_command_of_before_this_arming_is_not_applied(void) {
    rtl_command command = {.count = 1, .values = {7.0f}};
    uint8_t payload[RTL_PAYLOAD_MAX];
    rig_init(&r, 5000000);
    rig_activate(&r);
    rig_run(&r, 1000);
    const uint16_t missing = r.tx_seq++;
    const uint64_t missing_us = r.now_us;
    command.valid_until_us = (uint32_t)r.now_us + RIG_TIMEOUT_US;
    rig_run(&r, 100);
    rig_send_stop(&r, 0);
    rig_send_plain(&r, RTL_TYPE_CLEAR);
    rig_run(&r, 100);
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 0);
    rig_send_hello(&r, 1, 1);
    rig_run(&r, 100);
    send_history(missing, missing_us, RTL_TYPE_COMMAND, payload,
                 rtl_command_encode(&command, payload));
    CHECK_EQUAL(r.device.state, RTL_STATE_ARMED);
    CHECK_EQUAL(r.device.rejected_commands, 1);
}

static void a_hello_that_comes_twice_begins_no_new_count(void) {
    const rtl_hello hello = {1, 1};
    uint8_t payload[RTL_PAYLOAD_MAX];
    rig_init(&r, 5000000);
    const uint16_t seq = r.tx_seq;
    rig_open(&r);
    for (int i = 0; i < 5; ++i) {
        rig_run(&r, 1000);
        rig_send_plain(&r, RTL_TYPE_STATUS_REQUEST);
    }
    send_history(seq, 5000000, RTL_TYPE_HELLO, payload, rtl_hello_encode(&hello, payload));
    rig_send_plain(&r, RTL_TYPE_STATUS_REQUEST);
    CHECK_EQUAL(r.status.seq_gaps, 0);
    CHECK_EQUAL(r.status.rx_packets, 7); /* not the copy */
    CHECK_EQUAL(r.received[RTL_TYPE_HELLO_REPLY], 1);
}

static void a_new_arming_begins_a_new_count_of_commands(void) {
    rig_init(&r, 0);
    r.tx_seq = 1000;
    rig_activate(&r);
    rig_send_stop(&r, 0);
    rig_send_plain(&r, RTL_TYPE_CLEAR);
    r.tx_seq = 0;
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 0);
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
}

static void a_command_valid_for_longer_than_the_timeout_is_refused(void) {
    rig_init(&r, 0);
    rig_arm(&r);
    rig_send_command(&r, 1.0f, (int32_t)RIG_TIMEOUT_US + 1);
    CHECK_EQUAL(r.device.state, RTL_STATE_ARMED);
    CHECK_EQUAL(r.device.rejected_commands, 1);
    rig_send_command(&r, 1.0f, (int32_t)RIG_TIMEOUT_US);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    for (int i = 0; i < 21; ++i) {
        rig_run(&r, 1000);
        rig_send_command(&r, 2.0f, INT32_MAX);
    }
    CHECK(rig_is_safe(&r, RTL_REASON_COMMAND_TIMEOUT));
    CHECK_EQUAL(r.applied, 1);
}

static void a_late_command_is_counted_and_reported_with_its_class_but_not_applied(void) {
    rig_init(&r, 1000);
    rig_activate(&r);
    rig_send_command(&r, 7.0f, -250);
    CHECK(r.applied_value == 1.0f);
    CHECK_EQUAL(r.device.late_commands, 1);
    rig_run(&r, 1000);
    const rtl_event *const event = &r.events[RTL_EVENT_LATE_COMMAND];
    CHECK_EQUAL(event->loop_class, RTL_CLASS_FIRM);
    CHECK_EQUAL(event->time_us, 1000);
    CHECK_EQUAL(event->valid_until_us, 750);
    CHECK_EQUAL(event->lateness_us, 250);
    CHECK_EQUAL(event->total, 1);
    CHECK_EQUAL(event->state, RTL_STATE_ACTIVE);
    CHECK_EQUAL(r.sensor.late_commands, 1);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
}

static void late_commands_in_a_row_trip_at_the_hosts_limit(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rig_send_arm(&r, RTL_CLASS_FIRM, 3, 0);
    rig_send_command(&r, 1.0f, 1000);
    for (int i = 0; i < 10; ++i) { /* never three in a row */
        rig_send_command(&r, 1.0f, -1);
        rig_send_command(&r, 1.0f, -1);
        rig_send_command(&r, 1.0f, 1000);
    }
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    rig_send_command(&r, 1.0f, -1);
    rig_send_command(&r, 1.0f, -1);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    rig_send_command(&r, 1.0f, -1);
    CHECK(rig_is_safe(&r, RTL_REASON_DEADLINE_MISSES));
    CHECK_EQUAL(r.device.late_commands, 23);
}

static void a_hard_loop_trips_at_its_first_late_command(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rig_send_arm(&r, RTL_CLASS_HARD, 1, 0);
    rig_send_command(&r, 1.0f, -1); /* still armed */
    CHECK(rig_is_safe(&r, RTL_REASON_DEADLINE_MISSES));
    rig_run(&r, 1000);
    CHECK_EQUAL(r.events[RTL_EVENT_LATE_COMMAND].loop_class, RTL_CLASS_HARD);
}

static void arming_again_forgets_earlier_late_commands(void) {
    rig_init(&r, 0);
    rig_open(&r);
    for (int i = 0; i < 3; ++i) {
        rig_send_arm(&r, RTL_CLASS_FIRM, 2, 0);
        rig_send_command(&r, 1.0f, -1);
    }
    CHECK_EQUAL(r.device.state, RTL_STATE_ARMED);
}

int main(void) {
    RUN(a_line_that_repeats_commands_does_not_keep_it_moving);
    RUN(what_was_overtaken_or_comes_twice_clears_and_arms_nothing);
    RUN(a_command_of_before_this_arming_is_not_applied);
    RUN(a_hello_that_comes_twice_begins_no_new_count);
    RUN(a_new_arming_begins_a_new_count_of_commands);
    RUN(a_command_valid_for_longer_than_the_timeout_is_refused);
    RUN(a_late_command_is_counted_and_reported_with_its_class_but_not_applied);
    RUN(late_commands_in_a_row_trip_at_the_hosts_limit);
    RUN(a_hard_loop_trips_at_its_first_late_command);
    RUN(arming_again_forgets_earlier_late_commands);
    return check_verdict();
}

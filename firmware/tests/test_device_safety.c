/* When the machine moves and when it must not, under a virtual clock. */
#include <math.h>
#include <string.h>

#include "check.h"
#include "rig.h"

static rig r;

static void a_device_that_is_not_ready_cannot_be_armed_or_stopped(void) {
    rig_init(&r, 0);
    rig_send_hello(&r, 1, 1);
    rig_send_arm(&r, RTL_CLASS_HARD, 0, 0);
    rig_send_command(&r, 1.0f, 1000);
    rig_send_stop(&r, 0);
    rtl_device_trip(&r.device, RTL_REASON_HARDWARE);
    rig_run(&r, 5000);
    CHECK_EQUAL(r.device.state, RTL_STATE_INIT);
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], 0);
    CHECK_EQUAL(r.applied, 0);
    CHECK_EQUAL(r.status.state, RTL_STATE_INIT); /* but it answers */
}

static void arm_and_a_first_valid_command_make_it_active(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rig_send_arm(&r, RTL_CLASS_HARD, 0, 0);
    CHECK_EQUAL(r.device.state, RTL_STATE_ARMED);
    CHECK_EQUAL(r.status.state, RTL_STATE_ARMED);
    CHECK_EQUAL(r.status.loop_class, RTL_CLASS_HARD);
    CHECK_EQUAL(r.applied, 0);
    rig_send_command(&r, 2.5f, 0); /* valid until now is in time */
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    CHECK(r.applied_value == 2.5f);
    rig_run(&r, 1000);
    CHECK_EQUAL(r.sensor.state, RTL_STATE_ACTIVE);
    CHECK_EQUAL(r.sensor.command_seq, r.tx_seq - 1);
    CHECK_EQUAL(r.moved_outside_active, 0);
}

static void commands_in_idle_and_safe_are_rejected_and_counted(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(r.device.rejected_commands, 1);
    rig_send_stop(&r, 0);
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(r.device.rejected_commands, 2);
    CHECK_EQUAL(r.applied, 0);
}

static void silence_makes_an_active_device_safe_by_itself(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    rig_run(&r, RIG_TIMEOUT_US);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    rig_run(&r, RIG_PERIOD_US);
    CHECK(rig_is_safe(&r, RTL_REASON_COMMAND_TIMEOUT));
    CHECK_EQUAL(r.device.command_timeouts, 1);
    CHECK_EQUAL(r.sensor.state, RTL_STATE_SAFE); /* the very sample of that tick says so */
}

static void an_armed_device_waits_for_its_first_command_without_end(void) {
    rig_init(&r, 0);
    rig_arm(&r);
    rig_run(&r, 10 * RIG_TIMEOUT_MAX_US);
    CHECK_EQUAL(r.device.state, RTL_STATE_ARMED);
}

static void only_applied_commands_feed_the_timeout(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    for (int i = 0; i < 21; ++i) {
        rig_run(&r, 1000);
        rig_send_command(&r, 1.0f, -1);
        rig_send_plain(&r, RTL_TYPE_STATUS_REQUEST);
    }
    CHECK(rig_is_safe(&r, RTL_REASON_COMMAND_TIMEOUT));
}

static void the_host_chooses_the_timeout_up_to_the_devices_maximum(void) {
    const uint32_t asked[] = {0, 5000, RIG_TIMEOUT_MAX_US};
    const uint32_t expected[] = {RIG_TIMEOUT_US, 5000, RIG_TIMEOUT_MAX_US};
    for (int i = 0; i < 3; ++i) {
        rig_init(&r, 0);
        rig_open(&r);
        rig_send_arm(&r, RTL_CLASS_FIRM, 0, asked[i]);
        rig_send_command(&r, 1.0f, 1000);
        rig_run(&r, expected[i]);
        CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
        rig_run(&r, RIG_PERIOD_US);
        CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
    }
}

static void a_timeout_beyond_the_devices_maximum_is_not_armed(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, RIG_TIMEOUT_MAX_US + 1);
    CHECK_EQUAL(r.status.state, RTL_STATE_IDLE);
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, RIG_TIMEOUT_MAX_US);
    CHECK_EQUAL(r.status.state, RTL_STATE_ARMED);
}

static void damaged_packets_in_a_row_trip_an_active_device(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    for (unsigned i = 0; i + 1 < RIG_LINK_ERRORS; ++i) {
        rig_send_damaged(&r);
    }
    rig_send_command(&r, 2.0f, 1000); /* one good packet forgives */
    for (unsigned i = 0; i + 1 < RIG_LINK_ERRORS; ++i) {
        rig_receive(&r, (const uint8_t *)"\x05\x05", 3);
    }
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    rig_send_damaged(&r);
    CHECK(rig_is_safe(&r, RTL_REASON_LINK_ERRORS));
    CHECK_EQUAL(r.applied, 2);
}

static void packets_of_another_version_are_reported_and_do_not_trip(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    const rtl_header header = {.type = RTL_TYPE_HELLO};
    uint8_t packet[RTL_PACKET_MAX];
    uint8_t frame[RTL_FRAME_MAX];
    const size_t size = rtl_packet_encode(&header, NULL, 0, packet);
    packet[0] = 0x20;
    const uint32_t crc = rtl_crc32(packet, size - RTL_CRC_SIZE);
    for (size_t i = 0; i < RTL_CRC_SIZE; ++i) {
        packet[size - RTL_CRC_SIZE + i] = (uint8_t)(crc >> 8 * i);
    }
    for (unsigned i = 0; i < 2 * RIG_LINK_ERRORS; ++i) {
        rig_receive(&r, frame, rtl_frame_encode(packet, size, frame));
    }
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    CHECK_EQUAL(r.device.frame_errors, 2 * RIG_LINK_ERRORS);
    rig_run(&r, 1000);
    CHECK_EQUAL(r.events[RTL_EVENT_BAD_PACKET].total, 2 * RIG_LINK_ERRORS);
}

static void a_malformed_arm_is_reported_and_not_answered(void) {
    uint8_t payload[RTL_PAYLOAD_MAX] = {3}; /* a class that is none */
    rig_init(&r, 0);
    rig_open(&r);
    rig_send(&r, RTL_TYPE_ARM, payload, 8);
    rig_send(&r, RTL_TYPE_ARM, payload, 7);
    rig_run(&r, 1000);
    CHECK_EQUAL(r.device.state, RTL_STATE_IDLE);
    CHECK_EQUAL(r.received[RTL_TYPE_STATUS], 0);
    CHECK_EQUAL(r.events[RTL_EVENT_BAD_PACKET].total, 2);
}

static void a_noisy_line_does_not_trip_a_device_that_does_not_move(void) {
    rig_init(&r, 0);
    rig_arm(&r);
    for (unsigned i = 0; i < 100; ++i) {
        rig_send_damaged(&r);
    }
    CHECK_EQUAL(r.device.state, RTL_STATE_ARMED);
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
}

static void values_that_are_not_finite_trip_and_are_not_applied(void) {
    const float values[] = {NAN, INFINITY, -INFINITY, -NAN};
    for (int i = 0; i < 4; ++i) {
        rig_init(&r, 0);
        rig_activate(&r);
        rig_send_command(&r, values[i], 1000);
        CHECK(rig_is_safe(&r, RTL_REASON_NON_FINITE));
        CHECK_EQUAL(r.applied, 1);
        CHECK_EQUAL(r.device.rejected_commands, 1);
    }
    rig_init(&r, 0);
    rig_arm(&r);
    rig_send_command(&r, NAN, 1000);
    CHECK(rig_is_safe(&r, RTL_REASON_NON_FINITE));
}

static void values_outside_the_hard_limits_trip_and_are_not_applied(void) {
    const float outside[] = {nextafterf(RIG_LIMIT, 100.0f), -RIG_LIMIT - 1.0f, 3.4e38f};
    for (int i = 0; i < 3; ++i) {
        rig_init(&r, 0);
        rig_activate(&r);
        rig_send_command(&r, RIG_LIMIT, 1000);
        rig_send_command(&r, -RIG_LIMIT, 1000);
        CHECK_EQUAL(r.applied, 3); /* the limits themselves are inside */
        rig_send_command(&r, outside[i], 1000);
        CHECK(rig_is_safe(&r, RTL_REASON_LIMIT));
        CHECK_EQUAL(r.applied, 3);
    }
}

static void stop_is_obeyed_in_every_state_from_anyone(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rig_send_stop(&r, 0);
    CHECK(rig_is_safe(&r, RTL_REASON_HOST_STOP));
    CHECK_EQUAL(r.status.reasons, RTL_REASON_HOST_STOP);

    rig_init(&r, 0);
    rig_arm(&r);
    r.schema_id ^= 1;
    rig_send_stop(&r, RTL_REASON_DEADLINE_MISSES);
    CHECK(rig_is_safe(&r, RTL_REASON_DEADLINE_MISSES));

    rig_init(&r, 0);
    rig_activate(&r);
    rig_send_plain(&r, RTL_TYPE_STOP); /* its payload is missing */
    CHECK(rig_is_safe(&r, RTL_REASON_HOST_STOP));

    rig_send_stop(&r, 0xff00 | RTL_REASON_LIMIT); /* only known reasons, added to the others */
    CHECK(rig_is_safe(&r, RTL_REASON_HOST_STOP | RTL_REASON_LIMIT));
}

static void safe_is_latched_until_clear_and_clear_does_not_arm(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    rtl_device_trip(&r.device, RTL_REASON_HARDWARE);
    rig_send_arm(&r, RTL_CLASS_SOFT, 0, 0);
    rig_send_command(&r, 5.0f, 1000);
    rig_send_hello(&r, 1, 1);
    rig_run(&r, 100000);
    CHECK(rig_is_safe(&r, RTL_REASON_HARDWARE));
    CHECK_EQUAL(r.hello_reply.reasons, RTL_REASON_HARDWARE);

    rig_send_plain(&r, RTL_TYPE_CLEAR);
    CHECK_EQUAL(r.device.state, RTL_STATE_IDLE);
    CHECK_EQUAL(r.status.reasons, 0);
    rig_send_command(&r, 5.0f, 1000);
    CHECK_EQUAL(r.applied, 1);
    rig_send_arm(&r, RTL_CLASS_SOFT, 0, 0);
    rig_send_command(&r, 5.0f, 1000);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    CHECK(r.applied_value == 5.0f);
}

static void clear_and_arm_do_nothing_to_an_active_device(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    rig_send_plain(&r, RTL_TYPE_CLEAR);
    rig_send_arm(&r, RTL_CLASS_SOFT, 9, 50000);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    CHECK_EQUAL(r.device.arm.loop_class, RTL_CLASS_FIRM);
    CHECK_EQUAL(r.device.arm.command_timeout_us, RIG_TIMEOUT_US);
    CHECK_EQUAL(r.received[RTL_TYPE_STATUS], 3);
}

static void a_machine_that_trips_while_it_is_driven_ends_safe(void) {
    rig_init(&r, 0);
    rig_arm(&r);
    r.trips_when_applied = RTL_REASON_LIMIT;
    rig_send_command(&r, 1.0f, 1000);
    CHECK(rig_is_safe(&r, RTL_REASON_LIMIT));
}

static void another_schema_is_refused_reported_and_never_armed(void) {
    rig_init(&r, 0);
    rig_open(&r);
    r.schema_id ^= 0x100;
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 0);
    rig_run(&r, 1000);
    CHECK_EQUAL(r.device.state, RTL_STATE_IDLE);
    CHECK_EQUAL(r.received[RTL_TYPE_STATUS], 0);
    CHECK_EQUAL(r.events[RTL_EVENT_SCHEMA_MISMATCH].total, 1);
    r.schema_id ^= 0x100;
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 0);
    r.schema_id = 0;
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(r.device.state, RTL_STATE_ARMED);
    CHECK_EQUAL(r.device.rejected_commands, 1);
}

/* 32-bit device time wraps after 71.6 min; half way its sign changes. */
static void deadlines_and_timeouts_hold_across_the_wrap_of_device_time(void) {
    const uint64_t turns[] = {UINT64_C(1) << 31, UINT64_C(1) << 32, UINT64_C(7) << 32};
    for (int i = 0; i < 3; ++i) {
        rig_init(&r, turns[i] - 10000);
        rig_activate(&r);
        while (r.now_us < turns[i] + 10000) {
            rig_run(&r, 1000);
            const unsigned applied = r.applied;
            rig_send_command(&r, 1.0f, 1500); /* valid beyond the turn before it is reached */
            CHECK_EQUAL(r.applied, applied + 1);
            rig_send_command(&r, 1.0f, -1500); /* late from before the turn after it was reached */
            CHECK_EQUAL(r.applied, applied + 1);
        }
        CHECK_EQUAL(r.device.late_commands, 20);
        CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
        CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], 20);

        rig_init(&r, turns[i] - RIG_TIMEOUT_US / 2);
        rig_activate(&r);
        rig_run(&r, RIG_TIMEOUT_US);
        CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
        rig_run(&r, 1000);
        CHECK(rig_is_safe(&r, RTL_REASON_COMMAND_TIMEOUT));
    }
}

int main(void) {
    RUN(a_device_that_is_not_ready_cannot_be_armed_or_stopped);
    RUN(arm_and_a_first_valid_command_make_it_active);
    RUN(commands_in_idle_and_safe_are_rejected_and_counted);
    RUN(silence_makes_an_active_device_safe_by_itself);
    RUN(an_armed_device_waits_for_its_first_command_without_end);
    RUN(only_applied_commands_feed_the_timeout);
    RUN(the_host_chooses_the_timeout_up_to_the_devices_maximum);
    RUN(a_timeout_beyond_the_devices_maximum_is_not_armed);
    RUN(damaged_packets_in_a_row_trip_an_active_device);
    RUN(packets_of_another_version_are_reported_and_do_not_trip);
    RUN(a_malformed_arm_is_reported_and_not_answered);
    RUN(a_noisy_line_does_not_trip_a_device_that_does_not_move);
    RUN(values_that_are_not_finite_trip_and_are_not_applied);
    RUN(values_outside_the_hard_limits_trip_and_are_not_applied);
    RUN(stop_is_obeyed_in_every_state_from_anyone);
    RUN(safe_is_latched_until_clear_and_clear_does_not_arm);
    RUN(clear_and_arm_do_nothing_to_an_active_device);
    RUN(a_machine_that_trips_while_it_is_driven_ends_safe);
    RUN(another_schema_is_refused_reported_and_never_armed);
    RUN(deadlines_and_timeouts_hold_across_the_wrap_of_device_time);
    return check_verdict();
}

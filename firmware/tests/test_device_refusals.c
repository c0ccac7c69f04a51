/*
 * What a device does not take: descriptions that break a rule, hosts of other versions, messages of
 * the wrong size, and where it goes by itself when it is told to trip or to count for ever.
 */
#include <string.h>

#include "check.h"
#include "rig.h"

static rig r;
static char long_schema[UINT16_MAX + 2];

static bool is_taken(const rtl_hardware *hardware, const rtl_description *description) {
    rtl_device device;
    return rtl_device_init(&device, hardware, description);
}

static void a_machine_without_one_of_its_functions_is_refused(void) {
    rig_init(&r, 0);
    const rtl_description description = rig_description();
    rtl_hardware hardware = rig_hardware(&r);
    CHECK(is_taken(&hardware, &description));
    hardware.now_us = NULL;
    CHECK(!is_taken(&hardware, &description));
    hardware = rig_hardware(&r);
    hardware.sample = NULL;
    CHECK(!is_taken(&hardware, &description));
    hardware = rig_hardware(&r);
    hardware.apply = NULL;
    CHECK(!is_taken(&hardware, &description));
    hardware = rig_hardware(&r);
    hardware.safe = NULL;
    CHECK(!is_taken(&hardware, &description));
    hardware = rig_hardware(&r);
    hardware.transmit = NULL;
    CHECK(!is_taken(&hardware, &description));
}

static void a_description_that_breaks_a_rule_is_refused(void) {
    rig_init(&r, 0);
    const rtl_hardware hardware = rig_hardware(&r);
    rtl_description wrong[8];
    for (size_t i = 0; i < 8; ++i) {
        wrong[i] = rig_description();
    }
    memset(long_schema, 'x', sizeof long_schema - 1);
    wrong[0].name = NULL;
    wrong[1].schema = NULL;
    wrong[2].schema = long_schema;
    wrong[3].n_sensor = RTL_VALUES_MAX + 1;
    wrong[4].n_command = RTL_VALUES_MAX + 1;
    wrong[5].sensor_period_us = 0;
    wrong[6].command_timeout_us = 0;
    wrong[7].command_timeout_us = wrong[7].command_timeout_max_us + 1;
    for (size_t i = 0; i < 8; ++i) {
        CHECK(!is_taken(&hardware, &wrong[i]));
    }
}

static void a_name_that_is_too_long_is_cut(void) {
    rig_init(&r, 0);
    const rtl_hardware hardware = rig_hardware(&r);
    rtl_description description = rig_description();
    description.name = "a-name-of-more-than-twenty-three-bytes";
    CHECK(rtl_device_init(&r.device, &hardware, &description));
    rig_send_hello(&r, 1, 1);
    CHECK_EQUAL(strlen(r.hello_reply.name), RTL_NAME_SIZE - 1);
    CHECK(strncmp(r.hello_reply.name, description.name, RTL_NAME_SIZE - 1) == 0);
}

static void a_host_with_no_version_in_common_is_answered_and_not_served(void) {
    const uint8_t ranges[][2] = {{0, 0}, {2, 9}};
    for (size_t i = 0; i < 2; ++i) {
        rig_init(&r, 0);
        rtl_device_ready(&r.device);
        rig_send_hello(&r, ranges[i][0], ranges[i][1]);
        CHECK_EQUAL(r.received[RTL_TYPE_HELLO_REPLY], 1);
        CHECK_EQUAL(r.hello_reply.version, 0);
        rig_run(&r, 10 * RIG_PERIOD_US);
        CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], 0);
    }
}

static void messages_of_the_wrong_size_are_reported_and_not_obeyed(void) {
    static const rtl_type types[] = {RTL_TYPE_HELLO, RTL_TYPE_SCHEMA_REQUEST, RTL_TYPE_TIME_REQUEST,
                                     RTL_TYPE_ARM, RTL_TYPE_COMMAND};
    const uint8_t payload[3] = {0};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; ++i) {
        rig_init(&r, 0);
        rig_open(&r);
        rig_run(&r, 100000);
        unsigned before[RIG_TYPES];
        memcpy(before, r.received, sizeof before);
        const unsigned reported = r.events[RTL_EVENT_BAD_PACKET].total;
        rig_send(&r, types[i], payload, sizeof payload);
        CHECK_EQUAL(memcmp(before, r.received, sizeof before), 0);
        CHECK_EQUAL(r.device.state, RTL_STATE_IDLE);
        CHECK_EQUAL(r.device.rejected_commands, types[i] == RTL_TYPE_COMMAND);
        rig_run(&r, RIG_PERIOD_US);
        CHECK_EQUAL(r.events[RTL_EVENT_BAD_PACKET].total, reported + 1);
    }
}

static void a_frame_too_short_for_a_packet_is_an_error_of_the_frame(void) {
    rig_init(&r, 0);
    rig_open(&r);
    const uint8_t shorts[] = {3, 7, 7, 0};
    rig_receive(&r, shorts, sizeof shorts);
    CHECK_EQUAL(r.device.frame_errors, 1);
    CHECK_EQUAL(r.device.crc_errors, 0);
    rig_activate(&r);
    rig_send_damaged(&r);
    CHECK_EQUAL(r.device.frame_errors, 1);
    CHECK_EQUAL(r.device.crc_errors, 1);
}

/* A line that is damaged for ever, or a host that is late for ever, counts to the end and stays
 * there, and does not begin anew below the limit. */
static void what_counts_in_a_row_does_not_wrap(void) {
    rig_init(&r, 0);
    rig_arm(&r);
    for (unsigned i = 0; i < UINT16_MAX + 10u; ++i) {
        rig_send_damaged(&r);
    }
    CHECK_EQUAL(r.device.consecutive_link_errors, UINT16_MAX);
    CHECK_EQUAL(r.device.crc_errors, UINT16_MAX + 10u);
    CHECK_EQUAL(r.device.state, RTL_STATE_ARMED);
    for (unsigned i = 0; i < UINT16_MAX + 10u; ++i) {
        rig_send_command(&r, 1.0f, -1);
    }
    CHECK_EQUAL(r.device.consecutive_late, UINT16_MAX);
    CHECK_EQUAL(r.device.late_commands, UINT16_MAX + 10u);
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    CHECK_EQUAL(r.device.consecutive_late, 0);
    CHECK_EQUAL(r.device.consecutive_link_errors, 0);
}

static void a_device_without_a_limit_of_link_errors_bears_any_number(void) {
    rig_init(&r, 0);
    const rtl_hardware hardware = rig_hardware(&r);
    rtl_description description = rig_description();
    description.max_link_errors = 0;
    CHECK(rtl_device_init(&r.device, &hardware, &description));
    rig_activate(&r);
    for (unsigned i = 0; i < 100 * RIG_LINK_ERRORS; ++i) {
        rig_send_damaged(&r);
    }
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
}

static void one_limit_without_the_other_is_a_fence_on_that_side(void) {
    const float values[] = {-2.0f * RIG_LIMIT, 2.0f * RIG_LIMIT};
    for (size_t i = 0; i < 3; ++i) {
        rig_init(&r, 0);
        rtl_hardware hardware = rig_hardware(&r);
        const rtl_description description = rig_description();
        hardware.command_min = i == 0 ? hardware.command_min : NULL;
        hardware.command_max = i == 1 ? hardware.command_max : NULL;
        for (size_t side = 0; side < 2; ++side) {
            CHECK(rtl_device_init(&r.device, &hardware, &description));
            rig_activate(&r);
            rig_send_command(&r, values[side], 1000);
            CHECK_EQUAL(r.device.state, side == i ? RTL_STATE_SAFE : RTL_STATE_ACTIVE);
        }
    }
}

static void a_trip_without_a_reason_is_the_hardwares(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rtl_device_trip(&r.device, 0);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
    CHECK_EQUAL(r.device.reasons, RTL_REASON_HARDWARE);
    rig_init(&r, 0);
    rig_open(&r);
    rtl_device_trip_from_isr(&r.device, 0);
    rtl_device_tick(&r.device);
    CHECK_EQUAL(r.device.reasons, RTL_REASON_HARDWARE);
}

static void a_machine_that_trips_when_it_is_armed_answers_that_it_is_safe(void) {
    rig_init(&r, 0);
    r.trips_when_armed = RTL_REASON_LIMIT;
    rig_arm(&r);
    CHECK_EQUAL(r.status.state, RTL_STATE_SAFE);
    CHECK_EQUAL(r.status.reasons, RTL_REASON_LIMIT);
}

int main(void) {
    RUN(a_machine_without_one_of_its_functions_is_refused);
    RUN(a_description_that_breaks_a_rule_is_refused);
    RUN(a_name_that_is_too_long_is_cut);
    RUN(a_host_with_no_version_in_common_is_answered_and_not_served);
    RUN(messages_of_the_wrong_size_are_reported_and_not_obeyed);
    RUN(a_frame_too_short_for_a_packet_is_an_error_of_the_frame);
    RUN(what_counts_in_a_row_does_not_wrap);
    RUN(a_device_without_a_limit_of_link_errors_bears_any_number);
    RUN(one_limit_without_the_other_is_a_fence_on_that_side);
    RUN(a_trip_without_a_reason_is_the_hardwares);
    RUN(a_machine_that_trips_when_it_is_armed_answers_that_it_is_safe);
    return check_verdict();
}

/* What a board asks of the library: when to wake up, times, interrupts, a veto, changes of state.
 */
#include <string.h>

#include "check.h"
#include "rig.h"

static rig r;

/* ---- when something is due ----------------------------------------------------------------- */

static void before_the_first_hello_nothing_is_ever_due(void) {
    rig_init(&r, 0);
    CHECK(rtl_device_next_due_us(&r.device) == RTL_NEVER_US);
    rtl_device_ready(&r.device);
    CHECK(rtl_device_next_due_us(&r.device) == RTL_NEVER_US);
    rtl_device_trip(&r.device, RTL_REASON_LIMIT);
    CHECK(rtl_device_next_due_us(&r.device) == RTL_NEVER_US);
}

static void one_wake_up_a_sample_is_enough(void) {
    rig_init(&r, 300);
    rig_open(&r);
    rig_sleep(&r, 700); /* events of the start leave with it */
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], 1);
    CHECK_EQUAL(r.received[RTL_TYPE_EVENT], 1);
    CHECK_EQUAL(rig_sleep(&r, 100000), 100);
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], 101);
    CHECK_EQUAL(rtl_device_next_due_us(&r.device), 102000);
}

static void the_command_timeout_is_due_to_the_microsecond(void) {
    rig_init(&r, 0);
    r.now_us = 250;
    rig_activate(&r); /* its command came in at 250 */
    rig_sleep(&r, RIG_TIMEOUT_US);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    CHECK_EQUAL(rtl_device_next_due_us(&r.device), 250 + RIG_TIMEOUT_US + 1);
    rig_sleep(&r, 1);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
    CHECK_EQUAL(r.device.reasons, RTL_REASON_COMMAND_TIMEOUT);
}

static void events_that_wait_for_their_turn_are_due(void) {
    rig_init(&r, 0);
    rig_arm(&r);
    rig_sleep(&r, 1000);
    for (int i = 0; i < 10; ++i) { /* more than the burst, within one sensor period */
        rig_send_command(&r, 1.0f, -1);
        rig_sleep(&r, 20);
    }
    CHECK(r.received[RTL_TYPE_EVENT] <= 2 * RTL_EVENT_BURST);
    rig_sleep(&r, 20000);
    CHECK_EQUAL(r.events[RTL_EVENT_LATE_COMMAND].total, 10);
}

static void a_line_without_room_keeps_nobody_busy(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    r.line_is_full = true;
    CHECK(rig_sleep(&r, 100000) <= 100 + 1 + 100000 / RTL_EVENT_INTERVAL_US);
    CHECK_EQUAL(r.received[RTL_TYPE_EVENT], 0);
    r.line_is_full = false;
    rig_sleep(&r, RTL_EVENT_INTERVAL_US);
    CHECK_EQUAL(r.events[RTL_EVENT_STATE_CHANGE].state, RTL_STATE_SAFE);
}

/* ---- times --------------------------------------------------------------------------------- */

static void a_command_is_late_by_its_arrival_not_by_when_it_is_looked_at(void) {
    rig_init(&r, 0);
    rig_arm(&r);
    r.delay_us = 700;
    rig_send_command(&r, 2.0f, 500); /* valid until 500, looked at at 700 */
    CHECK_EQUAL(r.device.late_commands, 0);
    CHECK(r.applied_value == 2.0f);
    rig_send_command(&r, 3.0f, -1);
    CHECK_EQUAL(r.device.late_commands, 1);
    rtl_device_tick(&r.device);
    CHECK_EQUAL(r.events[RTL_EVENT_LATE_COMMAND].lateness_us, 1);
    CHECK(r.applied_value == 2.0f);
}

static void the_command_timeout_counts_from_the_arrival_of_a_command(void) {
    rig_init(&r, 0);
    rig_arm(&r);
    r.delay_us = 3000;
    rig_send_command(&r, 1.0f, 5000);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    CHECK_EQUAL(r.device.last_command_us, 0);
    rig_sleep(&r, RIG_TIMEOUT_US - 3000);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    rig_sleep(&r, 1);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
}

static void a_command_that_waited_here_for_a_timeout_is_history(void) {
    rig_init(&r, 0);
    rig_arm(&r);
    r.delay_us = RIG_TIMEOUT_US + 1; /* the thread was stopped meanwhile */
    rig_send_command(&r, 1.0f, 5000);
    CHECK_EQUAL(r.applied, 0);
    CHECK_EQUAL(r.device.rejected_commands, 1);
    r.delay_us = RIG_TIMEOUT_US;
    rig_send_command(&r, 1.0f, 5000);
    CHECK_EQUAL(r.applied, 1);
}

static void time_requests_are_stamped_by_their_arrival(void) {
    const rtl_time_request request = {42};
    uint8_t payload[RTL_PAYLOAD_MAX];
    rig_init(&r, 1000);
    rig_open(&r);
    r.delay_us = 250;
    rig_send(&r, RTL_TYPE_TIME_REQUEST, payload, rtl_time_request_encode(&request, payload));
    CHECK_EQUAL(r.time_reply.t2_us, 1000);
    CHECK_EQUAL(r.time_reply.t3_us, 1250);
}

static void an_arrival_in_the_future_is_now(void) {
    const rtl_time_request request = {42};
    uint8_t payload[RTL_PAYLOAD_MAX];
    rig_init(&r, 1000);
    rig_open(&r);
    r.now_us = 2000;
    r.delay_us = (uint64_t)-500; /* noted by a clock that is 500 µs ahead */
    rig_send(&r, RTL_TYPE_TIME_REQUEST, payload, rtl_time_request_encode(&request, payload));
    CHECK_EQUAL(r.time_reply.t2_us, 1500);
}

static void a_sample_has_the_time_at_which_it_was_taken(void) {
    rig_init(&r, 0);
    rig_open(&r);
    r.sample_age_us = 340;
    rig_run(&r, 5000);
    CHECK_EQUAL(r.sensor.sample_time_us, 5000 - 340);
    CHECK_EQUAL(r.last_header.time_us, 5000); /* the packet has the time it leaves at */
}

/* ---- interrupts ---------------------------------------------------------------------------- */

static void a_trip_from_an_interrupt_is_safe_at_once_and_latched_at_the_next_call(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    const unsigned before = r.safe_calls;
    rtl_device_trip_from_isr(&r.device, RTL_REASON_HARDWARE | RTL_REASON_LIMIT);
    CHECK_EQUAL(r.safe_calls, before + 1);
    CHECK(r.applied_value == 0.0f);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    CHECK(rtl_device_next_due_us(&r.device) <= r.now_us);
    rtl_device_tick(&r.device);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
    CHECK_EQUAL(r.device.reasons, RTL_REASON_HARDWARE | RTL_REASON_LIMIT);
    CHECK_EQUAL(r.events[RTL_EVENT_STATE_CHANGE].reasons, RTL_REASON_HARDWARE | RTL_REASON_LIMIT);
}

static void after_a_trip_no_command_that_waits_is_applied(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    rtl_device_trip_from_isr(&r.device, RTL_REASON_HARDWARE);
    rig_send_command(&r, 5.0f, 1000);
    CHECK_EQUAL(r.applied, 1);
    CHECK_EQUAL(r.device.rejected_commands, 1);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
}

static void an_apply_that_was_interrupted_is_followed_by_safe(void) {
    rig_init(&r, 0);
    rig_activate(&r);
    r.isr_when_applied = RTL_REASON_LIMIT;
    rig_send_command(&r, 5.0f, 1000);
    CHECK_EQUAL(r.applied, 2); /* it ran to its end, */
    CHECK(r.applied_value == 0.0f);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
    CHECK_EQUAL(r.device.reasons, RTL_REASON_LIMIT);
}

static void a_trip_before_the_device_is_ready_waits_for_that(void) {
    rig_init(&r, 0);
    rtl_device_trip_from_isr(&r.device, RTL_REASON_HARDWARE);
    rtl_device_tick(&r.device);
    CHECK_EQUAL(r.device.state, RTL_STATE_INIT);
    rig_open(&r);
    rtl_device_tick(&r.device);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
}

static void a_trip_is_taken_once(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rtl_device_trip_from_isr(&r.device, RTL_REASON_HARDWARE);
    rtl_device_tick(&r.device);
    rig_send_plain(&r, RTL_TYPE_CLEAR);
    CHECK_EQUAL(r.status.state, RTL_STATE_IDLE);
    rig_sleep(&r, 10000);
    CHECK_EQUAL(r.device.state, RTL_STATE_IDLE);
}

static void a_trip_without_a_reason_is_hardware(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rtl_device_trip_from_isr(&r.device, 0);
    rtl_device_tick(&r.device);
    CHECK_EQUAL(r.device.reasons, RTL_REASON_HARDWARE);
}

/* ---- veto ---------------------------------------------------------------------------------- */

static void a_machine_that_objects_is_not_armed_and_the_host_is_told_why(void) {
    rig_init(&r, 0);
    rig_open(&r);
    r.veto = RTL_REASON_HARDWARE;
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 0);
    CHECK_EQUAL(r.status.state, RTL_STATE_IDLE);
    CHECK_EQUAL(r.status.reasons, RTL_REASON_HARDWARE);
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(r.applied, 0);
    rig_send_plain(&r, RTL_TYPE_STATUS_REQUEST);
    CHECK_EQUAL(r.status.reasons, 0); /* it was of that request, and is not latched */
    r.veto = 0;
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 0);
    CHECK_EQUAL(r.status.state, RTL_STATE_ARMED);
    CHECK_EQUAL(r.status.reasons, 0);
}

static void an_arm_that_is_repeated_is_not_asked_about_again(void) {
    rig_init(&r, 0);
    rig_arm(&r);
    r.veto = RTL_REASON_HARDWARE;
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 0);
    CHECK_EQUAL(r.status.state, RTL_STATE_ARMED);
    CHECK_EQUAL(r.status.reasons, 0);
    CHECK_EQUAL(r.vetoes_asked, 1);
}

static void a_timeout_beyond_the_maximum_is_told_as_the_reason(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, RIG_TIMEOUT_MAX_US + 1);
    CHECK_EQUAL(r.status.state, RTL_STATE_IDLE);
    CHECK_EQUAL(r.status.reasons, RTL_REASON_COMMAND_TIMEOUT);
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 0);
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, RIG_TIMEOUT_MAX_US + 1);
    CHECK_EQUAL(r.status.state, RTL_STATE_ARMED); /* on the terms of the one before */
    CHECK_EQUAL(r.status.reasons, RTL_REASON_COMMAND_TIMEOUT);
    CHECK_EQUAL(r.device.arm.command_timeout_us, RIG_TIMEOUT_US);
}

static void a_clear_that_the_machine_refuses_adds_its_reasons(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rig_send_stop(&r, 0);
    r.veto = RTL_REASON_LIMIT;
    rig_send_plain(&r, RTL_TYPE_CLEAR);
    CHECK_EQUAL(r.status.state, RTL_STATE_SAFE);
    CHECK_EQUAL(r.status.reasons, RTL_REASON_HOST_STOP | RTL_REASON_LIMIT);
    r.veto = 0;
    rig_send_plain(&r, RTL_TYPE_CLEAR);
    CHECK_EQUAL(r.status.state, RTL_STATE_IDLE);
    CHECK_EQUAL(r.status.reasons, 0);
    CHECK_EQUAL(r.vetoes_asked, 2);
    rig_send_plain(&r, RTL_TYPE_CLEAR); /* in IDLE it does nothing, and asks nobody */
    CHECK_EQUAL(r.vetoes_asked, 2);
}

static void a_clear_at_the_machine_does_what_that_of_the_host_does(void) {
    rig_init(&r, 0);
    rig_open(&r);
    rtl_device_clear(&r.device); /* outside SAFE: nothing */
    CHECK_EQUAL(r.device.state, RTL_STATE_IDLE);
    rig_send_stop(&r, 0);
    r.veto = RTL_REASON_LIMIT;
    rtl_device_clear(&r.device);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
    CHECK_EQUAL(r.device.reasons, RTL_REASON_HOST_STOP | RTL_REASON_LIMIT);
    r.veto = 0;
    rtl_device_trip_from_isr(&r.device, RTL_REASON_HARDWARE);
    rtl_device_clear(&r.device); /* whoever asked had not seen that one */
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
    CHECK_EQUAL(r.device.reasons, RTL_REASON_HOST_STOP | RTL_REASON_LIMIT | RTL_REASON_HARDWARE);
    rtl_device_clear(&r.device);
    CHECK_EQUAL(r.device.state, RTL_STATE_IDLE);
    CHECK_EQUAL(r.device.reasons, 0);
}

/* ---- changes of state ---------------------------------------------------------------------- */

static void the_machine_hears_of_every_change_of_state(void) {
    rig_init(&r, 0);
    rig_open(&r);
    CHECK_EQUAL(r.last_change, RTL_STATE_IDLE);
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 0);
    CHECK_EQUAL(r.last_change, RTL_STATE_ARMED);
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(r.last_change, RTL_STATE_ACTIVE);
    CHECK_EQUAL(r.changes, 3);
    const unsigned before = r.safe_calls;
    rtl_device_trip(&r.device, RTL_REASON_LIMIT);
    CHECK_EQUAL(r.last_change, RTL_STATE_SAFE);
    CHECK_EQUAL(r.last_change_reasons, RTL_REASON_LIMIT);
    CHECK_EQUAL(r.safe_calls_at_last_change, before + 1); /* the output was safe by then */
    rtl_device_trip(&r.device, RTL_REASON_LIMIT);
    CHECK_EQUAL(r.changes, 4); /* nothing new */
    rtl_device_trip(&r.device, RTL_REASON_HARDWARE);
    CHECK_EQUAL(r.changes, 5);
    CHECK_EQUAL(r.last_change_reasons, RTL_REASON_LIMIT | RTL_REASON_HARDWARE);
}

static void a_machine_that_trips_when_it_hears_of_active_is_not_driven(void) {
    rig_init(&r, 0);
    rig_arm(&r);
    r.trips_when_active = RTL_REASON_HARDWARE;
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(r.applied, 0);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
    CHECK_EQUAL(r.last_change, RTL_STATE_SAFE);
}

static void neither_veto_nor_state_changed_is_needed(void) {
    rig_init(&r, 0);
    rtl_hardware hardware = r.device.hardware;
    const rtl_description description = r.device.description;
    hardware.veto = NULL;
    hardware.state_changed = NULL;
    CHECK(rtl_device_init(&r.device, &hardware, &description));
    rig_activate(&r);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    rig_send_stop(&r, 0);
    rig_send_plain(&r, RTL_TYPE_CLEAR);
    CHECK_EQUAL(r.status.state, RTL_STATE_IDLE);
    CHECK_EQUAL(r.changes + r.vetoes_asked, 0);
}

int main(void) {
    RUN(before_the_first_hello_nothing_is_ever_due);
    RUN(one_wake_up_a_sample_is_enough);
    RUN(the_command_timeout_is_due_to_the_microsecond);
    RUN(events_that_wait_for_their_turn_are_due);
    RUN(a_line_without_room_keeps_nobody_busy);
    RUN(a_command_is_late_by_its_arrival_not_by_when_it_is_looked_at);
    RUN(the_command_timeout_counts_from_the_arrival_of_a_command);
    RUN(a_command_that_waited_here_for_a_timeout_is_history);
    RUN(time_requests_are_stamped_by_their_arrival);
    RUN(an_arrival_in_the_future_is_now);
    RUN(a_sample_has_the_time_at_which_it_was_taken);
    RUN(a_trip_from_an_interrupt_is_safe_at_once_and_latched_at_the_next_call);
    RUN(after_a_trip_no_command_that_waits_is_applied);
    RUN(an_apply_that_was_interrupted_is_followed_by_safe);
    RUN(a_trip_before_the_device_is_ready_waits_for_that);
    RUN(a_trip_is_taken_once);
    RUN(a_trip_without_a_reason_is_hardware);
    RUN(a_machine_that_objects_is_not_armed_and_the_host_is_told_why);
    RUN(an_arm_that_is_repeated_is_not_asked_about_again);
    RUN(a_timeout_beyond_the_maximum_is_told_as_the_reason);
    RUN(a_clear_that_the_machine_refuses_adds_its_reasons);
    RUN(a_clear_at_the_machine_does_what_that_of_the_host_does);
    RUN(the_machine_hears_of_every_change_of_state);
    RUN(a_machine_that_trips_when_it_hears_of_active_is_not_driven);
    RUN(neither_veto_nor_state_changed_is_needed);
    CHECK_EQUAL(r.received_bad, 0);
    return check_verdict();
}

/* What a device accounts for of itself, under a virtual clock. */
#include <string.h>

#include "check.h"
#include "rig.h"

static rig r;

static const rtl_loop_terms hard = {
    .loop_class = RTL_CLASS_HARD, .period_us = RIG_PERIOD_US, .deadline_us = 800};

static rtl_loop_terms soft(void) {
    rtl_loop_terms terms = hard;
    terms.loop_class = RTL_CLASS_SOFT;
    return terms;
}

/* The answer of a device that is armed comes behind its next sample. */
static void ask_stats(void) {
    rig_send_plain(&r, RTL_TYPE_STATS_REQUEST);
    if (r.device.state == RTL_STATE_ARMED || r.device.state == RTL_STATE_ACTIVE) {
        r.now_us = rtl_device_next_sample_us(&r.device);
        rtl_device_tick(&r.device);
    }
}

static void ask_histogram(rtl_histogram_kind kind) {
    const rtl_histogram_request request = {(uint8_t)kind};
    uint8_t payload[RTL_PAYLOAD_MAX];
    rig_send(&r, RTL_TYPE_HISTOGRAM_REQUEST, payload,
             rtl_histogram_request_encode(&request, payload));
}

/* A pass of a main loop that wakes up `late_us` after the next tick and takes `long_us`. */
static void pass(uint64_t late_us, uint64_t long_us) {
    r.now_us = rtl_device_next_sample_us(&r.device) + late_us;
    rtl_device_begin_pass(&r.device);
    rtl_device_tick(&r.device);
    r.now_us += long_us;
    rtl_device_end_pass(&r.device);
}

/* At a time of 10 µs past a tick, so that no command is in time by a hair. */
static void activate(const rtl_loop_terms *terms) {
    rig_init_accounting(&r, 5010, terms);
    rig_activate(&r);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
}

static void buckets_hold_what_is_between_their_edges(void) {
    for (unsigned bucket = 0; bucket < RTL_HISTOGRAM_BUCKETS; ++bucket) {
        const uint32_t edge_us = rtl_histogram_edge_us(bucket);
        CHECK_EQUAL(rtl_histogram_bucket(edge_us), bucket);
        CHECK(bucket == 0 || rtl_histogram_bucket(edge_us - 1) == bucket - 1);
        CHECK(bucket < 4 || 4 * (edge_us - rtl_histogram_edge_us(bucket - 1)) <= edge_us);
    }
    CHECK_EQUAL(rtl_histogram_bucket(UINT32_MAX), RTL_HISTOGRAM_BUCKETS - 1);
}

static void a_pass_with_a_sample_is_a_job_and_one_without_is_none(void) {
    const rtl_loop_terms terms = soft();
    activate(&terms);
    pass(30, 100);
    pass(5, 200);
    rtl_device_begin_pass(&r.device); /* bytes came, nothing was due */
    r.now_us += 40;
    rtl_device_tick(&r.device);
    rtl_device_end_pass(&r.device);
    ask_stats();
    CHECK_EQUAL(r.stats.jobs, 2);
    CHECK_EQUAL(r.stats.skipped, 0);
    CHECK_EQUAL(r.stats.misses, 0);
    CHECK_EQUAL(r.stats.response_max_us, 205);
    CHECK_EQUAL(r.stats.release_latency_max_us, 30);
    CHECK_EQUAL(r.stats.lateness_max_us, 205 - 800);
    CHECK_EQUAL(r.stats.worst_job, 1);
    CHECK_EQUAL(r.stats.boot_id, 77);
    ask_histogram(RTL_HISTOGRAM_RESPONSE);
    CHECK_EQUAL(r.histogram.kind, RTL_HISTOGRAM_RESPONSE);
    CHECK_EQUAL(r.histogram.counts[rtl_histogram_bucket(130)], 1);
    CHECK_EQUAL(r.histogram.counts[rtl_histogram_bucket(205)], 1);
    CHECK_EQUAL(r.histogram.count, rtl_histogram_bucket(205) + 1);
}

/* The tick came while the pass was under way: it began before its own release. */
static void a_pass_that_began_early_started_at_its_release(void) {
    const rtl_loop_terms terms = soft();
    activate(&terms);
    r.now_us = rtl_device_next_sample_us(&r.device) - 50;
    rtl_device_begin_pass(&r.device);
    r.now_us += 60;
    rtl_device_tick(&r.device);
    rtl_device_end_pass(&r.device);
    ask_stats();
    CHECK_EQUAL(r.stats.jobs, 1);
    CHECK_EQUAL(r.stats.response_max_us, 10);
    CHECK_EQUAL(r.stats.release_latency_max_us, 0);
}

static void a_hard_miss_is_safe_at_once_and_told(void) {
    activate(&hard);
    pass(0, 800); /* at its deadline is in time */
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
    const uint64_t release_us = rtl_device_next_sample_us(&r.device);
    pass(10, 900);
    CHECK_EQUAL(r.device.state, RTL_STATE_SAFE);
    CHECK_EQUAL(r.device.reasons, RTL_REASON_DEADLINE_MISSES);
    CHECK(r.applied_value == 0.0f);
    rtl_device_tick(&r.device);
    const rtl_event *const event = &r.events[RTL_EVENT_DEADLINE_MISS];
    CHECK_EQUAL(r.received_events[RTL_EVENT_DEADLINE_MISS], 1);
    CHECK_EQUAL(event->loop_class, RTL_CLASS_HARD); /* the device's loop: the host's is firm */
    CHECK_EQUAL(event->lateness_us, 110);
    CHECK_EQUAL(event->time_us, release_us + 910);
    CHECK_EQUAL(event->valid_until_us, release_us + 800);
    CHECK_EQUAL(event->state, RTL_STATE_SAFE);
    CHECK_EQUAL(event->reasons, RTL_REASON_DEADLINE_MISSES);
    CHECK_EQUAL(event->total, 1);
    ask_stats();
    CHECK_EQUAL(r.stats.misses, 1);
    CHECK_EQUAL(r.stats.first_miss_job, 1);
    CHECK_EQUAL(r.stats.first_miss_us, release_us + 800);
    CHECK_EQUAL(r.stats.worst_us, release_us + 800);
}

/* So long that the command timeout has tripped before anybody could judge the job. */
static void a_miss_that_was_safe_for_another_reason_first_is_told_too(void) {
    activate(&hard);
    r.now_us = rtl_device_next_sample_us(&r.device);
    rtl_device_begin_pass(&r.device);
    r.now_us += 2 * RIG_TIMEOUT_US;
    rtl_device_tick(&r.device);
    CHECK_EQUAL(r.device.reasons, RTL_REASON_COMMAND_TIMEOUT);
    rtl_device_end_pass(&r.device);
    CHECK_EQUAL(r.device.reasons, RTL_REASON_COMMAND_TIMEOUT | RTL_REASON_DEADLINE_MISSES);
    CHECK_EQUAL(r.account.loop.misses, 1);
}

static void only_what_was_released_while_armed_counts_and_arm_begins_anew(void) {
    rig_init_accounting(&r, 5010, &hard);
    rig_open(&r);
    pass(0, 5000);
    CHECK_EQUAL(r.device.state, RTL_STATE_IDLE);
    CHECK_EQUAL(r.account.loop.jobs, 0);
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 0);
    pass(0, 100); /* its release was before the ARM */
    CHECK_EQUAL(r.account.loop.jobs, 0);
    r.now_us += 5000;
    rtl_device_tick(&r.device);
    pass(0, 100);
    CHECK_EQUAL(r.account.loop.jobs, 1);
    rig_send_stop(&r, 0);
    pass(0, 5000);
    CHECK_EQUAL(r.account.loop.jobs, 1);
    CHECK_EQUAL(r.device.reasons, RTL_REASON_HOST_STOP);
    ask_stats();
    CHECK_EQUAL(r.stats.jobs, 1); /* can be asked for afterwards */
    rig_send_plain(&r, RTL_TYPE_CLEAR);
    rig_send_arm(&r, RTL_CLASS_FIRM, 0, 0);
    const uint64_t armed_us = r.now_us;
    ask_stats();
    CHECK_EQUAL(r.stats.jobs, 0);
    CHECK_EQUAL(r.stats.response_max_us, 0);
    CHECK_EQUAL(r.stats.began_us, armed_us);
}

static void a_soft_loop_only_tells_until_its_limit_is_broken(void) {
    rtl_loop_terms terms = soft();
    terms.max_misses = 2;
    terms.window = 5;
    for (int fault = 0; fault < 2; ++fault) {
        terms.fault_on_limit = fault != 0;
        activate(&terms);
        pass(0, 850);
        pass(0, 850);
        CHECK_EQUAL(r.account.loop.limit_broken, 0);
        CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
        pass(0, 850);
        CHECK_EQUAL(r.account.loop.limit_broken, 1);
        CHECK_EQUAL(r.account.loop.max_consecutive, 3);
        CHECK_EQUAL(r.device.state, fault ? RTL_STATE_SAFE : RTL_STATE_ACTIVE);
        CHECK_EQUAL(r.device.reasons, fault ? RTL_REASON_DEADLINE_MISSES : 0);
    }
}

static void a_loop_of_its_own_tells_its_jobs_itself(void) {
    activate(&hard);
    const uint64_t now_us = r.now_us;
    rtl_device_job(&r.device, now_us + 100, now_us + 110, now_us + 300);
    rtl_device_job(&r.device, now_us + 1100, now_us + 1100, now_us + 1200);
    CHECK_EQUAL(r.account.loop.jobs, 2);
    rtl_device_job(&r.device, now_us + 4100, now_us + 4100, now_us + 4200);
    CHECK_EQUAL(r.account.loop.skipped, 2);
    CHECK_EQUAL(r.device.reasons, RTL_REASON_DEADLINE_MISSES); /* of a hard loop none is skipped */
    CHECK_EQUAL(r.account.loop.misses, 0);
}

/* ---- sample to actuation ------------------------------------------------------------------- */

/* Sends a sample that was taken `age_us` before, and returns the seq of its packet. */
static uint16_t sampled(uint64_t age_us) {
    r.sample_age_us = age_us;
    r.now_us = rtl_device_next_sample_us(&r.device);
    const uint16_t seq = r.device.tx_seq; /* it leaves first */
    const unsigned before = r.received[RTL_TYPE_SENSOR];
    rtl_device_tick(&r.device);
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], before + 1);
    return seq;
}

static void a_command_is_as_old_as_the_newest_sample_that_its_host_had(void) {
    const rtl_loop_terms terms = soft();
    activate(&terms);
    rtl_histogram *const ages = &r.account.sample_to_actuation;
    const uint32_t before = r.account.untraced;
    const uint16_t first = sampled(40);
    sampled(40);
    r.ack = first;
    r.now_us += 300;
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(ages->n, 1);
    CHECK_EQUAL(ages->max_us, RIG_PERIOD_US + 340);

    rig_send_plain(&r, RTL_TYPE_STATUS_REQUEST); /* answered after the second sample */
    r.ack = r.last_header.seq;
    CHECK_EQUAL(r.last_header.type, RTL_TYPE_STATUS);
    r.now_us += 60;
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(ages->n, 2);
    CHECK_EQUAL(ages->counts[rtl_histogram_bucket(400)], 1);
    ask_histogram(RTL_HISTOGRAM_SAMPLE_TO_ACTUATION);
    CHECK_EQUAL(r.histogram.counts[rtl_histogram_bucket(400)], 1);

    rig_send_command(&r, 1.0f, -100); /* refused: nothing was actuated */
    CHECK_EQUAL(ages->n, 2);
    CHECK_EQUAL(r.account.untraced, before);
}

static void what_names_no_sample_that_is_remembered_is_untraced(void) {
    const rtl_loop_terms terms = soft();
    activate(&terms);
    CHECK_EQUAL(r.account.untraced, 1); /* the first command, of a host that had no sample */
    const uint16_t first = sampled(0);
    r.ack = r.device.tx_seq; /* was not sent yet */
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(r.account.untraced, 2);
    for (unsigned i = 1; i < RTL_SAMPLES_TRACED; ++i) {
        sampled(0);
        rig_send_command(&r, 1.0f, 1000); /* keeps it ACTIVE */
    }
    r.ack = first;
    const uint32_t traced = r.account.sample_to_actuation.n;
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(r.account.sample_to_actuation.n, traced + 1);
    sampled(0); /* one more than is remembered */
    const uint32_t untraced = r.account.untraced;
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(r.account.untraced, untraced + 1);
    CHECK_EQUAL(r.account.sample_to_actuation.n, traced + 1);
}

/* A clock that was set back, or a latch that runs ahead of it, is no age of 71 minutes. */
static void a_sample_that_is_still_to_come_is_untraced(void) {
    const rtl_loop_terms terms = soft();
    activate(&terms);
    const uint32_t untraced = r.account.untraced;
    r.ack = sampled(0);
    r.now_us -= 50;
    rig_send_command(&r, 1.0f, 1000);
    CHECK_EQUAL(r.account.untraced, untraced + 1);
    CHECK_EQUAL(r.account.sample_to_actuation.n, 0);
}

static void a_pass_ends_once(void) {
    const rtl_loop_terms terms = soft();
    activate(&terms);
    pass(30, 100);
    rtl_device_end_pass(&r.device);
    rtl_device_end_pass(&r.device);
    CHECK_EQUAL(r.account.loop.jobs, 1);
}

/* Both numbers wrap within one run. */
static void ages_are_right_across_the_wraps(void) {
    const rtl_loop_terms terms = soft();
    rig_init_accounting(&r, (UINT64_C(1) << 32) - 3000, &terms);
    r.device.tx_seq = 65530;
    rig_activate(&r);
    for (unsigned i = 0; i < 12; ++i) {
        r.ack = sampled(0);
        r.now_us += 250;
        rig_send_command(&r, 1.0f, 1000);
    }
    CHECK_EQUAL(r.account.sample_to_actuation.n, 12);
    CHECK_EQUAL(r.account.sample_to_actuation.counts[rtl_histogram_bucket(250)], 12);
}

/* ---- who answers --------------------------------------------------------------------------- */

static void a_device_says_in_its_hello_whether_it_answers(void) {
    rig_init_accounting(&r, 5010, &hard);
    rig_open(&r);
    CHECK_EQUAL(r.last_header.type, RTL_TYPE_HELLO_REPLY);
    CHECK_EQUAL(r.last_header.flags, RTL_FLAG_ACCOUNTS);
    ask_histogram((rtl_histogram_kind)3); /* there is none of that kind */
    CHECK_EQUAL(r.received[RTL_TYPE_HISTOGRAM], 0);

    rig_init(&r, 5010);
    rig_open(&r);
    CHECK_EQUAL(r.last_header.flags, 0);
    ask_stats();
    ask_histogram(RTL_HISTOGRAM_RESPONSE);
    CHECK_EQUAL(r.received[RTL_TYPE_STATS], 0);
    CHECK_EQUAL(r.received[RTL_TYPE_HISTOGRAM], 0);
    rtl_device_tick(&r.device);
    CHECK_EQUAL(r.events[RTL_EVENT_BAD_PACKET].total, 2); /* it does not know such a question */
}

static void no_sample_waits_for_an_account_and_a_flood_of_requests_gets_few(void) {
    const rtl_loop_terms terms = soft();
    activate(&terms);
    rig_run(&r, RIG_PERIOD_US); /* that it is ACTIVE has been told */
    rig_send_plain(&r, RTL_TYPE_STATS_REQUEST);
    const uint16_t ack = (uint16_t)(r.device.rx_seq);
    CHECK_EQUAL(r.received[RTL_TYPE_STATS], 0);
    r.now_us = rtl_device_next_sample_us(&r.device);
    const uint32_t sensors = r.received[RTL_TYPE_SENSOR];
    rig_send_command(&r, 0.5f, 500);
    rtl_device_tick(&r.device);
    CHECK_EQUAL(r.received[RTL_TYPE_SENSOR], sensors + 1);
    CHECK_EQUAL(r.received[RTL_TYPE_STATS], 1);
    CHECK_EQUAL(r.last_header.type, RTL_TYPE_STATS); /* behind it */
    CHECK_EQUAL(r.last_header.ack, ack);             /* to the request, whatever came since */

    for (uint32_t us = 0; us < RTL_STATS_INTERVAL_US; us += RIG_PERIOD_US) {
        rig_send_plain(&r, RTL_TYPE_STATS_REQUEST);
        rig_send_command(&r, 0.5f, 500);
        CHECK_EQUAL(r.received[RTL_TYPE_STATS], 1);
        rig_run(&r, RIG_PERIOD_US);
    }
    CHECK_EQUAL(r.received[RTL_TYPE_STATS], 2);
    CHECK_EQUAL(r.device.state, RTL_STATE_ACTIVE);
}

static void a_device_without_a_loop_accounts_for_its_commands(void) {
    const rtl_loop_terms none = {.loop_class = RTL_CLASS_SOFT};
    activate(&none);
    pass(0, 5000);
    ask_stats();
    CHECK_EQUAL(r.stats.loop_class, RTL_CLASS_NONE);
    CHECK_EQUAL(r.stats.jobs, 0);
    CHECK_EQUAL(r.stats.traced + r.stats.untraced, 1);
}

static void a_device_that_is_initialised_again_has_forgotten(void) {
    static rtl_device_account account;
    account.loop.terms = soft();
    account.untraced = 3;
    rtl_histogram_add(&account.sample_to_actuation, 7);
    rtl_sample_trace_add(&account.trace, 0, 5);
    rig_init(&r, 0);
    const rtl_hardware hardware = r.device.hardware;
    rtl_description description = r.device.description;
    description.account = &account;
    CHECK(rtl_device_init(&r.device, &hardware, &description));
    uint32_t sampled_us;
    CHECK(!rtl_sample_trace_find(&account.trace, 0, 0, &sampled_us));
    CHECK_EQUAL(account.sample_to_actuation.n, 0);
    CHECK_EQUAL(account.untraced, 0);
    CHECK_EQUAL(account.loop.terms.period_us, RIG_PERIOD_US);
}

static void wrong_terms_are_refused(void) {
    rtl_loop_account account = {0};
    rtl_loop_terms terms = hard;
    CHECK(rtl_loop_account_init(&account, &terms));
    terms.deadline_us = terms.period_us + 1;
    CHECK(!rtl_loop_account_init(&account, &terms));
    CHECK_EQUAL(account.terms.deadline_us, hard.deadline_us);
    terms.deadline_us = 0;
    CHECK(!rtl_loop_account_init(&account, &terms));
    terms = hard;
    terms.window = RTL_WINDOW_MAX + 1;
    CHECK(!rtl_loop_account_init(&account, &terms));
    terms = hard;
    terms.max_misses = terms.window = 3; /* a limit that no loss breaks */
    CHECK(!rtl_loop_account_init(&account, &terms));
    terms.max_misses = 2;
    CHECK(rtl_loop_account_init(&account, &terms));
    terms = hard;
    terms.loop_class = RTL_CLASS_SOFT + 1;
    CHECK(!rtl_loop_account_init(&account, &terms));
    rig_init_accounting(&r, 0, &terms);
    CHECK_EQUAL(r.received_bad, 1); /* the device refused its description */
}

int main(void) {
    RUN(buckets_hold_what_is_between_their_edges);
    RUN(a_pass_with_a_sample_is_a_job_and_one_without_is_none);
    RUN(a_pass_that_began_early_started_at_its_release);
    RUN(a_hard_miss_is_safe_at_once_and_told);
    RUN(a_miss_that_was_safe_for_another_reason_first_is_told_too);
    RUN(only_what_was_released_while_armed_counts_and_arm_begins_anew);
    RUN(a_soft_loop_only_tells_until_its_limit_is_broken);
    RUN(a_loop_of_its_own_tells_its_jobs_itself);
    RUN(a_command_is_as_old_as_the_newest_sample_that_its_host_had);
    RUN(what_names_no_sample_that_is_remembered_is_untraced);
    RUN(a_sample_that_is_still_to_come_is_untraced);
    RUN(a_pass_ends_once);
    RUN(ages_are_right_across_the_wraps);
    RUN(a_device_says_in_its_hello_whether_it_answers);
    RUN(no_sample_waits_for_an_account_and_a_flood_of_requests_gets_few);
    RUN(a_device_without_a_loop_accounts_for_its_commands);
    RUN(a_device_that_is_initialised_again_has_forgotten);
    RUN(wrong_terms_are_refused);
    return check_verdict();
}

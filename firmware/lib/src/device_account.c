#include "device_account.h"

#include <string.h>

#include "device_send.h"
#include "device_state.h"

/* ---- samples ------------------------------------------------------------------------------- */

void rtl_sample_trace_add(rtl_sample_trace *trace, uint16_t seq, uint32_t time_us) {
    trace->seq[trace->next] = seq;
    trace->time_us[trace->next] = time_us;
    trace->next = (uint8_t)((trace->next + 1u) % RTL_SAMPLES_TRACED);
    trace->n = (uint8_t)(trace->n < RTL_SAMPLES_TRACED ? trace->n + 1u : trace->n);
}

bool rtl_sample_trace_find(const rtl_sample_trace *trace, uint16_t ack, uint16_t last_seq,
                           uint32_t *time_us) {
    if ((uint16_t)(last_seq - ack) >= 0x8000u) { /* of a packet that was not sent */
        return false;
    }
    for (unsigned back = 1; back <= trace->n; ++back) {
        const unsigned at = (trace->next + RTL_SAMPLES_TRACED - back) % RTL_SAMPLES_TRACED;
        if ((uint16_t)(ack - trace->seq[at]) < 0x8000u) {
            *time_us = trace->time_us[at];
            return true;
        }
    }
    return false;
}

void rtl_account_sensor_sent(rtl_device *d, uint16_t seq, uint64_t sample_us) {
    if (d->description.account != NULL) {
        rtl_sample_trace_add(&d->description.account->trace, seq, (uint32_t)sample_us);
    }
}

void rtl_account_command_applied(rtl_device *d, uint16_t ack) {
    rtl_device_account *const account = d->description.account;
    uint32_t sampled_us;
    if (account == NULL) {
        return;
    }
    if (!rtl_sample_trace_find(&account->trace, ack, (uint16_t)(d->tx_seq - 1u), &sampled_us)) {
        account->untraced++;
        return;
    }
    const int32_t age_us = rtl_time_difference_us((uint32_t)rtl_now_us(d), sampled_us);
    if (age_us < 0) { /* the clock was set back, or the sample is of another one */
        account->untraced++;
        return;
    }
    rtl_histogram_add(&account->sample_to_actuation, (uint32_t)age_us);
}

/* ---- the device's own loop ----------------------------------------------------------------- */

bool rtl_account_init(rtl_device *d) {
    rtl_device_account *const account = d->description.account;
    if (account == NULL) {
        return true;
    }
    const rtl_loop_terms terms = account->loop.terms;
    if (!rtl_loop_account_init(&account->loop, &terms)) {
        return false;
    }
    rtl_histogram_clear(&account->sample_to_actuation);
    memset(&account->trace, 0, sizeof account->trace); /* it has sent no sample yet */
    account->untraced = 0;
    account->began_us = account->ended_us = account->next_stats_us = 0;
    account->stats_are_due = false;
    account->pass_release_us = RTL_NEVER_US;
    return true;
}

void rtl_account_begin(rtl_device *d) {
    rtl_device_account *const account = d->description.account;
    if (account == NULL) {
        return;
    }
    rtl_loop_account_begin(&account->loop);
    rtl_histogram_clear(&account->sample_to_actuation);
    account->untraced = 0;
    account->began_us = rtl_now_us(d);
    account->ended_us = UINT64_MAX;
}

void rtl_account_end(rtl_device *d) {
    rtl_device_account *const account = d->description.account;
    if (account != NULL && account->ended_us == UINT64_MAX) {
        account->ended_us = rtl_now_us(d);
    }
}

void rtl_device_job(rtl_device *device, uint64_t release_us, uint64_t start_us,
                    uint64_t finish_us) {
    rtl_device_account *const account = device->description.account;
    /* By its release: a job that itself led to SAFE is told of. */
    if (account == NULL || account->loop.terms.period_us == 0 || release_us < account->began_us ||
        release_us >= account->ended_us) {
        return;
    }
    const rtl_job_verdict verdict =
        rtl_loop_account_job(&account->loop, release_us, start_us, finish_us);
    if (verdict.is_failure) {
        rtl_device_trip(device, RTL_REASON_DEADLINE_MISSES);
    }
    if (verdict.is_missed) {
        rtl_event *const event = rtl_note_event(device, RTL_EVENT_DEADLINE_MISS);
        event->loop_class = account->loop.terms.loop_class;
        event->time_us = (uint32_t)finish_us;
        event->valid_until_us = (uint32_t)(release_us + account->loop.terms.deadline_us);
        event->lateness_us = verdict.lateness_us;
    }
}

void rtl_device_begin_pass(rtl_device *device) {
    rtl_device_account *const account = device->description.account;
    if (account != NULL) {
        account->pass_start_us = rtl_now_us(device);
        account->pass_release_us = rtl_device_next_sample_us(device);
    }
}

void rtl_device_end_pass(rtl_device *device) {
    rtl_device_account *const account = device->description.account;
    if (account == NULL || account->pass_release_us == RTL_NEVER_US ||
        account->pass_release_us == rtl_device_next_sample_us(device)) {
        return; /* no sample was due in it */
    }
    const uint64_t release_us = account->pass_release_us;
    account->pass_release_us = RTL_NEVER_US; /* it has ended */
    rtl_device_job(device, release_us, account->pass_start_us, rtl_now_us(device));
}

/* ---- what it came to ----------------------------------------------------------------------- */

rtl_stats rtl_device_tell_stats(const rtl_device *d) {
    const rtl_device_account *const account = d->description.account;
    const rtl_loop_account *const loop = &account->loop;
    const bool has_loop = loop->terms.period_us > 0;
    return (rtl_stats){
        .loop_class = has_loop ? loop->terms.loop_class : RTL_CLASS_NONE,
        .max_misses = loop->terms.max_misses,
        .window = loop->terms.window,
        .max_consecutive = loop->terms.max_consecutive,
        .boot_id = d->description.boot_id,
        .period_us = loop->terms.period_us,
        .deadline_us = loop->terms.deadline_us,
        .jobs = loop->jobs,
        .skipped = loop->skipped,
        .misses = loop->misses,
        .limit_broken = loop->limit_broken,
        .most_consecutive = loop->max_consecutive,
        .lateness_max_us = loop->jobs > 0 ? loop->lateness_max_us : 0,
        .worst_job = loop->worst_job,
        .first_miss_job = loop->first_miss_job,
        .began_us = account->began_us,
        .worst_us = loop->worst_us,
        .first_miss_us = loop->first_miss_us,
        .response_max_us = loop->response.max_us,
        .release_latency_max_us = loop->release_latency.max_us,
        .sample_to_actuation_max_us = account->sample_to_actuation.max_us,
        .traced = account->sample_to_actuation.n,
        .untraced = account->untraced,
    };
}

static void send_stats(rtl_device *d) {
    const rtl_stats stats = rtl_device_tell_stats(d);
    uint8_t payload[RTL_PAYLOAD_MAX];
    rtl_send_packet(d, RTL_TYPE_STATS, payload, rtl_stats_encode(&stats, payload));
}

bool rtl_on_stats_request(rtl_device *d) {
    rtl_device_account *const account = d->description.account;
    if (account == NULL) {
        return false;
    }
    if (d->state == RTL_STATE_ARMED || d->state == RTL_STATE_ACTIVE) {
        account->stats_are_due = true;
        account->stats_ack = d->rx_seq;
    } else {
        send_stats(d);
    }
    return true;
}

void rtl_send_due_stats(rtl_device *d, uint64_t now) {
    rtl_device_account *const account = d->description.account;
    if (account == NULL || !account->stats_are_due || now < account->next_stats_us) {
        return;
    }
    account->stats_are_due = false;
    account->next_stats_us = now + RTL_STATS_INTERVAL_US;
    const uint16_t newest = d->rx_seq;
    d->rx_seq = account->stats_ack;
    send_stats(d);
    d->rx_seq = newest;
}

static const rtl_histogram *histogram_of(const rtl_device_account *account, uint8_t kind) {
    switch (kind) {
        case RTL_HISTOGRAM_RESPONSE:
            return &account->loop.response;
        case RTL_HISTOGRAM_RELEASE_LATENCY:
            return &account->loop.release_latency;
        case RTL_HISTOGRAM_SAMPLE_TO_ACTUATION:
            return &account->sample_to_actuation;
        default:
            return NULL;
    }
}

bool rtl_on_histogram_request(rtl_device *d, const rtl_histogram_request *request) {
    const rtl_device_account *const account = d->description.account;
    const rtl_histogram *const histogram =
        account == NULL ? NULL : histogram_of(account, request->kind);
    if (histogram == NULL) {
        return false;
    }
    rtl_histogram_counts answer = {.kind = request->kind};
    for (unsigned i = 0; i < RTL_HISTOGRAM_BUCKETS; ++i) {
        answer.counts[i] = histogram->counts[i];
        answer.count = (uint8_t)(answer.counts[i] > 0 ? i + 1u : answer.count);
    }
    uint8_t payload[RTL_PAYLOAD_MAX];
    rtl_send_packet(d, RTL_TYPE_HISTOGRAM, payload, rtl_histogram_counts_encode(&answer, payload));
    return true;
}

/* The messages of a device's own account. */
#include "bytes.h"
#include "rtloop/messages.h"

enum { STATS_SIZE = 96, HISTOGRAM_REQUEST_SIZE = 4, HISTOGRAM_HEAD = 4 };

_Static_assert(HISTOGRAM_HEAD + 4 * RTL_HISTOGRAM_BUCKETS <= RTL_PAYLOAD_MAX,
               "a full histogram fits");

size_t rtl_stats_encode(const rtl_stats *m, uint8_t *payload) {
    payload[0] = m->loop_class;
    payload[1] = 0;
    rtl_put_u16(payload + 2, m->max_misses);
    rtl_put_u16(payload + 4, m->window);
    rtl_put_u16(payload + 6, m->max_consecutive);
    rtl_put_u32(payload + 8, m->boot_id);
    rtl_put_u32(payload + 12, m->period_us);
    rtl_put_u32(payload + 16, m->deadline_us);
    rtl_put_u32(payload + 20, m->jobs);
    rtl_put_u32(payload + 24, m->skipped);
    rtl_put_u32(payload + 28, m->misses);
    rtl_put_u32(payload + 32, m->limit_broken);
    rtl_put_u32(payload + 36, m->most_consecutive);
    rtl_put_u32(payload + 40, (uint32_t)m->lateness_max_us);
    rtl_put_u32(payload + 44, m->worst_job);
    rtl_put_u32(payload + 48, m->first_miss_job);
    rtl_put_u64(payload + 52, m->began_us);
    rtl_put_u64(payload + 60, m->worst_us);
    rtl_put_u64(payload + 68, m->first_miss_us);
    rtl_put_u32(payload + 76, m->response_max_us);
    rtl_put_u32(payload + 80, m->release_latency_max_us);
    rtl_put_u32(payload + 84, m->sample_to_actuation_max_us);
    rtl_put_u32(payload + 88, m->traced);
    rtl_put_u32(payload + 92, m->untraced);
    return STATS_SIZE;
}

bool rtl_stats_decode(const uint8_t *payload, size_t size, rtl_stats *m) {
    if (size != STATS_SIZE) {
        return false;
    }
    m->loop_class = payload[0];
    m->max_misses = rtl_get_u16(payload + 2);
    m->window = rtl_get_u16(payload + 4);
    m->max_consecutive = rtl_get_u16(payload + 6);
    m->boot_id = rtl_get_u32(payload + 8);
    m->period_us = rtl_get_u32(payload + 12);
    m->deadline_us = rtl_get_u32(payload + 16);
    m->jobs = rtl_get_u32(payload + 20);
    m->skipped = rtl_get_u32(payload + 24);
    m->misses = rtl_get_u32(payload + 28);
    m->limit_broken = rtl_get_u32(payload + 32);
    m->most_consecutive = rtl_get_u32(payload + 36);
    m->lateness_max_us = (int32_t)rtl_get_u32(payload + 40);
    m->worst_job = rtl_get_u32(payload + 44);
    m->first_miss_job = rtl_get_u32(payload + 48);
    m->began_us = rtl_get_u64(payload + 52);
    m->worst_us = rtl_get_u64(payload + 60);
    m->first_miss_us = rtl_get_u64(payload + 68);
    m->response_max_us = rtl_get_u32(payload + 76);
    m->release_latency_max_us = rtl_get_u32(payload + 80);
    m->sample_to_actuation_max_us = rtl_get_u32(payload + 84);
    m->traced = rtl_get_u32(payload + 88);
    m->untraced = rtl_get_u32(payload + 92);
    return true;
}

size_t rtl_histogram_request_encode(const rtl_histogram_request *m, uint8_t *payload) {
    rtl_put_u32(payload, m->kind);
    return HISTOGRAM_REQUEST_SIZE;
}

bool rtl_histogram_request_decode(const uint8_t *payload, size_t size, rtl_histogram_request *m) {
    if (size != HISTOGRAM_REQUEST_SIZE) {
        return false;
    }
    m->kind = payload[0];
    return true;
}

size_t rtl_histogram_counts_encode(const rtl_histogram_counts *m, uint8_t *payload) {
    if (m->count > RTL_HISTOGRAM_BUCKETS) {
        return 0;
    }
    payload[0] = m->kind;
    payload[1] = m->count;
    rtl_put_u16(payload + 2, 0);
    for (size_t i = 0; i < m->count; ++i) {
        rtl_put_u32(payload + HISTOGRAM_HEAD + 4 * i, m->counts[i]);
    }
    return HISTOGRAM_HEAD + 4 * (size_t)m->count;
}

bool rtl_histogram_counts_decode(const uint8_t *payload, size_t size, rtl_histogram_counts *m) {
    if (size < HISTOGRAM_HEAD || payload[1] > RTL_HISTOGRAM_BUCKETS ||
        size != HISTOGRAM_HEAD + 4 * (size_t)payload[1]) {
        return false;
    }
    m->kind = payload[0];
    m->count = payload[1];
    for (size_t i = 0; i < RTL_HISTOGRAM_BUCKETS; ++i) {
        m->counts[i] = i < m->count ? rtl_get_u32(payload + HISTOGRAM_HEAD + 4 * i) : 0;
    }
    return true;
}

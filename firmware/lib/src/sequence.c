#include "rtloop/sequence.h"

#include "rtloop/messages.h"

void rtl_sequence_begin(rtl_sequence *sequence, uint16_t seq, uint32_t time_us) {
    sequence->is_known = true;
    sequence->newest = seq;
    sequence->newest_us = time_us;
    sequence->span = 0;
    sequence->missing = 0;
}

static rtl_arrival advance(rtl_sequence *s, uint16_t seq, uint32_t time_us) {
    const unsigned step = (uint16_t)(seq - s->newest);
    const unsigned skipped = step - 1u;
    /* The newest so far becomes the first bit behind `skipped` missing ones. */
    s->missing = step < RTL_SEQUENCE_WINDOW ? s->missing << step : 0;
    s->missing |= skipped < RTL_SEQUENCE_WINDOW ? (UINT64_C(1) << skipped) - 1u : UINT64_MAX;
    s->span =
        (uint8_t)(s->span + step < RTL_SEQUENCE_WINDOW ? s->span + step : RTL_SEQUENCE_WINDOW);
    s->lost += skipped;
    s->newest = seq;
    s->newest_us = time_us;
    return RTL_ARRIVAL_NEWEST;
}

static rtl_arrival fall_back(rtl_sequence *s, unsigned back) {
    if (back > s->span) {
        return RTL_ARRIVAL_OLD;
    }
    const uint64_t bit = back == 0 ? 0 : UINT64_C(1) << (back - 1u);
    if ((s->missing & bit) == 0) {
        s->repeated++;
        return RTL_ARRIVAL_COPY;
    }
    s->missing &= ~bit;
    s->lost--;
    s->reordered++;
    return RTL_ARRIVAL_LATE;
}

rtl_arrival rtl_sequence_take(rtl_sequence *sequence, uint16_t seq, uint32_t time_us) {
    rtl_sequence *const s = sequence;
    const unsigned step = (uint16_t)(seq - s->newest);
    const bool is_ahead = step != 0 && step < 0x8000u;
    const int32_t older_us = rtl_time_difference_us(s->newest_us, time_us);
    const unsigned back = (uint16_t)(s->newest - seq);
    const bool is_newer = older_us < 0 || (older_us == 0 && back > RTL_SEQUENCE_WINDOW);
    if (!s->is_known || older_us > RTL_SEQUENCE_LATE_MAX_US || (!is_ahead && is_newer)) {
        rtl_sequence_begin(s, seq, time_us);
        return RTL_ARRIVAL_NEWEST;
    }
    if (!is_ahead) {
        return fall_back(s, back);
    }
    /* Of two that leave at the same time the later number may have the earlier time. */
    return older_us > 0 && step > RTL_SEQUENCE_WINDOW ? RTL_ARRIVAL_OLD : advance(s, seq, time_us);
}

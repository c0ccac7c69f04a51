#include "device_state.h"

#include <string.h>

#include "device_account.h"
#include "device_send.h"

/* Every reason that is defined; a STOP cannot latch others. */
#define KNOWN_REASONS 127u

/* ---- states ---------------------------------------------------------------------------------- */

rtl_event *rtl_note_event(rtl_device *d, rtl_event_kind kind) {
    rtl_event *const event = rtl_event_queue_add(&d->events, kind);
    event->loop_class = d->arm.loop_class;
    event->reasons = d->reasons;
    event->time_us = (uint32_t)rtl_now_us(d);
    event->state = (uint8_t)d->state;
    return event;
}

static void enter(rtl_device *d, rtl_state state) {
    d->state = state;
    if (state != RTL_STATE_ARMED && state != RTL_STATE_ACTIVE) {
        rtl_account_end(d);
    }
    rtl_note_event(d, RTL_EVENT_STATE_CHANGE);
    if (d->hardware.state_changed != NULL) {
        d->hardware.state_changed(d->hardware.context, state, d->reasons);
    }
}

static void enter_safe(rtl_device *d, unsigned reasons) {
    if (d->state == RTL_STATE_INIT) {
        return;
    }
    d->hardware.safe(d->hardware.context);
    const uint16_t all_reasons = (uint16_t)(d->reasons | reasons);
    if (d->state != RTL_STATE_SAFE || all_reasons != d->reasons) {
        d->reasons = all_reasons;
        enter(d, RTL_STATE_SAFE);
    }
}

static void count_up(uint16_t *counter) {
    if (*counter < UINT16_MAX) {
        ++*counter;
    }
}

void rtl_note_link_error(rtl_device *d) {
    rtl_note_event(d, RTL_EVENT_BAD_PACKET);
    count_up(&d->consecutive_link_errors);
    const uint16_t limit = d->description.max_link_errors;
    if (d->state == RTL_STATE_ACTIVE && limit > 0 && d->consecutive_link_errors >= limit) {
        enter_safe(d, RTL_REASON_LINK_ERRORS);
    }
}

/* ---- trips ----------------------------------------------------------------------------------- */

bool rtl_is_tripped(const rtl_device *d) {
    for (unsigned bit = 0; bit < RTL_REASON_BITS; ++bit) {
        if (atomic_load(&d->tripped[bit])) {
            return true;
        }
    }
    return false;
}

/* Their `safe` may have met an `apply`. */
void rtl_take_trips(rtl_device *d) {
    unsigned reasons = 0;
    if (d->state == RTL_STATE_INIT) {
        return;
    }
    for (unsigned bit = 0; bit < RTL_REASON_BITS; ++bit) {
        if (atomic_load(&d->tripped[bit])) {
            atomic_store(&d->tripped[bit], false);
            reasons |= 1u << bit;
        }
    }
    if (reasons != 0) {
        enter_safe(d, reasons);
    }
}

static unsigned or_hardware(uint16_t reasons) {
    return reasons != 0 ? reasons : RTL_REASON_HARDWARE;
}

void rtl_device_trip(rtl_device *device, uint16_t reasons) {
    enter_safe(device, or_hardware(reasons));
}

void rtl_device_trip_from_isr(rtl_device *device, uint16_t reasons) {
    for (unsigned bit = 0; bit < RTL_REASON_BITS; ++bit) {
        if ((or_hardware(reasons) & 1u << bit) != 0) {
            atomic_store(&device->tripped[bit], true);
        }
    }
    device->hardware.safe(device->hardware.context);
}

/* ---- commands -------------------------------------------------------------------------------- */

/* By the bits: isfinite() may be compiled away under -ffast-math. */
static bool is_finite(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7f800000u) != 0x7f800000u;
}

static unsigned trouble_with(const rtl_device *d, const rtl_command *command) {
    unsigned trouble = 0;
    const float *const min = d->hardware.command_min;
    const float *const max = d->hardware.command_max;
    for (size_t i = 0; i < command->count; ++i) {
        const float value = command->values[i];
        if (!is_finite(value)) {
            trouble |= RTL_REASON_NON_FINITE;
        } else if ((min != NULL && value < min[i]) || (max != NULL && value > max[i])) {
            trouble |= RTL_REASON_LIMIT;
        }
    }
    return trouble;
}

static void refuse_late_command(rtl_device *d, const rtl_command *command, int32_t lateness_us) {
    d->late_commands++;
    count_up(&d->consecutive_late);
    rtl_event *const event = rtl_note_event(d, RTL_EVENT_LATE_COMMAND);
    event->valid_until_us = command->valid_until_us;
    event->lateness_us = lateness_us;
    if (d->arm.max_late_commands > 0 && d->consecutive_late >= d->arm.max_late_commands) {
        enter_safe(d, RTL_REASON_DEADLINE_MISSES);
    }
}

static void apply_command(rtl_device *d, const rtl_command *command, const rtl_header *header) {
    d->consecutive_late = 0;
    d->command_seq = header->seq;
    d->command_seq_is_known = true;
    d->last_command_us = d->received_us;
    if (d->state == RTL_STATE_ARMED) {
        enter(d, RTL_STATE_ACTIVE);
    }
    rtl_take_trips(d);
    if (d->state == RTL_STATE_ACTIVE) { /* the machine may have tripped when it heard of it */
        d->hardware.apply(d->hardware.context, command->values);
        rtl_take_trips(d);
        if (d->state == RTL_STATE_ACTIVE) {
            rtl_account_command_applied(d, header->ack);
        }
    }
}

/* Applied already, or older: a line that repeats itself must not keep the machine moving. */
static bool is_repeated(const rtl_device *d, uint16_t seq) {
    return d->command_seq_is_known && (uint16_t)(seq - d->command_seq - 1u) >= 0x8000u;
}

void rtl_on_command(rtl_device *d, const rtl_command *command, const rtl_header *header) {
    if ((d->state != RTL_STATE_ARMED && d->state != RTL_STATE_ACTIVE) ||
        is_repeated(d, header->seq)) {
        d->rejected_commands++;
        return;
    }
    const int32_t lateness_us =
        rtl_time_difference_us((uint32_t)d->received_us, command->valid_until_us);
    if (lateness_us > 0) {
        refuse_late_command(d, command, lateness_us);
        return;
    }
    const uint32_t timeout_us = d->arm.command_timeout_us;
    /* Valid for longer than the host may be silent: its clock, or ours, is not what it believes.
     * Or in time, but we were stopped for so long that it is history. */
    if ((int64_t)lateness_us < -(int64_t)timeout_us ||
        rtl_now_us(d) - d->received_us > timeout_us) {
        d->rejected_commands++;
        return;
    }
    const unsigned trouble = trouble_with(d, command);
    if (trouble != 0) {
        d->rejected_commands++;
        enter_safe(d, trouble);
        return;
    }
    apply_command(d, command, header);
}

void rtl_watch_command_timeout(rtl_device *d, uint64_t now) {
    if (d->state == RTL_STATE_ACTIVE && now - d->last_command_us > d->arm.command_timeout_us) {
        d->command_timeouts++;
        enter_safe(d, RTL_REASON_COMMAND_TIMEOUT);
    }
}

/* ---- ARM, CLEAR, STOP ------------------------------------------------------------------------ */

static uint16_t veto(const rtl_device *d, rtl_type request) {
    return d->hardware.veto == NULL ? 0 : d->hardware.veto(d->hardware.context, request);
}

/* Why not, 0: nothing is against it. A timeout beyond the maximum is not cut: the host would go on
 * believing in its own. */
static uint16_t reasons_against_arming(const rtl_device *d, const rtl_arm *arm) {
    if (arm->command_timeout_us > d->description.command_timeout_max_us) {
        return RTL_REASON_COMMAND_TIMEOUT;
    }
    return d->state == RTL_STATE_IDLE ? veto(d, RTL_TYPE_ARM) : 0;
}

/* ARM while ARMED is taken again: the host may not have seen the answer to the first. */
void rtl_on_arm(rtl_device *d, const rtl_arm *arm) {
    if (d->state != RTL_STATE_IDLE && d->state != RTL_STATE_ARMED) {
        rtl_send_status(d, d->reasons);
        return;
    }
    const uint16_t against = reasons_against_arming(d, arm);
    if (against == 0) {
        d->arm = *arm;
        if (arm->command_timeout_us == 0) {
            d->arm.command_timeout_us = d->description.command_timeout_us;
        }
        d->consecutive_late = 0;
        d->command_seq_is_known = false;
        rtl_account_begin(d);
        if (d->state == RTL_STATE_IDLE) {
            enter(d, RTL_STATE_ARMED);
        }
    }
    rtl_send_status(d, d->state == RTL_STATE_SAFE ? d->reasons : against);
}

static void clear(rtl_device *d) {
    const uint16_t against = d->state == RTL_STATE_SAFE ? veto(d, RTL_TYPE_CLEAR) : 0;
    if (against != 0) {
        enter_safe(d, against);
    } else if (d->state == RTL_STATE_SAFE) {
        d->reasons = 0;
        enter(d, RTL_STATE_IDLE);
    }
}

void rtl_on_clear(rtl_device *d) {
    clear(d);
    rtl_send_status(d, d->reasons);
}

void rtl_device_clear(rtl_device *device) {
    if (rtl_is_tripped(device)) {
        rtl_take_trips(device); /* newer than what was to be cleared */
    } else {
        clear(device);
    }
}

void rtl_on_stop(rtl_device *d, const uint8_t *payload, size_t size) {
    rtl_stop stop = {0};
    rtl_stop_decode(payload, size, &stop);
    const unsigned reasons = stop.reason_bits & KNOWN_REASONS;
    enter_safe(d, reasons != 0 ? reasons : RTL_REASON_HOST_STOP);
    rtl_send_status(d, d->reasons);
}

/* So that a host can see that an ARM was obeyed in this, too. */
uint32_t rtl_command_timeout_us(const rtl_device *d) {
    const bool is_armed = d->state == RTL_STATE_ARMED || d->state == RTL_STATE_ACTIVE;
    return is_armed ? d->arm.command_timeout_us : d->description.command_timeout_us;
}

void rtl_device_ready(rtl_device *device) {
    if (device->state == RTL_STATE_INIT) {
        enter(device, RTL_STATE_IDLE);
    }
}

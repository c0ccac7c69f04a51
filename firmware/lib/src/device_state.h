/* Whether the machine moves: states, trips, commands, the command timeout. */
#ifndef RTLOOP_DEVICE_STATE_H_
#define RTLOOP_DEVICE_STATE_H_

#include "rtloop/device.h"

/* Of now, in this state; waits to be sent. */
rtl_event *rtl_note_event(rtl_device *d, rtl_event_kind kind);

/* A damaged packet: too many in a row are SAFE. */
void rtl_note_link_error(rtl_device *d);

bool rtl_is_tripped(const rtl_device *d);

/* What interrupts have tripped since the last look. */
void rtl_take_trips(rtl_device *d);

/* In force while ARMED or ACTIVE, else the device's default. */
uint32_t rtl_command_timeout_us(const rtl_device *d);

void rtl_watch_command_timeout(rtl_device *d, uint64_t now);

void rtl_on_command(rtl_device *d, const rtl_command *command, const rtl_header *header);
void rtl_on_arm(rtl_device *d, const rtl_arm *arm);
void rtl_on_clear(rtl_device *d);
/* A STOP is obeyed whatever its payload says. */
void rtl_on_stop(rtl_device *d, const uint8_t *payload, size_t size);

#endif
